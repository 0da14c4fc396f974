//! What the head of the PROXY protocol says: `$proxy_protocol_addr` and the like.
//!
//! ```nginx
//! listen 80 proxy_protocol;
//! set_real_ip_from 192.168.1.0/24;
//! real_ip_header   proxy_protocol;
//! proxy_set_header X-Client $proxy_protocol_addr;
//! ```

use std::io::Write as _;
use std::net::SocketAddr;

use revolve_http::proxy_protocol::tlv;

use crate::http::modules::Module;
use crate::http::request::Request;
use crate::http::variables::{Builtin, number, some};
use crate::net::proxied::Proxied;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    variables: VARIABLES,
    ..Module::EMPTY
};

const VARIABLES: &[Builtin] = &[
    Builtin {
        name: "proxy_protocol_addr",
        get: |request, out| {
            let client = client(request);
            client.is_some_and(|client| write!(out, "{}", client.ip()).is_ok())
        },
    },
    Builtin {
        name: "proxy_protocol_port",
        get: |request, out| {
            let client = client(request);
            client.is_some_and(|client| number(u64::from(client.port()), out))
        },
    },
    Builtin {
        name: "proxy_protocol_server_addr",
        get: |request, out| {
            let server = server(request);
            server.is_some_and(|server| write!(out, "{}", server.ip()).is_ok())
        },
    },
    Builtin {
        name: "proxy_protocol_server_port",
        get: |request, out| {
            let server = server(request);
            server.is_some_and(|server| number(u64::from(server.port()), out))
        },
    },
];

/// The client's address, as the proxy has told it.
pub(crate) fn client(request: &Request) -> Option<SocketAddr> {
    let addresses = request.connection.proxied()?.addresses;
    addresses.map(|(client, _)| client)
}

fn server(request: &Request) -> Option<SocketAddr> {
    let addresses = request.connection.proxied()?.addresses;
    addresses.map(|(_, server)| server)
}

/// One of the values behind the addresses (`$proxy_protocol_tlv_NAME`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tlv {
    /// By its type.
    Plain(u8),
    /// About TLS, by its type within that.
    Ssl(u8),
    /// Whether the client's certificate was good; 0 where it was.
    SslVerify,
}

impl Tlv {
    /// By the name that nginx has for it, or its type as `0x` and hexadecimal digits.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let number = |digits: &str| u8::from_str_radix(digits.strip_prefix("0x")?, 16).ok();
        Some(match name {
            "alpn" => Self::Plain(tlv::ALPN),
            "authority" => Self::Plain(tlv::AUTHORITY),
            "unique_id" => Self::Plain(tlv::UNIQUE_ID),
            "ssl" => Self::Plain(tlv::SSL),
            "netns" => Self::Plain(tlv::NETNS),
            "ssl_version" => Self::Ssl(tlv::SSL_VERSION),
            "ssl_cn" => Self::Ssl(tlv::SSL_CN),
            "ssl_cipher" => Self::Ssl(tlv::SSL_CIPHER),
            "ssl_sig_alg" => Self::Ssl(tlv::SSL_SIG_ALG),
            "ssl_key_alg" => Self::Ssl(tlv::SSL_KEY_ALG),
            "ssl_verify" => Self::SslVerify,
            name => match name.strip_prefix("ssl_") {
                Some(digits) => Self::Ssl(number(digits)?),
                None => Self::Plain(number(name)?),
            },
        })
    }

    /// Appends it; false where the proxy has not told it.
    pub(crate) fn append(self, request: &Request, out: &mut Vec<u8>) -> bool {
        let header = request.connection.proxied().and_then(Proxied::header);
        let Some(header) = header else {
            return false;
        };
        let value = match self {
            Self::Plain(kind) => header.tlvs.get(kind),
            Self::Ssl(kind) => header.ssl().and_then(|ssl| ssl.tlvs.get(kind)),
            Self::SslVerify => {
                let ssl = header.ssl();
                return ssl.is_some_and(|ssl| number(u64::from(ssl.verify), out));
            }
        };
        value.is_some_and(|value| some(value, out))
    }
}
