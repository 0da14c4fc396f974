//! What a handshake may fail with, and the reading of keys.

use std::fmt;
use std::io;

/// Why a handshake did not come to its end.
#[derive(Debug)]
pub enum AcceptError {
    /// The client does not speak TLS: these are the first bytes that it sent.
    NotTls(Vec<u8>),
    /// The client closed the connection.
    Closed,
    /// It was refused, as it was chosen, with this alert.
    Refused(u8),
    /// The stream failed; `TimedOut` where the deadline has passed.
    Io(io::Error),
    /// The client is not to be agreed with, or does not keep to the protocol.
    Tls(rustls::Error),
}

/// Why a handshake with a server did not come to its end.
#[derive(Debug)]
pub enum ConnectError {
    /// The server closed the connection.
    Closed,
    /// The stream failed; `TimedOut` where the deadline has passed.
    Io(io::Error),
    /// The server is not to be agreed with, or does not keep to the protocol.
    Tls(rustls::Error),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ConnectError> for AcceptError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Closed => Self::Closed,
            ConnectError::Io(error) => Self::Io(error),
            ConnectError::Tls(error) => Self::Tls(error),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Io(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::Closed => None,
        }
    }
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
            Self::Refused(_) => f.write_str("the client was refused"),
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

/// Why certificates or a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// The text holds no certificate.
    NoCertificate,
    /// What is marked as a certificate is none, counted from 1.
    MalformedCertificate(usize),
    /// The text holds no private key.
    NoKey,
    /// The key is encrypted, and no password opens it.
    Encrypted,
    /// A section of the text is not closed, or is not base64.
    MalformedPem,
    /// A key of a kind or a size that is not to be had.
    UnsupportedKey(String),
    /// The key is not that of the certificate.
    Mismatch,
    /// The text holds no list of revoked certificates.
    NoList,
    /// What is marked as a list is none, counted from 1.
    MalformedList(usize),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("it holds no certificate"),
            Self::MalformedCertificate(number) => {
                write!(f, "certificate {number} in it is malformed")
            }
            Self::NoKey => f.write_str("it holds no private key"),
            Self::Encrypted => f.write_str("the key is encrypted"),
            Self::NoList => f.write_str("it holds no list of revoked certificates (X509 CRL)"),
            Self::MalformedList(number) => write!(f, "list {number} in it is malformed"),
            Self::MalformedPem => f.write_str("it is not well-formed PEM"),
            Self::UnsupportedKey(reason) => write!(f, "the key cannot be used ({reason})"),
            Self::Mismatch => f.write_str("key values mismatch"),
        }
    }
}

impl std::error::Error for KeyError {}
