//! `charset`: what a text is written in is said, and written anew where that is wanted.
//!
//! ```nginx
//! charset utf-8;
//! source_charset koi8-r;
//! charset_map koi8-r utf-8 { C0 D18E; }    # in http; one line for each character
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Diagnostics, Directive, Word};

use crate::config::scope::{HTTP, LOCATION, SERVER, set_once};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::body::Broken;
use crate::http::filter::{BodyFilter, Input};
use crate::http::modules::Module;
use crate::http::modules::media_types::{MediaTypes, types_slot};
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, slot};
use crate::log::{Level, Shown};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_charset_filter_module",
    directives: DIRECTIVES,
    header_filters: &[(|it| it.charset.charset != Charset::Off, filter)],
    ..Module::EMPTY
};

/// What `charset` and `source_charset` name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Charset {
    /// Nothing.
    Off,
    Name(String),
    /// What a variable holds.
    Variable(Value),
}

/// One `charset_map`.
#[derive(Debug)]
pub(crate) struct CharsetMap {
    from: String,
    to: String,
    there: Arc<Table>,
    back: Arc<Table>,
}

/// How characters are written anew.
#[derive(Debug)]
enum Table {
    /// A byte becomes a byte.
    Bytes(Box<[u8; 256]>),
    /// A byte becomes UTF-8.
    ToUtf8(Box<[Vec<u8>; 256]>),
    /// UTF-8 becomes a byte, or a reference of HTML where there is none.
    FromUtf8(HashMap<char, u8, RandomState>),
}

settings! {
    /// What texts are written in.
    pub struct CharsetSettings / RawCharset {
        inherit {
            /// `charset`, default off.
            charset: Charset = Charset::Off,
            /// `source_charset`, default none: the texts are in it already.
            source: Charset = Charset::Off,
            /// `override_charset`, default off: what a response says of itself holds.
            overrides: bool = false,
            /// `charset_types`.
            types: Arc<MediaTypes> = MediaTypes::of(&[
                "text/html", "text/xml", "text/plain", "text/vnd.wap.wml",
                "application/javascript", "application/rss+xml",
            ]),
            /// `charset_map`, of `http` alone.
            maps: Arc<Vec<CharsetMap>> = Arc::default(),
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "charset",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, directive| {
            let value = match directive.args[0].text.as_str() {
                "off" => Charset::Off,
                _ => named(scope, &directive.args[0])?,
            };
            set_once(&mut scope.level.settings.charset.charset, value, directive)
        },
    },
    DirectiveRow {
        name: "source_charset",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, directive| {
            let value = named(scope, &directive.args[0])?;
            set_once(&mut scope.level.settings.charset.source, value, directive)
        },
    },
    DirectiveRow {
        name: "override_charset",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag charset.overrides),
    },
    DirectiveRow {
        name: "charset_types",
        contexts: ANY,
        args: Args::ONE_MORE,
        set: types_slot!(charset.types),
    },
    DirectiveRow {
        name: "charset_map",
        contexts: HTTP,
        args: Args::TWO.with_block(),
        set: charset_map,
    },
];

fn named(scope: &mut Scope, word: &Word) -> Result<Charset, Diagnostic> {
    Ok(match word.text.starts_with('$') {
        true => Charset::Variable(Value::of(word, &mut scope.shared.registry)?),
        false => Charset::Name(word.text.clone()),
    })
}

fn is_utf8(name: &str) -> bool {
    name.eq_ignore_ascii_case("utf-8")
}

