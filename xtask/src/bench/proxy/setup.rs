//! The configurations of the proxies: one text for nginx and Revolve, and the same said for HAProxy.

use std::path::Path;

use super::backend;

/// What a proxy is started for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::bench) enum Upstreams {
    /// Connections to the upstream are kept.
    Kept,
    /// Each request has a connection of its own, on both sides.
    Each,
}

/// What stands in the `http` block of a configuration.
pub(in crate::bench) fn http(upstreams: Upstreams, port: u16) -> String {
    let upstream = backend::PORT;
    let (group, settings) = match upstreams {
        Upstreams::Kept => (
            "keepalive 128; keepalive_requests 1000000000;",
            "proxy_http_version 1.1; proxy_set_header Connection \"\";",
        ),
        Upstreams::Each => (
            "",
            "proxy_http_version 1.0; proxy_set_header Connection close;",
        ),
    };
    format!(
        "    upstream bare {{ server 127.0.0.1:{upstream}; {group} }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 2m;
        location / {{
            proxy_pass http://bare;
            {settings}
        }}
        location /ws {{
            proxy_pass http://bare;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_read_timeout 600s;
        }}
    }}
"
    )
}

/// The whole configuration of HAProxy.
pub(in crate::bench) fn haproxy(
    upstreams: Upstreams,
    port: u16,
    connections: usize,
    folder: &Path,
) -> String {
    let upstream = backend::PORT;
    let close = match upstreams {
        Upstreams::Kept => "",
        Upstreams::Each => "    option httpclose\n",
    };
    // One connection in, one out.
    let descriptors = connections * 2 + 200;
    format!(
        "global
    nbthread 1
    maxconn {connections}
    ulimit-n {descriptors}
    pidfile {folder}/haproxy.pid
defaults
    mode http
    http-reuse always
{close}    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout tunnel 600s
frontend bench
    bind 127.0.0.1:{port}
    default_backend bare
backend bare
    server bare 127.0.0.1:{upstream}
",
        folder = folder.display(),
    )
}
