//! Free TCP ports.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range that the kernel gives to clients, so that no client of any test sits on a port
/// between the moment when it is found free and the moment when a server binds it.
const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

/// A port on which nothing listens, and that no other test of this process gets.
pub(crate) fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Two runs at the same time begin at different places.
    let start = std::process::id().wrapping_mul(2_654_435_761) >> 12;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + start.wrapping_add(step) % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {FIRST} and the {COUNT} after it is free");
}

/// Whether somebody listens on this port of the loopback address or of all addresses.
pub(crate) fn is_listening(port: u16) -> bool {
    // Asked of the kernel's table: a connection would be seen by the server, and logged.
    let listens = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let local = words.next().and_then(|local| local.rsplit_once(':'));
        let number = local.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        number == Some(port) && words.nth(1) == Some("0A")
    };
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .any(|table| table.lines().any(listens))
}
