//! Answers whose bodies pass filters, side by side: how a body is cut and compressed is each server's own
//! business, what it holds and what is said of it is not.

use std::io::Read;
use std::time::Duration;

use flate2::read::MultiGzDecoder;

use super::known::Difference;
use super::normal::{Answer, normal};
use super::pair::{Pair, Side, ask, describe, start_on};
use super::request::Case;
use crate::support::{Folder, client};

/// How long an answer may take that ends with its connection.
const LOOK: Duration = Duration::from_secs(5);

/// A site with filters: what stands in `http` before the server, what in the server, and its files.
pub(super) struct Site {
    pub(super) http: &'static str,
    pub(super) server: &'static str,
    pub(super) write: fn(&Folder),
}

impl Site {
    /// Starts both servers on it, if nginx is here.
    pub(super) fn start(&self) -> Option<Pair> {
        let config = format!(
            "daemon off; worker_processes 1; pid ROOT/NAME.pid;
             error_log ROOT/logs/NAME-error.log info; events {{}}
             http {{
               NGINX_ONLY access_log off;
               types {{ text/html html; text/plain txt; text/css css; application/json json; }}
               default_type application/octet-stream;
               {}
               server {{ listen 127.0.0.1:PORT; root ROOT/html; {} }}
             }}",
            self.http, self.server
        );
        start_on(&config, self.write, "")
    }

    /// Sends every case to both, each on a connection that ends, and fails if the answers differ.
    #[track_caller]
    pub(super) fn compare(&self, cases: &[Case]) {
        if let Some(pair) = self.start() {
            let differing: Vec<String> = cases
                .iter()
                .filter_map(|case| differ(&pair, case))
                .collect();
            let text = differing.join("\n\n");
            assert!(
                text.is_empty(),
                "{} of {} differ\n\n{text}",
                differing.len(),
                cases.len()
            );
        }
    }
}

fn differ(pair: &Pair, case: &Case) -> Option<String> {
    let answer = |side: &Side| normal(&plain(&ask(side, case, LOOK)), &side.who);
    let (theirs, ours) = (answer(&pair.nginx), answer(&pair.ours));
    (theirs != ours).then(|| {
        describe(&Difference {
            case,
            theirs: &theirs,
            ours: &ours,
        })
    })
}

/// An answer with its body in one piece and not compressed. Where it was in chunks or compressed, its head
/// says no more how long that was.
pub(super) fn plain(answer: &Answer) -> Answer {
    let Some(end) = client::find(&answer.bytes, b"\r\n\r\n") else {
        return answer.clone();
    };
    let (head, body) = answer.bytes.split_at(end + 4);
    let head = String::from_utf8_lossy(head).into_owned();
    let (mut body, mut trailers) = (body.to_vec(), Vec::new());
    if head.contains("Transfer-Encoding: chunked\r\n") && !body.is_empty() {
        (body, trailers) = joined(&body).unwrap_or_else(|| (b"broken chunks".to_vec(), Vec::new()));
    }
    let is_packed = head.contains("Content-Encoding: gzip\r\n");
    if is_packed && !body.is_empty() {
        let mut text = Vec::new();
        let read = MultiGzDecoder::new(body.as_slice()).read_to_end(&mut text);
        body = match read {
            Ok(_) => text,
            Err(error) => format!("broken: {error}").into_bytes(),
        };
    }
    let framing = ["Transfer-Encoding: ", "Content-Length: "];
    let is_kept = |line: &&str| {
        let is_framing = framing.iter().any(|name| line.starts_with(name));
        !(is_framing && (is_packed || line.starts_with(framing[0])))
    };
    let head: String = head.split_inclusive("\r\n").filter(is_kept).collect();
    Answer {
        bytes: [head.into_bytes(), body, trailers].concat(),
        end: answer.end,
    }
}

/// The content of chunks, which must be whole, and the lines behind them.
fn joined(mut chunks: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut body = Vec::new();
    loop {
        let end = client::find(chunks, b"\r\n")?;
        let size = std::str::from_utf8(&chunks[..end]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        let from = end + 2;
        if size == 0 {
            let trailers = chunks.get(from..)?.strip_suffix(b"\r\n")?;
            return Some((body, trailers.to_vec()));
        }
        body.extend_from_slice(chunks.get(from..from + size)?);
        chunks = chunks.get(from + size + 2..)?;
    }
}
