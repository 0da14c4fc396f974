//! Bodies of requests: lengths, chunks, limits, `Expect`.

use super::pair::compare;
use super::request::{Case, get, method, post};

fn chunked(target: &str, body: &str) -> super::request::Request {
    method("POST", target)
        .line("Transfer-Encoding: chunked")
        .body(body)
}

#[test]
fn bodies_are_taken_as_by_nginx() {
    let mut cases: Vec<Case> = Vec::new();
    let targets = [
        "/exact",
        "/small.txt",
        "/nope",
        "/a",
        "/small/",
        "/smallfile/small.txt",
        "/smallep/small.txt",
        "/ep/none",
    ];
    for target in targets {
        for body in ["", "hello", "0123456789", "01234567890"] {
            cases.push(post(target, body).into());
            cases.push(post(target, body).stay().into());
            cases.push(post(target, body).stay().then(get("/r404")));
            cases.push(
                method("GET", target)
                    .line(format!("Content-Length: {}", body.len()))
                    .body(body)
                    .stay()
                    .then(get("/r404")),
            );
        }
        cases.push(post(target, "abc").line("Expect: 100-continue").into());
        cases.push(
            post(target, "abc")
                .line("Expect: 100-Continue")
                .stay()
                .into(),
        );
        cases.push(
            post(target, "0123456789ab")
                .line("Expect: 100-continue")
                .stay()
                .into(),
        );
        cases.push(post(target, "abc").line("Expect: other").into());
        cases.push(
            post(target, "abc")
                .line("Expect: 100-continue")
                .http_10()
                .into(),
        );
    }
    compare(cases);
}

#[test]
fn chunks_are_taken_as_by_nginx() {
    let bodies = [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;x=y\r\nhello\r\n0\r\n\r\n",
        "5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
        "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        "A\r\n0123456789\r\n0\r\n\r\n",
        "a\r\n0123456789\r\n0\r\n\r\n",
        "000005\r\nhello\r\n0\r\n\r\n",
        "b\r\n01234567890\r\n0\r\n\r\n",
        "0;last\r\n\r\n",
        "00\r\n\r\n",
    ];
    let mut cases: Vec<Case> = Vec::new();
    for body in bodies {
        for target in ["/exact", "/small/", "/small.txt", "/nope"] {
            cases.push(chunked(target, body).into());
            cases.push(chunked(target, body).stay().into());
            cases.push(chunked(target, body).stay().then(get("/r404")));
        }
    }
    compare(cases);
}
