//! A folder served without a configuration file.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::server::REVOLVE;
use crate::support::{Folder, Server, get, ports, proc, until};

/// Serves `html` of a folder with these options.
#[track_caller]
fn serve(folder: &Folder, options: &[&str]) -> (Server, u16) {
    let port = ports::free();
    let mut command = Command::new(REVOLVE);
    command.current_dir(folder.path()).arg("html");
    command.args(["--port", &port.to_string()]).args(options);
    let server = Server::run(&mut command, folder.file("stderr.txt"), &[port]);
    (server, port)
}

#[test]
fn links_that_lead_out_of_it_are_not_followed_unless_asked() {
    let folder = Folder::new();
    folder.write("html/sub/page.txt", "page");
    folder.write("outside/secret.txt", "secret");
    folder.write("html-beside/x.txt", "beside");
    let html = folder.file("html");
    let link = |target: &str, name: &str| symlink(target, html.join(name)).expect("a link");
    link("sub/page.txt", "inside");
    link("../outside/secret.txt", "file");
    link("../outside", "folder");
    link("../html-beside", "beside");
    link("/etc/passwd", "passwd");
    link("/etc/shadow", "shadow");
    link("folder", "twice");
    let statuses = |port| {
        let paths = [
            "/sub/page.txt",
            "/inside",
            "/file",
            "/folder/secret.txt",
            "/twice/secret.txt",
            "/beside/x.txt",
            "/passwd",
        ];
        paths.map(|path| get(port, path).status)
    };
    let (server, port) = serve(&folder, &[]);
    for _ in 0..3 {
        assert_eq!(statuses(port), [200, 200, 403, 403, 403, 403, 403]);
        assert_eq!(get(port, "/shadow").status, 403);
        assert_eq!(get(port, "/folder").status, 403);
    }
    // What comes to be a link is seen, too.
    assert_eq!(get(port, "/sub/page.txt").text(), "page");
    std::fs::remove_file(html.join("sub/page.txt")).expect("a file");
    link("../../outside/secret.txt", "sub/page.txt");
    assert_eq!(get(port, "/sub/page.txt").status, 403);
    until("it is said", || {
        server
            .stderr()
            .contains("leads out of the folder that is served")
    });
    drop(server);
    let (_server, port) = serve(&folder, &["--follow-links"]);
    assert_eq!(statuses(port), [200; 7]);
}

#[test]
fn root_serves_it_as_somebody_else() {
    if !proc::is_root() {
        crate::support::left_out("only root can become somebody else");
        return;
    }
    let folder = Folder::new();
    folder.write("html/index.html", "home");
    folder.write("html/closed.html", "closed");
    folder.set_mode("html/closed.html", 0o600);
    let nobody = |worker: u32| {
        let uid = proc::status(worker, "Uid:").expect("a worker");
        assert_ne!(uid, 0);
        uid
    };
    let (server, port) = serve(&folder, &[]);
    until("a worker runs", || !server.workers().is_empty());
    until("it is nobody's", || {
        proc::status(server.workers()[0], "Uid:") != Some(0)
    });
    let uid = nobody(server.workers()[0]);
    assert_eq!(get(port, "/").text(), "home");
    assert_eq!(get(port, "/closed.html").status, 403);
    until("it is said", || {
        server
            .stderr()
            .contains("the worker processes run as user nobody\n")
    });
    drop(server);
    // Its owner, where that is not root: who may read it whatever its mode is.
    let html = folder.file("html");
    for path in [
        html.clone(),
        html.join("index.html"),
        html.join("closed.html"),
    ] {
        std::os::unix::fs::chown(path, Some(1), Some(1)).expect("chown");
    }
    folder.set_mode("html", 0o700);
    let (server, port) = serve(&folder, &[]);
    assert_eq!(get(port, "/closed.html").text(), "closed");
    let owner = nobody(server.workers()[0]);
    assert!(owner == 1 && owner != uid);
    drop(server);
    // Nobody can get there: that is said, and what to do.
    folder.set_mode(".", 0o700);
    let (server, port) = serve(&folder, &[]);
    assert_eq!(get(port, "/").status, 403);
    until("it is said", || {
        server.stderr().contains(", who may not enter \"/")
    });
    folder.set_mode(".", 0o755);
}

#[test]
fn text_comes_with_its_charset() {
    let folder = Folder::new();
    folder.write("html/index.html", "<p>caf\u{e9}</p>");
    folder.write("html/a.txt", "\u{201e}caf\u{e9}\u{201c}");
    folder.write("html/a.json", "{}");
    let (_server, port) = serve(&folder, &[]);
    let kind = |path| get(port, path).header("content-type").map(str::to_owned);
    assert_eq!(kind("/").as_deref(), Some("text/html; charset=utf-8"));
    assert_eq!(kind("/a.txt").as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(kind("/a.json").as_deref(), Some("application/json"));
}

#[test]
fn it_listens_on_what_is_asked_and_says_so() {
    let folder = Folder::new();
    folder.write("html/index.html", "home");
    let port = ports::free();
    let printed = |listen: &str| {
        let mut command = Command::new(REVOLVE);
        command
            .current_dir(folder.path())
            .args(["html", "--listen", listen]);
        let said = folder.file("out.txt");
        let out = std::fs::File::create(&said).expect("a file");
        let server = Server::run_to(&mut command, folder.file("stderr.txt"), out, &[port]);
        until("it is printed", || folder.read("out.txt").contains('\n'));
        let listening = proc::listening(port);
        drop(server);
        (folder.read("out.txt"), listening)
    };
    let (line, listening) = printed(&format!("localhost:{port}"));
    assert!(
        line.contains(&format!(" on http://localhost:{port}/\n")),
        "{line}"
    );
    let is_local = |it: &String| it == "127.0.0.1" || it == "::1";
    assert!(
        !listening.is_empty() && listening.iter().all(is_local),
        "{listening:?}"
    );
    let (line, listening) = printed(&port.to_string());
    let all =
        format!(" on http://localhost:{port}/ and every other IPv4 address of this machine\n");
    assert!(line.contains(&all), "{line}");
    assert_eq!(listening, ["0.0.0.0"]);
    let (line, listening) = printed(&format!("127.0.0.1:{port}"));
    assert!(
        line.contains(&format!(" on http://127.0.0.1:{port}/\n")),
        "{line}"
    );
    assert_eq!(listening, ["127.0.0.1"]);
}

#[test]
fn it_may_be_served_by_https_with_a_certificate_of_its_own_making() {
    let folder = Folder::new();
    folder.write("html/index.html", "home");
    let (server, port) = serve(&folder, &["--tls"]);
    let clients = crate::support::tls::Clients::trusting_anybody();
    for _ in 0..2 {
        let answer = clients.get(port, "localhost", "/");
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("home"),
            "{answer}"
        );
    }
    assert!(!server.stderr().contains("PRIVATE"));
}
