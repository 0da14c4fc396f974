//! Methods, known and unknown.

use super::pair::{ask, compare_requests, start};
use super::request::method;
use crate::support::wait::PATIENCE;

#[test]
fn methods_are_allowed_as_by_nginx() {
    let methods = [
        "POST",
        "PUT",
        "DELETE",
        "OPTIONS",
        "PATCH",
        "TRACE",
        "FOO",
        "get",
        "PROPFIND",
        "G@T",
        "-",
        "GETT",
        "MKCOL",
        "COPY",
        "MOVE",
        "LOCK",
        "UNLOCK",
        "PROPPATCH",
        "HEAD",
        "Head",
        "G_T",
        "_",
    ];
    let paths = [
        "/small.txt",
        "/exact",
        "/nope",
        "/a",
        "/a/",
        "/b/",
        "/r301",
        "/ep/none",
        "/tf/x",
        "/int",
    ];
    let each = |name| paths.map(|path| method(name, path).line("Content-Length: 0"));
    compare_requests(methods.into_iter().flat_map(each));
}

/// What nginx refuses.
#[test]
fn a_question_about_the_server_is_answered() {
    let Some(pair) = start("access_log off;") else {
        return;
    };
    let asterisk = method("OPTIONS", "*")
        .line("Content-Length: 5")
        .body("abcde");
    let case = asterisk
        .stay()
        .then(method("OPTIONS", "*").host("second.example"));
    let answer = ask(&pair.ours, &case, PATIENCE);
    let text = String::from_utf8(answer.bytes).expect("a head in ASCII");
    let answers: Vec<&str> = text.split_inclusive("\r\n\r\n").collect();
    assert_eq!(answers.len(), 2, "{text}");
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(answer.contains("\r\nContent-Length: 0\r\n"), "{text}");
        assert!(
            answer.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"),
            "{text}"
        );
    }
}

#[test]
fn connect_is_refused() {
    let paths = ["/small.txt", "/exact", "a:80", "example.com:443", "*"];
    compare_requests(paths.map(|path| method("CONNECT", path).line("Content-Length: 0")));
}
