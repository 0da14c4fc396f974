//! Servers of other kinds, as far as they serve the same requests: H2O and HAProxy.

use std::path::Path;

use super::servers::{Kind, Setup};

/// The configuration of H2O: files alone, of which `/return` is one.
fn h2o(folder: &Path, port: u16, setup: &Setup) -> String {
    let folder = folder.display();
    // Started by root, it would serve as another user, whom the folder need not let in.
    let user = match rustix::process::getuid().is_root() {
        true => "user: root\n",
        false => "",
    };
    format!(
        "{user}num-threads: 1
max-connections: {connections}
listen:
  host: 127.0.0.1
  port: {port}
http1-request-timeout: 600
hosts:
  default:
    paths:
      /:
        file.dir: {folder}/site
        file.mime.setdefaulttype: text/html
",
        connections = setup.connections_max + 200,
    )
}

/// The configuration of HAProxy, which answers out of memory: as much as fits into one of its
/// buffers, so that only small files are served.
fn haproxy(folder: &Path, port: u16, setup: &Setup) -> String {
    let folder = folder.display();
    format!(
        "global
    nbthread 1
    maxconn {connections}
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
frontend bench
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/html file {folder}/site/1k.html if {{ path /1k.html }}
    http-request return status 200 content-type text/html string ok if {{ path /return }}
    http-request return status 404
",
        connections = setup.connections_max + 200,
    )
}

/// The configuration of a server of another kind, and the arguments before its path; `None` for those
/// that read nginx's.
pub(super) fn configuration(
    kind: Kind,
    folder: &Path,
    setup: &Setup,
) -> Option<(String, &'static [&'static str])> {
    match kind {
        Kind::H2o => Some((h2o(folder, kind.port(), setup), &["-c"])),
        Kind::Haproxy => Some((haproxy(folder, kind.port(), setup), &["-db", "-f"])),
        _ => None,
    }
}
