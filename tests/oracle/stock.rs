//! The configuration that Debian's nginx package comes with.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::normal::{Who, normal};
use super::request::{Case, get, head, method, post, raw};
use crate::support::{Client, Folder, Run, Server, nginx, ports, revolve};

const STOCK: &str = "/etc/nginx";

/// Copies a tree; links are followed.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("nginx's configuration") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::write(&target, fs::read(&path).expect("a file")).expect("a copy");
        }
    }
}

/// Copies the stock configuration for one server to `NAME`, with its paths and ports moved.
fn install(folder: &Folder, name: &str, port: u16) {
    copy(Path::new(STOCK), &folder.file(name));
    for file in ["nginx.conf", "sites-enabled/default"] {
        let path = format!("{name}/{file}");
        let here = folder.path().display();
        let text = folder
            .read(&path)
            .replace("/etc/nginx", &format!("{here}/{name}"))
            .replace("/var/log/nginx/", &format!("{here}/logs/{name}-"))
            .replace("/run/nginx.pid", &format!("{here}/{name}.pid"))
            .replace("/var/www/html", &format!("{here}/html"))
            .replace("listen 80 ", &format!("listen {port} "))
            .replace("listen [::]:80 ", &format!("listen [::]:{port} "));
        folder.write(&path, text);
    }
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        "/", "/x.css", "/doc.txt", "/nope", "/a", "/a/", "/..", "/big.bin", "/a?b",
    ]
    .iter()
    .flat_map(|path| [get(*path), head(*path), get(*path).http_10()])
    .map(|request| request.host("localhost").into())
    .collect();
    let text = || get("/doc.txt").host("localhost");
    cases.extend([
        text().line("Range: bytes=1-2").into(),
        text().line("Range: bytes=1-2,4-").into(),
        text().line("Range: bytes=99-").into(),
        text()
            .line("If-Modified-Since: Thu, 01 Jan 2037 00:00:00 GMT")
            .into(),
        text().line("If-None-Match: *").into(),
        text().line("If-Match: \"x\"").into(),
        post("/doc.txt", "x").into(),
        method("DELETE", "/doc.txt").into(),
        post("/doc.txt", &"x".repeat(1_100_000)).into(),
        raw(format!(
            "GET /{} HTTP/1.1\r\nHost: x\r\n\r\n",
            "a".repeat(9000)
        )),
        raw(format!(
            "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
            "a".repeat(9000)
        )),
        raw("GET / HTTP/1.1\r\n\r\n"),
        raw("GET /\r\n\r\n"),
        raw("BAD\r\n\r\n"),
    ]);
    cases
}

#[test]
fn debians_configuration_serves_the_same_bytes() {
    if !nginx::is_here() {
        return;
    }
    let folder = Folder::new();
    folder.write(
        "html/index.nginx-debian.html",
        "<!DOCTYPE html>\n<title>Welcome</title>\n",
    );
    folder.write("html/x.css", "body {}\n");
    folder.write("html/doc.txt", "0123456789");
    folder.write("html/big.bin", vec![7; 200_000]);
    folder.make("html/a");
    let (their_port, our_port) = (ports::free(), ports::free());
    install(&folder, "nginx", their_port);
    install(&folder, "revolve", our_port);
    // Whoever is not root may not write where the package does.
    let text = folder.read("nginx/nginx.conf");
    let text = text.replacen(
        "http {",
        &format!("http {{ {}", nginx::private_folders(&folder)),
        1,
    );
    folder.write("nginx/nginx.conf", text);
    let foreground = ["-g", "daemon off;"];
    let mut command = nginx::command(&folder, "nginx/nginx.conf");
    let _nginx = Server::run(
        command.args(foreground),
        folder.file("nginx.err"),
        &[their_port],
    );
    let mut command = revolve(&folder);
    command.arg("-c").arg("revolve/nginx.conf").args(foreground);
    let _revolve = Server::run(&mut command, folder.file("revolve.err"), &[our_port]);

    let ask = |port: u16, signature: String, case: &Case| {
        let mut client = Client::connect(port);
        // It may be refused before all of it was read.
        let _ = client.try_send(&case.0);
        let (bytes, end) = client.rest(Duration::from_millis(1500));
        normal(
            &super::normal::Answer { bytes, end },
            &Who { signature, port },
        )
    };
    for case in cases() {
        let theirs = ask(
            their_port,
            nginx::signature(&folder, "nginx/nginx.conf"),
            &case,
        );
        let ours = ask(
            our_port,
            format!("revolve/{}", env!("CARGO_PKG_VERSION")),
            &case,
        );
        assert_eq!(ours, theirs, "{case}");
    }
}

#[test]
fn the_packaged_configuration_is_accepted_as_it_is() {
    if !nginx::is_here() {
        return;
    }
    let folder = Folder::new();
    let port = ports::free();
    install(&folder, "etc", port);
    let mut command = revolve(&folder);
    let run = Run::of(command.arg("-t").arg("-c").arg("etc/nginx.conf"));
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(!run.err.contains("[emerg]"), "{}", run.err);
    assert!(!ports::is_listening(port));
}
