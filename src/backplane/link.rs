//! One connection to Redis: made, spoken over, and its faults told apart.
//!
//! Owns the time limits of connections. Knows no command and no key.

use std::fmt;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{
    Client, Cmd, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates, Value,
};

use crate::base::backplane_address::BackplaneAddress;

/// Time for a connection to be made.
const CONNECT_TIME: Duration = Duration::from_millis(1_000);
/// Time for an answer, and for a command to be taken.
pub(super) const CALL_TIME: Duration = Duration::from_millis(3_000);
/// Characters of a server's words that are repeated.
const WORDS_CHARS_MAX: usize = 160;

/// A failed exchange with Redis.
#[derive(Clone, Debug)]
pub(super) enum LinkFault {
    /// The connection is of no use any more. A command that was sent may have been carried out.
    Cut(String),
    /// The server has refused the command, and takes others.
    Refused(String),
    /// The server does not know the script.
    NoScript,
}

impl fmt::Display for LinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkFault::Cut(words) | LinkFault::Refused(words) => f.write_str(words),
            LinkFault::NoScript => f.write_str("the server does not know the script"),
        }
    }
}

/// The place and the login for connections.
pub(super) struct LinkTarget {
    client: Client,
}

/// An open connection.
pub(super) struct Link {
    connection: Connection,
}

impl LinkTarget {
    /// Makes the target of an address; `trusted` holds certificates in PEM for TLS.
    ///
    /// # Errors
    /// Words for a certificate or an address that is no good.
    pub(super) fn new(address: &BackplaneAddress, trusted: Option<Vec<u8>>) -> Result<LinkTarget, String> {
        let host = address.host.clone();
        let place = match address.tls {
            true => ConnectionAddr::TcpTls { host, port: address.port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host, address.port),
        };
        let mut login = RedisConnectionInfo::default()
            .set_db(i64::from(address.database))
            .set_lib_name("fanwheel", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &address.user {
            login = login.set_username(user);
        }
        if let Some(password) = &address.password {
            login = login.set_password(password);
        }
        let info: ConnectionInfo = place.into_connection_info().map_err(|error| error.to_string())?;
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = info.set_redis_settings(login).set_tcp_settings(tcp);
        let client = match address.tls {
            true => Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: trusted }),
            false => Client::open(info),
        };
        client.map(|client| LinkTarget { client }).map_err(|error| error.to_string())
    }

    /// Connects.
    ///
    /// # Errors
    /// Always a cut.
    pub(super) fn connect(&self) -> Result<Link, LinkFault> {
        let connect = || {
            let connection = self.client.get_connection_with_timeout(CONNECT_TIME)?;
            connection.set_write_timeout(Some(CALL_TIME))?;
            connection.set_read_timeout(Some(CALL_TIME))?;
            Ok(Link { connection })
        };
        let mut link = connect().map_err(|error: RedisError| LinkFault::Cut(words_of(&error)))?;
        // A server that wants a login says so here; it takes no long command for an answer.
        match link.call(&redis::cmd("PING")) {
            Ok(_) => Ok(link),
            Err(fault) => Err(LinkFault::Cut(fault.to_string())),
        }
    }
}

impl Link {
    /// Sends commands without waiting for their answers.
    pub(super) fn send(&mut self, packed: &[u8]) -> Result<(), LinkFault> {
        self.connection.send_packed_command(packed).map_err(|error| LinkFault::Cut(words_of(&error)))
    }

    /// Waits for the answer to the oldest command that has none.
    pub(super) fn receive(&mut self) -> Result<Value, LinkFault> {
        match self.connection.recv_response().and_then(Value::extract_error) {
            Ok(value) => Ok(value),
            Err(error) => Err(judge(&error)),
        }
    }

    /// Sends a command and waits for its answer.
    pub(super) fn call(&mut self, command: &Cmd) -> Result<Value, LinkFault> {
        self.send(&command.get_packed_command())?;
        self.receive()
    }

    /// Sets the time for answers: that of a command which waits at the server is longer.
    pub(super) fn allow(&mut self, time: Duration) -> Result<(), LinkFault> {
        self.connection.set_read_timeout(Some(time)).map_err(|error| LinkFault::Cut(words_of(&error)))
    }
}

/// Tells a refused command from a connection that is of no use.
fn judge(error: &RedisError) -> LinkFault {
    let words = words_of(error);
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoScript) => LinkFault::NoScript,
        // Another connection may lead to a server that can do more, or that is ready.
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::TryAgain
            | ServerErrorKind::NoPerm,
        ) => LinkFault::Cut(words),
        ErrorKind::Server(_) => LinkFault::Refused(words),
        ErrorKind::Extension if error.code() != Some("NOAUTH") => LinkFault::Refused(words),
        _ => LinkFault::Cut(words),
    }
}

/// Returns the words of an error, cut to their bound.
fn words_of(error: &RedisError) -> String {
    let words = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ if error.is_timeout() => "no answer in time".to_owned(),
        _ => error.to_string(),
    };
    words.chars().take(WORDS_CHARS_MAX).collect()
}
