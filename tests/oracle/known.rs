//! Where we differ from nginx, and mean to.

use super::request::{Case, raw};

/// One difference.
pub(super) struct Known {
    /// Which requests it is about.
    pub(super) about: About,
    /// The row of the table of differences that says why.
    pub(super) row: &'static str,
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
const OK: &str = "HTTP/1.1 200 OK\r\n";

/// All of them.
pub(super) fn table() -> Vec<Known> {
    let one = |(case, status, row)| {
        let about = About::One(case, status);
        Known { about, row }
    };
    let mut table: Vec<Known> = ones().into_iter().map(one).collect();
    let all: [(Differs, &'static str); 11] = [
        (closes_after_412, "412"),
        (
            repeats_lines_with_416,
            "`add_header` and `expires` with a 416",
        ),
        (joins_repeated_headers, "`$http_name` of a repeated header"),
        (breaks_lines, "a line break in `Location` or `add_header`"),
        (
            redirects_to_an_empty_folder,
            "`try_files $uri / =404` where nothing is found",
        ),
        (shows_412_all_the_same, "`error_page 412 =200 /x`"),
        (keeps_the_etag_with_416, "`error_page 416 @x`"),
        (
            finds_names_that_begin_with_a_dot,
            "a host that begins with a dot",
        ),
        (
            refuses_a_coding_that_is_not_chunked_at_its_end,
            "`Transfer-Encoding` that is empty, is no list of codings, or does not end in `chunked`",
        ),
        (refuses_a_long_method, "a method as long as a line may be"),
        (
            ignores_a_condition_without_a_date,
            "`If-Unmodified-Since` that is no date, or where the content has none",
        ),
    ];
    table.extend(all.map(|(differs, row)| Known {
        about: About::All(differs),
        row,
    }));
    table
}

fn closes_after_412(it: &Difference) -> bool {
    let stays = it.theirs.replace("[Closed]", "[Open]");
    it.theirs.starts_with("HTTP/1.1 412 ") && stays == it.ours
}

fn repeats_lines_with_416(it: &Difference) -> bool {
    // Each line of ours in its order, and between them some that the configuration adds.
    let mut ours = it.ours.lines().peekable();
    let is_added = |line: &str| {
        let names = ["X-", "Expires: ", "Cache-Control: "];
        names.iter().any(|name| line.starts_with(name))
    };
    let mut lines = it.theirs.lines();
    let are_added = lines.all(|line| ours.next_if_eq(&line).is_some() || is_added(line));
    it.theirs.starts_with("HTTP/1.1 416 ") && are_added && ours.next().is_none()
}

fn breaks_lines(it: &Difference) -> bool {
    let broken = [
        ("second\nX-Split: line", "second X-Split: line"),
        ("/hdrv/\r\nSet-Cookie:x", "/hdrv/  Set-Cookie:x"),
    ];
    let is_in = |(theirs, ours)| it.theirs.contains(theirs) && it.ours.contains(ours);
    broken.into_iter().any(is_in)
}

fn redirects_to_an_empty_folder(it: &Difference) -> bool {
    let case = it.case.to_string();
    case.starts_with("GET /tfslash/") && it.theirs.starts_with("HTTP/1.1 301 ")
}

fn shows_412_all_the_same(it: &Difference) -> bool {
    let case = it.case.to_string();
    let statuses = it.theirs.starts_with("HTTP/1.1 412 ") && it.ours.starts_with(OK);
    case.starts_with("GET /ep412/") && statuses
}

fn keeps_the_etag_with_416(it: &Difference) -> bool {
    let without: Vec<&str> = it
        .theirs
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with("ETag: "))
        .collect();
    it.theirs.starts_with("HTTP/1.1 416 ") && without.concat() == it.ours
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
            "a header line without a colon",
        ),
        (
            head("X: a\r\r\n"),
            BAD_REQUEST,
            "CR that does not end a line",
        ),
        (
            head("Connection: close\r\nConnection: keep-alive\r\n"),
            OK,
            "`Connection: close` and `keep-alive` both",
        ),
        (
            raw("\rGET /exact HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
            BAD_REQUEST,
            "CR that does not end a line",
        ),
    ]);
    for end in ["\r\n", "\n"] {
        let row = "`OPTIONS *`";
        let head = format!("OPTIONS * HTTP/1.1{end}Host: a\r\nConnection: close\r\n\r\n");
        ones.push((raw(head), OK, row));
    }
    for line in ["POST /exact\r\n", "HEAD /\r\n"] {
        let row = "HTTP/0.9 with another method than GET";
        ones.push((raw(line), BAD_REQUEST, row));
    }
    ones
}

fn hosts(ones: &mut Vec<(Case, &'static str, &'static str)>) {
    let row = "`Host` and the authority of a target";
    let head = "GET /exact HTTP/1.1\r\nHost: []\r\nConnection: close\r\n\r\n";
    ones.push((raw(head), BAD_REQUEST, row));
    for line in [
        "GET http://[]/exact HTTP/1.1\r\nHost: x\r\n",
        "GET http://[]/ HTTP/1.1\r\nHost: a\r\n",
        "GET http://[]/ HTTP/1.1\nHost: a\r\n",
    ] {
        ones.push((
            raw(format!("{line}Connection: close\r\n\r\n")),
            BAD_REQUEST,
            row,
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
            "a tab before a value",
        ));
    }
    let head = "POST /exact HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "1 \r\na\r\n0\r\n\r\n",
        "1\r\na\r\n0\r\nX y\r\n\r\n",
        "1;\r\na\r\n0\r\n\r\n",
        "1;a=\r\na\r\n0\r\n\r\n",
        "1;a b\r\na\r\n0\r\n\r\n",
        "1;a=\"b\r\n\"\r\na\r\n0\r\n\r\n",
    ] {
        ones.push((
            raw(format!("{head}{body}")),
            BAD_REQUEST,
            "chunked framing with spaces behind a size, extensions that are none, bad trailers",
        ));
    }
}
