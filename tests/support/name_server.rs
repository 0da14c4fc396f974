//! A name server whose answers a test gives.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a name leads to; nothing where there is no such name.
type Answer = Option<Ipv4Addr>;

/// A name server for IPv4 addresses, on a port of its own. Its answers hold for a second.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    /// Answers each name, in lower case, by `answer`, which is told how often that was asked for before.
    pub(crate) fn start(answer: impl Fn(&str, usize) -> Answer + Send + 'static) -> NameServer {
        NameServer::with_services(answer, |_| Vec::new())
    }

    /// The same, with services: priority, port and host of each place of one.
    pub(crate) fn with_services(
        answer: impl Fn(&str, usize) -> Answer + Send + 'static,
        services: impl Fn(&str) -> Vec<(u16, u16, &'static str)> + Send + 'static,
    ) -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("a bound socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        thread::spawn(move || {
            let mut memory = [0; 2048];
            while let Ok((len, from)) = socket.recv_from(&mut memory) {
                let (name, end) = name(&memory[..len]);
                let before = {
                    let mut noted = noted.lock().expect("no test panics with it");
                    let before = noted.iter().filter(|it| **it == name).count();
                    noted.push(name.clone());
                    before
                };
                let question = &memory[..end + 4];
                let said = match memory[end..end + 2] {
                    [0, 33] => say_service(question, &services(&name)),
                    _ => say(question, answer(&name, before)),
                };
                let _ = socket.send_to(&said, from);
            }
        });
        NameServer { address, asked }
    }

    /// How often a name was asked for.
    pub(crate) fn count(&self, name: &str) -> usize {
        let asked = self.asked.lock().expect("no test panics with it");
        asked.iter().filter(|it| *it == name).count()
    }
}

/// The name that a query asks for, and where it ends.
fn name(query: &[u8]) -> (String, usize) {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let len = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..][..len]).to_ascii_lowercase());
        at += 1 + len;
    }
    (labels.join("."), at + 1)
}

/// An answer to a query that is cut off behind its question.
fn say(question: &[u8], answer: Answer) -> Vec<u8> {
    let (code, answers) = match answer {
        Some(_) => (0x80, 1),
        None => (0x83, 0),
    };
    let mut out = question.to_vec();
    out[2..12].copy_from_slice(&[0x81, code, 0, 1, 0, answers, 0, 0, 0, 0]);
    if let Some(address) = answer {
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend_from_slice(&address.octets());
    }
    out
}

/// The same for the places of a service.
fn say_service(question: &[u8], places: &[(u16, u16, &str)]) -> Vec<u8> {
    let code = if places.is_empty() { 0x83 } else { 0x80 };
    let mut out = question.to_vec();
    out[2..12].copy_from_slice(&[0x81, code, 0, 1, 0, places.len() as u8, 0, 0, 0, 0]);
    for (priority, port, host) in places {
        let labels = host
            .split('.')
            .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
        let target: Vec<u8> = labels.chain([0]).collect();
        out.extend_from_slice(&[0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 1]);
        out.extend_from_slice(&(6 + target.len() as u16).to_be_bytes());
        for number in [*priority, 1, *port] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&target);
    }
    out
}