fn charset_map(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let (from, to) = (&directive.args[0], &directive.args[1]);
    if from.text.eq_ignore_ascii_case(&to.text) {
        let message = format!(
            "\"charset_map\" between the same charsets \"{}\" and \"{}\"",
            from.text, to.text
        );
        return Err(Diagnostic::new(to.span, message).label("the same as before it"));
    }
    let maps = scope.level.settings.charset.maps.get_or_insert_default();
    let maps = Arc::get_mut(maps).expect("nobody shares the maps while they are read");
    if maps
        .iter()
        .any(|map| map.table(&from.text, &to.text).is_some())
    {
        let message = format!(
            "duplicate \"charset_map\" between \"{}\" and \"{}\"",
            from.text, to.text
        );
        return Err(Diagnostic::new(directive.name.span, message).label("there is one already"));
    }
    let rows = directive.block.as_deref().unwrap_or_default();
    let mut to_utf8 = std::array::from_fn(|byte| match byte {
        0..=127 => vec![byte as u8],
        _ => vec![b'?'],
    });
    let mut from_utf8 = HashMap::default();
    let (mut there, mut back) = ([b'?'; 256], [b'?'; 256]);
    for byte in 0..128 {
        (there[usize::from(byte)], back[usize::from(byte)]) = (byte, byte);
    }
    for row in rows {
        let [word] = row.args.as_slice() else {
            return Err(Diagnostic::new(row.name.span, "invalid parameters number")
                .label("expected a byte and what it becomes, in hexadecimal"));
        };
        let byte = hex_byte(&row.name)?;
        if is_utf8(&to.text) {
            let bytes = hex_bytes(word)?;
            let mut chars = std::str::from_utf8(&bytes).unwrap_or_default().chars();
            let (Some(char), None) = (chars.next(), chars.next()) else {
                return Err(invalid(
                    word,
                    "expected one character in UTF-8, in hexadecimal",
                ));
            };
            to_utf8[usize::from(byte)] = bytes;
            from_utf8.insert(char, byte);
        } else {
            let other = hex_byte(word)?;
            there[usize::from(byte)] = other;
            back[usize::from(other)] = byte;
        }
    }
    let (there, back) = match is_utf8(&to.text) {
        true => (Table::ToUtf8(Box::new(to_utf8)), Table::FromUtf8(from_utf8)),
        false => (Table::Bytes(Box::new(there)), Table::Bytes(Box::new(back))),
    };
    maps.push(CharsetMap {
        from: from.text.clone(),
        to: to.text.clone(),
        there: Arc::new(there),
        back: Arc::new(back),
    });
    Ok(())
}

fn invalid(word: &Word, label: &str) -> Diagnostic {
    Diagnostic::new(word.span, format!("invalid value \"{}\"", word.text)).label(label)
}

fn hex_byte(word: &Word) -> Result<u8, Diagnostic> {
    let is_hex = !word.text.is_empty() && word.text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = is_hex
        .then(|| u8::from_str_radix(&word.text, 16).ok())
        .flatten();
    value.ok_or_else(|| invalid(word, "expected a byte in hexadecimal"))
}

/// Up to three bytes, which is what a character of the first plane takes.
fn hex_bytes(word: &Word) -> Result<Vec<u8>, Diagnostic> {
    let wrong = || invalid(word, "expected one character in UTF-8, in hexadecimal");
    let text = word.text.as_bytes();
    let is_hex = text.iter().all(u8::is_ascii_hexdigit);
    if !is_hex || !matches!(text.len(), 2 | 4 | 6) {
        return Err(wrong());
    }
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or_default() as u8;
    Ok(text
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect())
}

impl CharsetMap {
    fn table(&self, from: &str, to: &str) -> Option<&Arc<Table>> {
        let is = |one: &str, other: &str| {
            one.eq_ignore_ascii_case(from) && other.eq_ignore_ascii_case(to)
        };
        if is(&self.from, &self.to) {
            return Some(&self.there);
        }
        is(&self.to, &self.from).then_some(&self.back)
    }
}

impl CharsetSettings {
    fn table(&self, from: &str, to: &str) -> Option<&Arc<Table>> {
        self.maps.iter().find_map(|map| map.table(from, to))
    }

    /// The names between which a map must be.
    fn recoding(&self) -> Option<(&str, &str)> {
        match (&self.source, &self.charset) {
            (Charset::Name(from), Charset::Name(to)) if !from.eq_ignore_ascii_case(to) => {
                Some((from, to))
            }
            _ => None,
        }
    }
}

/// Says so where a level wants texts written anew and there is no map for that.
pub(crate) fn check(
    settings: &CharsetSettings,
    parent: &CharsetSettings,
    diagnostics: &mut Diagnostics,
) {
    let Some((from, to)) = settings.recoding() else {
        return;
    };
    let is_new = parent.recoding() != Some((from, to));
    if is_new && settings.table(from, to).is_none() {
        let message = format!("no \"charset_map\" between the charsets \"{from}\" and \"{to}\"");
        diagnostics.push(Diagnostic::new(None, message));
    }
}

/// The value of `charset=` in a media type.
fn charset_in(content_type: &[u8]) -> Option<&[u8]> {
    let mut parameters = content_type.split(|byte| *byte == b';').skip(1);
    parameters.find_map(|parameter| {
        let parameter = parameter.trim_ascii();
        let (name, value) = parameter.split_at_checked(b"charset=".len())?;
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        let value = value.strip_suffix(b"\"").unwrap_or(value);
        name.eq_ignore_ascii_case(b"charset=").then_some(value)
    })
}

