//! Asking name servers: one after the other, by UDP, and by TCP what does not fit.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use revolve_reactor::{Address, Stream, UdpSocket, now, sleep, timeout};

use crate::net::resolver::message::{Query, Question, Received, Reply, receive};

/// A server that has not answered is asked last for so long.
const AVOID_FOR: Duration = Duration::from_secs(10);
/// No server is waited for longer at a time, as in nginx.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Between two rounds in which every server failed at once.
const PAUSE: Duration = Duration::from_millis(500);

/// The codes of RFC 1035 that mean an answer.
const NO_ERROR: u8 = 0;
const FORMAT_ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
const NAME_ERROR: u8 = 3;
const UNIMPLEMENTED: u8 = 4;

/// What is known of a server.
#[derive(Debug, Clone, Copy)]
struct Habits {
    avoided_until: Option<Instant>,
    /// Whether it repeats the letters of a name as they were.
    keeps_letters: bool,
    /// Whether it takes EDNS.
    has_edns: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            avoided_until: None,
            keeps_letters: true,
            has_edns: true,
        }
    }
}

/// Which servers are asked, and how.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) servers: Vec<SocketAddr>,
    /// Whether another one is the first each time.
    pub(super) rotates: bool,
    /// How long one is waited for at first; twice as long in the next round.
    pub(super) wait: Duration,
}

/// The servers as one loop knows them.
#[derive(Default)]
pub(super) struct Servers {
    habits: RefCell<HashMap<SocketAddr, Habits>>,
    random: RandomState,
    drawn: Cell<u64>,
    turn: Cell<usize>,
}

impl Servers {
    /// A number that nobody can guess.
    pub(super) fn draw(&self) -> u64 {
        self.drawn.set(self.drawn.get().wrapping_add(1));
        self.random.hash_one(self.drawn.get())
    }

    /// The servers in the order in which they are to be asked: those that answer first.
    fn sorted(&self, order: &Order) -> Vec<SocketAddr> {
        let mut servers = order.servers.clone();
        if order.rotates && !servers.is_empty() {
            self.turn.set(self.turn.get().wrapping_add(1));
            let by = self.turn.get() % servers.len();
            servers.rotate_left(by);
        }
        let habits = self.habits.borrow();
        servers.sort_by_key(|server| {
            let avoided = habits.get(server).and_then(|it| it.avoided_until);
            avoided.is_some_and(|until| until > now())
        });
        servers
    }

    fn change(&self, server: SocketAddr, change: impl FnOnce(&mut Habits)) {
        change(self.habits.borrow_mut().entry(server).or_default());
    }

    /// Asks until a server answers, each in turn; `None` where none does before the deadline, and a
    /// reply with an error where all of them say that they cannot.
    pub(super) async fn ask(
        &self,
        order: &Order,
        question: &Question,
        deadline: Instant,
    ) -> Option<Reply> {
        let servers = self.sorted(order);
        let mut wait = order.wait.min(WAIT_MAX);
        loop {
            let mut last_error = None;
            let (mut silent, mut refused_fast) = (false, true);
            for server in &servers {
                let left = deadline.saturating_duration_since(now());
                if left.is_zero() {
                    return None;
                }
                match timeout(wait.min(left), self.ask_one(*server, question)).await {
                    Ok(Ok(reply)) => {
                        self.change(*server, |habits| habits.avoided_until = None);
                        if matches!(reply.rcode, NO_ERROR | NAME_ERROR) {
                            return Some(reply);
                        }
                        last_error = Some(reply);
                    }
                    failed => {
                        silent = true;
                        refused_fast &= failed.is_ok();
                        let until = now().checked_add(AVOID_FOR);
                        self.change(*server, |habits| habits.avoided_until = until);
                    }
                }
            }
            if let Some(error) = last_error.filter(|_| !silent || wait >= WAIT_MAX) {
                return Some(error);
            }
            if refused_fast {
                let left = deadline.saturating_duration_since(now());
                if left.is_zero() {
                    return None;
                }
                sleep(PAUSE.min(left)).await;
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Asks one server, in the way that it is known to understand.
    async fn ask_one(&self, server: SocketAddr, question: &Question) -> io::Result<Reply> {
        let habits = self.habits.borrow().get(&server).copied();
        let mut habits = habits.unwrap_or_default();
        loop {
            let letters = if habits.keeps_letters { self.draw() } else { 0 };
            let id = self.draw() as u16;
            let query = Query::new(question, id, letters, habits.has_edns);
            let mut received = by_udp(server, &query).await?;
            let is_other = received == Received::OtherLetters;
            if is_other || received == Received::Truncated {
                // Over a connection nobody else can answer, whatever the letters are.
                let query = Query::new(question, id, 0, habits.has_edns);
                received = match by_tcp(server, &query).await {
                    Err(_) if is_other => Received::OtherLetters,
                    other => other?,
                };
            }
            if is_other {
                habits.keeps_letters = false;
                self.change(server, |known| known.keeps_letters = false);
            }
            match received {
                Received::OtherLetters if is_other && letters != 0 => {}
                Received::Reply(reply)
                    if habits.has_edns && matches!(reply.rcode, FORMAT_ERROR | UNIMPLEMENTED) =>
                {
                    habits.has_edns = false;
                    self.change(server, |known| known.has_edns = false);
                }
                Received::Reply(reply) => return Ok(reply),
                _ => return Ok(Reply::failure(SERVER_FAILURE)),
            }
        }
    }
}

/// Sends a query from a port of its own, and waits for what may be its answer.
async fn by_udp(server: SocketAddr, query: &Query) -> io::Result<Received> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(&Address::Inet(any))?;
    socket.connect(&Address::Inet(server))?;
    socket.send(&query.bytes).await?;
    loop {
        let datagram = socket.recv_from().await?;
        match receive(query, &datagram.bytes) {
            Received::Foreign => {}
            received => return Ok(received),
        }
    }
}

/// The same over a connection (RFC 7766), where a message stands behind its length.
async fn by_tcp(server: SocketAddr, query: &Query) -> io::Result<Received> {
    let stream = Stream::connect(&Address::Inet(server)).await?;
    let length = u16::try_from(query.bytes.len()).unwrap_or(u16::MAX);
    let framed = [&length.to_be_bytes(), query.bytes.as_slice()].concat();
    stream.send_all(Bytes::from(framed)).await?;
    let mut bytes = Vec::new();
    loop {
        if let Some((length, rest)) = bytes.split_first_chunk::<2>()
            && let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*length)))
        {
            return match receive(query, message) {
                Received::Foreign => Err(io::ErrorKind::InvalidData.into()),
                received => Ok(received),
            };
        }
        let received = stream.recv().await?;
        if received.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&received);
    }
}
