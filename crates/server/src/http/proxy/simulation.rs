//! Clients, the proxy and the servers behind it on one network in memory. Whatever the servers do (answer early,
//! late, in pieces, wrongly, not at all), each client gets what belongs to its own request and nothing else,
//! each server is asked what a client has sent and nothing else, and in the end nothing is left over.
//!
//! `REVOLVE_SEEDS` says how many seeds are run; a failure names its seed, and with `REVOLVE_SEED` set to it
//! that one is run again.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use revolve_reactor::{
    Address, EventLoop, Faults, ListenOptions, Listener, Simulation, Stream, sleep, spawn, timeout,
    yield_now,
};

use crate::Config;
use crate::http::testing::{self, TestSite};
use crate::simulated::{BREAKING, ROUGH, for_seeds};

const SEEDS: u64 = 1000;
const CLIENTS: u64 = 4;
/// No run takes longer, in the time of its loop.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

const HTTP: &str = "upstream two { server unix:/up/0; server unix:/up/1; }
    upstream few { proxy_retry_budget 0% min=1; keepalive 1; server unix:/up/0; server unix:/up/1 backup; }";

const SITE: &str = r#"
    error_log stderr emerg; client_max_body_size 0;
    proxy_read_timeout 5s; proxy_send_timeout 5s; proxy_connect_timeout 5s;
    proxy_next_upstream error timeout invalid_header http_503;
    location /two { proxy_pass http://two; }
    location /few { proxy_pass http://few; }
    location /streamed { proxy_request_buffering off; proxy_pass http://two; }
    location /one { proxy_pass http://unix:/up/1:; proxy_http_version 1.0; }
"#;

/// What is drawn: xorshift64*, apart from the driver's.
#[derive(Clone)]
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What goes over a connection, in pieces that a seed chooses.
async fn say(stream: &Stream, bytes: &[u8], chance: &mut Chance) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        let most = chance.pick(&[1, 20, 300, 2000]);
        let len = (1 + chance.below(most) as usize).min(rest.len());
        let piece = bytes::Bytes::copy_from_slice(&rest[..len]);
        if stream.send_all(piece).await.is_err() {
            return false;
        }
        rest = &rest[len..];
        match chance.below(6) {
            0 => sleep(Duration::from_millis(chance.below(50))).await,
            1 => yield_now().await,
            _ => {}
        }
    }
    true
}

/// One side's reading.
struct Reading<'a> {
    stream: &'a Stream,
    bytes: Vec<u8>,
    has_ended: bool,
}

impl<'a> Reading<'a> {
    fn new(stream: &'a Stream) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
            has_ended: false,
        }
    }

    async fn more(&mut self) -> bool {
        match self.stream.recv().await {
            Ok(received) if !received.is_empty() => {
                self.bytes.extend_from_slice(&received);
                true
            }
            _ => {
                self.has_ended = true;
                false
            }
        }
    }

    /// A head, without its empty line.
    async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.bytes, b"\r\n\r\n") {
                let head = String::from_utf8(self.bytes[..at].to_vec()).expect("text");
                self.bytes.drain(..at + 4);
                return Some(head);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The body behind a head, and whether it is whole.
    async fn body(&mut self, head: &str, is_answer: bool) -> (Vec<u8>, bool) {
        if value(head, "transfer-encoding").is_some() {
            return self.chunks().await;
        }
        let length = value(head, "content-length").map(|it| it.parse::<usize>().expect("a number"));
        let length = length.or((!is_answer).then_some(0));
        while length.is_none_or(|length| self.bytes.len() < length) {
            if !self.more().await {
                let is_whole = length.is_none();
                return (std::mem::take(&mut self.bytes), is_whole);
            }
        }
        let body = self.bytes.drain(..length.unwrap_or(0)).collect();
        (body, true)
    }

    async fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let end = memchr::memmem::find(&self.bytes, b"\r\n");
            let size = end.map(|end| {
                let size = std::str::from_utf8(&self.bytes[..end]).expect("a size");
                (end + 2, usize::from_str_radix(size, 16).expect("a size"))
            });
            match size {
                Some((at, size)) if self.bytes.len() >= at + size + 2 => {
                    body.extend_from_slice(&self.bytes[at..at + size]);
                    self.bytes.drain(..at + size + 2);
                    if size == 0 {
                        return (body, true);
                    }
                }
                Some((at, size)) if !self.more().await => {
                    let part = at.min(self.bytes.len())..(at + size).min(self.bytes.len());
                    body.extend_from_slice(&self.bytes[part]);
                    return (body, false);
                }
                None if !self.more().await => return (body, false),
                _ => {}
            }
        }
    }
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    let mut named = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.next().map(|(_, value)| value)
}

