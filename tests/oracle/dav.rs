//! Files that are put, copied, moved and deleted: what is answered, what the error log says, and what lies on
//! disk afterwards.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::normal::normal;
use super::pair::{Pair, Side, ask, start_on};
use super::request::{Case, Request, method};
use crate::support::{Client, Folder, Server, ports, until};

const CONFIG: &str = r#"
daemon off;
worker_processes 1;
pid ROOT/NAME.pid;
error_log ROOT/logs/NAME-error.log error;
user root;
events {}
http {
  NGINX_ONLY
  LOGS
  access_log off;
  server {
    client_body_temp_path ROOT/temp-NAME;
    listen 127.0.0.1:PORT;
    server_name first.example;
    root ROOT/NAME;
    dav_methods PUT DELETE MKCOL COPY MOVE;
    dav_access group:rw all:r;
    location /full/ { create_full_put_path on; }
    location /deep/ { min_delete_depth 3; }
    location /alias/ { alias ROOT/NAME/aliased/; }
    location /some/ { dav_methods PUT MKCOL; dav_access user:r; }
    location /off/ { dav_methods off; }
    location /small/ { client_max_body_size 4; }
    location /refused/ { limit_except GET { deny all; } }
    location /own/ { auth_basic x; auth_basic_user_file ROOT/users; }
  }
}
"#;

fn write(folder: &Folder) {
    folder.write("users", "me:{PLAIN}secret\n");
    for name in ["nginx", "revolve"] {
        for file in [
            "file",
            "a/one",
            "a/two",
            "a/b/three",
            "deep/x/y/z",
            "aliased/f",
            "taken",
            "d/inner",
            "some/s",
            "full/f",
            "m/1",
            "m/n/2",
            "small/s",
            "refused/r",
            "off/o",
            "own/o",
            "%25",
        ] {
            folder.write(&format!("{name}/{file}"), file);
        }
        folder.make(&format!("{name}/empty"));
        let link = |to: &str, at: &str| {
            std::os::unix::fs::symlink(to, folder.file(&format!("{name}/{at}"))).expect("a link");
        };
        link("file", "link");
        link("a", "folder-link");
        link("nowhere", "dangling");
        for path in ["d/inner", "a/b/three"] {
            let path = folder.file(&format!("{name}/{path}"));
            let mode = std::fs::Permissions::from_mode(0o640);
            std::fs::set_permissions(path, mode).expect("a mode");
        }
    }
}

fn put(path: &str, body: &str) -> Request {
    method("PUT", path)
        .line(format!("Content-Length: {}", body.len()))
        .body(body)
}

/// One after the other, so that each finds what those before have left.
fn requests(port: u16) -> Vec<Request> {
    [puts(), copies(port), moves(), deletes()].concat()
}

fn copy(from: &str, to: &str) -> Request {
    method("COPY", from).line(format!("Destination: {to}"))
}

fn moved(from: &str, to: &str) -> Request {
    method("MOVE", from).line(format!("Destination: {to}"))
}

fn delete(path: &str) -> Request {
    method("DELETE", path)
}

fn puts() -> Vec<Request> {
    vec![
        put("/new", "content"),
        put("/new", "other content"),
        put("/new2", ""),
        put("/dated", "x").line("Date: Sun, 06 Nov 1994 08:49:37 GMT"),
        put("/dated2", "x").line("Date: yesterday"),
        put("/none/x", "x"),
        put("/full/p/q/r", "full"),
        put("/full/f/x", "below a file"),
        put("/a/", "x"),
        put("/a", "x"),
        put("/ranged", "x").line("Content-Range: bytes 0-0/1"),
        put("/sp%20ace%3f", "x"),
        put("/link", "behind the link"),
        put("/small/x", "12345"),
        put("/small/x", "1234"),
        put("/off/x", "x"),
        put("/refused/x", "x"),
        put("/own/x", "x"),
        put("/own/x", "x").line("Authorization: Basic bWU6c2VjcmV0"),
        put("/some/x", "x"),
        put("/alias/put", "x"),
        method("PUT", "/chunked")
            .line("Transfer-Encoding: chunked")
            .body("3\r\nabc\r\n0\r\n\r\n"),
        method("PUT", "/nothing"),
        method("MKCOL", "/made/"),
        method("MKCOL", "/made/"),
        method("MKCOL", "/made"),
        method("MKCOL", "/no/such/"),
        method("MKCOL", "/file/x/"),
        method("MKCOL", "/body/")
            .line("Content-Length: 1")
            .body("x"),
        method("MKCOL", "/some/made/"),
        method("MKCOL", "/off/made/"),
    ]
}

