//! Requests passed on, and answers: what the upstream receives and what the client does, with every framing
//! that two readers could take for two things. Whatever we pass on, we pass on as nginx does, or refuse it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::{Client, Folder, Server, client, nginx, ports, revolve};

/// Requests that are under way at a time.
const THREADS: usize = 16;
/// After so much silence a message is taken for ended.
const SILENCE: Duration = Duration::from_millis(250);

/// A server behind both that notes what it is asked, by the name of the case, and answers with the bytes
/// of the number that the request names.
struct Behind {
    address: SocketAddr,
    noted: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

impl Behind {
    fn start(answers: Vec<Vec<u8>>) -> Behind {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let noted = Arc::default();
        let behind = Behind { address, noted };
        let (noted, answers) = (behind.noted.clone(), Arc::new(answers));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (noted, answers) = (Arc::clone(&noted), answers.clone());
                thread::spawn(move || Behind::serve(stream, &noted, &answers));
            }
        });
        behind
    }

    fn serve(
        mut stream: TcpStream,
        noted: &Mutex<HashMap<String, Vec<String>>>,
        answers: &[Vec<u8>],
    ) {
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        let mut request = Vec::new();
        let mut memory = [0; 16 * 1024];
        while let Ok(count @ 1..) = stream.read(&mut memory) {
            request.extend_from_slice(&memory[..count]);
            let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
            let has_body = text.contains("content-length:") || text.contains("transfer-encoding:");
            if text.contains("\r\n\r\n") && !has_body {
                break;
            }
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let word = |name: &str| {
            let (_, rest) = text.split_once(name)?;
            let end = rest.find(|it: char| !it.is_ascii_alphanumeric());
            Some(rest[..end.unwrap_or(rest.len())].to_owned())
        };
        let answer: &[u8] = match word("ans=").and_then(|it| it.parse::<usize>().ok()) {
            Some(number) => &answers[number],
            None => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        };
        if let Some(case) = word("case=") {
            let shown = text.replace(&case, "");
            noted.lock().unwrap().entry(case).or_default().push(shown);
        }
        let _ = stream.write_all(answer);
    }

    fn of(&self, case: &str) -> Vec<String> {
        self.noted.lock().unwrap().remove(case).unwrap_or_default()
    }
}

struct Side {
    name: &'static str,
    port: u16,
    _folder: Folder,
    _server: Server,
}

