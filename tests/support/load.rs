//! Clients that ask without end, and retry nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Client;

/// Between two requests of one client: the machine has other things to do too.
const PAUSE: Duration = Duration::from_millis(5);

/// What clients have seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Requests that were answered by 200.
    pub(crate) requests: u64,
    /// Connections; another one is made where the server said that it would close the last.
    pub(crate) connections: u64,
    /// The longest that a response took.
    pub(crate) slowest: Duration,
    /// What went wrong, each with its time since the start.
    pub(crate) failures: Vec<String>,
}

/// Running clients.
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts so many clients, each on a connection of its own, that ask for a path.
    pub(crate) fn start(port: u16, path: &'static str, clients: usize) -> Load {
        let is_over = Arc::new(AtomicBool::new(false));
        let clients = (0..clients)
            .map(|_| {
                let is_over = Arc::clone(&is_over);
                std::thread::spawn(move || ask(port, path, &is_over))
            })
            .collect();
        Load { is_over, clients }
    }

    /// Ends the clients.
    pub(crate) fn finish(self) -> Tally {
        self.is_over.store(true, Ordering::Relaxed);
        let mut sum = Tally::default();
        for client in self.clients {
            let tally = client.join().expect("a client");
            sum.requests += tally.requests;
            sum.connections += tally.connections;
            sum.slowest = sum.slowest.max(tally.slowest);
            sum.failures.extend(tally.failures);
        }
        sum
    }
}

fn ask(port: u16, path: &str, is_over: &AtomicBool) -> Tally {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut tally = Tally::default();
    let start = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let mut client = Client::connect(port);
        tally.connections += 1;
        while !is_over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let sent = client.try_send(&request);
            let failure = match sent.and_then(|()| client.try_response()) {
                Ok(response) if response.status == 200 => {
                    tally.requests += 1;
                    tally.slowest = tally.slowest.max(asked.elapsed());
                    if response.header("connection") == Some("close") {
                        break;
                    }
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Ok(response) => response.head,
                Err(error) => format!("request {}: {error}", tally.requests),
            };
            tally
                .failures
                .push(format!("{:?}: {failure}", start.elapsed()));
            break;
        }
    }
    tally
}
