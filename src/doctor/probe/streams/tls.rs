//! TLS to a stream: the handshake. Knows no HTTP.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::base::limits::DOCTOR_CONNECT_TIMEOUT;
use crate::host::tls_trust::TlsTrust;

/// An open session over TLS.
pub(crate) type TlsSession = StreamOwned<ClientConnection, TcpStream>;

/// Opens a session that offers these protocols.
///
/// # Errors
/// When the peer speaks no TLS, is not trusted, or takes too long.
pub(crate) fn handshake(
    socket: TcpStream,
    host: &str,
    trust: &TlsTrust,
    protocols: &[&str],
) -> io::Result<TlsSession> {
    let config = trust.client_config(protocols);
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(session, socket);
    stream.sock.set_read_timeout(Some(DOCTOR_CONNECT_TIMEOUT))?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    stream.sock.set_read_timeout(None)?;
    Ok(stream)
}
