//! RFC 9110 section 13: conditional requests.

use super::pair::{Pair, ask, compare_all};
use super::request::{Case, Request, get, head, method};
use crate::support::Response;

/// What `/small.txt` may be asked by.
pub(super) struct Validators<'a> {
    pub(super) etag: &'a str,
    pub(super) modified: &'a str,
}

/// Compares requests that are made from what nginx says of `/small.txt`.
pub(super) fn compare_with_validators(make: impl FnOnce(Validators) -> Vec<Request>) {
    compare_all(|pair: &Pair| {
        let answer = ask(
            &pair.nginx,
            &Case::from(head("/small.txt")),
            crate::support::wait::PATIENCE,
        );
        let response = Response {
            status: 200,
            head: String::from_utf8(answer.bytes).expect("a head in ASCII"),
            body: Vec::new(),
        };
        let etag = response.header("etag").expect("an ETag");
        let modified = response.header("last-modified").expect("Last-Modified");
        make(Validators { etag, modified })
            .into_iter()
            .map(Case::from)
            .collect()
    });
}

const LONG_AGO: &str = "Thu, 01 Jan 1970 00:00:00 GMT";
const LATER: &str = "Thu, 01 Jan 2037 00:00:00 GMT";

fn conditions(etag: &str, modified: &str) -> Vec<Vec<String>> {
    let since = |date: &str| format!("If-Modified-Since: {date}");
    let unless = |date: &str| format!("If-Unmodified-Since: {date}");
    let none = |tags: &str| format!("If-None-Match: {tags}");
    let only = |tags: &str| format!("If-Match: {tags}");
    let both = format!("\"a\", {etag}");
    vec![
        vec![since(modified)],
        vec![since(LONG_AGO)],
        vec![since(LATER)],
        vec![since("junk")],
        vec![since("")],
        vec![since("Sunday, 06-Nov-94 08:49:37 GMT")],
        vec![since("Sun Nov  6 08:49:37 2094")],
        vec![since(&modified.replace("GMT", "UTC"))],
        vec![since(&format!("{modified}; length=10"))],
        vec![since(&modified.to_lowercase())],
        vec![none(etag)],
        vec![none(&format!("W/{etag}"))],
        vec![none(&both)],
        vec![none(&both.replace(", ", ","))],
        vec![none("*")],
        vec![none("\"zz\"")],
        vec![none(etag.trim_matches('"'))],
        vec![none("")],
        vec![none(etag), since(LONG_AGO)],
        vec![none("\"zz\""), since(LATER)],
        vec![only(etag)],
        vec![only(&format!("W/{etag}"))],
        vec![only("\"no\"")],
        vec![only("*")],
        vec![only(&both)],
        vec![unless(modified)],
        vec![unless(LONG_AGO)],
        vec![unless(LATER)],
        vec![unless("junk")],
        vec![only("\"no\""), "Range: bytes=0-1".into()],
        vec![none(etag), "Range: bytes=0-1".into()],
        vec![only(etag), none(etag)],
        vec![unless(modified), since(modified)],
        vec![only("\"no\""), unless(LATER)],
        vec![none("\"a\""), none(etag)],
    ]
}

#[test]
fn conditions_decide_as_in_nginx() {
    compare_with_validators(|Validators { etag, modified }| {
        let paths = [
            "/small.txt",
            "/noetag/small.txt",
            "/imsb/small.txt",
            "/imso/small.txt",
            "/hd/small.txt",
            "/ex/small.txt",
            "/nope",
            "/exact",
            "/a",
            "/a/",
        ];
        let mut requests = Vec::new();
        for condition in conditions(etag, modified) {
            let add = |request: Request| condition.iter().fold(request, Request::line);
            requests.extend(paths.iter().map(|path| add(get(*path))));
            requests.push(add(head("/small.txt")));
            requests.push(add(get("/small.txt").http_10()));
            requests.push(add(get("/small.txt").stay()));
            requests.push(add(method("POST", "/small.txt").line("Content-Length: 0")));
        }
        requests
    });
}
