//! Several requests in one write.

use super::pair::compare;
use super::request::{Case, get, head, post, raw};

#[test]
fn pipelined_requests_are_answered_in_order() {
    let last = || get("/r404");
    let mut cases: Vec<Case> = vec![
        get("/exact").stay().then(last()),
        get("/exact")
            .stay()
            .then(get("/r404").stay())
            .then(get("/small.txt")),
        get("/big.bin")
            .stay()
            .then(get("/small.txt").stay())
            .then(get("/big.bin")),
        head("/big.bin")
            .stay()
            .then(head("/nope").stay())
            .then(last()),
        get("/r444").stay().then(last()),
        get("/exact").stay().then(get("/r444").stay()).then(last()),
        get("/exact").then(last()),
        post("/exact", "hello")
            .stay()
            .then(post("/small.txt", "body").stay())
            .then(last()),
        post("/small/", "too long for it").stay().then(last()),
        get("/ka0/").stay().then(last()),
        get("/kr1/").stay().then(last()),
        get("/a")
            .stay()
            .then(get("/nope").stay())
            .then(get("/x.php").stay())
            .then(last()),
        get("/small.txt")
            .stay()
            .line("Range: bytes=2-3")
            .then(last()),
        Case::from(get("/exact").stay()).then(raw("BAD\r\n\r\n")),
        Case::from(get("/exact").stay())
            .then(raw("\r\n"))
            .then(last()),
        Case::from(get("/exact").stay())
            .then(raw("\n\n\r\n"))
            .then(last()),
        Case::from(get("/exact").stay()).then(raw("GET / HTTP/1.1\r\nHost")),
        Case::from(get("/exact").stay()).then(raw("GET /exact HTTP/1.1\r\n\r\n")),
        Case::from(get("/exact").stay().http_10()).then(last()),
        Case::from(
            get("/exact")
                .stay()
                .http_10()
                .line("Connection: keep-alive"),
        )
        .then(last()),
    ];
    for size in [2, 10, 100] {
        let mut many = raw("");
        for _ in 0..size {
            many = many.then(get("/small.txt").stay());
        }
        cases.push(many.then(last()));
    }
    compare(cases);
}
