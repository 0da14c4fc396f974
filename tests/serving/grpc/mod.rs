//! gRPC: calls of a client of Python's grpcio to a server of it, and what passes byte by byte.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Site;
use crate::support::client::Response;
use crate::support::http2::{Answer, DATA, END_STREAM, GOAWAY, Http2, RST_STREAM, get};
use crate::support::http2_upstream::{self, Got};
use crate::support::tls::Authority;
use crate::support::{Client, Folder, Server, Upstream, left_out, nginx, ports, until};

const PEERS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/serving/grpc/peers.py"
);

/// What each call comes to, whatever stands between.
const ALL: &str = "\
unary you said hello
empty empty
large True
fail ('NOT_FOUND', 'no such thing: 100 %', 'on purpose')
unknown UNIMPLEMENTED
fail_late (['one'], 'DATA_LOSS', 'late')
metadata ('x-ours=3', '1', b'\\x00\\x01', '2')
deadline DEADLINE_EXCEEDED
deadline_told 1
count True
sum 10000
chat True
many True
cancel 1
";

/// The program of both peers; nothing where grpcio is not here.
fn peers() -> Option<Command> {
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grpcio");
    if !package.join("grpc").exists() {
        left_out::left_out("Python's grpcio is missing (.ci/run installs it)");
        return None;
    }
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", package).arg(PEERS);
    Some(command)
}

/// A server of grpcio, which ends with this.
struct Echo {
    child: Child,
    port: u16,
}

