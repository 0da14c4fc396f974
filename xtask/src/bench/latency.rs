//! One client that asks again and again, and notes how long each answer took.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::clients::Client;
use super::table::percentile;

/// Pause between two requests, so that the probe is not a load itself.
const PAUSE_US: u64 = 500;

/// What the probe found, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) max_us: f64,
}

/// Asks for `/return` over one kept connection for `length`.
///
/// # Errors
///
/// The server closed the connection or answered something else than 200.
pub(super) fn probe(server: SocketAddr, length: Duration) -> Result<Latency, String> {
    let say = |error: std::io::Error| format!("the probe of {server} failed: {error}");
    let client = Client::connect(server, 0).map_err(say)?;
    let mut taken_us = Vec::new();
    let end = Instant::now() + length;
    while Instant::now() < end {
        let begin = Instant::now();
        client.ask("/return").map_err(say)?;
        taken_us.push(begin.elapsed().as_secs_f64() * 1e6);
        std::thread::sleep(Duration::from_micros(PAUSE_US));
    }
    let mut at = |fraction| percentile(&mut taken_us, fraction).unwrap_or(f64::NAN);
    Ok(Latency {
        p50_us: at(0.5),
        p99_us: at(0.99),
        max_us: at(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::super::floor;
    use super::*;

    #[test]
    fn the_probe_measures_a_server_that_answers() {
        let server = floor::tests::spawn(floor::tests::response(2));
        let latency = probe(server, Duration::from_millis(100)).unwrap();
        assert!(latency.p50_us > 0.0);
        assert!(latency.p50_us <= latency.p99_us && latency.p99_us <= latency.max_us);
    }

    #[test]
    fn an_answer_that_is_not_200_ends_the_probe() {
        let refusal = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec();
        let server = floor::tests::spawn(refusal);
        let error = probe(server, Duration::from_millis(100)).unwrap_err();
        assert!(error.contains("503 Busy"), "{error}");
    }
}
