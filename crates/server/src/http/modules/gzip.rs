//! `gzip`: bodies compressed for clients that take it.
//!
//! ```nginx
//! gzip on;
//! gzip_types text/css application/javascript;   # and text/html, always
//! gzip_comp_level 5;
//! gzip_min_length 1000;
//! ```
//!
//! A file that lies in the cache is compressed once: its other form is kept beside it and goes with it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use revolve_conf::directive::Args;
use revolve_conf::value::{number_of, size_of};
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, LOCATION, SERVER, checked_once, invalid_value, set_once};
use crate::config::setting::settings;
use crate::file_cache::{Content, FileEntry, Form};
use crate::http::body::{Broken, Piece};
use crate::http::filter::{BodyFilter, Input};
use crate::http::modules::gzip_accept::{accepts, note_variation};
use crate::http::modules::media_types::{MediaTypes, types_slot};
use crate::http::modules::{Module, RequestState};
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, slot};
use crate::http::variables::Builtin;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_gzip_filter_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    header_filters: &[(|it| it.gzip.enabled, filter)],
    ..Module::EMPTY
};

/// `gzip_buffers`: how much compressed output may gather before it leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buffers {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
}

/// nginx's default for its buffers, `32 4k` on most machines: 128 KiB in all.
pub(crate) const BUFFERS: Buffers = Buffers {
    number: 32,
    bytes: 4096,
};

settings! {
    /// Compressing bodies.
    pub struct GzipSettings / RawGzip {
        inherit {
            /// `gzip`, default off.
            enabled: bool = false,
            /// `gzip_types`, default `text/html`.
            types: Arc<MediaTypes> = MediaTypes::of(&["text/html"]),
            /// `gzip_comp_level`, 1 to 9, default 1.
            level: u64 = 1,
            /// `gzip_min_length`, default 20 bytes: a shorter body stays as it is.
            length_min: u64 = 20,
            /// `gzip_window`, as the exponent of 2 of its bytes, default 15.
            window_bits: u8 = 15,
            /// `gzip_buffers`, default `32 4k`.
            buffers: Buffers = BUFFERS,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "gzip",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag gzip.enabled),
    },
    DirectiveRow {
        name: "gzip_types",
        contexts: ANY,
        args: Args::ONE_MORE,
        set: types_slot!(gzip.types),
    },
    DirectiveRow {
        name: "gzip_comp_level",
        contexts: ANY,
        args: Args::ONE,
        set: level,
    },
    DirectiveRow {
        name: "gzip_min_length",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(size gzip.length_min),
    },
    DirectiveRow {
        name: "gzip_window",
        contexts: ANY,
        args: Args::ONE,
        set: window,
    },
    DirectiveRow {
        name: "gzip_hash",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, directive| {
            power_of_two(directive, 17, "512, 1k, 2k, 4k, 8k, 16k, 32k, 64k, or 128k")?;
            checked_once(scope, directive)
        },
    },
    DirectiveRow {
        name: "gzip_buffers",
        contexts: ANY,
        args: Args::TWO,
        set: |scope, directive| {
            let value = buffers(directive)?;
            set_once(&mut scope.level.settings.gzip.buffers, value, directive)
        },
    },
    DirectiveRow {
        name: "postpone_gzipping",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, directive| {
            size_of(&directive.args[0], &directive.name.text)?;
            checked_once(scope, directive)
        },
    },
    DirectiveRow {
        name: "gzip_no_buffer",
        contexts: ANY,
        args: Args::FLAG,
        set: checked_once,
    },
];

fn level(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let level = number_of(word, &directive.name.text)?;
    let slot = &mut scope.level.settings.gzip.level;
    if slot.is_none() && !(1..=9).contains(&level) {
        return Err(Diagnostic::new(word.span, "value must be between 1 and 9")
            .label("1 is the fastest, 9 the smallest"));
    }
    set_once(slot, level, directive)
}

fn window(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let bits = power_of_two(directive, 15, "512, 1k, 2k, 4k, 8k, 16k, or 32k")?;
    set_once(&mut scope.level.settings.gzip.window_bits, bits, directive)
}

/// The exponent of a size that is a power of two from 512 bytes on.
fn power_of_two(directive: &Directive, bits_max: u32, choices: &str) -> Result<u8, Diagnostic> {
    let (word, name) = (&directive.args[0], &directive.name.text);
    let bytes = size_of(word, name)?;
    let bits = bytes.checked_ilog2().unwrap_or(0);
    if !bytes.is_power_of_two() || !(9..=bits_max).contains(&bits) {
        let message = format!("\"{name}\" directive must be {choices}");
        return Err(Diagnostic::new(word.span, message).label("none of them"));
    }
    Ok(bits as u8)
}

