//! Files that are larger than anything should hold in memory.

use std::fs;

use super::Site;
use crate::support::wait::PATIENCE;
use crate::support::{Client, End, get, proc, until};

const BIG_BYTES: usize = 64 << 20;

/// A file that can be told from any other offset of itself, written without holding it.
fn write_big(site: &Site) {
    let block: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
    let mut file = fs::File::create(site.folder.file("html/big.bin")).expect("a file");
    for _ in 0..BIG_BYTES >> 20 {
        std::io::Write::write_all(&mut file, &block).expect("a write");
    }
}

#[test]
fn slow_readers_of_a_large_file_cost_no_memory() {
    for sendfile in ["on", "off"] {
        let site = Site::start(&format!("sendfile {sendfile};"), "");
        write_big(&site);
        let worker = site.worker();
        assert_eq!(get(site.port, "/").status, 200);
        let before = proc::memory_bytes(worker);
        let mut clients: Vec<Client> = (0..10)
            .map(|_| {
                let mut client = Client::connect(site.port);
                client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                client.take(1000).expect("the beginning");
                client
            })
            .collect();
        let during = proc::memory_bytes(worker);
        let more = during.saturating_sub(before);
        assert!(
            more < 8 << 20,
            "sendfile {sendfile}: {more} bytes more for ten slow readers"
        );
        let mut last = clients.pop().expect("a client");
        drop(clients);
        let (rest, end) = last.rest(PATIENCE);
        assert_eq!(end, End::Closed);
        let tail = &rest[rest.len() - 1000..];
        let block: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
        assert!(tail == &block[block.len() - 1000..] && rest.len() > BIG_BYTES - 1000);
    }
}

#[test]
fn a_file_that_shrinks_on_the_way_closes_the_connection_and_no_more() {
    for sendfile in ["on", "off"] {
        let site = Site::start(&format!("sendfile {sendfile}; access_log off;"), "");
        write_big(&site);
        let mut client = Client::connect(site.port);
        client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
        client.take(1000).expect("the beginning");
        let worker = site.worker();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(site.folder.file("html/big.bin"));
        file.expect("the file").set_len(1 << 20).expect("truncate");
        let (rest, end) = client.rest(PATIENCE);
        assert_ne!(
            end,
            End::Open,
            "sendfile {sendfile}: the rest will never come"
        );
        assert!(rest.len() < BIG_BYTES - 1000);
        assert_eq!(site.worker(), worker, "the worker lives");
        assert_eq!(get(site.port, "/").text(), "home\n");
        let response = get(site.port, "/big.bin");
        assert_eq!(response.body.len(), 1 << 20);
        until("the log says what is missing", || {
            let log = site.folder.read("logs/error.log");
            log.contains("[alert]") && log.contains("html/big.bin\" was truncated, ")
        });
        until("nobody panicked", || {
            !site.folder.read("logs/error.log").contains("panicked")
        });
    }
}

#[test]
fn a_deleted_file_that_is_being_sent_is_sent_to_its_end() {
    let site = Site::start("sendfile on;", "");
    write_big(&site);
    let mut client = Client::connect(site.port);
    client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client.take(1000).expect("the beginning");
    fs::remove_file(site.folder.file("html/big.bin")).expect("unlink");
    let (rest, end) = client.rest(PATIENCE);
    assert_eq!(end, End::Closed);
    assert!(rest.len() > BIG_BYTES - 1000);
    assert_eq!(get(site.port, "/big.bin").status, 404);
}

#[test]
fn ranges_of_a_large_file_are_exact() {
    let site = Site::start("sendfile on;", "");
    write_big(&site);
    let mut client = Client::connect(site.port);
    let byte = |at: usize| ((at % (1 << 20)) % 251) as u8;
    for (first, last) in [
        (0, 0),
        (1, 70_000),
        (65_535, 65_537),
        (BIG_BYTES - 1, BIG_BYTES - 1),
        (12_345_678, 22_345_678),
    ] {
        client.send(format!(
            "GET /big.bin HTTP/1.1\r\nHost: x\r\nRange: bytes={first}-{last}\r\n\r\n"
        ));
        let response = client.response();
        assert_eq!(response.status, 206);
        assert_eq!(response.body.len(), last - first + 1);
        assert!(
            response
                .body
                .iter()
                .zip(first..)
                .all(|(found, at)| *found == byte(at)),
            "{first}-{last}"
        );
    }
}
