//! Whatever pieces a body comes in, its filters make the same of it: what a fuzz target and the test over its
//! corpus call.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::http::body::{Broken, Outgoing, Piece, Source};
use crate::http::filter;
use crate::http::phase::{self, Walked};
use crate::http::testing::TestSite;

/// A location for each filter; what it answers is replaced by the body of the check.
const SITE: &str = "
    default_type text/html;
    location /gzip { gzip on; gzip_min_length 0; gzip_http_version 1.0; gzip_comp_level 1; return 200 x; }
    location /gunzip { gunzip on; return 200 x; }
    location /sub { sub_filter aba <$uri>; sub_filter bb ''; sub_filter_once off; return 200 x; }
    location /once { sub_filter ab X; return 200 x; }
    location /charset { charset utf-8; source_charset koi8-r; return 200 x; }
    location /back { charset koi8-r; source_charset utf-8; return 200 x; }
    location /addition { add_before_body /part; add_after_body /part; return 200 x; }
    location /ssi { ssi on; return 200 x; }
    location /range { return 200 x; }
    location /all { ssi on; sub_filter a b; sub_filter_once off; charset utf-8; source_charset koi8-r; return 200 x; }
    location = /part { return 200 [part]; }
";

const HTTP: &str = "charset_map koi8-r utf-8 { C1 D0B0; C2 D0B1; E1 D090; 80 E282AC; }";

/// The locations, with a header line for the request.
const PATHS: [(&str, &str); 10] = [
    ("/gzip", "Accept-Encoding: gzip"),
    ("/gunzip", "X: y"),
    ("/sub", "X: y"),
    ("/once", "X: y"),
    ("/charset", "X: y"),
    ("/back", "X: y"),
    ("/addition", "X: y"),
    ("/ssi", "X: y"),
    ("/range", "Range: bytes=3-11"),
    ("/all", "X: y"),
];

/// How many cuts a body has at most.
const CUTS_MAX: usize = 16;

/// Any bytes: which filter, how many cuts, the lengths of the pieces (where the highest bit is set, nothing
/// more is there for a while), and the body.
///
/// # Panics
///
/// A filter makes another body of the pieces than of the whole.
#[cfg_attr(
    not(fuzzing),
    allow(unreachable_pub, reason = "a fuzz target calls it")
)]
pub fn check_filters(data: &[u8]) {
    let [which, count, rest @ ..] = data else {
        return;
    };
    let (path, line) = PATHS[usize::from(*which) % PATHS.len()];
    let (cuts, body) = rest.split_at((usize::from(*count) % (CUTS_MAX + 1)).min(rest.len()));
    let is_raw = *count & 0x80 != 0;
    let (cuts, body) = (cuts.to_vec(), body.to_vec());
    // One server a thread.
    let checked = std::thread::spawn(move || {
        let mut site = TestSite::try_new_with(HTTP, SITE).expect("a sound configuration");
        let body = match path {
            "/gunzip" if !is_raw => compressed(&body),
            _ => body,
        };
        let whole = run(
            &mut site,
            path,
            line,
            vec![(Bytes::from(body.clone()), false)],
        );
        let cut = run(&mut site, path, line, pieces(&body, &cuts));
        match (whole, cut) {
            (Ok(whole), Ok(cut)) if path == "/gzip" => {
                assert!(unpacked(&whole) == body && unpacked(&cut) == body, "{path}");
            }
            (Ok(whole), Ok(cut)) => assert!(whole == cut, "{path}"),
            // What was made before the end may be more or less.
            (Err(_), Err(_)) => {}
            _ => panic!("{path}: one is broken, and one is not"),
        }
    });
    if let Err(panic) = checked.join() {
        std::panic::resume_unwind(panic);
    }
}

fn compressed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

fn unpacked(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(body)
        .read_to_end(&mut plain)
        .expect("what gzip has made");
    plain
}

/// A body in pieces, and whether nothing more is there for a while behind each.
fn pieces(mut body: &[u8], cuts: &[u8]) -> Vec<(Bytes, bool)> {
    let mut pieces = Vec::new();
    for cut in cuts {
        let (first, rest) = body.split_at(usize::from(cut & 0x7f).min(body.len()));
        pieces.push((Bytes::copy_from_slice(first), cut & 0x80 != 0));
        body = rest;
    }
    pieces.push((Bytes::copy_from_slice(body), false));
    pieces
}

/// A body that comes in these pieces.
struct Pieces {
    left: VecDeque<(Bytes, bool)>,
    waits: bool,
}

impl Source for Pieces {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        if std::mem::take(&mut self.waits) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.left.pop_front().map(|(bytes, waits)| {
            self.waits = waits;
            Ok(Piece::Bytes(bytes))
        }))
    }
}

/// What a location's filters make of a body.
fn run(
    site: &mut TestSite,
    path: &str,
    line: &str,
    pieces: Vec<(Bytes, bool)>,
) -> Result<Vec<u8>, Broken> {
    let mut request = site.request(&format!("GET {path} HTTP/1.1\r\n{line}"));
    let mut made = Vec::new();
    let mut result = Ok(());
    site.block_on(async |_| {
        assert!(
            matches!(phase::walk(&mut request), Walked::Response),
            "{path}"
        );
        let response = &mut request.response;
        response.drop_body();
        response.ranges_allowed = path == "/range";
        response.set_length(pieces.iter().map(|(bytes, _)| bytes.len() as u64).sum());
        if path == "/gunzip" {
            response.headers.push(b"Content-Encoding", b"gzip");
        }
        let left = pieces.into();
        response.source = Some(Box::new(Pieces { left, waits: false }));
        filter::pass(&mut request);
        let mut body = Outgoing::new(&mut request);
        while let Some(next) = poll_fn(|cx| body.poll_bytes(cx)).await {
            match next {
                Ok(bytes) => made.extend_from_slice(&bytes),
                Err(broken) => {
                    result = Err(broken);
                    break;
                }
            }
        }
    });
    result.map(|()| made)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::testing::corpus;

    /// What fuzzing has found, so that `cargo test` alone keeps it found.
    #[test]
    fn bodies_of_the_corpus_are_the_same_in_pieces() {
        let corpus = corpus("filters");
        assert!(corpus.len() >= PATHS.len());
        corpus.iter().for_each(|data| check_filters(data));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_body_is_the_same_in_pieces(
            which in 0_u8..10,
            cuts in prop::collection::vec(0_u8..=255, 0..8),
            body in "(ab|ba|<!--# ?|include virtual=\"/part\" -->|echo var=\"uri\" -->|if expr=|[a-c]|\u{430}){0,40}",
        ) {
            let mut data = vec![which, cuts.len() as u8];
            data.extend(&cuts);
            data.extend(body.as_bytes());
            check_filters(&data);
        }
    }
}
