//! What a handshake may fail with.

use std::fmt;
use std::io;

/// Why a handshake did not come to its end.
#[derive(Debug)]
pub enum AcceptError {
    /// The client does not speak TLS: these are the first bytes that it sent.
    NotTls(Vec<u8>),
    /// The client closed the connection.
    Closed,
    /// It was refused, as it was chosen.
    Refused,
    /// The stream failed; `TimedOut` where the deadline has passed.
    Io(io::Error),
    /// The client is not to be agreed with, or does not keep to the protocol.
    Tls(rustls::Error),
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls(_) => f.write_str("the client does not speak TLS"),
            Self::Closed => f.write_str("the client closed the connection"),
            Self::Refused => f.write_str("the client was refused"),
            Self::Io(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AcceptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Tls(error) => Some(error),
            _ => None,
        }
    }
}
