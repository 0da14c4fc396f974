//! Files that clients change: what the next request sees, how large they may be, and where nothing leads.

use std::os::unix::fs::symlink;

use super::{Site, config};
use crate::support::{Client, Folder, Server, ports};

const ALLOWED: &str = "dav_methods PUT DELETE MKCOL COPY MOVE; create_full_put_path on; \
     client_max_body_size 0; dav_access all:r;";

fn put(client: &mut Client, path: &str, body: &[u8]) -> u16 {
    let len = body.len();
    client.send(format!(
        "PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n"
    ));
    client.send(body);
    client.response().status
}

fn ask(client: &mut Client, head: &str) -> u16 {
    client.send(format!("{head} HTTP/1.1\r\nHost: x\r\n\r\n"));
    client.response().status
}

#[test]
fn whoever_asks_behind_a_change_sees_it() {
    for workers in ["", "worker_threads 2;\n"] {
        let folder = Folder::new();
        folder.write("html/index.html", "home\n");
        folder.set_mode("html", 0o777);
        let port = ports::free();
        let text = workers.to_owned() + &config(&folder, port, "", ALLOWED);
        let _server = Server::start(&folder, &text, &[port]);
        let mut client = Client::connect(port);
        for round in 0..20 {
            let body = format!("round {round}");
            // One segment: the second request has been read when the file is changed.
            let put = format!(
                "PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            client.send(format!("{put}GET /f HTTP/1.1\r\nHost: x\r\n\r\n"));
            let expected = if round == 0 { 201 } else { 204 };
            assert_eq!(client.response().status, expected);
            assert_eq!(client.response().text(), body);
            // And on a connection that another loop may serve.
            assert_eq!(Client::connect(port).get("/f").text(), body);
        }
        assert_eq!(ask(&mut client, "DELETE /f"), 204);
        assert_eq!(client.get("/f").status, 404);
    }
}

#[test]
fn large_files_come_whole_wherever_they_lie_before() {
    for lines in [
        "",
        "client_body_temp_path temp;",
        "client_body_buffer_size 1k; aio threads; aio_write on;",
    ] {
        let folder = Folder::new();
        for name in ["html", "temp"] {
            folder.make(name);
            folder.set_mode(name, 0o777);
        }
        let site = Site::serve(folder, "", &format!("{ALLOWED} {lines}"));
        let mut client = Client::connect(site.port);
        let body: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 241) as u8).collect();
        assert_eq!(put(&mut client, "/deep/er/big.bin", &body), 201, "{lines}");
        assert!(
            std::fs::read(site.folder.file("html/deep/er/big.bin")).expect("it is there") == body
        );
        assert_eq!(
            put(&mut client, "/deep/er/big.bin", &body[..1_000_000]),
            204
        );
        assert!(client.get("/deep/er/big.bin").body == body[..1_000_000]);
        let names = std::fs::read_dir(site.folder.file("html/deep/er")).expect("a folder");
        assert_eq!(names.count(), 1, "{lines}");
        assert_eq!(site.folder.count("logs/error.log", "[crit]"), 0);
    }
}

#[test]
fn links_lead_nowhere_that_is_forbidden() {
    for (http, server) in [
        ("", "disable_symlinks on from=$document_root;"),
        ("files_within ROOT/html;", ""),
    ] {
        let folder = Folder::new();
        folder.write("html/index.html", "home\n");
        folder.write("html/a/file", "inside");
        folder.write("outside/file", "outside");
        folder.set_mode("outside", 0o777);
        folder.set_mode("html", 0o777);
        symlink(folder.file("outside"), folder.file("html/out")).expect("a link");
        symlink(folder.file("outside/file"), folder.file("html/link")).expect("a link");
        let port = ports::free();
        let http = http.replace("ROOT", folder.path().to_str().expect("a path"));
        let text = config(&folder, port, &http, &format!("{ALLOWED} {server}"));
        let _server = Server::start(&folder, &text, &[port]);
        let mut client = Client::connect(port);
        assert_eq!(put(&mut client, "/out/new", b"x"), 403, "{http}{server}");
        assert_eq!(put(&mut client, "/out/sub/new", b"x"), 403);
        assert_eq!(ask(&mut client, "MKCOL /out/folder/"), 403);
        assert_eq!(ask(&mut client, "DELETE /out/file"), 403);
        assert_eq!(ask(&mut client, "DELETE /out/"), 409);
        let to = |method: &str, from: &str, to: &str| {
            format!("{method} {from} HTTP/1.1\r\nDestination: {to}\r\nHost: x\r\n\r\n")
        };
        for (head, status) in [
            (to("COPY", "/a/file", "/out/copied"), 403),
            (to("MOVE", "/a/file", "/out/moved"), 403),
            (to("COPY", "/out/file", "/stolen"), 403),
            (to("MOVE", "/out/file", "/stolen"), 403),
            (to("COPY", "/link", "/stolen"), 403),
            (to("COPY", "/a/", "/b/"), 201),
        ] {
            client.send(&head);
            assert_eq!(client.response().status, status, "{http}{server} {head}");
        }
        // A link itself may go, and what it leads to stays.
        assert_eq!(ask(&mut client, "DELETE /link"), 204);
        let names = std::fs::read_dir(folder.file("outside")).expect("a folder");
        assert_eq!(names.count(), 1);
        assert_eq!(folder.read("outside/file"), "outside");
        assert!(!folder.file("html/stolen").exists());
        assert_eq!(folder.read("html/b/file"), "inside");
    }
}
