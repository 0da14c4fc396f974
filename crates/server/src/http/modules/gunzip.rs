//! `gunzip`: what lies compressed, for clients that do not take it so.
//!
//! ```nginx
//! gzip_static always;
//! gunzip on;
//! ```

use std::collections::VecDeque;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use revolve_conf::directive::Args;

use crate::config::scope::{HTTP, LOCATION, SERVER, set_once};
use crate::config::setting::settings;
use crate::http::body::Broken;
use crate::http::filter::{BodyFilter, Input};
use crate::http::modules::Module;
use crate::http::modules::gzip::{BUFFERS, Buffers, buffers};
use crate::http::modules::gzip_accept::{accepts, note_variation};
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, slot};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_gunzip_filter_module",
    directives: DIRECTIVES,
    header_filters: &[(|it| it.gunzip.enabled, filter)],
    ..Module::EMPTY
};

settings! {
    /// Unpacking for clients that do not take gzip.
    pub struct GunzipSettings / RawGunzip {
        inherit {
            /// `gunzip`, default off.
            enabled: bool = false,
            /// `gunzip_buffers`, default `32 4k`.
            buffers: Buffers = BUFFERS,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "gunzip",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag gunzip.enabled),
    },
    DirectiveRow {
        name: "gunzip_buffers",
        contexts: ANY,
        args: Args::TWO,
        set: |scope, directive| {
            let value = buffers(directive)?;
            set_once(&mut scope.level.settings.gunzip.buffers, value, directive)
        },
    },
];

/// Header filter: unpacks a compressed body.
///
/// Source: nginx's `ngx_http_gunzip_header_filter`.
fn filter(request: &mut Request) -> Outcome {
    let coding = request.response.headers.get(b"Content-Encoding");
    if !coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"gzip")) {
        return Outcome::Next;
    }
    note_variation(request);
    if accepts(request) {
        return Outcome::Next;
    }
    let piece_bytes = request.settings().gunzip.buffers.piece_bytes();
    let response = &mut request.response;
    response.headers.remove(b"Content-Encoding");
    response.clear_length();
    response.weaken_etag();
    response
        .filters
        .push(Box::new(GunzipFilter::new(piece_bytes)));
    Outcome::Next
}

/// Unpacks a body, a piece at a time however much that becomes.
struct GunzipFilter {
    /// The member that is being read; nothing where one has ended and no other has begun.
    member: Option<Decompress>,
    /// Whether there was a member at all.
    has_begun: bool,
    /// What was given and is not unpacked yet.
    rest: Bytes,
    piece_bytes: usize,
}

impl GunzipFilter {
    fn new(piece_bytes: usize) -> Self {
        Self {
            member: None,
            has_begun: false,
            rest: Bytes::new(),
            piece_bytes,
        }
    }

    /// Makes one piece; false where nothing is left to be unpacked.
    fn step(&mut self, out: &mut VecDeque<Bytes>) -> Result<bool, Broken> {
        let mut piece = Vec::with_capacity(self.piece_bytes);
        let is_full = |piece: &Vec<u8>| piece.len() == piece.capacity();
        loop {
            if self.rest.is_empty() && self.member.is_none() {
                break;
            }
            self.has_begun = true;
            let member = self.member.get_or_insert_with(|| Decompress::new_gzip(15));
            let before = (member.total_in(), piece.len());
            let status = member
                .decompress_vec(&self.rest, &mut piece, FlushDecompress::None)
                .map_err(|error| Broken::because(format!("inflate() failed ({error})")))?;
            let taken = (member.total_in() - before.0) as usize;
            self.rest = self.rest.slice(taken..);
            if status == Status::StreamEnd {
                self.member = None;
            } else if taken == 0 && piece.len() == before.1 {
                break;
            }
            if is_full(&piece) {
                break;
            }
        }
        let may_have_more = is_full(&piece) && (self.member.is_some() || !self.rest.is_empty());
        if !piece.is_empty() {
            out.push_back(piece.into());
        }
        Ok(may_have_more)
    }
}

