//! Disks that other threads wait for: `aio threads`, `aio_write`, `thread_pool`.

use super::config;
use crate::support::{Client, Folder, Run, Server, ports, revolve};

/// The names of the threads of the processes of a server, with those that they have started.
fn thread_names(server: &Server) -> Vec<String> {
    let mut names = Vec::new();
    for pid in [server.pid()].into_iter().chain(server.workers()) {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        names.extend(
            tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok()),
        );
    }
    names
}

#[test]
fn threads_of_a_pool_read_what_is_not_cached_and_write_what_is_too_large() {
    let folder = Folder::new();
    let port = ports::free();
    let lines = "
        location /threads/ { alias ROOT/html/; aio threads=slow; }
        location /filtered/ { alias ROOT/html/; aio threads=slow; gzip on; gzip_types *; gzip_min_length 1; }
        location /echo/ { aio threads=slow; aio_write on; client_max_body_size 0;
                          proxy_pass http://127.0.0.1:$server_port/length/; proxy_pass_request_headers on; }
        location /length/ { client_max_body_size 0; mirror /drop; return 200 $content_length; }
        location /drop { return 204; }";
    let text = config(&folder, port, "", lines);
    let text = text.replace("ROOT", folder.path().to_str().expect("a path"));
    let text = format!("thread_pool slow threads=3 max_queue=100;\n{text}");
    let big: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7 % 251) as u8).collect();
    folder.write("html/big.bin", &big);
    folder.write("html/small.txt", "small");
    let server = Server::start(&folder, &text, &[port]);
    let mut client = Client::connect(port);
    let is_of_pool = |name: &String| name.starts_with("slow");
    // What lies in memory needs no thread.
    assert_eq!(client.get("/threads/small.txt").text(), "small");
    assert_eq!(
        thread_names(&server)
            .iter()
            .filter(|it| is_of_pool(it))
            .count(),
        0
    );
    for _ in 0..2 {
        assert!(client.get("/threads/big.bin").body == big);
    }
    assert_eq!(
        thread_names(&server)
            .iter()
            .filter(|it| is_of_pool(it))
            .count(),
        3
    );
    client.send("GET /threads/big.bin HTTP/1.1\r\nHost: x\r\nRange: bytes=1000000-2500000\r\n\r\n");
    assert!(client.response().body == big[1_000_000..=2_500_000]);
    client.send("GET /filtered/big.bin HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
    let mut plain = Vec::new();
    let body = client.response().body;
    std::io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(body.as_slice()),
        &mut plain,
    )
    .expect("gzip");
    assert!(plain == big);
    client.send(format!(
        "POST /echo/ HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        big.len()
    ));
    client.send(&big);
    assert_eq!(client.response().text(), big.len().to_string());
    assert_eq!(
        folder.count("logs/error.log", "[crit]") + folder.count("logs/error.log", "[alert]"),
        0
    );
}

#[test]
fn a_pool_has_to_be_there() {
    let folder = Folder::new();
    let port = ports::free();
    let text = config(&folder, port, "", "aio threads=nobody;");
    folder.write("unknown.conf", text);
    let run = Run::of(revolve(&folder).args(["-t", "-c", "unknown.conf"]));
    assert!(
        run.err.contains("unknown thread pool \"nobody\""),
        "{}",
        run.err
    );
}
