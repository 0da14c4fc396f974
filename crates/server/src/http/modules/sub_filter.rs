//! `sub_filter`: texts of a body replaced by others.
//!
//! ```nginx
//! sub_filter '</body>' '$note</body>';
//! sub_filter 'http://old.example/' '/';
//! sub_filter_once off;
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, LOCATION, SERVER};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::body::Broken;
use crate::http::filter::{BodyFilter, Input};
use crate::http::modules::Module;
use crate::http::modules::media_types::{MediaTypes, types_slot};
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, slot};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_sub_filter_module",
    directives: DIRECTIVES,
    header_filters: &[(|it| !it.sub_filter.pairs.is_empty(), filter)],
    ..Module::EMPTY
};

/// One `sub_filter`.
#[derive(Debug)]
pub(crate) struct Pair {
    pattern: Value,
    replacement: Value,
}

/// So many patterns may stand at one level, as in nginx.
const PAIRS_MAX: usize = 255;

settings! {
    /// Texts that are replaced.
    pub struct SubFilterSettings / RawSubFilter {
        inherit {
            /// `sub_filter`; a level that has one inherits none.
            pairs: Arc<Vec<Pair>> = Arc::default(),
            /// `sub_filter_types`, default `text/html`.
            types: Arc<MediaTypes> = MediaTypes::of(&["text/html"]),
            /// `sub_filter_once`, default on: each text once.
            once: bool = true,
            /// `sub_filter_last_modified`, default off: the time of last change is dropped.
            last_modified: bool = false,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "sub_filter",
        contexts: ANY,
        args: Args::TWO,
        set: sub_filter,
    },
    DirectiveRow {
        name: "sub_filter_types",
        contexts: ANY,
        args: Args::ONE_MORE,
        set: types_slot!(sub_filter.types),
    },
    DirectiveRow {
        name: "sub_filter_once",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag sub_filter.once),
    },
    DirectiveRow {
        name: "sub_filter_last_modified",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag sub_filter.last_modified),
    },
];

fn sub_filter(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let [pattern, replacement] = directive.args.as_slice() else {
        unreachable!("the table asks for two arguments");
    };
    if pattern.text.is_empty() {
        return Err(Diagnostic::new(pattern.span, "empty search pattern").label("it is everywhere"));
    }
    let pair = Pair {
        pattern: Value::of(pattern, &mut scope.shared.registry)?,
        replacement: Value::of(replacement, &mut scope.shared.registry)?,
    };
    let pairs = scope
        .level
        .settings
        .sub_filter
        .pairs
        .get_or_insert_default();
    let pairs = Arc::get_mut(pairs).expect("nobody shares a level's texts while it is read");
    if pairs.len() == PAIRS_MAX {
        let message = format!("number of search patterns exceeds {PAIRS_MAX}");
        return Err(Diagnostic::new(directive.name.span, message).label("one too many"));
    }
    pairs.push(pair);
    Ok(())
}

/// Header filter: replaces texts of the body.
///
/// Source: nginx's `ngx_http_sub_header_filter`.
fn filter(request: &mut Request) -> Outcome {
    let response = &request.response;
    let settings = &request.settings().sub_filter;
    if response.known_length() == Some(0)
        || response.is_encoded()
        || !settings.types.has(&response.content_type)
    {
        return Outcome::Next;
    }
    let texts: Vec<Text> = settings
        .pairs
        .iter()
        .map(|pair| Text {
            pattern: pair.pattern.evaluate(request).to_ascii_lowercase(),
            replacement: pair.replacement.evaluate(request).into(),
            is_used: false,
        })
        .filter(|text| !text.pattern.is_empty())
        .collect();
    if texts.is_empty() {
        return Outcome::Next;
    }
    let (once, keeps_time) = (settings.once, settings.last_modified);
    let response = &mut request.response;
    response.clear_length();
    if keeps_time {
        response.weaken_etag();
    } else {
        response.clear_last_modified();
        response.clear_etag();
    }
    response.filters.push(Box::new(SubFilter::new(texts, once)));
    Outcome::Next
}

