//! One write is not one read.

use std::time::Duration;

use super::Site;
use crate::support::{Client, get};

#[test]
fn a_thousand_requests_in_one_write_get_a_thousand_answers_in_order() {
    let site = Site::start("", "location /n/ { return 200 $uri; }");
    site.folder.write("html/a.txt", "text");
    let mut client = Client::connect(site.port);
    let mut bytes = String::new();
    for number in 0..1000 {
        let path = if number % 3 == 0 {
            "/a.txt".to_owned()
        } else {
            format!("/n/{number}")
        };
        bytes.push_str(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    }
    client.send(&bytes);
    for number in 0..1000 {
        let expected = if number % 3 == 0 {
            "text".to_owned()
        } else {
            format!("/n/{number}")
        };
        assert_eq!(client.response().text(), expected);
    }
    // The connection is as good as before.
    assert_eq!(client.get("/").text(), "home\n");
}

#[test]
fn requests_cut_at_every_byte_are_answered_the_same() {
    let site = Site::start("", "location /post { return 200 posted; }");
    let bytes = "GET /?a=b HTTP/1.1\r\nHost: x\r\nX-Long: some value\r\n\r\n\
        POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nabcd\r\n0\r\nA: b\r\n\r\n\
        POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n1234567\
        GET /nope HTTP/1.1\r\nHost: x\r\n\r\n";
    let expected = [(200, "home\n"), (200, "posted"), (200, "posted")];
    std::thread::scope(|scope| {
        for first in 0..8 {
            let port = site.port;
            scope.spawn(move || {
                for cut in (first..=bytes.len()).step_by(8) {
                    let mut client = Client::connect(port);
                    let (before, after) = bytes.split_at(cut);
                    client.send(before);
                    // Long enough for the first part to be read alone, nearly always.
                    std::thread::sleep(Duration::from_millis(3));
                    client.send(after);
                    for (status, body) in expected {
                        let response = client.response();
                        assert_eq!(
                            (response.status, response.text().as_str()),
                            (status, body),
                            "cut at {cut}"
                        );
                    }
                    assert_eq!(client.response().status, 404, "cut at {cut}");
                }
            });
        }
    });
}

#[test]
fn a_request_a_byte_at_a_time_is_a_request() {
    let site = Site::start("", "");
    let mut client = Client::connect(site.port);
    for byte in b"\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" {
        client.send([*byte]);
        std::thread::sleep(Duration::from_micros(500));
    }
    assert_eq!(client.response().text(), "home\n");
    client.closed();
}

#[test]
fn a_client_that_goes_away_in_the_middle_leaves_nothing_behind() {
    let site = Site::start("", "");
    site.folder.write("html/big.bin", vec![b'x'; 8 << 20]);
    let worker = site.worker();
    assert_eq!(get(site.port, "/").status, 200);
    let before = crate::support::proc::descriptors(worker);
    for round in 0..200 {
        let mut client = Client::connect(site.port);
        let request = "GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n";
        client.send(&request[..(round * 7) % request.len() + 1]);
        if round % 3 == 0 {
            client.half_close();
        }
    }
    crate::support::until("all descriptors are closed", || {
        crate::support::proc::descriptors(worker) <= before + 1
    });
    assert_eq!(get(site.port, "/").status, 200);
}