impl Echo {
    #[track_caller]
    fn start(files: &[std::path::PathBuf]) -> Option<Echo> {
        let mut command = peers()?;
        let mut child = command
            .arg("serve")
            .args(files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("its port");
        let port = line.trim().parse().expect("a port");
        Some(Echo { child, port })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn call(arguments: &[&str]) -> String {
    let mut command = peers().expect("it was there before");
    let output = command.args(arguments).output().expect("python3 runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_kind_of_call_passes_as_it_does_through_nginx() {
    let Some(echo) = Echo::start(&[]) else { return };
    let pass = format!(
        "client_max_body_size 0; location / {{ grpc_pass grpc://127.0.0.1:{}; }}",
        echo.port
    );
    let site = Site::start("http2 on;", &pass);
    assert_eq!(call(&["call", &format!("127.0.0.1:{}", site.port)]), ALL);
    if nginx::is_here() {
        let (_nginx, port) = start_nginx(&Folder::new(), &pass);
        assert_eq!(call(&["call", &format!("127.0.0.1:{port}")]), ALL);
    }
}

#[test]
fn calls_pass_by_tls_on_both_sides() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "ca");
    authority.issue(&folder, "one", "one.test", 1);
    let files = [folder.file("one.crt"), folder.file("one.key")];
    let Some(echo) = Echo::start(&files) else {
        return;
    };
    let (port, here) = (ports::free(), folder.path().display());
    let text = format!(
        "daemon off;\npid {here}/pid;\nerror_log {here}/logs/error.log info;\nevents {{}}\nhttp {{ access_log off;\n\
         upstream calls {{ server 127.0.0.1:{}; }}\n\
         server {{ listen 127.0.0.1:{port} ssl; http2 on; ssl_certificate one.crt; ssl_certificate_key one.key;\n\
         client_max_body_size 0; location / {{ grpc_pass grpcs://calls; grpc_ssl_verify on; grpc_ssl_name one.test;\n\
         grpc_ssl_server_name on; grpc_ssl_trusted_certificate ca.crt; }} }} }}\n",
        echo.port
    );
    let _running = Server::start(&folder, &text, &[port]);
    let roots = folder.file("ca.crt").display().to_string();
    let target = format!("127.0.0.1:{port}");
    assert_eq!(call(&["call", &target, &roots, "one.test"]), ALL);
}

#[test]
fn a_call_that_nobody_answers_has_a_status_all_the_same() {
    if peers().is_none() {
        return;
    }
    let nobody = ports::free();
    let site = Site::start(
        "http2 on;",
        &format!(
            "error_page 502 = /unavailable;
             location = /unavailable {{ internal; default_type application/grpc;
               add_header grpc-status 14; add_header grpc-message unavailable; return 204; }}
             location / {{ grpc_pass grpc://127.0.0.1:{nobody}; }}"
        ),
    );
    let target = format!("127.0.0.1:{}", site.port);
    assert_eq!(
        call(&["one", &target, "unary"]),
        "unary UNAVAILABLE unavailable\n"
    );
}

#[track_caller]
fn start_nginx(folder: &Folder, server: &str) -> (Server, u16) {
    let port = ports::free();
    let private = nginx::private_folders(folder);
    let here = folder.path().display();
    folder.write(
        "nginx-oracle.conf",
        format!(
            "daemon off;\nmaster_process off;\npid {here}/nginx.pid;\nerror_log {here}/nginx-error.log info;\n\
             events {{}}\nhttp {{ access_log off; {private}\nhttp2 on;\n\
             server {{ listen 127.0.0.1:{port};\n{server}\n}} }}\n"
        ),
    );
    (nginx::start(folder, "nginx-oracle.conf", &[port]), port)
}

/// Tells what it is asked for, and what by.
fn telling() -> Upstream {
    http2_upstream::start(&[], |mut peer, seen| {
        while let Some(asked) = peer.request() {
            let _ = seen.send(asked.lines());
            let status = (":status", "200");
            let kind = ("content-type", "application/grpc");
            let end = [("grpc-status", "0"), ("grpc-message", "fine")];
            match asked.field(":path") {
                "/trailers-only" => {
                    let head = [status, kind, ("grpc-status", "5")];
                    peer.head(asked.stream, &head, END_STREAM);
                }
                "/hidden" => {
                    let head = [status, kind, ("x-a", "1"), ("x-b", "2"), ("date", "now")];
                    peer.head(asked.stream, &head, 0);
                    peer.head(asked.stream, &end, END_STREAM);
                }
                "/status" => {
                    let head = [(":status", "503"), ("content-type", "text/plain")];
                    peer.head(asked.stream, &head, 0);
                    peer.data(asked.stream, b"busy", END_STREAM);
                }
                "/sized" => {
                    let head = [status, kind, ("content-length", "4")];
                    peer.head(asked.stream, &head, 0);
                    peer.data(asked.stream, b"four", 0);
                    peer.head(asked.stream, &end, END_STREAM);
                }
                "/reset" => {
                    peer.head(asked.stream, &[status, kind], 0);
                    peer.data(asked.stream, b"some", 0);
                    peer.frame(RST_STREAM, 0, asked.stream, &2u32.to_be_bytes());
                }
                "/refused" => peer.frame(RST_STREAM, 0, asked.stream, &7u32.to_be_bytes()),
                "/goaway" => peer.frame(GOAWAY, 0, 0, &[0; 8]),
                _ => {
                    peer.head(asked.stream, &[status, kind], 0);
                    peer.data(asked.stream, &asked.body, 0);
                    peer.head(asked.stream, &end, END_STREAM);
                }
            }
        }
    })
}

/// A call's answer without what differs from server to server.
fn shown(answer: &Answer) -> String {
    let mut shown = String::new();
    for head in &answer.heads {
        let mut lines: Vec<String> = head
            .iter()
            .filter(|(name, _)| !["server", "date"].contains(&name.as_str()))
            .map(|(name, value)| format!("{name}: {value}\n"))
            .collect();
        lines.sort();
        shown.push_str(&lines.concat());
        shown.push_str("--\n");
    }
    let is_page = answer.text().contains("<html>");
    let body = if is_page {
        "a page".into()
    } else {
        answer.text()
    };
    format!("{shown}{body} {:?}", answer.reset)
}

#[track_caller]
fn ask(port: u16, path: &str, more: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut client = Http2::connect(port);
    let mut fields = get(path).to_vec();
    fields[0].1 = "POST";
    fields.extend_from_slice(&[("content-type", "application/grpc"), ("te", "trailers")]);
    fields.extend_from_slice(more);
    let stream = client.begin(&fields, 0);
    match body {
        [] => client.frame(DATA, END_STREAM, stream, &[]),
        body => client.body(stream, body),
    }
    client.answer(stream)
}

#[test]
fn answers_and_requests_are_those_of_nginx() {
    let upstream = telling();
    let to = upstream.address;
    let nobody = ports::free();
    let pass = format!(
        "error_page 503 /busy; location = /busy {{ return 200 page; }}
         error_page 502 = /unavailable;
         location = /unavailable {{ internal; default_type application/grpc; add_header grpc-status 14;
           add_header content-length 0; return 204; }}
         location / {{ grpc_pass {to}; }}
         location /hidden {{ grpc_pass grpc://{to}; grpc_hide_header X-A; grpc_pass_header Date; }}
         location /set {{ grpc_pass grpc://{to}; grpc_set_header X-Own $uri; grpc_set_header X-Given '';
           grpc_set_header TE ''; }}
         location /variable {{ set $to {to}; grpc_pass grpc://$to; }}
         location /status {{ grpc_pass grpc://{to}; }}
         location /nobody {{ grpc_pass grpc://127.0.0.1:{nobody}; }}"
    );
    let intercepting = "location /status { grpc_pass grpc://TO; grpc_intercept_errors on; }"
        .replace("TO", &to.to_string());
    for pass in [
        pass.clone(),
        pass.replace("location /status {", "location /x {") + &intercepting,
    ] {
        let site = Site::start("http2 on;", &pass);
        let oracle = nginx::is_here().then(|| (Folder::new(), ()));
        let oracle = oracle.map(|(folder, ())| (start_nginx(&folder, &pass), folder));
        for path in [
            "/echo?a=%20b",
            "/trailers-only",
            "/hidden",
            "/set",
            "/variable/x",
            "/status",
            "/sized",
            "/nobody",
        ] {
            let more = [("x-given", "1"), ("grpc-timeout", "5S")];
            let ours = shown(&ask(site.port, path, &more, b"hello"));
            let asked = (path != "/nobody").then(|| upstream.seen());
            let Some(((_, port), _)) = &oracle else {
                continue;
            };
            let theirs = shown(&ask(*port, path, &more, b"hello"));
            assert_eq!(ours, theirs, "{path}");
            if let Some(asked) = asked {
                assert_eq!(lines_of(&asked), lines_of(&upstream.seen()), "{path}");
            }
        }
    }
}

/// The lines of a request in the order of the alphabet.
fn lines_of(asked: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = asked.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_ends_a_call_before_its_time_ends_it_for_the_client() {
    let upstream = telling();
    let site = Site::start(
        "http2 on;",
        &format!("location / {{ grpc_pass grpc://{}; }}", upstream.address),
    );
    let answer = ask(site.port, "/reset", &[], b"");
    assert_eq!((answer.text(), answer.reset), ("some".into(), Some(2)));
    until("it is logged", || {
        let log = site.folder.read("logs/error.log");
        log.contains(
            "upstream rejected request with error 2 (INTERNAL_ERROR) while reading upstream",
        ) && log.contains("upstream: \"grpc://127.0.0.1:")
    });
    let answer = ask(site.port, "/refused", &[], b"");
    assert_eq!(answer.status(), 502);
}

#[test]
fn a_call_that_was_not_looked_at_is_made_elsewhere() {
    let (first, second) = (telling(), telling());
    let http = format!(
        "upstream calls {{ server {} max_fails=0; server {} max_fails=0; }}\nhttp2 on;",
        first.address, second.address
    );
    let site = Site::start(&http, "location / { grpc_pass grpc://calls; }");
    for path in ["/refused", "/other"] {
        let answer = ask(site.port, path, &[], b"12345");
        let status = if path == "/other" { Some("0") } else { None };
        assert_eq!(answer.header("grpc-status"), status, "{path} {answer:?}");
    }
    // Both have refused the first one.
    assert!(first.seen().contains("/refused") && second.seen().contains("/refused"));
}

#[test]
fn clients_of_http_1_get_the_trailers_in_chunks() {
    let upstream = telling();
    let site = Site::start(
        "",
        &format!("location / {{ grpc_pass grpc://{}; }}", upstream.address),
    );
    let mut client = Client::connect(site.port);
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nContent-Length: 2\r\nConnection: TE, close\r\n\r\nhi");
    let (all, _) = client.rest(std::time::Duration::from_secs(5));
    let all = String::from_utf8_lossy(&all);
    assert!(
        all.contains("\r\n2\r\nhi\r\n0\r\ngrpc-status: 0\r\n"),
        "{all}"
    );
}

#[test]
fn a_stream_may_be_quiet_in_both_ways_for_as_long_as_the_directives_say() {
    let upstream = http2_upstream::start(&[], |mut peer, _| {
        while let Some(got) = peer.next() {
            if let Got::Head { stream, .. } = got {
                peer.head(stream, &[(":status", "200")], 0);
            }
        }
    });
    let site = Site::start(
        "http2 on;",
        &format!(
            "location / {{ grpc_pass grpc://{}; grpc_read_timeout 500ms; }}",
            upstream.address
        ),
    );
    let answer = ask(site.port, "/", &[], b"");
    assert_eq!(answer.reset, Some(2));
    until("it is logged", || {
        let log = site.folder.read("logs/error.log");
        log.contains("upstream timed out (110: Connection timed out) while reading upstream")
    });
}

/// The messages of a body of gRPC: what each begins with, and its bytes.
fn messages(mut body: &[u8]) -> Vec<(u8, String)> {
    let mut messages = Vec::new();
    while let Some((head, rest)) = body.split_at_checked(5) {
        let len = u32::from_be_bytes(head[1..].try_into().expect("four bytes")) as usize;
        let (message, rest) = rest.split_at(len);
        messages.push((head[0], String::from_utf8_lossy(message).into_owned()));
        body = rest;
    }
    assert!(body.is_empty(), "{body:?}");
    messages
}

const END: &str = "grpc-status:0\r\ngrpc-message:fine\r\n";

/// A site that takes calls of gRPC-Web.
fn web_site(upstream: &Upstream) -> Site {
    Site::start(
        "http2 on;",
        &format!(
            "location / {{ grpc_pass grpc://{0}; grpc_web on; }}
             location /off {{ grpc_pass grpc://{0}; }}",
            upstream.address
        ),
    )
}

const HELLO: &[u8] = b"\0\0\0\0\x05hello";

/// Calls by HTTP/1.1, with these lines beside the length.
#[track_caller]
fn web_call(site: &Site, path: &str, lines: &str, body: &[u8]) -> Response {
    let mut client = Client::connect(site.port);
    let len = body.len();
    client.send(format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n{lines}\r\n\r\n"
    ));
    client.send(body);
    client.response()
}

fn answered() -> [(u8, String); 2] {
    [(0, "hello".into()), (0x80, END.into())]
}

#[test]
fn browsers_call_by_grpc_web() {
    let upstream = telling();
    let site = web_site(&upstream);
    let kind = "Content-Type: application/grpc-web";
    let answer = web_call(&site, "/echo", &format!("{kind}+proto"), HELLO);
    let asked = upstream.seen();
    assert_eq!(answer.header("content-type"), Some("application/grpc-web"));
    assert_eq!(messages(&answer.body), answered());
    assert!(
        asked.contains("content-type: application/grpc+proto\n"),
        "{asked}"
    );
    assert!(
        asked.contains("te: trailers\n") && asked.contains("content-length: 10\n"),
        "{asked}"
    );
    assert_eq!(answer.header("grpc-status"), None);
    // As text, of which each part may have been encoded by itself.
    let answer = web_call(&site, "/echo", &format!("{kind}-text"), b"AAAAAAVoZQ==bGxv");
    let asked = upstream.seen();
    assert_eq!(
        answer.header("content-type"),
        Some("application/grpc-web-text")
    );
    assert!(!asked.contains("content-length"), "{asked}");
    assert_eq!(messages(&decoded(&answer.text())), answered());
    let accepting = format!("{kind}\r\nAccept: application/grpc-web-text");
    let answer = web_call(&site, "/echo", &accepting, HELLO);
    assert_eq!(messages(&decoded(&answer.text())), answered());
    let answer = web_call(&site, "/echo", &format!("{kind}-text"), b"*&^%");
    assert_eq!(answer.status, 400);
    // Over HTTP/2, too.
    let mut client = Http2::connect(site.port);
    let mut fields = get("/echo").to_vec();
    fields[0].1 = "POST";
    fields.push(("content-type", "application/grpc-web+proto"));
    let stream = client.begin(&fields, 0);
    client.body(stream, HELLO);
    let answer = client.answer(stream);
    assert_eq!(messages(&answer.body), answered());
    assert_eq!(answer.heads.len(), 1);
}

#[test]
fn what_has_no_message_or_is_none_of_grpc_is_left_as_it_is() {
    let upstream = telling();
    let site = web_site(&upstream);
    let kind = "Content-Type: application/grpc-web";
    let answer = web_call(&site, "/trailers-only", kind, HELLO);
    assert_eq!(
        (answer.status, answer.header("grpc-status")),
        (200, Some("5"))
    );
    assert_eq!(answer.header("content-type"), Some("application/grpc-web"));
    let answer = web_call(&site, "/status", kind, HELLO);
    assert_eq!((answer.status, answer.text()), (503, "busy".into()));
    let answer = web_call(&site, "/off", kind, HELLO);
    assert_eq!(answer.body, HELLO);
    let asked: String = (0..3).map(|_| upstream.seen()).collect();
    assert!(
        asked.contains("content-type: application/grpc-web\n"),
        "{asked}"
    );
}

/// Base64 whose parts were encoded by themselves.
fn decoded(text: &str) -> Vec<u8> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    for quad in text.as_bytes().chunks(4) {
        let values = quad.iter().filter_map(|it| LETTERS.find(char::from(*it)));
        let bits = values.fold((0_u32, 0), |(bits, count), value| {
            (bits << 6 | value as u32, count + 6)
        });
        let (bits, count) = bits;
        bytes.extend(&(bits << (32 - count)).to_be_bytes()[..count as usize / 8]);
    }
    bytes
}
