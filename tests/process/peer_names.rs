//! Clients whose own Unix name is odd: none of them costs anybody else anything.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use super::Site;
use crate::support::wait::PATIENCE;
use crate::support::{Run, get, revolve};

/// The longest name of a Unix socket, which has no NUL at its end.
const NAME_BYTES_MAX: usize = 108;

/// A socket with a name.
enum Name {
    None,
    /// A path of so many bytes, in this folder.
    Path(usize),
    Abstract(usize),
}

/// Connects to `to` from a socket with a name of its own.
fn connect(folder: &Path, from: &Name, to: &Path) -> UnixStream {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None);
    let socket: OwnedFd = socket.expect("a socket");
    let name = match from {
        Name::None => None,
        Name::Path(bytes) => {
            let mut path = folder.as_os_str().as_bytes().to_vec();
            path.push(b'/');
            path.resize(*bytes, b'n');
            // Another one of this length may have been here.
            let _ = std::fs::remove_file(OsStr::from_bytes(&path));
            Some(SocketAddrUnix::new(path.as_slice()).expect("a name"))
        }
        Name::Abstract(bytes) => {
            let mut name = format!("revolve-test-{}", std::process::id()).into_bytes();
            name.resize(*bytes, b'n');
            Some(SocketAddrUnix::new_abstract_name(&name).expect("a name"))
        }
    };
    if let Some(name) = name {
        rustix::net::bind(&socket, &name).expect("a free name");
    }
    let to = SocketAddrUnix::new(to).expect("an address");
    rustix::net::connect(&socket, &to).expect("the server listens");
    let stream = UnixStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn names() -> Vec<Name> {
    vec![
        Name::None,
        Name::Path(NAME_BYTES_MAX - 1),
        Name::Path(NAME_BYTES_MAX),
        Name::Abstract(30),
        Name::Abstract(NAME_BYTES_MAX - 1),
    ]
}

fn ask(mut stream: UnixStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn odd_names_are_served_and_end_nothing() {
    for top in [
        "worker_processes 2;",
        "worker_threads 2;",
        "master_process off;",
    ] {
        let site = Site::new();
        let here = site.folder.path();
        let socket = site.folder.file("s");
        let listen = format!("listen unix:{};", socket.display());
        let server = site.start(top, &listen);
        if !top.contains("off") {
            site.settle(site.config(top, "").matches("processes 2").count() + 1);
        }
        let workers = server.workers();
        for name in names() {
            let request = "GET / HTTP/1.0\r\n\r\n";
            let answer = ask(connect(here, &name, &socket), request);
            assert!(answer.ends_with("home\n"), "{top} {answer}");
            let control = site.folder.file("pid.ctl");
            let answer = ask(connect(here, &name, &control), "workers\n");
            assert!(answer.starts_with("{\""), "{top} {answer}");
        }
        assert_eq!(get(site.port, "/").text(), "home\n");
        assert_eq!(server.workers(), workers, "{top}");
        let run = Run::of(revolve(&site.folder).args(["-s", "reopen"]));
        assert_eq!((run.err.as_str(), run.code), ("", 0));
        let log = site.log();
        assert!(!log.contains("panic") && !log.contains("exited"), "{log}");
    }
}
