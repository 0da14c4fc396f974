//! The servers that are compared, all started the same way.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::echo_server;
use super::options::Options;
use super::process::{self, SERVER_CPU};
use super::proxy::setup::{self, Upstreams};
use super::site;
use super::tools;

/// The first port of the bench; each server takes its own.
const PORT_FIRST: u16 = 18200;
/// How long a server may take to listen.
const START_MAX: Duration = Duration::from_secs(10);
/// How long a server may take to end when asked.
const STOP_MAX: Duration = Duration::from_secs(5);
/// How much longer each may take under what runs it.
const RUNNER_PATIENCE: u32 = 6;

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The bare epoll loop of `floor.rs`.
    Floor,
    /// Debian's nginx with `sendfile`: files are opened for each request.
    Nginx,
    /// The same with `open_file_cache`.
    NginxCache,
    /// This repository's server, on the configuration of `Nginx`.
    Revolve,
    /// HAProxy, which serves no files: for what is passed on alone.
    HaProxy,
    /// Another binary of it, as it was built at another commit.
    Against,
}

impl Kind {
    /// Those that have a name on the command line; the other binary is named by its path.
    pub(super) const ALL: [Self; 5] = [
        Self::Floor,
        Self::Nginx,
        Self::NginxCache,
        Self::HaProxy,
        Self::Revolve,
    ];

    /// The name on the command line and in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Nginx => "nginx",
            Self::NginxCache => "nginx-cache",
            Self::Revolve => "revolve",
            Self::HaProxy => "haproxy",
            Self::Against => "against",
        }
    }

    /// The Debian package that has it, and the program's name.
    pub(super) fn package(self) -> Option<&'static str> {
        match self {
            Self::Nginx | Self::NginxCache => Some("nginx"),
            Self::HaProxy => Some("haproxy"),
            Self::Floor | Self::Revolve | Self::Against => None,
        }
    }

    pub(super) fn port(self) -> u16 {
        PORT_FIRST + self as u16
    }
}

/// A folder of the bench's own, removed with all that it holds when dropped, and the programs that
/// are run in it.
pub(super) struct Workspace {
    folder: PathBuf,
    /// The root of the checkout.
    root: PathBuf,
    /// The binary of `Kind::Against`.
    against: Option<PathBuf>,
}

impl Workspace {
    /// Makes the folder and the site: files of 1 KiB, 100 KiB and 10 MiB.
    ///
    /// Workers drop their rights, so that everything must be readable by anyone.
    pub(super) fn new(root: &Path, options: &Options) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("revolve-bench-{}", std::process::id()));
        let made = || -> io::Result<()> {
            fs::create_dir_all(folder.join("site/static"))?;
            for part in ["", "site", "site/static"].map(|part| folder.join(part)) {
                fs::set_permissions(part, fs::Permissions::from_mode(0o755))?;
            }
            let file = |name, bytes| (name, content(bytes));
            for (name, content) in [
                file("1k.html", 1 << 10),
                file("100k.html", 100 << 10),
                file("10m.html", 10 << 20),
                file(&site::PATH[1..], site::BODY_BYTES),
            ] {
                let path = folder.join("site").join(name);
                fs::write(&path, content)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
            }
            Ok(())
        };
        made().map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self {
            folder,
            root: root.to_owned(),
            against: options.against.clone(),
        })
    }
}

impl Workspace {
    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Text of `bytes` bytes, ninety to the line.
fn content(bytes: usize) -> Vec<u8> {
    let alphabet = b"abcdefghijklmnopqrstuvwxyz";
    let byte = |at: usize| {
        if at % 90 == 89 {
            b'\n'
        } else {
            alphabet[at % alphabet.len()]
        }
    };
    (0..bytes).map(byte).collect()
}

/// What a server is started for.
#[derive(Clone, Copy, Default)]
pub(super) struct Setup<'a> {
    /// Bytes of the floor's answer.
    pub(super) floor_head_bytes: usize,
    pub(super) floor_body_bytes: usize,
    /// Connections that must be possible at once.
    pub(super) connections_max: usize,
    /// Worker processes: none or one for one on the server's CPU, more for so many on any.
    pub(super) workers: usize,
    /// How requests are passed on to the bare upstream, where they are.
    pub(super) proxy: Option<Upstreams>,
    /// What runs the server: a program and its arguments. It can follow no other process, so that
    /// the server is a single one.
    pub(super) runner: &'a [&'a str],
}