/// What belongs to a request and to no other: its number, again and again.
fn of_number(number: u64, mark: char, len: usize) -> Vec<u8> {
    let unit = format!("{mark}{number};");
    unit.bytes().cycle().take(len).collect()
}

/// A server behind the proxy.
#[derive(Clone)]
struct Behind {
    is_kind: bool,
    wrong: Rc<RefCell<Vec<String>>>,
}

impl Behind {
    async fn listen(self, address: Address, mut chance: Chance) {
        let fd = Listener::bind(&address, &ListenOptions::default()).expect("in memory");
        let listener = Listener::from_fd(fd).expect("in memory");
        loop {
            match listener.accept().await {
                Ok((fd, _)) => {
                    let seed = chance.below(u64::MAX);
                    let behind = self.clone();
                    let stream = Stream::from_fd(fd).expect("in memory");
                    spawn(async move { behind.serve(stream, Chance::new(seed)).await });
                }
                Err(_) => yield_now().await,
            }
        }
    }

    async fn serve(&self, stream: Stream, mut chance: Chance) {
        let mut reading = Reading::new(&stream);
        while let Some(head) = reading.head().await {
            let number = value(&head, "x-number").and_then(|it| it.parse::<u64>().ok());
            let Some(number) = number else {
                self.wrong.borrow_mut().push(format!("asked {head:?}"));
                return;
            };
            let unkind = if self.is_kind { 99 } else { chance.below(14) };
            match unkind {
                // It is gone.
                0 => return,
                // It takes too long.
                1 => sleep(Duration::from_secs(chance.below(9))).await,
                // It answers before it has the body, and wants no more.
                2 => {
                    let answer = answer(number, 413, &mut chance, false);
                    say(&stream, &answer, &mut chance).await;
                    return;
                }
                _ => {}
            }
            let (body, is_whole) = reading.body(&head, false).await;
            let length = value(&head, "x-length").and_then(|it| it.parse().ok());
            let expected = of_number(number, 'b', length.unwrap_or(0));
            let is_right = if is_whole {
                body == expected
            } else {
                expected.starts_with(&body)
            };
            if !is_right {
                let shown = String::from_utf8_lossy(&body).into_owned();
                self.wrong
                    .borrow_mut()
                    .push(format!("{number} has the body {shown:.200?}"));
            }
            if !is_whole {
                return;
            }
            let keeps = !head.contains("HTTP/1.0") && chance.below(4) > 0;
            let (status, cut) = match unkind {
                3 => (503, None),
                4 => (200, Some(chance.below(60) as usize)),
                5 => (200, Some(200 + chance.below(2000) as usize)),
                6 => {
                    say(&stream, b"HTTP/1.1 oh no\r\n\r\n", &mut chance).await;
                    return;
                }
                _ => (200, None),
            };
            let mut bytes = answer(number, status, &mut chance, keeps);
            if head.starts_with("HEAD ") {
                // Behind an interim one.
                let start = memchr::memmem::rfind(&bytes, b"HTTP/1.1 ").expect("a head");
                let end = memchr::memmem::find(&bytes[start..], b"\r\n\r\n").expect("an end");
                bytes.truncate(start + end + 4);
            }
            bytes.truncate(cut.unwrap_or(usize::MAX));
            // Some close although they have said nothing of it.
            let closes = !keeps || cut.is_some() || chance.below(6) == 0;
            if !say(&stream, &bytes, &mut chance).await || closes {
                return;
            }
        }
    }
}

