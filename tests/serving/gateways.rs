//! Applications behind uwsgi and SCGI: what they are told, and what becomes of what they say. uWSGI itself
//! where it is installed.

use std::collections::BTreeMap;
use std::path::Path;

use super::Site;
use crate::support::program::Program;
use crate::support::upstream::Asked;
use crate::support::{Client, Folder, Upstream, left_out, until};

/// What of a request's parameters is shown: `NAME=value`, or `NAME-` where there is none.
fn shown(params: &BTreeMap<String, String>) -> String {
    let names = [
        "REQUEST_METHOD",
        "REQUEST_URI",
        "CONTENT_LENGTH",
        "HTTP_X_Y",
        "HTTP_PROXY",
        "EMPTY",
    ];
    let values = names.map(|name| match params.get(name) {
        Some(value) => format!("{name}={value}"),
        None => format!("{name}-"),
    });
    values.join(" ")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read_scgi(asked: &mut Asked) -> BTreeMap<String, String> {
    let mut digits = Vec::new();
    loop {
        match asked.body(1)[0] {
            b':' => break,
            digit => digits.push(digit),
        }
    }
    let all = asked.body(text(&digits).parse().unwrap());
    assert_eq!(asked.body(1), b",");
    let words: Vec<&[u8]> = all.split(|byte| *byte == 0).collect();
    assert!(all.starts_with(b"CONTENT_LENGTH\0"));
    let pairs = words.chunks_exact(2);
    let all: Vec<_> = pairs.map(|it| (text(it[0]), text(it[1]))).collect();
    let map: BTreeMap<_, _> = all.iter().cloned().collect();
    assert_eq!(map.len(), all.len(), "each name once: {all:?}");
    assert_eq!(map.get("SCGI").map(String::as_str), Some("1"));
    map
}

/// The modifiers, and the parameters.
fn read_uwsgi(asked: &mut Asked) -> (u8, u8, BTreeMap<String, String>) {
    let head = asked.body(4);
    let all = asked.body(usize::from(u16::from_le_bytes([head[1], head[2]])));
    let mut rest = all.as_slice();
    let mut word = || {
        let len = usize::from(u16::from_le_bytes([rest[0], rest[1]]));
        let word = text(&rest[2..2 + len]);
        rest = &rest[2 + len..];
        (word, rest.is_empty())
    };
    let mut map = BTreeMap::new();
    loop {
        let ((name, _), (value, is_last)) = (word(), word());
        assert_eq!(map.insert(name, value), None, "each name once");
        if is_last {
            return (head[0], head[3], map);
        }
    }
}

/// Reads the body that a request says it has, and notes both.
fn note(asked: &mut Asked, params: &BTreeMap<String, String>) -> String {
    let length = params.get("CONTENT_LENGTH").map(String::as_str);
    let length = length.and_then(|it| it.parse().ok()).unwrap_or(0);
    format!("{} {}", shown(params), text(&asked.body(length)))
}

#[test]
fn scgi_applications_are_told_and_heard() {
    let app = Upstream::start(|mut asked, seen| {
        let params = read_scgi(&mut asked);
        let _ = seen.send(note(&mut asked, &params));
        asked.say("Status: 201 Made\r\nContent-Type: text/x\r\nX-A: 1\r\n\r\nhello");
    });
    let site = Site::start(
        "",
        &format!(
            "location / {{ scgi_pass {}; include {}; scgi_param EMPTY $arg_none if_not_empty; }}
             location /as_it_comes {{ scgi_pass {0}; scgi_request_buffering off;
                 scgi_param REQUEST_METHOD $request_method; }}
             location /named {{ set $to {0}; scgi_pass $to; scgi_pass_request_headers off; }}",
            app.address,
            shipped("scgi_params")
        ),
    );
    let mut client = Client::connect(site.port);
    client.send("GET /a?b HTTP/1.1\r\nHost: h\r\nX-Y: 1\r\nX-Y: 2\r\nProxy: evil\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, &*response.text()), (201, "hello"));
    assert_eq!(response.header("Status"), None);
    assert_eq!(response.header("X-A"), Some("1"));
    assert_eq!(response.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(
        app.seen(),
        "REQUEST_METHOD=GET REQUEST_URI=/a?b CONTENT_LENGTH=0 HTTP_X_Y=1, 2 HTTP_PROXY- EMPTY- "
    );
    let chunked = "HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    client.send(format!("POST / {chunked}"));
    assert_eq!(client.response().text(), "hello");
    assert!(
        app.seen()
            .ends_with("CONTENT_LENGTH=3 HTTP_X_Y- HTTP_PROXY- EMPTY- abc")
    );
    client.send(format!("POST /as_it_comes {chunked}"));
    assert_eq!(client.response().text(), "hello");
    assert!(
        app.seen()
            .ends_with("CONTENT_LENGTH=3 HTTP_X_Y- HTTP_PROXY- EMPTY- abc")
    );
    client.send("POST /as_it_comes HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    client.send("12");
    client.send("345");
    assert_eq!(client.response().text(), "hello");
    assert!(
        app.seen()
            .ends_with("CONTENT_LENGTH=5 HTTP_X_Y- HTTP_PROXY- EMPTY- 12345")
    );
    client.send("GET /named HTTP/1.1\r\nHost: h\r\nX-Y: 1\r\n\r\n");
    assert_eq!(client.response().text(), "hello");
    assert!(app.seen().contains("HTTP_X_Y- "));
}

/// A file that comes with the package.
fn shipped(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/etc/revolve");
    folder.join(name).display().to_string()
}

#[test]
fn uwsgi_applications_are_told_and_heard() {
    let app = Upstream::start(|mut asked, seen| {
        let (first, second, params) = read_uwsgi(&mut asked);
        let noted = note(&mut asked, &params);
        let _ = seen.send(format!("{first} {second} {noted}"));
        match params.get("REQUEST_URI").map(String::as_str) {
            Some("/line") => asked.say("HTTP/1.1 202 Taken\r\nContent-Length: 2\r\n\r\nok"),
            _ => asked.say("Status: 404 None\r\n\r\nnone"),
        }
    });
    let site = Site::start(
        "",
        &format!(
            "include {};
             location / {{ uwsgi_pass uwsgi://{1}; uwsgi_modifier1 5; uwsgi_modifier2 9; }}
             location /line {{ uwsgi_pass {1}; }}
             location /page {{ uwsgi_pass {1}; uwsgi_intercept_errors on; error_page 404 =200 /p; }}
             location /p {{ return 200 page; }}
             location /large {{ uwsgi_pass {1}; uwsgi_param X $arg_x$arg_x$arg_x$arg_x$arg_x; }}",
            shipped("uwsgi_params"),
            app.address,
        ),
    );
    let mut client = Client::connect(site.port);
    client.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX-Y: 1\r\n\r\nabc");
    let response = client.response();
    assert_eq!((response.status, &*response.text()), (404, "none"));
    assert_eq!(
        app.seen(),
        "5 9 REQUEST_METHOD=POST REQUEST_URI=/a CONTENT_LENGTH=3 HTTP_X_Y=1 HTTP_PROXY- EMPTY- abc"
    );
    let response = client.get("/line");
    assert_eq!((response.status, &*response.text()), (202, "ok"));
    assert!(app.seen().starts_with("0 0 REQUEST_METHOD=GET"));
    assert_eq!(client.get("/page").text(), "page");
    app.seen();
    // What two bytes cannot say the length of is said to nobody.
    let mut client = Client::connect(site.port);
    let response = client.get(&format!("/large?x={}", "x".repeat(7000)));
    assert_eq!(response.status, 404);
    app.seen();
    let site_large = Site::start(
        "large_client_header_buffers 4 32k;",
        &format!(
            "location / {{ uwsgi_pass {}; uwsgi_param X $arg_x$arg_x$arg_x; }}",
            app.address
        ),
    );
    let mut client = Client::connect(site_large.port);
    let response = client.get(&format!("/?x={}", "x".repeat(30_000)));
    assert_eq!(response.status, 500);
    assert!(app.is_quiet());
    until("the line is there", || {
        let errors = site_large.folder.read("logs/error.log");
        errors.contains("uwsgi request is too large")
    });
}

#[test]
fn applications_that_fail_are_named_in_the_log() {
    let half = Upstream::start(|mut asked, _| {
        read_uwsgi(&mut asked);
        asked.say("Status: 200\r\nX-A");
    });
    let large = Upstream::start(|mut asked, _| {
        read_scgi(&mut asked);
        asked.say(format!("X-A: {}\r\n\r\n", "a".repeat(5000)));
    });
    let site = Site::start(
        "",
        &format!(
            "location /half {{ uwsgi_pass {}; uwsgi_param A b; }}
             location /large {{ scgi_pass {}; scgi_buffer_size 4k; }}",
            half.address, large.address
        ),
    );
    for (path, upstream, line) in [
        (
            "/half",
            format!("upstream: \"uwsgi://{}\"", half.address),
            "upstream prematurely closed connection while reading response header from upstream",
        ),
        (
            "/large",
            format!("upstream: \"scgi://{}\"", large.address),
            "upstream sent too big header (scgi_buffer_size bounds it) while reading",
        ),
    ] {
        assert_eq!(Client::connect(site.port).get(path).status, 502);
        until(line, || {
            let errors = site.folder.read("logs/error.log");
            errors.contains(line) && errors.contains(&upstream)
        });
    }
}

const APPLICATION: &str = r#"
def application(environ, start_response):
    body = environ['wsgi.input'].read()
    start_response('200 OK' if environ['PATH_INFO'] != '/none' else '404 Not Found',
                   [('Content-Type', 'text/plain'), ('X-Name', environ['SERVER_NAME'])])
    yield ('%s %s?%s %d' % (environ['REQUEST_METHOD'], environ['PATH_INFO'],
                            environ['QUERY_STRING'], len(body))).encode()
    if 'HTTP_PROXY' in environ:
        yield b' forged'
"#;

#[test]
fn uwsgi_itself_answers() {
    let program = Path::new("/usr/bin/uwsgi");
    if !program.exists() || !Path::new("/usr/lib/uwsgi/plugins/python3_plugin.so").exists() {
        left_out("uwsgi with its plugin for Python is not installed");
        return;
    }
    let folder = Folder::new();
    folder.write("app.py", APPLICATION);
    let (socket, app) = (folder.file("app.sock"), folder.file("app.py"));
    let _uwsgi = Program::start(
        program,
        &[
            // It ends its processes.
            "--master",
            "--plugin",
            "python3",
            "--socket",
            socket.to_str().unwrap(),
            "--wsgi-file",
            app.to_str().unwrap(),
            "--processes",
            "2",
            "--chmod-socket=666",
        ],
    );
    until("uWSGI listens", || socket.exists());
    let server = format!(
        "server_name app.example;
         location / {{ include {}; uwsgi_pass unix:{}; }}",
        shipped("uwsgi_params"),
        socket.display()
    );
    let site = Site::serve(folder, "", &server);
    let mut client = Client::connect(site.port);
    client.send("GET /a%20b?c=d HTTP/1.1\r\nHost: app.example\r\nProxy: evil\r\n\r\n");
    let response = client.response();
    assert_eq!(
        (response.status, &*response.text()),
        (200, "GET /a b?c=d 0")
    );
    assert_eq!(response.header("X-Name"), Some("app.example"));
    let body = "b".repeat(300_000);
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n{body}"
    ));
    assert_eq!(client.response().text(), "POST /? 300000");
    client.send(
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert_eq!(client.response().text(), "POST /? 3");
    assert_eq!(client.get("/none").status, 404);
}