/// A running server, ended when dropped.
pub(super) struct Server {
    pub(super) kind: Kind,
    child: Child,
    stop_max: Duration,
}

impl Server {
    /// Starts `kind` and waits until it listens.
    pub(super) fn start(workspace: &Workspace, kind: Kind, setup: &Setup) -> Result<Self, String> {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, kind.port())).is_ok() {
            return Err(format!("port {} of 127.0.0.1 is in use", kind.port()));
        }
        let mut command = command(workspace, kind, setup)?;
        let log_path = workspace.folder.join(format!("{}.out", kind.name()));
        let log = fs::File::create(&log_path)
            .map_err(|error| format!("{}: {error}", log_path.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let spawned = if setup.workers > 1 {
            command.spawn()
        } else {
            process::on_cpu(SERVER_CPU, || command.spawn())?
        };
        let child =
            spawned.map_err(|error| format!("{} cannot be started: {error}", kind.name()))?;
        let patience = if setup.runner.is_empty() {
            1
        } else {
            RUNNER_PATIENCE
        };
        let mut server = Self {
            kind,
            child,
            stop_max: STOP_MAX * patience,
        };
        server.wait_until_it_listens(&log_path, START_MAX * patience)?;
        Ok(server)
    }

    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.kind.port()))
    }

    /// The processes that serve.
    pub(super) fn workers(&self) -> Vec<u32> {
        process::workers(self.child.id())
    }

    /// CPU time that all processes of the server have taken so far.
    pub(super) fn cpu_ns(&self) -> Result<u64, String> {
        process::cpu_ns(&process::family(self.child.id()))
    }

    fn wait_until_it_listens(&mut self, log_path: &Path, max: Duration) -> Result<(), String> {
        let deadline = Instant::now() + max;
        let said = || fs::read_to_string(log_path).unwrap_or_default();
        loop {
            if TcpStream::connect(self.address()).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!(
                    "{} ended with {status}:\n{}",
                    self.kind.name(),
                    said()
                ));
            }
            if Instant::now() > deadline {
                let name = self.kind.name();
                return Err(format!(
                    "{name} does not listen on {}:\n{}",
                    self.address(),
                    said()
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let family = process::family(self.child.id());
        process::signal(self.child.id(), Signal::TERM);
        let deadline = Instant::now() + self.stop_max;
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

/// Builds `target/release/revolve` when it is to be measured.
pub(super) fn build(root: &Path, options: &Options) -> Result<(), String> {
    if !options.build || !options.servers.contains(&Kind::Revolve) {
        return Ok(());
    }
    echo_server::build(root, &["--package", "revolve"])
}

/// The program that a server is.
pub(super) fn program(workspace: &Workspace, kind: Kind) -> Result<PathBuf, String> {
    let (program, missing) = match kind {
        Kind::Floor => {
            let own = std::env::current_exe();
            return own.map_err(|error| format!("this program's own path is not known: {error}"));
        }
        Kind::Nginx | Kind::NginxCache | Kind::HaProxy => {
            let name = kind.package().unwrap_or_default();
            return tools::find(name).ok_or_else(|| format!("{name} is missing"));
        }
        // In cargo's target folder, wherever that was moved to.
        Kind::Revolve => (
            echo_server::target(&workspace.root).join("release/revolve"),
            "cargo build --release",
        ),
        Kind::Against => (
            workspace.against.clone().unwrap_or_default(),
            "name a revolve of another commit behind --against",
        ),
    };
    if program.is_file() {
        return Ok(program);
    }
    Err(format!("{} is not there: {missing}", program.display()))
}

fn command(workspace: &Workspace, kind: Kind, setup: &Setup) -> Result<Command, String> {
    let mut command = process::run_by(setup.runner, program(workspace, kind)?);
    if kind == Kind::Floor {
        let port = usize::from(kind.port());
        let numbers = [port, setup.floor_body_bytes, setup.floor_head_bytes];
        command.arg("floor");
        command.args(numbers.map(|number| number.to_string()));
        return Ok(command);
    }
    let path = workspace.folder.join(format!("{}.conf", kind.name()));
    if kind == Kind::HaProxy {
        let upstreams = setup.proxy.ok_or("haproxy serves no files")?;
        let connections = setup.connections_max + 200;
        let text = setup::haproxy(upstreams, kind.port(), connections, &workspace.folder);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        // A master and a worker, as the others have them, but for what runs it.
        let role: &[&str] = if setup.runner.is_empty() {
            &["-W", "-db"]
        } else {
            &["-db"]
        };
        command.args(role).arg("-f").arg(&path);
        return Ok(command);
    }
    fs::write(&path, configuration(workspace, kind, setup))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    command.arg("-c").arg(&path);
    command.arg("-p").arg(&workspace.folder);
    command.arg("-e");
    command.arg(workspace.folder.join(format!("{}.log", kind.name())));
    if !setup.runner.is_empty() {
        // Revolve would execute itself once more for its title, where no runner can follow.
        command.env("REVOLVE_ROLE", "none");
    }
    Ok(command)
}

/// The configuration: one text for all, but for the port and for nginx's cache of open files.
fn configuration(workspace: &Workspace, kind: Kind, setup: &Setup) -> String {
    let folder = workspace.folder.display();
    let name = kind.name();
    let port = kind.port();
    // Room beyond the load's own connections: the listening socket, the channel to the master.
    let connections = setup.connections_max + 200;
    let cache = match kind {
        Kind::NginxCache => "open_file_cache max=1000 inactive=60s; open_file_cache_valid 60s;",
        _ => "",
    };
    let workers = setup.workers.max(1);
    let master = if setup.runner.is_empty() { "on" } else { "off" };
    let servers = match setup.proxy {
        Some(upstreams) => setup::http(upstreams, port),
        None => site_and_files(workspace, name, port),
    };
    format!(
        "daemon off;
master_process {master};
worker_processes {workers};
pid {folder}/{name}.pid;
error_log {folder}/{name}.log;
events {{
    worker_connections {connections};
}}
http {{
    types {{ text/html html; }}
    access_log off;
    sendfile on;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    {cache}
{servers}}}
"
    )
}

/// The servers of files and of fixed answers.
fn site_and_files(workspace: &Workspace, name: &str, port: u16) -> String {
    let folder = workspace.folder.display();
    format!(
        "    server {{
        listen 127.0.0.1:{port};
        root {folder}/site;
        location /return {{
            return 200 \"ok\";
        }}
        location = /pid {{
            return 200 $pid;
        }}
        location = /status {{
            stub_status;
        }}
    }}
{site}",
        site = site::servers(&workspace.folder, name, port),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_differ_by_the_port_and_the_cache_alone() {
        let workspace = Workspace {
            folder: PathBuf::from("/nowhere/of/the/bench"),
            root: PathBuf::from("/nowhere"),
            against: None,
        };
        let setup = Setup {
            connections_max: 64,
            ..Setup::default()
        };
        let text = |kind: Kind| {
            let name = format!("/{}.", kind.name());
            let port = kind.port().to_string();
            let site_port = (kind.port() + site::PORT_STEP).to_string();
            let text = configuration(&workspace, kind, &setup);
            let text = text.replace(&name, "/NAME.").replace(&port, "PORT");
            text.replace(&site_port, "SITE")
        };
        assert_eq!(text(Kind::Nginx), text(Kind::Revolve));
        assert_eq!(text(Kind::Against), text(Kind::Revolve));
        assert_ne!(text(Kind::Nginx), text(Kind::NginxCache));
        assert!(text(Kind::NginxCache).contains("open_file_cache max=1000"));
        assert!(text(Kind::Revolve).contains("worker_connections 264;"));
    }

    #[test]
    fn the_site_has_the_sizes_it_names() {
        let options = Options::parse(&[]).unwrap().unwrap();
        let workspace = Workspace::new(Path::new("/nowhere"), &options).unwrap();
        let bytes = |name: &str| fs::metadata(workspace.folder.join(name)).unwrap().len();
        assert_eq!(bytes("site/1k.html"), 1024);
        assert_eq!(bytes("site/100k.html"), 100 * 1024);
        assert_eq!(bytes("site/10m.html"), 10 * 1024 * 1024);
        let folder = workspace.folder.clone();
        drop(workspace);
        assert!(!folder.exists());
    }
}
