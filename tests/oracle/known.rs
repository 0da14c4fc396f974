//! Where we differ from nginx, and mean to.

use super::request::{Case, raw};

/// One difference.
pub(super) struct Known {
    /// Which requests it is about.
    pub(super) about: About,
    /// Why it is meant.
    pub(super) why: &'static str,
}

/// What a difference is about.
pub(super) enum About {
    /// This one request, which we answer with another status line.
    One(Case, &'static str),
    /// Whatever differs in this way and in no other.
    All(Differs),
}

/// Whether two answers differ in one certain way.
type Differs = fn(&Difference) -> bool;

/// Two answers that are not the same, in their normal form.
pub(super) struct Difference<'a> {
    pub(super) case: &'a Case,
    pub(super) theirs: &'a str,
    pub(super) ours: &'a str,
}

const BAD_REQUEST: &str = "HTTP/1.1 400 Bad Request\r\n";
const NOT_ALLOWED: &str = "HTTP/1.1 405 Not Allowed\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\n";

/// All of them.
pub(super) fn table() -> Vec<Known> {
    let one = |(case, status, why)| {
        let about = About::One(case, status);
        Known { about, why }
    };
    let mut table: Vec<Known> = ones().into_iter().map(one).collect();
    let all: [(Differs, &'static str); 7] = [
        (
            closes_after_412,
            "nginx says keep-alive with a 412 and closes all the same",
        ),
        (
            repeats_lines_with_416,
            "a filter that refuses has passed the others before: nginx adds their lines twice",
        ),
        (
            joins_repeated_headers,
            "$http_name of a repeated header holds all of them since nginx 1.23; Debian's is older",
        ),
        (
            finds_names_that_begin_with_a_dot,
            "in nginx `*.wild.example` matches `.wild.example`; an empty label is no name",
        ),
        (
            refuses_a_coding_that_is_not_chunked_at_its_end,
            "RFC 9112 6.3: where the last coding is not chunked, nobody knows where the body ends: 400",
        ),
        (
            refuses_a_long_method,
            "RFC 9112 3: there is no target yet that could be too long",
        ),
        (
            ignores_a_condition_without_a_date,
            "RFC 9110 13.1.4: If-Unmodified-Since counts where both it and the content have a date",
        ),
    ];
    table.extend(all.map(|(differs, why)| Known {
        about: About::All(differs),
        why,
    }));
    table
}

fn closes_after_412(it: &Difference) -> bool {
    let stays = it.theirs.replace("[Closed]", "[Open]");
    it.theirs.starts_with("HTTP/1.1 412 ") && stays == it.ours
}

fn repeats_lines_with_416(it: &Difference) -> bool {
    let once = it
        .theirs
        .replacen("X-A: v /hd/small.txt\r\nX-B: b\r\n", "", 1);
    it.theirs.starts_with("HTTP/1.1 416 ") && once == it.ours
}

fn joins_repeated_headers(it: &Difference) -> bool {
    let texts = [("|ua|y|", "|ua|y, z|", 3), (".|a|/", ".|a, b|/", 3)];
    texts.iter().any(|(one, both, more)| {
        let length: Option<usize> = between(it.theirs, "Content-Length: ", "\r\n");
        let longer = length.map(|length| {
            let old = format!("Content-Length: {length}\r\n");
            it.theirs
                .replace(&old, &format!("Content-Length: {}\r\n", length + more))
        });
        longer.is_some_and(|theirs| theirs.replacen(one, both, 1) == it.ours)
    })
}

fn finds_names_that_begin_with_a_dot(it: &Difference) -> bool {
    let case = it.case.to_string();
    let names = case.contains("Host: .wild.example") || case.contains("http://.wild.example");
    names && it.theirs.contains("second second.example .wild.example")
}

fn refuses_a_coding_that_is_not_chunked_at_its_end(it: &Difference) -> bool {
    let statuses = it.theirs.starts_with("HTTP/1.1 501 ") && it.ours.starts_with(BAD_REQUEST);
    let case = it.case.to_string();
    statuses && case.contains("Transfer-Encoding:") && !case.contains("gzip, chunked")
}

fn refuses_a_long_method(it: &Difference) -> bool {
    let statuses = it.theirs.starts_with("HTTP/1.1 414 ") && it.ours.starts_with(BAD_REQUEST);
    statuses && it.case.0.starts_with(&[b'A'; 8000])
}

fn ignores_a_condition_without_a_date(it: &Difference) -> bool {
    let case = it.case.to_string();
    let is_no_date = case.contains("If-Unmodified-Since: junk");
    let has_no_date = it.ours.starts_with("HTTP/1.1 200 ") && !it.ours.contains("Last-Modified: ");
    case.contains("If-Unmodified-Since: ")
        && it.theirs.starts_with("HTTP/1.1 412 ")
        && !it.ours.starts_with("HTTP/1.1 412 ")
        && (is_no_date || has_no_date)
}

fn between<T: std::str::FromStr>(text: &str, before: &str, after: &str) -> Option<T> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after)?.0.parse().ok()
}