impl BodyFilter for GunzipFilter {
    fn filter(&mut self, input: Input, out: &mut VecDeque<Bytes>) -> Result<(), Broken> {
        match input {
            Input::Bytes(bytes) => {
                debug_assert!(self.rest.is_empty(), "nothing comes before all was taken");
                self.rest = bytes;
                self.step(out).map(|_| ())
            }
            Input::Flush => Ok(()),
            Input::End if self.member.is_none() && self.has_begun => Ok(()),
            Input::End => Err(Broken::because(
                "inflate() failed (the body ends too early)",
            )),
        }
    }

    fn more(&mut self, out: &mut VecDeque<Bytes>) -> Result<bool, Broken> {
        self.step(out)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::http::testing::{TestSite, filtered, fragments};

    fn packed(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn in_any_fragmentation_the_same_comes_out(
            members in prop::collection::vec(prop::collection::vec(prop::sample::select(b"abc\n".to_vec()), 0..2000), 1..4),
            cuts in prop::collection::vec((0..200usize, any::<bool>()), 0..12),
            piece_bytes in 1..700usize,
        ) {
            let body: Vec<u8> = members.iter().flat_map(|member| packed(member)).collect();
            let plain = filtered(GunzipFilter::new(piece_bytes), &fragments(&body, &cuts)).unwrap();
            prop_assert_eq!(plain, members.concat());
        }

        #[test]
        fn what_is_wrong_is_wrong_in_any_fragmentation(
            mut body in prop::collection::vec(prop::sample::select(b"abc\n".to_vec()), 0..300).prop_map(|plain| packed(&plain)),
            at in any::<prop::sample::Index>(),
            flip in 0..=255u8,
            cuts in prop::collection::vec((0..40usize, any::<bool>()), 0..12),
            keep in any::<prop::sample::Index>(),
        ) {
            let at = at.index(body.len());
            body[at] ^= flip;
            body.truncate(keep.index(body.len() + 1));
            let whole = filtered(GunzipFilter::new(64), &[(&body, false)]).ok();
            let cut = filtered(GunzipFilter::new(64), &fragments(&body, &cuts)).ok();
            prop_assert_eq!(whole, cut);
        }
    }

    /// A body of a few kilobytes may become gigabytes; each step makes one piece of it.
    #[test]
    fn a_bomb_is_unpacked_piece_by_piece() {
        let bomb = packed(&vec![0; 4 << 20]);
        assert!(bomb.len() < 8_000, "{}", bomb.len());
        let mut filter = GunzipFilter::new(4096);
        let mut out = VecDeque::new();
        filter.filter(Input::Bytes(bomb.into()), &mut out).unwrap();
        let mut bytes = 0;
        loop {
            assert!(out.len() <= 1);
            bytes += out.drain(..).map(|piece| piece.len()).sum::<usize>();
            if !filter.more(&mut out).unwrap() && out.is_empty() {
                break;
            }
        }
        assert_eq!(bytes, 4 << 20);
        filter.filter(Input::End, &mut out).unwrap();
    }

    #[test]
    fn what_lies_compressed_is_unpacked_for_those_who_do_not_take_it() {
        let folder = tempfile::tempdir().unwrap();
        let text = "plain text\n".repeat(20_000);
        std::fs::write(folder.path().join("a.txt.gz"), packed(text.as_bytes())).unwrap();
        let cut = &packed(text.as_bytes())[..200];
        std::fs::write(folder.path().join("cut.txt.gz"), cut).unwrap();
        std::fs::write(folder.path().join("bad.txt.gz"), "no gzip at all").unwrap();
        let mut site = TestSite::new(&format!(
            "root {}; gzip_static always; gunzip on;",
            folder.path().display()
        ));
        let (answer, served) = site.ask("GET /a.txt HTTP/1.1");
        assert!(matches!(served, crate::http::serve::Served::Answered));
        assert_eq!(answer, format!("200\n{text}"));
        for path in ["/cut.txt", "/bad.txt"] {
            let (answer, served) = site.ask(&format!("GET {path} HTTP/1.1"));
            assert!(
                matches!(served, crate::http::serve::Served::Broken),
                "{path}"
            );
            assert!(answer.starts_with("200\n"));
        }
    }
}
