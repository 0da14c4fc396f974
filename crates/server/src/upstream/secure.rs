//! The handshake with a server behind us, and whether it is taken for whom it ought to be.
//!
//! Source: nginx's `ngx_http_upstream_ssl_init_connection` and `ngx_http_upstream_ssl_handshake`, whose words
//! the error log has.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use revolve_reactor::Stream;
use revolve_tls::{ConnectError, TlsStream};

use crate::log::error_text;
use crate::net::Transport;
use crate::tls::upstream::{Untrusted, UpstreamTls, server_name};
use crate::upstream::pool::Identity;

/// How a connection is secured.
pub(crate) struct Secure {
    tls: Arc<UpstreamTls>,
    pub(crate) identity: Identity,
}

/// Why a server is not spoken with.
pub(crate) struct Refusal {
    /// What the error log says.
    pub(crate) what: String,
    /// Whether it took too long.
    pub(crate) is_late: bool,
}

impl Secure {
    /// By these settings, with a server of this name, which may have a port behind it.
    pub(crate) fn new(tls: Arc<UpstreamTls>, host: &str) -> Self {
        let identity = Identity {
            settings: tls.id,
            name: Rc::from(without_port(host)),
        };
        Self { tls, identity }
    }

    /// The handshake, on a stream that has just been connected. `now_s` is the time in seconds since 1970.
    pub(crate) async fn shake(
        &self,
        stream: Stream,
        limit: Duration,
        now_s: i64,
    ) -> Result<Transport, Refusal> {
        let stream = TlsStream::new(stream);
        let name = &self.identity.name;
        let deadline = revolve_reactor::now() + limit;
        let config = self.tls.config.clone();
        let shaken = stream.connect(config, server_name(name), deadline).await;
        shaken.map_err(|error| failed(&error))?;
        match self.tls.judge(&stream, name, now_s) {
            Ok(()) => Ok(Transport::from(stream)),
            Err(Untrusted::Certificate(error)) => {
                let number = error.number();
                let what = format!("upstream SSL certificate verify error: ({number}:{error})");
                Err(Refusal::because(what))
            }
            Err(Untrusted::Name) => {
                let what = format!("upstream SSL certificate does not match \"{name}\"");
                Err(Refusal::because(what))
            }
        }
    }
}

impl Refusal {
    fn because(what: String) -> Self {
        let is_late = false;
        Self { what, is_late }
    }
}

fn failed(error: &ConnectError) -> Refusal {
    match error {
        ConnectError::Io(error) if error.kind() == io::ErrorKind::TimedOut => Refusal {
            what: "upstream timed out (110: Connection timed out)".to_owned(),
            is_late: true,
        },
        ConnectError::Closed => {
            Refusal::because("peer closed connection in SSL handshake".to_owned())
        }
        ConnectError::Io(error) => {
            let reason = error_text(error);
            Refusal::because(format!(
                "peer closed connection in SSL handshake ({reason})"
            ))
        }
        ConnectError::Tls(error) => {
            Refusal::because(format!("SSL_do_handshake() failed (SSL: {error})"))
        }
    }
}

/// A host without its port, and an address of IPv6 without its brackets.
fn without_port(host: &str) -> &str {
    if host.starts_with("unix:") {
        return "localhost";
    }
    let host = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => return address,
        None => host,
    };
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_a_name() {
        for (host, name) in [
            ("a.test", "a.test"),
            ("a.test:8443", "a.test"),
            ("[::1]:8443", "::1"),
            ("[::1]", "::1"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("unix:/run/a.sock", "localhost"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
