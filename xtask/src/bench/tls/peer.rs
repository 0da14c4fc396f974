//! The servers that are compared, each with one worker, the same certificate and the same files.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bench::process::{self, SERVER_CPU};
use crate::bench::servers::{self, Kind, Workspace};
use crate::bench::tools;

/// The first port of these; each server takes its own.
const PORT_FIRST: u16 = 18260;
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Nginx,
    Revolve,
    /// Another binary of it.
    Against,
    H2o,
    Haproxy,
}

impl Peer {
    pub(super) fn name(self) -> &'static str {
        match self {
            Peer::Nginx => "nginx",
            Peer::Revolve => "revolve",
            Peer::Against => "against",
            Peer::H2o => "h2o",
            Peer::Haproxy => "haproxy",
        }
    }

    /// Bytes of the largest file that it can send: HAProxy has files in its memory alone.
    pub(super) fn body_bytes_max(self) -> usize {
        match self {
            Peer::Haproxy => 8 << 10,
            _ => usize::MAX,
        }
    }

    /// Its program.
    ///
    /// Errors: how to get it.
    pub(super) fn program(self, workspace: &Workspace) -> Result<PathBuf, String> {
        match self {
            Peer::Nginx => servers::program(workspace, Kind::Nginx),
            Peer::Revolve => servers::program(workspace, Kind::Revolve),
            Peer::Against => servers::program(workspace, Kind::Against),
            Peer::H2o | Peer::Haproxy => {
                let name = self.name();
                let missing = || format!("it is not installed (apt-get install {name})");
                tools::find(name).ok_or_else(missing)
            }
        }
    }

    fn port(self) -> u16 {
        PORT_FIRST + self as u16
    }

    fn configuration(self, folder: &Path, connections: usize) -> String {
        let (name, port) = (self.name(), self.port());
        let here = folder.display();
        let connections = connections + 200;
        match self {
            Peer::Nginx | Peer::Revolve | Peer::Against => format!(
                "daemon off;
worker_processes 1;
pid {here}/{name}.pid;
error_log {here}/{name}.log;
events {{ worker_connections {connections}; }}
http {{
    types {{ text/html html; }}
    access_log off;
    sendfile on;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {here}/bench.crt;
        ssl_certificate_key {here}/bench.key;
        ssl_session_timeout 1h;
        root {here}/site;
    }}
}}
"
            ),
            Peer::H2o => format!(
                "num-threads: 1
max-connections: {connections}
http1-request-timeout: 600
hosts:
  default:
    listen:
      host: 127.0.0.1
      port: {port}
      ssl:
        certificate-file: {here}/bench.crt
        key-file: {here}/bench.key
        ocsp-update-interval: 0
    paths:
      /:
        file.dir: {here}/site
"
            ),
            Peer::Haproxy => format!(
                "global
    nbthread 1
    maxconn {connections}
defaults
    mode http
    timeout client 600s
    timeout http-keep-alive 600s
    timeout http-request 600s
frontend bench
    bind 127.0.0.1:{port} ssl crt {here}/bench.pem
    http-request return status 200 content-type text/html file {here}/site/1k.html
"
            ),
        }
    }
}

/// Makes a certificate of ECDSA P-256, which all have.
pub(super) fn make_certificate(folder: &Path) -> Result<(), String> {
    let program = tools::find("openssl").ok_or("openssl is missing (apt-get install openssl)")?;
    let output = Command::new(program)
        .current_dir(folder)
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-keyout",
            "bench.key",
            "-out",
            "bench.crt",
        ])
        .output()
        .map_err(|error| format!("openssl cannot be run: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("openssl makes no certificate: {said}"));
    }
    let made = || -> std::io::Result<()> {
        let both = [
            fs::read(folder.join("bench.crt"))?,
            fs::read(folder.join("bench.key"))?,
        ];
        fs::write(folder.join("bench.pem"), both.concat())?;
        // They are nobody's secret.
        for name in ["bench.key", "bench.pem"] {
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644))?;
        }
        Ok(())
    };
    made().map_err(|error| format!("{}: {error}", folder.display()))
}

/// A running server, ended when dropped.
pub(super) struct Running {
    pub(super) peer: Peer,
    child: Child,
}

impl Running {
    /// Starts it on the servers' CPU, and waits until it listens.
    pub(super) fn start(
        workspace: &Workspace,
        peer: Peer,
        connections: usize,
    ) -> Result<Self, String> {
        let (name, folder) = (peer.name(), workspace.folder());
        if TcpStream::connect((Ipv4Addr::LOCALHOST, peer.port())).is_ok() {
            return Err(format!("port {} of 127.0.0.1 is in use", peer.port()));
        }
        let say = |error: std::io::Error| format!("{name} cannot be started: {error}");
        let path = folder.join(format!("tls-{name}.conf"));
        fs::write(&path, peer.configuration(folder, connections)).map_err(say)?;
        let output = folder.join(format!("tls-{name}.out"));
        let log = fs::File::create(&output).map_err(say)?;
        let mut command = Command::new(peer.program(workspace)?);
        match peer {
            Peer::Nginx | Peer::Revolve | Peer::Against => {
                command.arg("-c").arg(&path).arg("-p").arg(folder);
                command.arg("-e").arg(folder.join(format!("{name}.log")));
            }
            Peer::H2o => drop(command.arg("-c").arg(&path)),
            Peer::Haproxy => drop(command.arg("-db").arg("-f").arg(&path)),
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = process::on_cpu(SERVER_CPU, || command.spawn())?.map_err(say)?;
        let mut running = Self { peer, child };
        running.wait(&output)?;
        Ok(running)
    }

    fn wait(&mut self, output: &Path) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port())).is_err() {
            let has_ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            if has_ended || Instant::now() > deadline {
                let (name, said) = (self.peer.name(), fs::read_to_string(output));
                return Err(format!(
                    "{name} does not listen:\n{}",
                    said.unwrap_or_default()
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(super) fn port(&self) -> u16 {
        self.peer.port()
    }

    /// The processes that serve.
    pub(super) fn workers(&self) -> Vec<u32> {
        match self.peer {
            // One process; what else is there, it has started for something else.
            Peer::H2o | Peer::Haproxy => vec![self.child.id()],
            Peer::Nginx | Peer::Revolve | Peer::Against => process::workers(self.child.id()),
        }
    }

    /// CPU time that all its processes have taken so far.
    pub(super) fn cpu_ns(&self) -> Result<u64, String> {
        let look = || process::cpu_ns(&process::family(self.child.id()));
        // What it has started for a moment may end between two looks.
        look().or_else(|_| look())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let family = process::family(self.child.id());
        process::signal(self.child.id(), Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                family
                    .iter()
                    .for_each(|pid| process::signal(*pid, Signal::KILL));
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_and_revolve_have_one_configuration() {
        let text = |peer: Peer| {
            let text = peer.configuration(Path::new("/nowhere"), 32);
            let text = text.replace(peer.name(), "NAME");
            text.replace(&peer.port().to_string(), "PORT")
        };
        assert_eq!(text(Peer::Nginx), text(Peer::Revolve));
        assert_eq!(text(Peer::Nginx), text(Peer::Against));
        assert!(text(Peer::H2o).contains("ssl:") && text(Peer::Haproxy).contains(" ssl crt "));
    }
}