/// A text that is looked for.
#[derive(Debug, Clone)]
struct Text {
    /// In lower case, and not empty.
    pattern: Vec<u8>,
    replacement: Bytes,
    is_used: bool,
}

/// How much is made at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Replaces texts, whatever their letters' case. Of several that begin at one place the first in the
/// configuration is taken; what was put in is not looked at again.
struct SubFilter {
    texts: Vec<Text>,
    once: bool,
    /// Whether a text may begin with this byte.
    begins: [bool; 256],
    /// What was not looked at yet, and before it what may become a text.
    window: Vec<u8>,
    has_ended: bool,
}

/// What is found at a place.
enum At {
    /// The text of this number.
    Text(usize),
    /// A text, if what follows is as it should be.
    Maybe,
    Nothing,
}

impl SubFilter {
    fn new(texts: Vec<Text>, once: bool) -> Self {
        let mut filter = Self {
            texts,
            once,
            begins: [false; 256],
            window: Vec::new(),
            has_ended: false,
        };
        filter.note_beginnings();
        filter
    }

    fn note_beginnings(&mut self) {
        self.begins = [false; 256];
        for text in self.texts.iter().filter(|text| !text.is_used) {
            let first = text.pattern[0];
            self.begins[usize::from(first)] = true;
            self.begins[usize::from(first.to_ascii_uppercase())] = true;
        }
    }

    fn is_done(&self) -> bool {
        self.texts.iter().all(|text| text.is_used)
    }

    fn look(&self, rest: &[u8]) -> At {
        for (number, text) in self.texts.iter().enumerate() {
            if text.is_used {
                continue;
            }
            let len = text.pattern.len();
            match rest.get(..len) {
                Some(found) if found.eq_ignore_ascii_case(&text.pattern) => {
                    return At::Text(number);
                }
                None if !self.has_ended
                    && text.pattern[..rest.len()].eq_ignore_ascii_case(rest) =>
                {
                    return At::Maybe;
                }
                _ => {}
            }
        }
        At::Nothing
    }

    /// Looks through the window until that is all or enough is made; false where nothing is left to do.
    fn step(&mut self, out: &mut VecDeque<Bytes>) -> bool {
        let mut made = Vec::new();
        let (mut at, mut copied) = (0, 0);
        let window = std::mem::take(&mut self.window);
        let mut must_wait = false;
        while at < window.len() && made.len() + (at - copied) < PIECE_BYTES {
            let limit = window.len().min(at + PIECE_BYTES);
            let begins = |byte: &u8| self.begins[usize::from(*byte)];
            let Some(skipped) = window[at..limit].iter().position(begins) else {
                at = limit;
                continue;
            };
            at += skipped;
            match self.look(&window[at..]) {
                At::Nothing => at += 1,
                At::Maybe => {
                    must_wait = true;
                    break;
                }
                At::Text(number) => {
                    made.extend_from_slice(&window[copied..at]);
                    at += self.texts[number].pattern.len();
                    copied = at;
                    let replacement = self.texts[number].replacement.clone();
                    if replacement.len() < PIECE_BYTES / 4 {
                        made.extend_from_slice(&replacement);
                    } else {
                        out.extend([Bytes::from(std::mem::take(&mut made)), replacement]);
                        self.mark_used(number);
                        // One of this size is a piece by itself.
                        break;
                    }
                    self.mark_used(number);
                }
            }
        }
        made.extend_from_slice(&window[copied..at]);
        if !made.is_empty() {
            out.push_back(made.into());
        }
        self.window = window;
        self.window.drain(..at);
        !self.window.is_empty() && !must_wait
    }

    fn mark_used(&mut self, number: usize) {
        if self.once {
            self.texts[number].is_used = true;
            self.note_beginnings();
        }
    }
}

impl BodyFilter for SubFilter {
    fn filter(&mut self, input: Input, out: &mut VecDeque<Bytes>) -> Result<(), Broken> {
        match input {
            Input::Bytes(bytes) if self.window.is_empty() && self.is_done() => {
                out.push_back(bytes);
                return Ok(());
            }
            Input::Bytes(bytes) => self.window.extend_from_slice(&bytes),
            Input::Flush => return Ok(()),
            Input::End => self.has_ended = true,
        }
        self.step(out);
        Ok(())
    }

