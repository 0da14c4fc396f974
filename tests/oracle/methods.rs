//! Methods, known and unknown.

use super::pair::compare_requests;
use super::request::method;

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

#[test]
fn connect_is_refused() {
    let paths = ["/small.txt", "/exact", "a:80", "example.com:443", "*"];
    compare_requests(paths.map(|path| method("CONNECT", path).line("Content-Length: 0")));
}