/// The number and the size of buffers.
///
/// Source: nginx's `ngx_conf_set_bufs_slot`.
pub(crate) fn buffers(directive: &Directive) -> Result<Buffers, Diagnostic> {
    let name = &directive.name.text;
    let wrong = |at: usize| {
        let expected = "a number and a size, both above 0";
        invalid_value(&directive.args[at], directive, expected)
    };
    let number = number_of(&directive.args[0], name).map_err(|_| wrong(0))?;
    let bytes = size_of(&directive.args[1], name).map_err(|_| wrong(1))?;
    match (number, bytes) {
        (0, _) => Err(wrong(0)),
        (_, 0) => Err(wrong(1)),
        _ => Ok(Buffers { number, bytes }),
    }
}

impl Buffers {
    /// How large a piece of output becomes before it leaves: one buffer, within reason.
    pub(crate) fn piece_bytes(self) -> usize {
        let all = self.bytes.saturating_mul(self.number);
        self.bytes.clamp(512, 32 * 1024).min(all.max(512)) as usize
    }
}

/// The module's variables.
const VARIABLES: &[Builtin] = &[Builtin {
    name: "gzip_ratio",
    get: ratio,
}];

/// Bytes before and after.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    plain: u64,
    packed: u64,
}

/// What is kept of a request.
#[derive(Default)]
pub(crate) struct GzipState {
    /// How much was compressed, where that was known at once.
    counts: Counts,
    /// How much was compressed while it was sent; nothing before the end.
    streamed: Option<Rc<Cell<Counts>>>,
}

impl RequestState for GzipState {}

/// Source: nginx's `ngx_http_gzip_ratio_variable`.
fn ratio(request: &Request, out: &mut Vec<u8>) -> bool {
    let state = &request.state.gzip;
    let Counts { plain, packed } = state.streamed.as_ref().map_or(state.counts, |it| it.get());
    if packed == 0 {
        return false;
    }
    let (plain, packed) = (u128::from(plain), u128::from(packed));
    // Rounded by the third digit behind the point alone, as in nginx.
    let hundredths = plain * 100 / packed + u128::from(plain * 1000 / packed % 10 > 4);
    write!(out, "{}.{:02}", hundredths / 100, hundredths % 100).is_ok()
}

/// Header filter: compresses the body.
///
/// Source: nginx's `ngx_http_gzip_header_filter`.
pub(crate) fn filter(request: &mut Request) -> Outcome {
    let response = &request.response;
    let settings = &request.settings().gzip;
    if !matches!(response.status, 200 | 403 | 404) || response.is_encoded() {
        return Outcome::Next;
    }
    let length = response.known_length();
    if length.is_some_and(|bytes| bytes < settings.length_min)
        || !settings.types.has(&response.content_type)
    {
        return Outcome::Next;
    }
    note_variation(request);
    if !accepts(request) {
        return Outcome::Next;
    }
    let headers = &mut request.response.headers;
    headers.push_line(b"Content-Encoding: gzip\r\n", b"Content-Encoding".len());
    request.response.weaken_etag();
    request.response.clear_length();
    if !take_kept_form(request) {
        let settings = &request.settings().gzip;
        let counts = Rc::default();
        let filter = GzipFilter::new(
            settings.level,
            window_bits(settings.window_bits, length),
            settings.buffers.piece_bytes(),
            Rc::clone(&counts),
        );
        request.state.gzip.streamed = Some(counts);
        request.response.filters.push(Box::new(filter));
    }
    Outcome::Next
}

/// A window need not be larger than what it is to see.
fn window_bits(most: u8, length: Option<u64>) -> u8 {
    let Some(length) = length.filter(|bytes| *bytes > 0) else {
        return most;
    };
    let mut bits = most;
    while bits > 9 && length < 1 << (bits - 1) {
        bits -= 1;
    }
    bits
}

