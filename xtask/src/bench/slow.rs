//! `cargo xtask bench slow`: do thousands of slow clients cost anybody else their turn?
//!
//! Each slow client sends one byte of a request's head a second and never ends it. One quick client
//! asks meanwhile. In the end the server must have timed the slow ones out.

use std::path::Path;
use std::time::{Duration, Instant};

use super::clients::{self, Arrived, Client, SPARE_FILES};
use super::latency::{self, Latency};
use super::options::Options;
use super::process::{self, LOAD_CPU};
use super::servers::{Kind, Server, Setup, Workspace};
use super::table::Table;

const CONNECTIONS: usize = 10_000;
/// What slow clients send, one byte at a time; the last header has no end.
const HEAD: &[u8] = b"GET /return HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
/// What the server waits for a head beyond the time that is measured.
const TIMEOUT_SLACK_SECONDS: u64 = 10;
/// What the timing out may take beyond that.
const CLOSE_SLACK_SECONDS: u64 = 5;

/// How the slow clients ended.
#[derive(Default)]
struct Ends {
    /// Closed by the server.
    closed: usize,
    /// Of these, told why with a 408.
    answered: usize,
}

/// Measures each server with and without slow clients and prints a table.
pub(super) fn run(root: &Path, options: &Options) -> Result<(), String> {
    let connections = options.connections.unwrap_or(CONNECTIONS);
    let length = Duration::from_secs(options.seconds.unwrap_or(10));
    process::raise_open_files((connections + SPARE_FILES) as u64)?;
    println!("{connections} clients that send one byte a second, one that asks");
    let workspace = Workspace::new(root, options)?;
    let mut table = Table::new(&[
        "server",
        "alone p50 µs",
        "p99 µs",
        "max µs",
        "among slow p50 µs",
        "p99 µs",
        "max µs",
        "p99 ratio",
        "CPU",
        "timed out",
        "with a 408",
    ]);
    for kind in &options.servers {
        let row = process::on_cpu(LOAD_CPU, || measure(&workspace, *kind, connections, length))??;
        table.row(row);
    }
    println!("{}", table.render());
    Ok(())
}

fn measure(
    workspace: &Workspace,
    kind: Kind,
    connections: usize,
    length: Duration,
) -> Result<Vec<String>, String> {
    let timeout = length + Duration::from_secs(TIMEOUT_SLACK_SECONDS);
    let directives = format!("client_header_timeout {}s;", timeout.as_secs());
    let setup = Setup {
        connections_max: connections,
        http_directives: &directives,
        floor_head_bytes: 240,
        floor_body_bytes: 2,
        ..Setup::default()
    };
    let server = Server::start(workspace, kind, &setup)?;
    latency::probe(server.address(), Duration::from_secs(1))?;
    let alone = latency::probe(server.address(), length)?;
    let slow = clients::connect_all(server.address(), 0..connections)?;
    let connected_at = Instant::now();
    let before_ns = server.cpu_ns()?;
    let deadline = connected_at + timeout + Duration::from_secs(CLOSE_SLACK_SECONDS);
    let (among, ends) = std::thread::scope(|scope| {
        let slow = scope.spawn(|| drive(&slow, deadline));
        let among = latency::probe(server.address(), length);
        let taken_ns = server
            .cpu_ns()
            .map(|now_ns| now_ns.saturating_sub(before_ns));
        let ends = slow.join().unwrap_or_default();
        (among.and_then(|among| Ok((among, taken_ns?))), ends)
    });
    let (among, taken_ns) = among?;
    let percent = taken_ns as f64 / length.as_nanos() as f64 * 100.0;
    Ok(row(kind, alone, among, percent, &ends))
}

fn row(kind: Kind, alone: Latency, among: Latency, percent: f64, ends: &Ends) -> Vec<String> {
    let figures = |latency: Latency| {
        [latency.p50_us, latency.p99_us, latency.max_us].map(|figure| format!("{figure:.0}"))
    };
    let mut row = vec![kind.name().to_owned()];
    row.extend(figures(alone));
    row.extend(figures(among));
    row.push(format!("{:.2}", among.p99_us / alone.p99_us));
    row.push(format!("{percent:.0} %"));
    row.push(ends.closed.to_string());
    row.push(ends.answered.to_string());
    row
}

/// Sends a byte a second on each of `clients`, spread evenly over the second, until the server has
/// closed all of them or `deadline` has come.
fn drive(clients: &[Client], deadline: Instant) -> Ends {
    let begin = Instant::now();
    let mut ends = Ends::default();
    let mut open = vec![true; clients.len()];
    let mut answered = vec![false; clients.len()];
    let mut buffer = [0; 1024];
    let mut steps_done = 0;
    while ends.closed < clients.len() && Instant::now() < deadline {
        let due = begin.elapsed().as_secs_f64() * clients.len() as f64;
        while steps_done < due as usize {
            let (number, second) = (steps_done % clients.len(), steps_done / clients.len());
            steps_done += 1;
            if !open[number] {
                continue;
            }
            match clients[number].look(&mut buffer) {
                Arrived::Nothing => {
                    let byte = HEAD.get(second).copied().unwrap_or(b'x');
                    clients[number].send_now(&[byte]);
                }
                Arrived::Bytes(read) => {
                    answered[number] |= buffer[..read].starts_with(b"HTTP/1.1 408");
                }
                Arrived::Closed => {
                    open[number] = false;
                    ends.closed += 1;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    ends.answered = answered.iter().filter(|answered| **answered).count();
    ends
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn clients_that_are_timed_out_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clients = clients::connect_all(listener.local_addr().unwrap(), 0..4).unwrap();
        let server = std::thread::spawn(move || {
            for number in 0..3 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut first = [0; 1];
                stream.read_exact(&mut first).unwrap();
                assert_eq!(first[0], HEAD[0]);
                if number == 0 {
                    stream
                        .write_all(b"HTTP/1.1 408 Request Time-out\r\n\r\n")
                        .unwrap();
                }
            }
            listener.accept().unwrap()
        });
        let ends = drive(&clients, Instant::now() + Duration::from_millis(3500));
        drop(server.join().unwrap());
        assert_eq!((ends.closed, ends.answered), (3, 1));
    }
}