fn copies(port: u16) -> Vec<Request> {
    vec![
        copy("/file", "/copied"),
        copy("/file", "/copied").line("Overwrite: F"),
        copy("/file", "/copied").line("Overwrite: T"),
        copy("/file", "/copied").line("Overwrite: x"),
        copy("/file", "/copied2").line("Overwrite: F"),
        copy("/file", "/none/copied"),
        copy("/file", "/a/"),
        copy("/file", "/a"),
        copy("/none", "/x"),
        copy("/none/x", "/x"),
        copy("/a", "/x"),
        copy("/a/", "/copied-a/"),
        copy("/a/", "/copied-a/"),
        copy("/a/", "/taken/"),
        copy("/a/", "/none/a/"),
        copy("/a/", "/a-zero/").line("Depth: 0"),
        copy("/a/", "/a-one/").line("Depth: 1"),
        copy("/a/", "/a-inf/").line("Depth: infinity"),
        copy("/a/", "/a-bad/").line("Depth: 2"),
        copy("/d/inner", "/inner-copied"),
        copy("/folder-link/one", "/through-link"),
        method("COPY", "/file"),
        copy("/file", "x"),
        copy("/file", "/../x"),
        copy("/file", "/%2e%2e/x"),
        copy("/file", "/a/%2e%2e/x"),
        copy("/file", "/escaped%20name"),
        copy("/file", "/args?x=y"),
        copy("/%2525", "/percent%2525"),
        copy("/file", "http://first.example/absolute"),
        copy("/file", &format!("http://first.example:{port}/absolute2")),
        copy("/file", "https://first.example/absolute3"),
        copy("/file", "http://other.example/absolute4"),
        copy("/file", "http://first.example"),
        copy("/file", "").line("X: y"),
        copy("/file", "/x").line("Content-Length: 1").body("x"),
        copy("/alias/f", "/alias/g"),
    ]
}

fn moves() -> Vec<Request> {
    vec![
        moved("/copied", "/moved"),
        moved("/copied", "/moved"),
        moved("/moved", "/made-by-move/x/y"),
        moved("/copied-a/", "/moved-a/"),
        moved("/moved-a/", "/a/"),
        moved("/copied2", "/moved2").line("Depth: 0"),
        moved("/copied2", "/moved2").line("Depth: infinity"),
        moved("/new", "/moved2").line("Overwrite: F"),
        moved("/new", "/moved2"),
        moved("/link", "/link-moved"),
        moved("/none", "/x"),
        moved("/m", "/x"),
        moved("/m/", "/taken"),
    ]
}

fn deletes() -> Vec<Request> {
    vec![
        delete("/new2"),
        delete("/new2"),
        delete("/m"),
        delete("/m/").line("Depth: 0"),
        delete("/m/").line("Depth: 1"),
        delete("/m/").line("Depth: infinity"),
        delete("/file").line("Depth: 1"),
        delete("/file").line("Depth: 0"),
        delete("/taken/"),
        delete("/taken/x"),
        delete("/d/inner").line("Content-Length: 1").body("x"),
        delete("/d/inner").line("Depth: x"),
        delete("/empty/"),
        delete("/dangling"),
        delete("/folder-link"),
        delete("/deep/"),
        delete("/deep/x/"),
        delete("/deep/x/y/z"),
        delete("/some/s"),
        method("GET", "/some/x"),
        method("GET", "/moved2"),
        method("HEAD", "/a/one"),
    ]
}

/// What lies in a folder, with its mode, its time where that is not of now, and what it holds.
fn tree(at: &Path, below: &str, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(at.join(below)).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = format!("{below}/{}", entry.file_name().to_string_lossy());
        let name = name.trim_start_matches('/').to_owned();
        let data = entry.path().symlink_metadata().expect("it is there");
        let mode = data.permissions().mode() & 0o7777;
        let is_old = data
            .modified()
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() > 1 << 28));
        let said = match (data.is_dir(), data.is_symlink()) {
            // nginx leaves the mask of the shell in force where it does not become a daemon.
            (true, _) => format!("{:o}", mode & 0o755),
            (_, true) => format!("{:?}", std::fs::read_link(entry.path())),
            _ => format!("{mode:o} {is_old} {:?}", std::fs::read(entry.path())),
        };
        if data.is_dir() {
            tree(at, &name, found);
        }
        found.insert(name, said);
    }
}