/// Puts the compressed form of a cached file in its place, which is made where there is none yet. False
/// where the body is something else.
fn take_kept_form(request: &mut Request) -> bool {
    let response = &request.response;
    let [
        Piece::File {
            file,
            start: 0,
            len,
        },
    ] = response.body.as_slice()
    else {
        return false;
    };
    let is_whole = *len == file.length.bytes;
    if !is_whole || response.source.is_some() || !response.filters.is_empty() {
        return false;
    }
    let settings = &request.settings().gzip;
    let key = settings.level << 8 | u64::from(settings.window_bits);
    let (bytes, length) = match file.form(key) {
        Some(form) => form,
        None => match make_form(request, file, key) {
            Some(form) => form,
            None => return false,
        },
    };
    request.state.gzip.counts = Counts {
        plain: *len,
        packed: length.bytes,
    };
    request.response.content_length = Some(length);
    request.response.body.clear();
    request.response.body.push(Piece::Bytes(bytes));
    true
}

/// Compresses a file that is in the cache, and leaves the result there.
fn make_form(request: &Request, file: &Rc<FileEntry>, key: u64) -> Option<Form> {
    let Content::Bytes(plain) = &file.content else {
        return None;
    };
    if !file.may_keep_forms() {
        return None;
    }
    let settings = &request.settings().gzip;
    let window_bits = window_bits(settings.window_bits, Some(plain.len() as u64));
    // What is past the bytes themselves is what zlib's deflateBound() adds, and more.
    let piece_bytes = plain.len() + plain.len() / 8 + 64;
    let mut filter = GzipFilter::new(settings.level, window_bits, piece_bytes, Rc::default());
    let mut made = VecDeque::new();
    let inputs = [Input::Bytes(plain.clone()), Input::End];
    for input in inputs {
        filter.filter(input, &mut made).ok()?;
    }
    let all: Vec<u8> = made.iter().flatten().copied().collect();
    Some(
        request
            .connection
            .state
            .files
            .keep_form(file, key, all.into()),
    )
}

/// The least level of the library, as for logs: its level 1 is larger by a quarter than zlib's.
const LEVEL_MIN: u64 = 2;

/// Compresses a body.
struct GzipFilter {
    deflate: Compress,
    piece: Vec<u8>,
    /// More than the six bytes of a flush, which otherwise would be made again and again.
    piece_bytes: usize,
    counts: Rc<Cell<Counts>>,
}

impl GzipFilter {
    fn new(level: u64, window_bits: u8, piece_bytes: usize, counts: Rc<Cell<Counts>>) -> Self {
        let level = Compression::new(level.max(LEVEL_MIN) as u32);
        Self {
            deflate: Compress::new_gzip(level, window_bits),
            piece: Vec::new(),
            piece_bytes,
            counts,
        }
    }

    fn run(
        &mut self,
        mut plain: &[u8],
        flush: FlushCompress,
        out: &mut VecDeque<Bytes>,
    ) -> Result<(), Broken> {
        loop {
            if self.piece.capacity() == 0 {
                self.piece.reserve_exact(self.piece_bytes);
            }
            let before = self.deflate.total_in();
            let status = self.deflate.compress_vec(plain, &mut self.piece, flush);
            let status =
                status.map_err(|error| Broken::because(format!("deflate() failed ({error})")))?;
            plain = &plain[(self.deflate.total_in() - before) as usize..];
            if self.piece.len() == self.piece.capacity() {
                out.push_back(std::mem::take(&mut self.piece).into());
                if status != Status::StreamEnd {
                    continue;
                }
            }
            match flush {
                FlushCompress::None => return Ok(()),
                _ if self.piece.is_empty() => {}
                _ if self.piece.len() < self.piece.capacity() / 2 => {
                    out.push_back(Bytes::copy_from_slice(&self.piece));
                    self.piece.clear();
                }
                _ => out.push_back(std::mem::take(&mut self.piece).into()),
            }
            if status == Status::StreamEnd {
                self.counts.set(Counts {
                    plain: self.deflate.total_in(),
                    packed: self.deflate.total_out(),
                });
            }
            return Ok(());
        }
    }
}

