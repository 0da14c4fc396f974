//! Serving under pressure: changing files, slow clients, few descriptors, full disks, odd requests.

mod acme;
mod acme_pebble;
mod alias;
mod auth_basic;
mod balancing;
mod bodies;
mod cache;
mod changing_tree;
mod coherence;
mod dav;
mod disk_threads;
mod exhaustion;
mod fastcgi;
mod faults;
mod filters;
mod forged_lines;
mod fragments;
mod gateways;
mod grpc;
mod http2;
mod large_files;
mod limits;
mod memcached;
mod mounted_files;
mod names;
mod passing;
mod php;
mod proxy;
mod proxy_protocol;
mod slow_clients;
mod storms;
mod tls;
mod tls_browser;
mod tls_clients;
mod tls_hostile;
mod tls_ocsp;
mod tls_openssl;
mod tls_upstream;
mod traversal;
mod tunnel;
mod variables;

use crate::support::{Folder, Server, ports};

/// A server of `html` with directives of a test's own.
struct Site {
    folder: Folder,
    port: u16,
    server: Server,
}

impl Site {
    /// Starts it; `http` and `server` are lines for these blocks.
    #[track_caller]
    fn start(http: &str, server: &str) -> Site {
        let folder = Folder::new();
        folder.write("html/index.html", "home\n");
        Site::serve(folder, http, server)
    }

    /// Starts it on a folder that has been filled.
    #[track_caller]
    fn serve(folder: Folder, http: &str, server: &str) -> Site {
        let port = ports::free();
        let config = config(&folder, port, http, server);
        let server = Server::start(&folder, &config, &[port]);
        Site {
            folder,
            port,
            server,
        }
    }

    /// The worker's process id.
    #[track_caller]
    fn worker(&self) -> u32 {
        self.server.workers_once(1)[0]
    }
}

/// `access_log` is the format `$status $request`, and can be set anew in the server's lines.
fn config(folder: &Folder, port: u16, http: &str, server: &str) -> String {
    let here = folder.path().display();
    format!(
        "daemon off;\npid {here}/pid;\nerror_log {here}/logs/error.log info;\n\
         events {{ worker_connections 1024; }}\nhttp {{\nlog_format short '$status $request';\n\
         access_log {here}/logs/access.log short;\nkeepalive_requests 1000000;\n{http}\nserver {{\nlisten 127.0.0.1:{port};\n\
         root {here}/html;\n{server}\n}}\n}}\n"
    )
}