fn ones() -> Vec<(Case, &'static str, &'static str)> {
    let mut ones = Vec::new();
    hosts(&mut ones);
    framing(&mut ones);
    let head = |lines: &str| raw(format!("GET /exact HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    ones.extend([
        (
            head("NoColon\r\nConnection: close\r\n"),
            BAD_REQUEST,
            "RFC 9112 5.1: a header line without a colon is none; nginx takes it for an empty header",
        ),
        (
            head("X: a\r\r\n"),
            BAD_REQUEST,
            "RFC 9112 2.2: a bare CR is refused; nginx drops it at a line's end",
        ),
        (
            head("Connection: close\r\nConnection: keep-alive\r\n"),
            OK,
            "RFC 9112 9.3: whoever says close is taken at the word; in nginx the last line wins",
        ),
        (
            raw("\rGET /exact HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
            BAD_REQUEST,
            "RFC 9112 2.2: an empty line before a request may be skipped, a bare CR may not",
        ),
    ]);
    for end in ["\r\n", "\n"] {
        let why = "RFC 9110 9.3.7: OPTIONS * asks about the server, and is answered";
        let head = format!("OPTIONS * HTTP/1.1{end}Host: a\r\nConnection: close\r\n\r\n");
        ones.push((raw(head), OK, why));
    }
    for line in ["POST /exact\r\n", "HEAD /\r\n"] {
        let why = "HTTP/0.9 has GET alone; we say so, nginx closes in silence";
        ones.push((raw(line), BAD_REQUEST, why));
    }
    let connect = |target: &str| {
        raw(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: first.example\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        ))
    };
    for target in ["/small.txt", "/exact"] {
        let why = "RFC 9112 3.2.3: CONNECT has an authority, and nothing else";
        ones.push((connect(target), BAD_REQUEST, why));
    }
    for target in ["a:80", "example.com:443"] {
        let why = "RFC 9112 3.2.3: the request is well formed; the method is what we do not have";
        ones.push((connect(target), NOT_ALLOWED, why));
    }
    ones
}

fn hosts(ones: &mut Vec<(Case, &'static str, &'static str)>) {
    let why = "RFC 9110 7.2: a Host that is no host and port gets 400; nginx looks less closely";
    for host in [
        "[::1]x", "a:b", "[::1", "a:80:80", "a#b", "a?b", "a\\b", "a@b", "[]", "a[b]", "a]", "a:-1",
    ] {
        let head = format!("GET /exact HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        ones.push((raw(head), BAD_REQUEST, why));
    }
    for line in [
        "GET http://[]/exact HTTP/1.1\r\nHost: x\r\n",
        "GET http://[]/ HTTP/1.1\r\nHost: a\r\n",
        "GET http://[]/ HTTP/1.1\nHost: a\r\n",
    ] {
        ones.push((
            raw(format!("{line}Connection: close\r\n\r\n")),
            BAD_REQUEST,
            why,
        ));
    }
}

fn framing(ones: &mut Vec<(Case, &'static str, &'static str)>) {
    for method in ["GET", "POST"] {
        let head =
            format!("{method} /exact HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n");
        ones.push((
            raw(format!(
                "{head}Connection: close\r\n\r\n1\r\na\r\n0\r\n\r\n"
            )),
            OK,
            "RFC 9110 5.5: a tab before a value is white space; nginx takes it for a part of it",
        ));
    }
    let head = "POST /exact HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "1 \r\na\r\n0\r\n\r\n",
        "1\r\na\r\n0\r\nX y\r\n\r\n",
        "1\na\n0\n\n",
        "1;\r\na\r\n0\r\n\r\n",
        "1;a=\r\na\r\n0\r\n\r\n",
        "1;a b\r\na\r\n0\r\n\r\n",
        "1;a=\"b\r\n\"\r\na\r\n0\r\n\r\n",
    ] {
        ones.push((
            raw(format!("{head}{body}")),
            BAD_REQUEST,
            "RFC 9112 7.1: framing that others may read differently is refused",
        ));
    }
}