/// An answer that says whose it is.
fn answer(number: u64, status: u16, chance: &mut Chance, keeps: bool) -> Vec<u8> {
    let len = chance.pick(&[0, 1, 100, 5000]) as usize;
    let body = of_number(number, 'a', len);
    let connection = if keeps { "" } else { "Connection: close\r\n" };
    let mut out = String::new();
    if chance.below(8) == 0 {
        out += "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    }
    out +=
        &format!("HTTP/1.1 {status} It\r\nX-Number: {number}\r\nX-Length: {len}\r\n{connection}");
    let mut out = out.into_bytes();
    match chance.below(3) {
        0 if !keeps => {
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(&body);
        }
        1 => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for piece in body.chunks(1 + chance.below(700) as usize) {
                out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
        }
        _ => {
            out.extend_from_slice(format!("Content-Length: {len}\r\n\r\n").as_bytes());
            out.extend_from_slice(&body);
        }
    }
    out
}

/// One client, with several requests one after the other, or one behind the other.
async fn ask(address: Address, client: u64, mut chance: Chance, all: &Expecting) {
    let Ok(stream) = Stream::connect(&address).await else {
        return;
    };
    let stream = Rc::new(stream);
    let count = 1 + chance.below(4);
    let mut asked = Vec::new();
    let mut bytes = Vec::new();
    for at in 0..count {
        let number = client * 100 + at;
        let method = chance.pick(&["GET", "GET", "POST", "PUT", "HEAD"]);
        let path = chance.pick(&["/two", "/few", "/streamed", "/one"]);
        let len = if matches!(method, "POST" | "PUT") {
            chance.pick(&[0, 1, 3000])
        } else {
            0
        };
        let last = if at + 1 == count {
            "Connection: close\r\n"
        } else {
            ""
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: h\r\nX-Number: {number}\r\nX-Length: {len}\r\n\
             {last}Content-Length: {len}\r\n\r\n"
        );
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(&of_number(number, 'b', len));
        asked.push((number, method));
    }
    let leaves = !all.must_answer && chance.below(6) == 0;
    if leaves {
        bytes.truncate(chance.below(bytes.len() as u64) as usize);
    }
    let (sender, mut speech) = (stream.clone(), chance.clone());
    let sending = spawn(async move { say(&sender, &bytes, &mut speech).await });
    if leaves && chance.below(2) == 0 {
        let _ = sending.await;
        return;
    }
    if leaves {
        let _ = sending.await;
        let _ = stream.shutdown_write();
    }
    let mut reading = Reading::new(&stream);
    for (number, method) in asked {
        let Some(head) = reading.head().await else {
            all.check(leaves || !all.must_answer, || {
                format!("{number} gets no answer")
            });
            return;
        };
        let is_head = method == "HEAD";
        let (body, is_whole) = match is_head {
            true => (Vec::new(), true),
            false => reading.body(&head, true).await,
        };
        all.judge(number, method, &head, &body, is_whole);
        if !is_whole {
            return;
        }
    }
}

/// What is expected of all answers, and what was wrong.
struct Expecting {
    must_answer: bool,
    wrong: Rc<RefCell<Vec<String>>>,
}

impl Expecting {
    fn check(&self, is_right: bool, what: impl FnOnce() -> String) {
        if !is_right {
            self.wrong.borrow_mut().push(what());
        }
    }

    fn judge(&self, number: u64, method: &str, head: &str, body: &[u8], is_whole: bool) {
        let status = head.get(9..12).unwrap_or_default();
        let Some(whose) = value(head, "x-number") else {
            // What may be sent but once is lost with a connection that closes at that moment.
            let is_excused = !self.must_answer || method == "POST";
            let is_ours = matches!(status, "502" | "504" | "400" | "408" | "499" | "500");
            self.check(is_ours && is_excused, || {
                format!("{method} {number} gets {head}")
            });
            return;
        };
        self.check(whose == number.to_string(), || {
            format!("{number} gets that of {whose}")
        });
        let length = value(head, "x-length").and_then(|it| it.parse().ok());
        let expected = of_number(number, 'a', length.unwrap_or(0));
        let is_right = match is_whole && method != "HEAD" && self.must_answer {
            true => body == expected,
            false => expected.starts_with(body),
        };
        self.check(is_right, || {
            format!("{number} gets {:.200?}", String::from_utf8_lossy(body))
        });
        let is_sound = is_whole && status == "200";
        self.check(is_sound || !self.must_answer, || {
            format!("{number} gets {head}, cut")
        });
    }
}

fn run_here(seed: u64, faults: Faults, is_kind: bool) {
    let simulation = Simulation::seeded(seed).faults(faults);
    let builder = EventLoop::builder()
        .simulation(simulation)
        .buffer_bytes(512);
    static CONFIG: OnceLock<Arc<Config>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| testing::load(HTTP, SITE));
    let mut site = TestSite::on(builder.build().expect("in memory"), config);
    site.block_on(async |site| {
        let mut chance = Chance::new(seed ^ 0x9e37);
        let wrong = Rc::new(RefCell::new(Vec::new()));
        for place in 0..2 {
            let behind = Behind {
                is_kind,
                wrong: wrong.clone(),
            };
            let address = Address::Unix(format!("/up/{place}").into());
            spawn(behind.listen(address, Chance::new(chance.below(u64::MAX))));
        }
        yield_now().await;
        let front = Address::Unix("/front".into());
        let fd = Listener::bind(&front, &ListenOptions::default()).expect("in memory");
        let listener = Listener::from_fd(fd).expect("in memory");
        let all = Rc::new(Expecting {
            must_answer: is_kind && faults.reset == 0,
            wrong: wrong.clone(),
        });
        let mut clients = Vec::new();
        for client in 1..=CLIENTS {
            let (front, all) = (front.clone(), all.clone());
            let chance = Chance::new(chance.below(u64::MAX));
            clients.push(spawn(async move { ask(front, client, chance, &all).await }));
        }
        let mut accepted = 0;
        while accepted < CLIENTS {
            match timeout(PATIENCE, listener.accept())
                .await
                .expect("they connect")
            {
                Ok((fd, peer)) => {
                    site.admit(fd, peer);
                    accepted += 1;
                }
                Err(_) => yield_now().await,
            }
        }
        for client in clients {
            let done = timeout(PATIENCE, client).await;
            done.expect("no client hangs").expect("no panic");
        }
        let is_idle = || site.connection_count() == 0 && site.upstream_connections() == 0;
        let until = revolve_reactor::now() + PATIENCE;
        while !is_idle() {
            assert!(revolve_reactor::now() < until, "something is left over");
            sleep(Duration::from_millis(10)).await;
        }
        assert!(wrong.borrow().is_empty(), "{:#?}", wrong.borrow());
    });
}

/// [`run_here`] on a thread of its own: there is one site a thread.
fn run(seed: u64, faults: Faults, is_kind: bool) {
    let run = std::thread::spawn(move || run_here(seed, faults, is_kind));
    run.join()
        .unwrap_or_else(|_| panic!("REVOLVE_SEED={seed}, kind: {is_kind}"));
}

fn check(seed: u64) {
    match seed % 3 {
        0 => run(seed, ROUGH, true),
        1 => run(seed, ROUGH, false),
        _ => run(seed, BREAKING, false),
    }
}

#[test]
fn nobody_gets_what_is_anothers_and_nothing_is_left_over() {
    for_seeds(SEEDS, check);
}