/// What was said of it in the error log, without what differs from server to server.
fn log(pair: &Pair, side: &Side) -> Vec<String> {
    let text = pair.folder.read(&format!("logs/{}-error.log", side.name));
    let root = pair.folder.path().display().to_string();
    text.lines()
        .map(|line| {
            let from = line.find(" [").unwrap_or(0);
            let line = line[from..].replace(&format!("{root}/{}", side.name), "ROOT");
            let (level, rest) = line.split_once("] ").unwrap_or(("", &line));
            let said = rest.split_once(" *").map_or(rest, |(_, said)| said);
            let said = said.split_once(' ').map_or(said, |(_, said)| said);
            let said = said.split(", client: ").next().unwrap_or_default();
            // The names of temporary files.
            match said
                .strip_prefix("rename() \"")
                .and_then(|rest| rest.split_once("\" to "))
            {
                Some((_, to)) => format!("{level}] rename() to {to}"),
                None => format!("{level}] {said}"),
            }
        })
        .collect()
}

/// An answer without the time of the file, which the two have made one after the other.
fn timeless(answer: &str) -> String {
    let is_time = |line: &&str| line.starts_with("Last-Modified: ") || line.starts_with("ETag: ");
    let lines = answer.split_inclusive('\n');
    lines.filter(|line| !is_time(line)).collect()
}

#[test]
fn nothing_is_copied_onto_what_it_lies_in() {
    let folder = Folder::new();
    write(&folder);
    let port = ports::free();
    let root = folder.path().display().to_string();
    let text = CONFIG.replace("NGINX_ONLY", "").replace("LOGS", "");
    let text = text.replace("ROOT", &root).replace("NAME", "revolve");
    let _server = Server::start(&folder, &text.replace("PORT", &port.to_string()), &[port]);
    // As nginx has it since 1.31.0, which is newer than the one that is asked above.
    for (method, from, to, status) in [
        ("COPY", "/file", "/file", 403),
        ("MOVE", "/file", "//file", 403),
        ("COPY", "/a/", "/a/b/", 403),
        ("MOVE", "/a/", "/a/b/c/", 403),
        ("COPY", "/a/b/", "/a/", 403),
        ("COPY", "/a/", "/a/", 403),
        ("COPY", "/a/", "/folder-link/", 201),
        ("COPY", "/alias/f", "/elsewhere", 400),
        ("COPY", "/alias/f", "/alias/a", 204),
    ] {
        let mut client = Client::connect(port);
        client.send(format!(
            "{method} {from} HTTP/1.1\r\nHost: x\r\nDestination: {to}\r\n\r\n"
        ));
        assert_eq!(client.response().status, status, "{method} {from} {to}");
        assert_eq!(folder.read("revolve/a/b/three"), "a/b/three");
        assert_eq!(folder.read("revolve/file"), "file");
    }
}

#[test]
fn files_are_put_copied_moved_and_deleted_as_by_nginx() {
    let Some(pair) = start_on(CONFIG, write, "") else {
        return;
    };
    let mut problems = Vec::new();
    let ports = [pair.nginx.who.port, pair.ours.who.port];
    for (theirs, ours) in requests(ports[0]).into_iter().zip(requests(ports[1])) {
        let (theirs, ours) = (Case::from(theirs), Case::from(ours));
        let look = Duration::from_secs(4);
        let answers = [(&pair.nginx, &theirs), (&pair.ours, &ours)]
            .map(|(side, case)| timeless(&normal(&ask(side, case, look), &side.who)));
        if answers[0] != answers[1] {
            problems.push(format!("{theirs}\n{}\n{}", answers[0], answers[1]));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let trees = [&pair.nginx, &pair.ours].map(|side| {
        let mut found = BTreeMap::new();
        tree(&pair.folder.file(side.name), "", &mut found);
        found
    });
    for (name, said) in &trees[0] {
        assert_eq!(Some(said), trees[1].get(name), "{name}");
    }
    assert_eq!(trees[0].len(), trees[1].len());
    let theirs = log(&pair, &pair.nginx);
    until("as many lines", || {
        log(&pair, &pair.ours).len() >= theirs.len()
    });
    let ours = log(&pair, &pair.ours);
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(theirs, ours);
    }
    assert_eq!(theirs.len(), ours.len());
}
