//! Connecting to a server that may be slow, or away for a while.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::Duration;

use crate::net::address::Address;
use crate::net::stream::Stream;
use crate::time::{sleep, timeout};

/// Times to wait between attempts: each twice as long as the one before, up to a maximum, and
/// of each a random part between a half and all, so that clients who lost the same server do not
/// come back all at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with `first`, at least 1 ms, and goes up to `max`.
    pub fn new(first: Duration, max: Duration) -> Backoff {
        let first = first.max(Duration::from_millis(1));
        Backoff {
            first,
            max: max.max(first),
            next: first,
        }
    }

    /// The next time to wait.
    pub fn next_delay(&mut self) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.max);
        // Every RandomState has keys of its own.
        let random = RandomState::new().hash_one(whole) >> 32;
        let part = whole / 2;
        part + part.mul_f64(random as f64 / f64::from(u32::MAX))
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

impl Default for Backoff {
    /// From 100 ms to 30 s.
    fn default() -> Self {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(30))
    }
}

/// A way to connect, and to connect again, to a server with one address or several. TCP, and
/// Unix sockets.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// use revolve_reactor::{Address, EventLoop, TcpClient};
///
/// EventLoop::new()?.block_on(async {
///     let server = Address::Inet(([127, 0, 0, 1], 7000).into());
///     let client = TcpClient::new(vec![server]).attempts_max(5);
///     let stream = client.connect().await?;
///     stream.send((&b"hello"[..]).into()).await.0
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TcpClient {
    addresses: Vec<Address>,
    timeout: Duration,
    attempts_max: u32,
    backoff: Backoff,
}

impl TcpClient {
    /// A client of the server at these addresses, which are tried in order.
    pub fn new(addresses: Vec<Address>) -> TcpClient {
        TcpClient {
            addresses,
            timeout: Duration::from_secs(10),
            attempts_max: 1,
            backoff: Backoff::default(),
        }
    }

    /// The time that connecting to one address may take. Default 10 s.
    pub fn timeout(mut self, duration: Duration) -> Self {
        self.timeout = duration;
        self
    }

    /// How often all addresses are tried before [`connect`](TcpClient::connect) gives up; 0
    /// for ever. Default 1.
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.attempts_max = attempts;
        self
    }

    /// The times between attempts. Default: that of [`Backoff`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Connects. Each call begins with the first attempt and the shortest time to wait.
    ///
    /// # Errors
    ///
    /// That of the last address at the last attempt, with the address named; `TimedOut` if it did
    /// not answer in time; `InvalidInput` for no address or a timeout of zero.
    pub async fn connect(&self) -> io::Result<Stream> {
        if self.timeout.is_zero() {
            return Err(invalid("a timeout of zero leaves no time to connect"));
        }
        let mut backoff = self.backoff.clone();
        backoff.reset();
        let mut attempt = 1;
        loop {
            match self.connect_once().await {
                Ok(stream) => return Ok(stream),
                Err(error) if attempt == self.attempts_max || self.addresses.is_empty() => {
                    return Err(error);
                }
                Err(_) => sleep(backoff.next_delay()).await,
            }
            // No attempt has the number 0, which is for ever.
            attempt = attempt.saturating_add(1);
        }
    }

    async fn connect_once(&self) -> io::Result<Stream> {
        let mut last = invalid("no address to connect to");
        for address in &self.addresses {
            let result = match timeout(self.timeout, Stream::connect(address)).await {
                Ok(result) => result,
                Err(elapsed) => Err(elapsed.into()),
            };
            match result {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    last = io::Error::new(error.kind(), format!("{address}: {error}"));
                }
            }
        }
        Err(last)
    }
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum_with_a_random_part() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(500));
        for _ in 0..2 {
            for whole in [100, 200, 400, 500, 500] {
                let delay = backoff.next_delay();
                assert!(
                    delay >= ms(whole) / 2 && delay <= ms(whole),
                    "{delay:?} of {whole}"
                );
            }
            backoff.reset();
        }
        let delays: std::collections::HashSet<Duration> = (0..50)
            .map(|_| Backoff::new(ms(1000), ms(1000)).next_delay())
            .collect();
        assert!(delays.len() > 10, "they are all alike");
    }
}
