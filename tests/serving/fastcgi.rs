//! FastCGI applications: what they are told, and what becomes of what they say.

use std::collections::BTreeMap;

use super::Site;
use crate::support::upstream::Asked;
use crate::support::{Client, Upstream, until};

const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// A record of an answer.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let padding = vec![0; content.len().wrapping_neg() % 8];
    let head = [1, kind, 0, 1, high, low, padding.len() as u8, 0];
    [&head, content, &padding].concat()
}

/// The record that ends a request.
fn end() -> Vec<u8> {
    record(3, &[0; 8])
}

/// A whole answer.
fn answer(stdout: &str) -> Vec<u8> {
    [
        record(STDOUT, stdout.as_bytes()),
        record(STDOUT, b""),
        end(),
    ]
    .concat()
}

/// What an application was asked.
struct Told {
    params: BTreeMap<String, String>,
    body: Vec<u8>,
    keeps: bool,
}

impl Told {
    fn read(asked: &mut Asked) -> Told {
        let (mut params, mut body, mut keeps) = (Vec::new(), Vec::new(), false);
        loop {
            let head = asked.body(8);
            let len = usize::from(u16::from_be_bytes([head[4], head[5]]));
            let content = asked.body(len);
            asked.body(usize::from(head[6]));
            match head[1] {
                1 => keeps = content[2] & 1 == 1,
                4 => params.extend(content),
                5 if len == 0 => break,
                5 => body.extend(content),
                other => panic!("a record of the kind {other}"),
            }
        }
        Told {
            params: pairs(&params),
            body,
            keeps,
        }
    }

    /// Some of the parameters, `-` for one that is not there.
    fn shown(&self, names: &[&str]) -> String {
        let values = names.iter().map(|name| match self.params.get(*name) {
            Some(value) => format!("{name}={value}"),
            None => format!("{name}-"),
        });
        values.collect::<Vec<_>>().join(" ")
    }
}

fn pairs(mut bytes: &[u8]) -> BTreeMap<String, String> {
    fn take_len(bytes: &mut &[u8]) -> usize {
        let short = usize::from(bytes[0]);
        let (len, size) = match short < 128 {
            true => (short, 1),
            false => {
                let long = u32::from_be_bytes(bytes[..4].try_into().unwrap());
                ((long & 0x7fff_ffff) as usize, 4)
            }
        };
        *bytes = &bytes[size..];
        len
    }
    let mut pairs = BTreeMap::new();
    while !bytes.is_empty() {
        let (name, value) = (take_len(&mut bytes), take_len(&mut bytes));
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        let before = pairs.insert(text(&bytes[..name]), text(&bytes[name..][..value]));
        assert_eq!(before, None, "each name once");
        bytes = &bytes[name + value..];
    }
    pairs
}

/// An application that notes some parameters and the body, and answers.
fn application(names: &'static [&'static str], said: Vec<u8>) -> Upstream {
    Upstream::start(move |mut asked, seen| {
        loop {
            let told = Told::read(&mut asked);
            let body = String::from_utf8_lossy(&told.body).into_owned();
            let _ = seen.send(format!("{} {body:.20}|{}", told.shown(names), body.len()));
            asked.say(&said);
            if !told.keeps {
                return;
            }
        }
    })
}

