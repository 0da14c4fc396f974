//! Free TCP ports.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, PoisonError};

/// Below the range that the kernel gives to clients, so that no client of any test sits on a port
/// between the moment when it is found free and the moment when a server binds it.
const FIRST: u16 = 10_000;
const BLOCK_PORTS: u16 = 50;
const BLOCKS: u16 = 400;

/// Ports that are this process's own for as long as it runs, whoever else runs tests meanwhile.
struct Block {
    next: u16,
    end: u16,
    /// A name that one process has at a time, and that the kernel takes back from a dead one.
    _name: UnixDatagram,
}

impl Block {
    fn take() -> Block {
        let start = std::process::id() as u16 % BLOCKS;
        let taken = (0..BLOCKS).find_map(|step| {
            let number = (start + step) % BLOCKS;
            let name = format!("revolve-test-ports-{number}");
            let address = SocketAddr::from_abstract_name(name).ok()?;
            let name = UnixDatagram::bind_addr(&address).ok()?;
            let next = FIRST + number * BLOCK_PORTS;
            Some(Block {
                next,
                end: next + BLOCK_PORTS,
                _name: name,
            })
        });
        taken.expect("a block of ports that no other process has")
    }
}

/// A port on which nothing listens, and that no other test gets, of this process or of another.
pub(crate) fn free() -> u16 {
    static BLOCKS_TAKEN: Mutex<Vec<Block>> = Mutex::new(Vec::new());
    let mut blocks = BLOCKS_TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match blocks.last_mut().filter(|block| block.next < block.end) {
            Some(block) => {
                let port = block.next;
                block.next += 1;
                if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                    return port;
                }
            }
            None => blocks.push(Block::take()),
        }
    }
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