fn start(name: &'static str, behind: &Behind) -> Side {
    let folder = Folder::new();
    folder.make("logs");
    let port = ports::free();
    let (root, to) = (folder.path().display(), behind.address);
    let only = match name {
        "nginx" => nginx::private_folders(&folder),
        _ => String::new(),
    };
    let config = format!(
        "daemon off; worker_processes 1; pid {root}/pid; error_log {root}/logs/error.log info; events {{}}
         http {{ {only} access_log off; server {{ listen 127.0.0.1:{port};
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host up;
         proxy_read_timeout 1s; proxy_next_upstream off;
         location / {{ proxy_pass http://{to}; }}
         location /s {{ proxy_pass http://{to}; proxy_request_buffering off; }} }} }}"
    );
    folder.write(&format!("{name}.conf"), config);
    let server = if name == "nginx" {
        nginx::start(&folder, "nginx.conf", &[port])
    } else {
        let mut command = revolve(&folder);
        command.arg("-c").arg("revolve.conf");
        Server::run(&mut command, folder.file("stderr.txt"), &[port])
    };
    Side {
        name,
        port,
        _folder: folder,
        _server: server,
    }
}

/// What came of a case: what the client got, and what the server behind was asked.
type Outcome = (Vec<u8>, Vec<String>);

/// Sends each case to both sides; `CASE` in it is its name.
fn ask_all(cases: &[Vec<u8>], behind: &Behind, sides: &[Side; 2]) -> Vec<[Outcome; 2]> {
    let next = Mutex::new(0);
    let outcomes = Mutex::new(HashMap::new());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = {
                        let mut next = next.lock().unwrap();
                        *next += 1;
                        *next - 1
                    };
                    let Some(case) = cases.get(number) else {
                        return;
                    };
                    let asked = sides.each_ref().map(|side| ask(case, number, behind, side));
                    outcomes.lock().unwrap().insert(number, asked);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    (0..cases.len())
        .map(|number| outcomes.remove(&number).expect("each was asked"))
        .collect()
}

fn ask(case: &[u8], number: usize, behind: &Behind, side: &Side) -> Outcome {
    let name = format!("{}{number}", side.name);
    let mut bytes = case.to_vec();
    while let Some(at) = client::find(&bytes, b"CASE") {
        let named = format!("case={name}");
        bytes.splice(at..at + 4, named.bytes());
    }
    let mut client = Client::connect(side.port);
    let _ = client.try_send(&bytes);
    let (answer, _) = client.rest(SILENCE * 3);
    thread::sleep(Duration::from_millis(20));
    (answer, behind.of(&name))
}

fn statuses(answer: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(answer);
    let parts = text.split("HTTP/1.1 ").skip(1);
    let statuses = parts.map(|part| part.chars().take(3).collect::<String>());
    // An interim one tells the client to go on, or not, as it happens to have sent its body.
    statuses.filter(|status| status != "100").collect()
}

const REQUEST_LENGTHS: &[&str] = &[
    "5",
    " 5",
    "5 ",
    "+5",
    "-5",
    "05",
    "5,5",
    "5, 5",
    "0x5",
    "5\t",
    "\t5",
    "5a",
    "",
    "99999999999999999999",
    "5;q",
    "4\r\nContent-Length: 5",
    "5\r\nContent-Length: 5",
    "5\r\nContent-length: 6",
    "5\r\nTransfer-Encoding: chunked",
    "5\r\nTransfer-Encoding: identity",
];

const REQUEST_CODINGS: &[&str] = &[
    "chunked",
    " chunked",
    "chunked ",
    "Chunked",
    "chunked, chunked",
    "identity, chunked",
    "chunked, identity",
    "gzip, chunked",
    "xchunked",
    "chunked;q=1",
    "identity",
    "\"chunked\"",
    "\tchunked",
    "chunked\t",
    "chunked,",
    ",chunked",
    "chunked\r\nTransfer-Encoding: chunked",
    "chunked\r\nContent-Length: 3",
    "\u{b}chunked",
    "chunked\0",
    "cow",
    "",
];

const REQUEST_NAMES: &[&str] = &[
    "Transfer-Encoding :",
    "Transfer_Encoding:",
    " Transfer-Encoding:",
    "Transfer-Encoding\t:",
    "transfer-encoding:",
    "X: y\r\n Transfer-Encoding:",
    "X: y\nTransfer-Encoding:",
    "X: y\rTransfer-Encoding:",
    "Transfer-Encoding\0:",
    "\tTransfer-Encoding:",
    "Transfer-Encoding:\r\n",
];

const REQUEST_BODIES: &[&str] = &[
    "5;ext\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\n\r\n",
    "05\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhelloXX0\r\n\r\n",
    "ffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    "5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
    "5\r\nhello\r\n00\r\n\r\n",
    "5\r\nhello\r\n0;e\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\r\n",
    "G\r\n",
    "\r\n5\r\nhello\r\n0\r\n\r\n",
    "5\r\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\n X\r\n\r\n",
    "5;\nx\r\nhello\r\n0\r\n\r\n",
    "5;\"\r\n\"\r\nhello\r\n0\r\n\r\n",
    "A\r\nhellohello\r\n0\r\n\r\n",
    "a\r\nhellohello\r\n0\r\n\r\n",
];

const REQUEST_HEADERS: &[&str] = &[
    "Connection: content-length",
    "Connection: host",
    "Connection: transfer-encoding",
    "Connection: x-a, cookie\r\nX-A: 1\r\nCookie: b",
    "X_Under: 1",
    "X-Nul: a\0b",
    "X-Cr: a\rb",
    "X-Lf: a\nX-B: b",
    "Host: other",
    "Expect: 100-continue",
    "Expect: other",
    "TE: trailers",
    "Upgrade: h2c\r\nConnection: Upgrade",
    "Proxy-Connection: keep-alive",
    "Trailer: X",
    "X-Empty:",
    "X-Sp:   a  b  ",
    ": noname",
    "No colon",
    "X-Tab:\ta\tb\t",
    "X(paren): 1",
    "X-Accel-Redirect: /x",
    "Connection: close",
    "X-Fold: a\r\n b",
];

const REQUEST_PATHS: &[&str] = &[
    "/a%0d%0aX:%20y?CASE",
    "/a%00b?CASE",
    "/a b?CASE",
    "/a\tb?CASE",
    "//a//b?CASE",
    "/a/../b?CASE",
    "/a/%2e%2e/b?CASE",
    "/a;b?CASE",
    "/a?CASE#frag",
    "http://h/abs?CASE",
    "http://other:99/abs?CASE",
    "*?CASE",
    "/%zz?CASE",
    "/a%2fb?CASE",
    "/\u{7f}?CASE",
    "/a?CASE&x=%0d%0a",
    "/a?CASE\u{1}",
    "/..?CASE",
    "a?CASE",
    "/a\\b?CASE",
    "/?CASE&a=b c",
];

const REQUEST_METHODS: &[&str] = &[
    "GET", "HEAD", "get", "G-T", "PURGE", "TRACE", "OPTIONS", "G T", "GE\0T",
];

const REQUEST_VERSIONS: &[&str] = &[
    "HTTP/1.0",
    "HTTP/0.9",
    "HTTP/2.0",
    "HTTP/1.2",
    "HTTP/1.10",
    "http/1.1",
    "HTTP/1.1 ",
    "HTTP/01.1",
    "HTTP/11",
];

fn requests() -> Vec<Vec<u8>> {
    let request = |line: &str, headers: &str, body: &str| {
        format!("{line}\r\nHost: h\r\n{headers}\r\n{body}").into_bytes()
    };
    let post = "POST /?CASE HTTP/1.1";
    let second = "GET /second?CASE HTTP/1.1\r\nHost: h\r\n\r\n";
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let mut all = Vec::new();
    for length in REQUEST_LENGTHS {
        all.push(request(
            post,
            &format!("Content-Length: {length}\r\n"),
            &format!("hello{second}"),
        ));
    }
    for coding in REQUEST_CODINGS {
        all.push(request(
            post,
            &format!("Transfer-Encoding: {coding}\r\n"),
            &format!("{chunks}{second}"),
        ));
    }
    for name in REQUEST_NAMES {
        let body = format!("{chunks}{second}");
        all.push(request(post, &format!("{name} chunked\r\n"), &body));
        let both = format!("Content-Length: {}\r\n{name} chunked\r\n", chunks.len());
        all.push(request(post, &both, &body));
    }
    for body in REQUEST_BODIES {
        for path in ["/", "/s"] {
            let line = format!("POST {path}?CASE HTTP/1.1");
            all.push(request(
                &line,
                "Transfer-Encoding: chunked\r\n",
                &format!("{body}{second}"),
            ));
        }
    }
    for header in REQUEST_HEADERS {
        let headers = format!("{header}\r\nContent-Length: 5\r\n");
        all.push(request(post, &headers, &format!("hello{second}")));
    }
    for path in REQUEST_PATHS {
        all.push(request(&format!("GET {path} HTTP/1.1"), "", second));
    }
    for method in REQUEST_METHODS {
        all.push(request(&format!("{method} /?CASE HTTP/1.1"), "", ""));
        let line = format!("{method} /?CASE HTTP/1.1");
        all.push(request(
            &line,
            "Content-Length: 5\r\n",
            &format!("hello{second}"),
        ));
        all.push(request(
            &line,
            "Transfer-Encoding: chunked\r\n",
            &format!("{chunks}{second}"),
        ));
    }
    for version in REQUEST_VERSIONS {
        let line = format!("POST /?CASE {version}");
        all.push(request(
            &line,
            "Content-Length: 5\r\n",
            &format!("hello{second}"),
        ));
    }
    all
}

/// Why a request that both pass on may reach the upstream in another form.
fn is_meant(case: &str, nginx: &[String], ours: &[String]) -> bool {
    // White space is white space (RFC 9110, 5.5).
    case.contains('\t')
        // What `Connection` lists is of the connection (RFC 9110, 7.6.1).
        || case.contains("Connection: x-a")
        || case.contains("Proxy-Connection: ")
        // What is passed on as it comes stays in chunks, although all of it may be there.
        || case.starts_with("POST /s?")
            && nginx.len() == ours.len()
            && ours.iter().any(|it| it.contains("Transfer-Encoding: chunked\r\n"))
}

#[test]
fn upstreams_get_what_nginx_sends_or_nothing() {
    if !nginx::is_here() {
        return;
    }
    let behind = Behind::start(Vec::new());
    let sides = [start("nginx", &behind), start("revolve", &behind)];
    let cases = requests();
    assert!(cases.len() > 180, "{}", cases.len());
    let mut wrong = Vec::new();
    for (case, [nginx, ours]) in cases.iter().zip(ask_all(&cases, &behind, &sides)) {
        let text = String::from_utf8_lossy(case);
        let (said, expected) = (statuses(&ours.0), statuses(&nginx.0));
        // What is refused reaches nobody, and neither does what is behind it.
        let is_refused = said
            .first()
            .is_some_and(|it| it.starts_with('4') || it == "501");
        let is_stricter = (is_refused || said.is_empty()) && ours.1.is_empty();
        let is_same = said == expected && ours.1 == nginx.1;
        if !is_same && !is_stricter && !is_meant(&text, &nginx.1, &ours.1) {
            wrong.push(format!(
                "{text:?}\n nginx {expected:?} {:?}\n ours {said:?} {:?}",
                nginx.1, ours.1
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

const ANSWER_LENGTHS: &[&str] = &[
    "5",
    " 5",
    "5 ",
    "+5",
    "-5",
    "05",
    "5,5",
    "0x5",
    "5a",
    "",
    "99999999999999999999",
    "5\r\nContent-Length: 5",
    "5\r\nContent-Length: 6",
    "3",
    "9",
    "0",
    "5\r\nTransfer-Encoding: chunked",
    "5\r\nTransfer-Encoding: identity",
    "5\t",
];

const ANSWER_CODINGS: &[&str] = &[
    "chunked",
    "Chunked",
    "chunked, chunked",
    "gzip, chunked",
    "xchunked",
    "chunked;q=1",
    "identity",
    "\tchunked",
    "chunked ",
    "chunked\r\nTransfer-Encoding: chunked",
    "cow",
    "",
];

const ANSWER_BODIES: &[&str] = &[
    "5;ext\r\nhello\r\n0\r\n\r\n",
    "05\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhelloXX0\r\n\r\n",
    "fffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\nGARBAGE",
    "5\r\nhello\r\n",
    "5\r\nhel",
    "5\r\nhello\r\n0\r\n",
    "G\r\n",
    "5\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n",
    "0\r\n\r\n",
];

const ANSWER_LINES: &[&str] = &[
    "HTTP/1.1 200",
    "HTTP/1.1 200 ",
    "HTTP/1.1  200 OK",
    "HTTP/1.1 20 OK",
    "HTTP/1.1 2000 OK",
    "HTTP/1.1 abc OK",
    "HTTP/2.0 200 OK",
    "HTTP/0.9 200 OK",
    "http/1.1 200 OK",
    "HTTP/1.1 200 O\0K",
    "HTTP/1.1 099 X",
    "HTTP/1.1 999 X",
    " HTTP/1.1 200 OK",
    "\r\nHTTP/1.1 200 OK",
    "ICY 200 OK",
    "GARBAGE",
    "HTTP/1.1",
    "HTTP/1.1 418 I",
    "HTTP/1.1 304 NM",
    "HTTP/1.1 205 RC",
    "HTTP/1.1 100 C",
    "HTTP/1.1 101 S",
    "HTTP/1.1 103 E",
    "HTTP/1.0 200 OK",
];

const ANSWER_HEADERS: &[&str] = &[
    "X: a\r\n b",
    "X : a",
    "X\0: a",
    "X: a\0b",
    "X: a\rb",
    "X: a\nY: b",
    ": v",
    "NoColon",
    "X(1): a",
    "X_Y: a",
    "X:",
    "X:a",
    "Connection: close",
    "Keep-Alive: timeout=5",
    "Date: x\r\nServer: theirs",
    "X-Accel-Buffering: no",
    "X-Accel-Expires: 5",
    "Content-Type: a/b",
    "Location: /x",
    "Location: http://else.example/x",
    "Refresh: 0; url=http://else.example/y",
    "Set-Cookie: a=b\r\nSet-Cookie: c=d",
    "ETag: \"x\"\r\nLast-Modified: Thu, 01 Jan 2015 00:00:00 GMT",
    "WWW-Authenticate: Basic",
    "Vary: *",
    "Content-Encoding: gzip",
    "Accept-Ranges: bytes",
    "P3P: x",
    "X-Pad: a",
    "Status: 404",
    "\tX: a",
    " X: a",
    "Cache-Control: no-cache",
    "Allow: GET",
];

fn answers() -> Vec<Vec<u8>> {
    let ok = "HTTP/1.1 200 OK\r\n";
    let mut all: Vec<String> = Vec::new();
    for length in ANSWER_LENGTHS {
        all.push(format!("{ok}Content-Length: {length}\r\n\r\nhello"));
        all.push(format!("{ok}Content-Length: {length}\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"));
    }
    for coding in ANSWER_CODINGS {
        all.push(format!(
            "{ok}Transfer-Encoding: {coding}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        ));
    }
    for body in ANSWER_BODIES {
        all.push(format!("{ok}Transfer-Encoding: chunked\r\n\r\n{body}"));
    }
    for line in ANSWER_LINES {
        all.push(format!("{line}\r\nContent-Length: 5\r\n\r\nhello"));
        all.push(format!("{line}\r\n\r\nuntil it closes"));
    }
    for header in ANSWER_HEADERS {
        all.push(format!("{ok}{header}\r\nContent-Length: 5\r\n\r\nhello"));
    }
    for rest in ["", "H", "\u{16}\u{3}\u{1}\0", ok, "HTTP/1.1 200 OK\r\n\r"] {
        all.push(rest.to_owned());
    }
    all.push(format!(
        "{ok}X: {}\r\nContent-Length: 5\r\n\r\nhello",
        "a".repeat(3000)
    ));
    all.into_iter().map(String::into_bytes).collect()
}

/// An answer as a client understands it.
#[derive(Debug, PartialEq)]
struct Understood {
    status: String,
    headers: Vec<String>,
    body: String,
    is_whole: bool,
}

impl Understood {
    /// Nothing where there is no head.
    fn of(answer: &[u8], is_head: bool) -> Option<Understood> {
        let text = String::from_utf8_lossy(answer).into_owned();
        let (head, rest) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.get(9..12)?.to_owned();
        let own = ["Server: ", "Date: ", "Connection: ", "Transfer-Encoding: "];
        let mut headers: Vec<String> = lines.map(str::to_owned).collect();
        let is_chunked = headers.iter().any(|it| it == "Transfer-Encoding: chunked");
        let length = headers
            .iter()
            .find_map(|it| it.strip_prefix("Content-Length: "));
        let length = length.and_then(|it| it.parse::<usize>().ok());
        let (body, is_whole) = match (is_chunked && !is_head, length) {
            (true, _) => unchunked(rest),
            (false, Some(length)) if !is_head => (rest.to_owned(), rest.len() == length),
            _ => (rest.to_owned(), true),
        };
        headers.retain(|it| !own.iter().any(|own| it.starts_with(own)));
        headers.sort();
        Some(Understood {
            status,
            headers,
            body,
            is_whole,
        })
    }
}

/// What is in these chunks, and whether their end is.
fn unchunked(mut text: &str) -> (String, bool) {
    let mut body = String::new();
    loop {
        let Some((size, rest)) = text.split_once("\r\n") else {
            return (body, false);
        };
        match usize::from_str_radix(size, 16) {
            Ok(0) => return (body, true),
            Ok(size) if rest.len() >= size + 2 => {
                body.push_str(&rest[..size]);
                text = &rest[size + 2..];
            }
            _ => return (body + rest, false),
        }
    }
}

#[test]
fn clients_get_what_nginx_gives_or_an_error() {
    if !nginx::is_here() {
        return;
    }
    let answers = answers();
    let behind = Behind::start(answers.clone());
    let sides = [start("nginx", &behind), start("revolve", &behind)];
    let mut cases = Vec::new();
    for number in 0..answers.len() {
        for method in ["GET", "HEAD"] {
            let head = "HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
            cases.push(format!("{method} /?CASE&ans={number} {head}").into_bytes());
        }
    }
    assert!(cases.len() > 260, "{}", cases.len());
    let mut wrong = Vec::new();
    let outcomes = ask_all(&cases, &behind, &sides);
    for (number, [nginx, ours]) in outcomes.into_iter().enumerate() {
        let is_head = number % 2 == 1;
        let said = String::from_utf8_lossy(&answers[number / 2]);
        let (theirs, ours) = (
            Understood::of(&nginx.0, is_head),
            Understood::of(&ours.0, is_head),
        );
        let is_refused = ours
            .as_ref()
            .is_none_or(|it| ["502", "504"].contains(&it.status.as_str()));
        // A body that is broken is seen to be, whatever of it came through.
        let is_broken = |it: &Option<Understood>| it.as_ref().is_none_or(|it| !it.is_whole);
        let are_broken = is_broken(&ours) && is_broken(&theirs);
        // White space is white space, what has no body says no length, and chunks have their form.
        let is_meant = said.contains('\t')
            || said.starts_with("HTTP/1.1 205")
            || is_broken(&ours) && (said.contains("\n5 \r\n") || said.contains("\n5\nhello"));
        if ours != theirs && !is_refused && !are_broken && !is_meant {
            let method = if is_head { "HEAD" } else { "GET" };
            wrong.push(format!(
                "{method} {said:.150?}\n nginx {theirs:?}\n ours {ours:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}
