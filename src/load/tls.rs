//! TLS beneath a connection of the load: encrypts what it sends, decrypts what it reads, and never waits.
//! Knows no HTTP. Connections to `http://` addresses have no session, and so none of this.
//!
//! The caller's part: `write` until all is taken, `read` at every readiness until it would block. A `read`
//! also sends what a full socket held back.

use std::io::{self, Read, Write};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// The session of one connection.
pub(crate) struct LoadSession(Box<ClientConnection>);

impl LoadSession {
    /// Begins a session with a server of this name; the handshake goes out with the first `write`.
    ///
    /// # Errors
    /// When no session can be made with this configuration.
    pub(crate) fn new(config: &Arc<ClientConfig>, name: &ServerName<'static>) -> io::Result<LoadSession> {
        let session = ClientConnection::new(Arc::clone(config), name.clone());
        session.map(|session| LoadSession(Box::new(session))).map_err(io::Error::other)
    }

    /// Takes bytes to send, as many as the session holds; they go out once the handshake is done.
    ///
    /// # Errors
    /// `WouldBlock` when the session is full, and any error of the socket.
    pub(crate) fn write(&mut self, socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        let taken = self.0.writer().write(bytes)?;
        if taken == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.flush(socket) {
            // The rest goes out with the next call.
            Err(os) if os.kind() == io::ErrorKind::WouldBlock => Ok(taken),
            other => other.map(|()| taken),
        }
    }

    /// Reads decrypted bytes; 0 when the peer has ended the session or the connection.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is left to read, a fault of TLS, and any error of the socket.
    pub(crate) fn read(&mut self, socket: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An end without a farewell is one all the same: HTTP itself says whether it is whole.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            match self.flush(socket) {
                Err(os) if os.kind() != io::ErrorKind::WouldBlock => return Err(os),
                _ => {}
            }
            self.0.read_tls(socket)?;
            let processed = self.0.process_new_packets();
            if let Err(fault) = processed {
                // The peer learns why; whether it does changes nothing here.
                let _ = self.flush(socket);
                return Err(io::Error::other(fault));
            }
        }
    }

    fn flush(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        while self.0.wants_write() {
            self.0.write_tls(socket)?;
        }
        Ok(())
    }
}
