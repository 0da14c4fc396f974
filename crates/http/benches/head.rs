//! The head parser against `httparse`, in turns in one run: nanoseconds a head, and the ratio.
//!
//! `httparse` finds the lines of a head and nothing else; ours also tells which headers are known,
//! checks the host, and decides framing and keep-alive. With the name of a head and of a parser
//! (`wrk` or `browser`, `ours` or `httparse`) and a count as arguments, it runs that one alone, for
//! `perf stat -e instructions:u` around it.

use std::hint::black_box;
use std::time::Instant;

use revolve_http::Head;
use revolve_http::h1::{HeadLimits, HeadParser, Progress};

const WRK: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

const BROWSER: &[u8] = b"GET /docs/guide/getting-started.html?version=2 HTTP/1.1\r\n\
Host: www.example.com\r\n\
Connection: keep-alive\r\n\
Cache-Control: max-age=0\r\n\
Upgrade-Insecure-Requests: 1\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
Referer: https://www.example.com/docs/\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Accept-Language: en-GB,en;q=0.9\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
If-None-Match: \"6745c9f0-1c3a\"\r\n\
\r\n";

const ROUNDS: usize = 9;

fn ours(parser: &mut HeadParser, read: &mut Head, limits: &HeadLimits, head: &[u8]) {
    parser.reset(read);
    let progress = parser.parse(read, black_box(head), limits);
    assert_eq!(
        progress,
        Ok(Progress::Complete {
            head_bytes: head.len()
        })
    );
    black_box(&*read);
}

fn theirs(head: &[u8]) {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(black_box(head));
    assert_eq!(status, Ok(httparse::Status::Complete(head.len())));
    black_box(&request);
}

fn run(name: &str, head: &[u8], count: usize) -> f64 {
    let mut parser = HeadParser::new();
    let mut read = Head::default();
    let limits = HeadLimits::default();
    let start = Instant::now();
    match name {
        "ours" => (0..count).for_each(|_| ours(&mut parser, &mut read, &limits, head)),
        _ => (0..count).for_each(|_| theirs(head)),
    }
    start.elapsed().as_nanos() as f64 / count as f64
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let heads = [("wrk", WRK, 400_000), ("browser", BROWSER, 100_000)];
    if let [head, parser, count] = arguments.as_slice() {
        let count = count.parse().expect("the count is a number");
        let (_, bytes, _) = heads
            .iter()
            .find(|(name, ..)| name == head)
            .expect("wrk or browser");
        println!("{head} {parser}: {:.1} ns", run(parser, bytes, count));
        return;
    }
    for (name, head, count) in heads {
        // The best of several rounds: noise only ever adds.
        let (mut ours_ns, mut theirs_ns) = (f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            ours_ns = ours_ns.min(run("ours", head, count));
            theirs_ns = theirs_ns.min(run("httparse", head, count));
        }
        println!(
            "{name:8} {:4} bytes: {ours_ns:6.1} ns, httparse {theirs_ns:6.1} ns, ratio {:.2}",
            head.len(),
            ours_ns / theirs_ns
        );
    }
}