impl BodyFilter for GzipFilter {
    fn filter(&mut self, input: Input, out: &mut VecDeque<Bytes>) -> Result<(), Broken> {
        match input {
            Input::Bytes(bytes) => self.run(&bytes, FlushCompress::None, out),
            Input::Flush => self.run(b"", FlushCompress::Sync, out),
            Input::End => self.run(b"", FlushCompress::Finish, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;
    use crate::http::testing::{TestSite, filtered, fragments};

    fn unpacked(packed: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut decoder = GzDecoder::new(packed);
        decoder.read_to_end(&mut plain).expect("it is whole");
        plain
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn in_any_fragmentation_the_same_comes_out(
            text in prop::collection::vec(prop::sample::select(b"abcd\n\xff".to_vec()), 0..5000),
            cuts in prop::collection::vec((0..900usize, any::<bool>()), 0..12),
            level in 1..10u64,
            window_bits in 9..16u8,
            piece_bytes in 16..700usize,
        ) {
            let make = || GzipFilter::new(level, window_bits, piece_bytes, Rc::default());
            let whole = filtered(make(), &[(&text, false)]).unwrap();
            prop_assert_eq!(&unpacked(&whole), &text);
            let counts = Rc::new(Cell::new(Counts::default()));
            let filter = GzipFilter::new(level, window_bits, piece_bytes, counts.clone());
            let packed = filtered(filter, &fragments(&text, &cuts)).unwrap();
            prop_assert_eq!(&unpacked(&packed), &text);
            let expected = Counts { plain: text.len() as u64, packed: packed.len() as u64 };
            prop_assert_eq!(counts.get(), expected);
        }
    }

    /// What was given before a flush can be read after it.
    #[test]
    fn a_flush_holds_nothing_back() {
        let mut filter = GzipFilter::new(6, 15, 4096, Rc::default());
        let mut out = VecDeque::new();
        for text in ["first", "second", "third"] {
            let input = Input::Bytes(Bytes::from_static(text.as_bytes()));
            filter.filter(input, &mut out).unwrap();
            filter.filter(Input::Flush, &mut out).unwrap();
            let packed: Vec<u8> = out.iter().flatten().copied().collect();
            let mut plain = vec![0; 100];
            let mut inflate = flate2::Decompress::new_gzip(15);
            inflate
                .decompress(&packed, &mut plain, flate2::FlushDecompress::None)
                .unwrap();
            assert!(
                plain[..inflate.total_out() as usize].ends_with(text.as_bytes()),
                "{text}"
            );
        }
    }

    fn value(request: &Request, name: &str) -> String {
        let mut out = Vec::new();
        let mut all = crate::http::modules::variables();
        let getter = all.find(|it| it.name == name).expect("it is there").get;
        getter(request, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_cached_file_is_compressed_once() {
        let folder = tempfile::tempdir().unwrap();
        let text = "abc def\n".repeat(500);
        std::fs::write(folder.path().join("a.html"), &text).unwrap();
        let mut site = TestSite::new(&format!(
            "root {}; types {{ text/html html; }} gzip on; gzip_vary on;
             location /nine/ {{ gzip_comp_level 9; alias {0}/; }}
             location /three/ {{ gzip_comp_level 3; alias {0}/; }}",
            folder.path().display()
        ));
        let mut ask = |path: &str| {
            let (answer, _, request) =
                site.exchange(&format!("GET {path} HTTP/1.1\r\nAccept-Encoding: gzip"));
            assert_eq!(unpacked(&answer[4..]), text.as_bytes());
            assert!(answer.starts_with(b"200\n"));
            let headers = request.response.headers.as_bytes().to_vec();
            let headers = String::from_utf8(headers).unwrap();
            assert!(headers.starts_with("ETag: W/\""), "{headers}");
            assert!(headers.ends_with("Content-Encoding: gzip\r\n"), "{headers}");
            assert!(request.response.varies_by_encoding);
            let ratio = plain_by_packed(text.len(), answer.len() - 4);
            assert_eq!(value(&request, "gzip_ratio"), ratio);
            request.response.content_length.map(|length| length.bytes)
        };
        let length = ask("/a.html");
        assert!(length.is_some_and(|bytes| bytes > 0));
        assert_eq!(ask("/a.html"), length);
        assert!(ask("/nine/a.html").is_some());
        // A third form is not kept, and made while it is sent.
        assert_eq!(ask("/three/a.html"), None);
        assert_eq!(ask("/a.html"), length);
    }

    fn plain_by_packed(plain: usize, packed: usize) -> String {
        format!("{:.2}", plain as f64 / packed as f64 + 1e-9)
    }

    #[test]
    fn ratios_are_rounded_as_by_nginx() {
        let mut site = TestSite::new("");
        let (_, _, mut request) = site.exchange("GET / HTTP/1.1");
        let mut shown_of = |plain, packed| {
            request.state.gzip.counts = Counts { plain, packed };
            value(&request, "gzip_ratio")
        };
        for (plain, packed, shown) in [
            (2125, 1000, "2.13"),
            (2124, 1000, "2.12"),
            (1999, 1000, "2.00"),
            (5, 10, "0.50"),
            (0, 0, ""),
        ] {
            assert_eq!(shown_of(plain, packed), shown);
        }
    }
}