#[test]
fn the_application_is_told_what_nginx_tells() {
    let names = &[
        "SCRIPT_FILENAME",
        "PATH_INFO",
        "QUERY_STRING",
        "CONTENT_LENGTH",
        "EMPTY",
        "HTTP_HOST",
        "HTTP_X_Y",
        "HTTP_PROXY",
        "HTTP_OWN",
    ];
    let said = answer("Status: 404 Nothing\r\nContent-Type: text/x\r\nX-A: 1\r\n\r\nhello");
    let app = application(names, said);
    let site = Site::start(
        "",
        &format!(
            "fastcgi_index index.php;
             fastcgi_param SCRIPT_FILENAME /srv$fastcgi_script_name;
             fastcgi_param PATH_INFO $fastcgi_path_info;
             fastcgi_param QUERY_STRING $query_string;
             fastcgi_param CONTENT_LENGTH $content_length;
             fastcgi_param EMPTY $arg_none if_not_empty;
             fastcgi_param HTTP_OWN own;
             location / {{ fastcgi_pass {0}; }}
             location ~ \\.php(/|$) {{
                 fastcgi_split_path_info ^(.+?\\.php)(/.*)$; fastcgi_pass {0};
             }}",
            app.address
        ),
    );
    let mut client = Client::connect(site.port);
    client.send(
        "GET /a.php/more/x?q=1 HTTP/1.1\r\nHost: h\r\nX-Y: 1\r\nX-Y: 2\r\nProxy: evil\r\nOwn: 1\r\n\r\n",
    );
    let response = client.response();
    assert_eq!((response.status, &*response.text()), (404, "hello"));
    assert_eq!(response.header("Status"), None);
    assert_eq!(response.header("X-A"), Some("1"));
    assert_eq!(response.header("Content-Type"), Some("text/x"));
    assert_eq!(response.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(
        app.seen(),
        "SCRIPT_FILENAME=/srv/a.php PATH_INFO=/more/x QUERY_STRING=q=1 CONTENT_LENGTH= EMPTY- \
         HTTP_HOST=h HTTP_X_Y=1, 2 HTTP_PROXY- HTTP_OWN=own |0"
    );
    let body = "b".repeat(100_000);
    client.send(format!(
        "POST /dir/ HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n{body}"
    ));
    assert_eq!(client.response().text(), "hello");
    assert_eq!(
        app.seen(),
        format!(
            "SCRIPT_FILENAME=/srv/dir/index.php PATH_INFO= QUERY_STRING= CONTENT_LENGTH=100000 EMPTY- \
             HTTP_HOST=h HTTP_X_Y- HTTP_PROXY- HTTP_OWN=own {}|100000",
            "b".repeat(20)
        )
    );
    client.send(
        "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert_eq!(client.response().text(), "hello");
    assert!(app.seen().contains("CONTENT_LENGTH=3 EMPTY- "));
}

#[test]
fn answers_come_out_of_their_records() {
    let long = "x".repeat(40_000);
    let kept = [
        record(STDERR, b"PHP Warning:  one\n"),
        record(STDOUT, b"Content-Type: text/x\r\nContent-Le"),
        record(STDOUT, b"ngth: 80000\r\n\r\n"),
        record(STDOUT, long.as_bytes()),
        record(STDOUT, long.as_bytes()),
        record(STDERR, b"two"),
        record(STDOUT, b""),
        end(),
    ];
    let kept = kept.concat();
    let app = Upstream::start(move |mut asked, seen| {
        let _ = seen.send("connected".into());
        loop {
            assert!(Told::read(&mut asked).keeps);
            asked.say(&kept);
        }
    });
    let moved = application(&[], answer("Location: http://else.example/\r\n\r\n"));
    let unwanted = application(&[], answer("Content-Length: 0\r\n\r\n"));
    let site = Site::start(
        "",
        &format!(
            "location / {{ fastcgi_pass {}; fastcgi_keep_conn on; }}
             location /moved {{ fastcgi_pass {}; }}
             location /empty {{ fastcgi_pass {}; }}",
            app.address, moved.address, unwanted.address
        ),
    );
    let mut client = Client::connect(site.port);
    for _ in 0..3 {
        assert_eq!(client.get("/").text().len(), 80_000);
    }
    app.seen();
    assert!(app.is_quiet(), "one connection is kept");
    let logged = |line: &str| site.folder.read("logs/error.log").contains(line);
    let first = "FastCGI sent in stderr: \"PHP Warning:  one\" while reading response header from upstream, client:";
    until("the warning is logged", || logged(first));
    until("the other one, too", || {
        logged("FastCGI sent in stderr: \"two\" while reading")
    });
    let upstream = format!("upstream: \"fastcgi://{}\"", app.address);
    assert!(logged(&upstream));
    let response = client.get("/moved");
    assert_eq!(response.status, 302);
    assert_eq!(response.header("Location"), Some("http://else.example/"));
    let response = client.get("/empty");
    assert_eq!((response.status, &*response.text()), (200, ""));
}

#[test]
fn an_answer_with_certain_errors_beside_it_is_taken_for_none() {
    let said = [record(STDERR, b"PHP Fatal error: x"), answer("\r\nbad")].concat();
    let (bad, good) = (application(&[], said), application(&[], answer("\r\ngood")));
    let site = Site::start(
        &format!(
            "upstream app {{ server {}; server {} backup; }}",
            bad.address, good.address
        ),
        "location / { fastcgi_pass app; fastcgi_catch_stderr 'PHP Fatal error';
             fastcgi_next_upstream invalid_header; }
         location /other { fastcgi_pass app; fastcgi_catch_stderr 'PHP Notice'; }",
    );
    let mut client = Client::connect(site.port);
    assert_eq!(client.get("/other").text(), "bad");
    assert_eq!(client.get("/").text(), "good");
    until("it is logged", || {
        site.folder
            .read("logs/error.log")
            .contains("FastCGI sent in stderr: \"PHP Fatal error: x\"")
    });
}

#[test]
fn what_applications_do_wrong_has_its_status_and_its_line() {
    let head = record(STDOUT, b"X-A: 1\r\n");
    let wrong: [(&str, Vec<u8>, &str); 5] = [
        (
            "/version",
            vec![7; 16],
            "upstream sent unsupported FastCGI protocol version: 7 while reading response header",
        ),
        (
            "/id",
            vec![1, 6, 0, 9, 0, 0, 0, 0],
            "upstream sent unexpected FastCGI request id: 9 while reading",
        ),
        (
            "/half",
            [head.clone(), record(STDOUT, b""), end()].concat(),
            "upstream prematurely closed FastCGI stdout while reading response header from upstream",
        ),
        (
            "/closed",
            head,
            "upstream prematurely closed connection while reading response header from upstream",
        ),
        (
            "/refused",
            record(3, &[0, 0, 0, 0, 2, 0, 0, 0]),
            "upstream sent FastCGI request refused: 2 while reading",
        ),
    ];
    let applications: Vec<_> = wrong
        .iter()
        .map(|(path, said, _)| {
            let app = application(&[], said.clone());
            format!("location {path} {{ fastcgi_pass {}; }}\n", app.address)
        })
        .collect();
    let cut = application(&[], record(STDOUT, b"Content-Type: a/b\r\n\r\nhalf"));
    let well = application(&[], answer("\r\nwell"));
    let broken = application(&[], vec![7; 8]);
    let site = Site::start(
        &format!(
            "upstream app {{ server {}; server {} backup; }}",
            broken.address, well.address
        ),
        &format!(
            "{} location /cut {{ fastcgi_pass {}; }}
             location /next {{ fastcgi_pass app; fastcgi_next_upstream invalid_header; }}
             location /page {{ fastcgi_pass {}; fastcgi_intercept_errors on; error_page 418 /p; }}
             location /p {{ return 200 page; }}",
            applications.concat(),
            cut.address,
            application(&[], answer("Status: 418\r\n\r\nno")).address
        ),
    );
    for (path, _, line) in &wrong {
        let mut client = Client::connect(site.port);
        assert_eq!(client.get(path).status, 502, "{path}");
        let logged = || site.folder.read("logs/error.log").contains(line);
        until(line, logged);
    }
    let mut client = Client::connect(site.port);
    assert_eq!(client.get("/next").text(), "well");
    assert_eq!(client.get("/page").text(), "page");
    // Whoever reads an answer that was cut short can tell.
    client.send("GET /cut HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.try_response().is_err());
}