/// The charset that a response is to be in; `None` where it stays as it is.
///
/// Source: nginx's `ngx_http_destination_charset`.
fn destination(request: &Request) -> Option<Vec<u8>> {
    let settings = &request.settings().charset;
    let content_type = &request.response.content_type;
    if content_type.is_empty() {
        return None;
    }
    let is_wanted = match charset_in(content_type.text()) {
        Some(_) => settings.overrides,
        None => settings.types.has(content_type),
    };
    if !is_wanted {
        return None;
    }
    evaluate(request, &settings.charset)
}

fn evaluate(request: &Request, charset: &Charset) -> Option<Vec<u8>> {
    match charset {
        Charset::Off => None,
        Charset::Name(name) => Some(name.as_bytes().to_vec()),
        Charset::Variable(value) => {
            let text = value.evaluate(request);
            (!text.is_empty()).then_some(text)
        }
    }
}

/// Whether the response will say that it is in UTF-8.
pub(crate) fn is_to_be_utf8(request: &Request) -> bool {
    destination(request).is_some_and(|name| name.eq_ignore_ascii_case(b"utf-8"))
}

/// Header filter: says what a text is written in, and has it written anew.
///
/// Source: nginx's `ngx_http_charset_header_filter`.
fn filter(request: &mut Request) -> Outcome {
    let Some(to) = destination(request) else {
        return Outcome::Next;
    };
    let settings = &request.settings().charset;
    let said = charset_in(request.response.content_type.text()).map(<[u8]>::to_vec);
    let Some(from) = said.or_else(|| evaluate(request, &settings.source)) else {
        set_charset(request, &to);
        return Outcome::Next;
    };
    if from.eq_ignore_ascii_case(&to) {
        set_charset(request, &to);
        return Outcome::Next;
    }
    if request.response.is_encoded() {
        return Outcome::Next;
    }
    let names = (std::str::from_utf8(&from), std::str::from_utf8(&to));
    let table = match names {
        (Ok(from), Ok(to)) => settings.table(from, to).cloned(),
        _ => None,
    };
    let Some(table) = table else {
        let (from, to) = (Shown(&from), Shown(&to));
        request.log(
            Level::Error,
            format_args!("no \"charset_map\" between the charsets \"{from}\" and \"{to}\""),
        );
        return Outcome::Next;
    };
    set_charset(request, &to);
    if !matches!(*table, Table::Bytes(_)) {
        request.response.clear_length();
    }
    let filter = CharsetFilter {
        table,
        begun: Vec::new(),
    };
    request.response.filters.push(Box::new(filter));
    Outcome::Next
}

/// Source: nginx's `ngx_http_set_charset`.
fn set_charset(request: &mut Request, name: &[u8]) {
    let status = request.response.status;
    let content_type = &mut request.response.content_type;
    let text = content_type.text();
    let end = memchr::memchr(b';', text).unwrap_or(text.len());
    let mut whole = text[..end].trim_ascii_end().to_vec();
    // Old browsers took a redirect's for that of the page that they came to.
    if !matches!(status, 301 | 302) {
        whole.extend_from_slice(b"; charset=");
        // What a variable holds must not end the line.
        let is_sound = |byte: &&u8| !matches!(byte, b'\r' | b'\n' | 0);
        whole.extend(name.iter().filter(is_sound));
    }
    content_type.set_text(&whole);
}

/// Writes a text anew.
struct CharsetFilter {
    table: Arc<Table>,
    /// The bytes of a character that has begun.
    begun: Vec<u8>,
}

impl BodyFilter for CharsetFilter {
    fn filter(&mut self, input: Input, out: &mut VecDeque<Bytes>) -> Result<(), Broken> {
        let bytes = match input {
            Input::Bytes(bytes) => bytes,
            Input::Flush => return Ok(()),
            Input::End => {
                if !self.begun.is_empty() {
                    out.push_back(Bytes::from_static(b"?"));
                }
                return Ok(());
            }
        };
        let mut made = Vec::with_capacity(bytes.len());
        match &*self.table {
            Table::Bytes(table) => {
                made.extend(bytes.iter().map(|byte| table[usize::from(*byte)]));
            }
            Table::ToUtf8(table) => {
                for byte in &bytes {
                    made.extend_from_slice(&table[usize::from(*byte)]);
                }
            }
            Table::FromUtf8(table) => {
                let mut text = std::mem::take(&mut self.begun);
                text.extend_from_slice(&bytes);
                let left = from_utf8(table, &text, &mut made);
                text.drain(..text.len() - left);
                self.begun = text;
            }
        }
        if !made.is_empty() {
            out.push_back(made.into());
        }
        Ok(())
    }
}