    fn more(&mut self, out: &mut VecDeque<Bytes>) -> Result<bool, Broken> {
        Ok(!self.window.is_empty() && self.step(out))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::testing::{TestSite, filtered, fragments};

    fn filter_of(pairs: &[(Vec<u8>, Vec<u8>)], once: bool) -> SubFilter {
        let texts = pairs.iter().map(|(pattern, replacement)| Text {
            pattern: pattern.to_ascii_lowercase(),
            replacement: replacement.clone().into(),
            is_used: false,
        });
        SubFilter::new(texts.collect(), once)
    }

    /// The same, in the plainest way.
    fn replaced(body: &[u8], pairs: &[(Vec<u8>, Vec<u8>)], once: bool) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), 0);
        let mut used = vec![false; pairs.len()];
        while at < body.len() {
            let found = pairs.iter().enumerate().position(|(number, (pattern, _))| {
                let text = body.get(at..at + pattern.len());
                !used[number] && text.is_some_and(|text| text.eq_ignore_ascii_case(pattern))
            });
            match found {
                Some(number) => {
                    used[number] = once;
                    out.extend_from_slice(&pairs[number].1);
                    at += pairs[number].0.len();
                }
                None => {
                    out.push(body[at]);
                    at += 1;
                }
            }
        }
        out
    }

    fn text(bytes_max: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(b"aAbBc".to_vec()), 1..bytes_max)
    }

    proptest! {
        #[test]
        fn in_any_fragmentation_the_same_is_replaced(
            body in text(400),
            pairs in prop::collection::vec((text(5), text(9)), 1..4),
            once in any::<bool>(),
            cuts in prop::collection::vec((0..30usize, any::<bool>()), 0..30),
        ) {
            let expected = replaced(&body, &pairs, once);
            let whole = filtered(filter_of(&pairs, once), &[(&body, false)]).unwrap();
            prop_assert_eq!(&whole, &expected);
            let cut = filtered(filter_of(&pairs, once), &fragments(&body, &cuts)).unwrap();
            prop_assert_eq!(&cut, &expected);
        }
    }

    /// What is made of a body at a time is bounded, however much larger it becomes.
    #[test]
    fn growth_comes_piece_by_piece() {
        for len in [1000, 10_000] {
            let pairs = [(b"a".to_vec(), vec![b'x'; len])];
            let mut filter = filter_of(&pairs, false);
            let mut out = VecDeque::new();
            filter
                .filter(Input::Bytes(vec![b'a'; 32 << 10].into()), &mut out)
                .unwrap();
            let mut bytes = 0;
            loop {
                let made: usize = out.drain(..).map(|piece| piece.len()).sum();
                assert!(made <= 2 * PIECE_BYTES, "{made}");
                bytes += made;
                if !filter.more(&mut out).unwrap() && out.is_empty() {
                    break;
                }
            }
            assert_eq!(bytes, len * (32 << 10));
        }
    }

    #[test]
    fn a_body_is_changed_and_what_is_said_of_it() {
        let mut site = TestSite::new(
            "default_type text/html; sub_filter '<B>' '[$arg_x]'; sub_filter $arg_p '';
             location / { return 200 'a <b> c <b> de'; }
             location /off { sub_filter_once off; return 200 'a <b> c <b> de'; }
             location /none { default_type text/plain; return 200 'a <b>'; }
             location /own { sub_filter a b; return 200 'a <b>'; }",
        );
        let mut ask = |path: &str| site.ask(&format!("GET {path} HTTP/1.1")).0;
        assert_eq!(ask("/"), "200\na [] c <b> de");
        assert_eq!(ask("/?x=1&p=D"), "200\na [1] c <b> e");
        assert_eq!(ask("/off?x=1&p=%20"), "200\na [1] c [1] de");
        assert_eq!(ask("/none"), "200\na <b>");
        assert_eq!(ask("/own"), "200\nb <b>");
    }
}
