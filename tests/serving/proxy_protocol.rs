//! `listen ... proxy_protocol`: whom a proxy speaks for, before HTTP and before TLS.

use super::Site;
use crate::support::{Client, ports, until};

const SAYS: &str = "return 200 '$proxy_protocol_addr:$proxy_protocol_port \
    $proxy_protocol_server_addr:$proxy_protocol_server_port $remote_addr:$remote_port \
    $realip_remote_addr $proxy_protocol_tlv_authority $proxy_protocol_tlv_0x05 \
    $proxy_protocol_tlv_ssl_version $proxy_protocol_tlv_ssl_verify';";

const V1: &str = "PROXY TCP4 192.0.2.1 198.51.100.7 5000 443\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Starts a server of one more port, which takes the PROXY protocol.
fn start(lines: &str) -> (Site, u16) {
    let port = ports::free();
    let listen = format!("listen 127.0.0.1:{port} proxy_protocol; {lines} location / {{ {SAYS} }}");
    (Site::start("", &listen), port)
}

/// What is answered to these bytes.
fn says(port: u16, head: &[u8]) -> String {
    let mut client = Client::connect(port);
    client.send([head, GET.as_bytes()].concat());
    client.response().text()
}

#[test]
fn version_1_in_any_fragmentation() {
    let (site, port) = start("");
    let expected = "192.0.2.1:5000 198.51.100.7:443 127.0.0.1:";
    for step in [1, 7, 1000] {
        let mut client = Client::connect(port);
        let bytes = format!("{V1}{GET}{GET}");
        for piece in bytes.as_bytes().chunks(step) {
            client.send(piece);
        }
        for _ in 0..2 {
            assert!(client.response().text().starts_with(expected));
        }
    }
    let unknown = says(port, b"PROXY UNKNOWN\r\n");
    assert!(unknown.starts_with(": : 127.0.0.1:"), "{unknown}");
    // The port beside it takes none.
    let mut client = Client::connect(site.port);
    assert!(client.get("/").text().starts_with(": : 127.0.0.1:"));
}

#[test]
fn version_2_and_what_stands_behind_the_addresses() {
    let (_site, port) = start("");
    let mut tail = vec![192, 0, 2, 9, 198, 51, 100, 9, 0x12, 0x34, 0, 80];
    tail.extend([2, 0, 4]);
    tail.extend(b"name");
    tail.extend([5, 0, 2]);
    tail.extend(b"id");
    tail.extend([0x20, 0, 15, 1, 0, 0, 0, 3, 0x21, 0, 7]);
    tail.extend(b"TLSv1.3");
    let mut head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    head.extend((tail.len() as u16).to_be_bytes());
    head.extend(tail);
    let said = says(port, &head);
    assert!(
        said.starts_with("192.0.2.9:4660 198.51.100.9:80 127.0.0.1:"),
        "{said}"
    );
    assert!(said.ends_with(" 127.0.0.1 name id TLSv1.3 3"), "{said}");
}

#[test]
fn the_address_counts_where_the_proxy_is_trusted() {
    let trusted = "set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;";
    let (_site, port) = start(trusted);
    let said = says(port, V1.as_bytes());
    assert!(said.contains(" 192.0.2.1:5000 127.0.0.1 "), "{said}");
    let (_site, port) = start("set_real_ip_from 10.0.0.0/8; real_ip_header proxy_protocol;");
    let said = says(port, V1.as_bytes());
    assert!(said.contains(" 127.0.0.1:"), "{said}");
}

#[test]
fn what_is_no_such_head_is_closed_and_logged() {
    let (site, port) = start("");
    for head in [
        "",
        "PROXY TCP4 1.2.3.4\r\n",
        "PROXY TCP9 a b c d\r\n",
        "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
    ] {
        let mut client = Client::connect(port);
        client.send(format!("{head}{GET}"));
        client.closed();
    }
    until("the log says so", || {
        let log = site.folder.read("logs/error.log");
        log.matches("broken header: \"").count() == 4
            && log.contains("while reading PROXY protocol, client: 127.0.0.1, server: 127.0.0.1:")
    });
}