/// Writes UTF-8 in single bytes. The answer is how many bytes at the end are a character that is not
/// complete.
fn from_utf8(table: &HashMap<char, u8, RandomState>, mut text: &[u8], out: &mut Vec<u8>) -> usize {
    use std::io::Write as _;
    loop {
        let (sound, error) = match std::str::from_utf8(text) {
            Ok(sound) => (sound, None),
            Err(error) => {
                let (sound, _) = text.split_at(error.valid_up_to());
                (std::str::from_utf8(sound).unwrap_or_default(), Some(error))
            }
        };
        for char in sound.chars() {
            match (char, table.get(&char)) {
                ('\0'..='\x7f', _) => out.push(char as u8),
                (_, Some(byte)) => out.push(*byte),
                (char, None) => {
                    let _ = write!(out, "&#{};", u32::from(char));
                }
            }
        }
        let Some(error) = error else {
            return 0;
        };
        let rest = &text[error.valid_up_to()..];
        let Some(wrong) = error.error_len() else {
            return rest.len();
        };
        out.push(b'?');
        text = &rest[wrong..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::testing::{TestSite, filtered, fragments};

    fn tables() -> Vec<Arc<Table>> {
        let mut from_utf8 = HashMap::default();
        from_utf8.insert('\u{e4}', 0xc4);
        from_utf8.insert('\u{20ac}', 0x80);
        let mut to_utf8: [Vec<u8>; 256] = std::array::from_fn(|byte| vec![byte as u8 & 0x7f]);
        to_utf8[0x80] = "\u{20ac}".into();
        let mut bytes: [u8; 256] = std::array::from_fn(|byte| byte as u8);
        bytes[0xc3] = b'x';
        vec![
            Arc::new(Table::FromUtf8(from_utf8)),
            Arc::new(Table::ToUtf8(Box::new(to_utf8))),
            Arc::new(Table::Bytes(Box::new(bytes))),
        ]
    }

    proptest! {
        #[test]
        fn in_any_fragmentation_the_same_is_written(
            parts in prop::collection::vec(prop::sample::select(vec![
                &b"a"[..], b"\xc3", b"\xc3\xa4", b"\xe2\x82\xac", b"\xe2\x82", b"\xff", b"\x80", b"\xf0\x9f\x98\x80",
                b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90",
            ]), 0..60),
            cuts in prop::collection::vec((0..6usize, any::<bool>()), 0..60),
        ) {
            let body = parts.concat();
            for table in tables() {
                let make = || CharsetFilter { table: table.clone(), begun: Vec::new() };
                let whole = filtered(make(), &[(&body, false)]).unwrap();
                let cut = filtered(make(), &fragments(&body, &cuts)).unwrap();
                prop_assert_eq!(whole, cut);
            }
        }
    }

    #[test]
    fn utf8_becomes_bytes_references_and_question_marks() {
        let table = tables().swap_remove(0);
        for (text, written) in [
            (&b"a\xc3\xa4b"[..], &b"a\xc4b"[..]),
            ("\u{20ac}\u{1f600}".as_bytes(), b"\x80&#128512;"),
            (b"\xc3<", b"?<"),
            (b"\xff\xfe", b"??"),
            (b"a\xe2\x82", b"a?"),
        ] {
            let begun = Vec::new();
            let table = table.clone();
            let made = filtered(CharsetFilter { table, begun }, &[(text, false)]).unwrap();
            assert_eq!(made, written, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_a_response_says_it_is_in() {
        let mut site = TestSite::new(
            "default_type text/html; charset utf-8;
             location /var { charset $arg_c; return 200 x; }
             location /off { charset off; return 200 x; }
             location /said { default_type 'text/html; charset=x'; return 200 x; }
             location /css { default_type text/css; return 200 x; }
             location /types { charset_types text/css; default_type text/css; return 200 x; }
             location /moved { return 302 /; }",
        );
        let mut ask = |path: &str| {
            let (_, _, request) = site.exchange(&format!("GET {path} HTTP/1.1"));
            String::from_utf8(request.response.content_type.text().to_vec()).unwrap()
        };
        for (path, content_type) in [
            ("/var?c=koi8-r", "text/html; charset=koi8-r"),
            ("/var", "text/html"),
            ("/off", "text/html"),
            ("/said", "text/html; charset=x"),
            ("/css", "text/css"),
            ("/types", "text/css; charset=utf-8"),
            ("/moved", "text/html"),
        ] {
            assert_eq!(ask(path), content_type, "{path}");
        }
    }
}
