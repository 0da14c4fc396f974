//! Bodies that pass filters: what they cost, and what becomes of those that cannot pass.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Site;
use crate::support::{Client, End, Folder, client, get, proc, until};

const FILTERS: &str = "
    types { text/html html; }
    location /packed/ { gzip on; alias HERE/html/; }
    location /replaced/ { sub_filter '0123' 'abcdefgh'; sub_filter_once off; alias HERE/html/; }
    location /unpacked/ { gzip_static always; gunzip on; alias HERE/html/; }
    location /all/ { gzip_static always; gunzip on; sub_filter a bb; sub_filter_once off;
                     charset utf-8; source_charset x; alias HERE/html/; }
";

const MAP: &str = "charset_map x utf-8 { 61 E282AC; }";

fn start() -> Site {
    let folder = Folder::new();
    folder.write("html/index.html", "home\n");
    let filters = FILTERS.replace("HERE", &folder.path().display().to_string());
    Site::serve(folder, MAP, &filters)
}

/// Writes a file of so many MiB, and its compressed form.
fn write_large(site: &Site, mib: usize) {
    let block = b"0123456789abcdef".repeat(1 << 16);
    let mut plain = File::create(site.folder.file("html/large.html")).expect("a file");
    let packed = File::create(site.folder.file("html/large.html.gz")).expect("a file");
    let mut packed = GzEncoder::new(packed, Compression::new(1));
    for _ in 0..mib {
        plain.write_all(&block).expect("a write");
        packed.write_all(&block).expect("a write");
    }
    packed.finish().expect("a write");
}

#[test]
fn slow_readers_of_what_is_filtered_cost_no_memory() {
    let site = start();
    write_large(&site, 8);
    let worker = site.worker();
    assert_eq!(get(site.port, "/").status, 200);
    for path in ["packed", "replaced", "unpacked", "all"] {
        let before = proc::memory_bytes(worker);
        let clients: Vec<Client> = (0..3)
            .map(|_| {
                let mut client = Client::connect(site.port);
                let accept = match path {
                    "packed" => "Accept-Encoding: gzip\r\n",
                    _ => "",
                };
                client.send(format!(
                    "GET /{path}/large.html HTTP/1.1\r\nHost: x\r\n{accept}\r\n"
                ));
                client.take(1000).expect("the beginning");
                client
            })
            .collect();
        // Somebody else is served meanwhile.
        assert_eq!(get(site.port, "/").status, 200);
        let more = proc::memory_bytes(worker).saturating_sub(before);
        assert!(
            more < 12 << 20,
            "{path}: {more} bytes more for three slow readers"
        );
        drop(clients);
    }
    // What nobody takes any more is not made.
    until("the worker rests", || {
        let before = proc::cpu_time(worker);
        std::thread::sleep(Duration::from_millis(200));
        proc::cpu_time(worker).saturating_sub(before) <= Duration::from_millis(20)
    });
}

#[test]
fn a_body_that_breaks_closes_the_connection_and_is_logged() {
    let site = start();
    write_large(&site, 1);
    let whole = std::fs::read(site.folder.file("html/large.html.gz")).expect("it was written");
    site.folder
        .write("html/cut.html.gz", &whole[..whole.len() / 2]);
    site.folder.write("html/none.html.gz", "this is no gzip");
    let said = ["the body ends too early", "incorrect header check"];
    for (name, why) in ["cut", "none"].into_iter().zip(said) {
        let mut client = Client::connect(site.port);
        client.send(format!(
            "GET /unpacked/{name}.html HTTP/1.1\r\nHost: x\r\n\r\n"
        ));
        let (answer, end) = client.rest(Duration::from_secs(10));
        assert_eq!(end, End::Closed, "{name}");
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{name}");
        let has = |words: &[u8]| client::find(&answer, words).is_some();
        assert!(
            has(b"Transfer-Encoding: chunked\r\n") && !has(b"\r\n0\r\n\r\n"),
            "{name}"
        );
        until("it is in the log", || {
            let log = site.folder.read("logs/error.log");
            log.lines()
                .any(|line| line.contains("inflate() failed") && line.contains(why))
        });
    }
    assert_eq!(get(site.port, "/unpacked/large.html").body.len(), 1 << 20);
}
