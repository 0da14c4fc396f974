//! `autoindex`: what is in a folder, listed.
//!
//! ```nginx
//! autoindex on;
//! autoindex_format json;       # or html, xml, jsonp
//! autoindex_exact_size off;
//! autoindex_localtime on;
//! ```

use std::io::Write as _;
use std::task::{Context, Poll};

use bytes::Bytes;
use jiff::Timestamp;
use revolve_conf::directive::Args;
use revolve_http::Method;

use crate::config::scope::{HTTP, LOCATION, SERVER, choice, set_once};
use crate::config::setting::settings;
use crate::http::body::{Broken, Piece, Source};
use crate::http::modules::folder::{self, Entry};
use crate::http::modules::{Module, charset};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, slot};
use crate::log::{Level, Shown};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_autoindex_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Content, |it| it.autoindex.enabled, handle)],
    ..Module::EMPTY
};

/// `autoindex_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A page for people.
    Html,
    Json,
    /// JSON as the argument of the function that the client names.
    Jsonp,
    Xml,
}

settings! {
    /// Lists of folders.
    pub struct AutoindexSettings / RawAutoindex {
        inherit {
            /// `autoindex`, default off.
            enabled: bool = false,
            /// `autoindex_format`, default html.
            format: Format = Format::Html,
            /// `autoindex_localtime`, default off: UTC.
            localtime: bool = false,
            /// `autoindex_exact_size`, default on.
            exact_size: bool = true,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "autoindex",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag autoindex.enabled),
    },
    DirectiveRow {
        name: "autoindex_format",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, directive| {
            let choices = [
                ("html", Format::Html),
                ("json", Format::Json),
                ("jsonp", Format::Jsonp),
                ("xml", Format::Xml),
            ];
            let value = choice(&directive.args[0], choices)?;
            set_once(&mut scope.level.settings.autoindex.format, value, directive)
        },
    },
    DirectiveRow {
        name: "autoindex_localtime",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag autoindex.localtime),
    },
    DirectiveRow {
        name: "autoindex_exact_size",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag autoindex.exact_size),
    },
];

/// Characters of a name that are shown; the place is as wide.
const SHOWN_MAX: usize = 50;

/// How much of a list is made at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// The longest name of a function that a client may ask for.
const CALLBACK_BYTES_MAX: usize = 128;

/// Content phase: a folder is answered with the list of what is in it.
///
/// Source: nginx's `ngx_http_autoindex_handler`.
fn handle(request: &mut Request) -> Outcome {
    if !matches!(request.current.method, Method::Get | Method::Head)
        || !request.path.ends_with(b"/")
    {
        return Outcome::Next;
    }
    let mut callback = Vec::new();
    let mut format = request.settings().autoindex.format;
    if format == Format::Jsonp {
        request.argument(b"callback", &mut callback);
        if !is_callback(request, &callback) {
            return Outcome::Finish(400);
        }
        if callback.is_empty() {
            format = Format::Json;
        }
    }
    let mut entries = match folder::entries(request) {
        Ok(entries) => entries,
        Err(status) => return Outcome::Finish(status),
    };
    if let Err(status) = request.discard_body() {
        return Outcome::Finish(status);
    }
    entries.sort_by(|one, other| {
        let key = |entry: &Entry| !entry.metadata.is_dir();
        key(one)
            .cmp(&key(other))
            .then_with(|| one.name.cmp(&other.name))
    });
    let content_type: &[u8] = match format {
        Format::Html => b"text/html",
        Format::Json => b"application/json",
        Format::Jsonp => b"application/javascript",
        Format::Xml => b"text/xml; charset=utf-8",
    };
    request.response.clear_content();
    request.response.status = 200;
    request.response.content_type.set_text(content_type);
    let settings = &request.settings().autoindex;
    let list = List {
        format,
        path: request.path.clone(),
        callback,
        exact_size: settings.exact_size,
        offset_s: match settings.localtime {
            true => request.site.logs.clock().local_offset_s(),
            false => 0,
        },
        is_utf8: charset::is_to_be_utf8(request),
        entries,
        next: None,
    };
    request.response.source = Some(Box::new(list));
    Outcome::Respond
}

/// Whether a client may have its list given to this function.
fn is_callback(request: &Request, callback: &[u8]) -> bool {
    let shown = Shown(callback);
    if callback.len() > CALLBACK_BYTES_MAX {
        request.log(
            Level::Info,
            format_args!("client sent too long callback name: \"{shown}\""),
        );
        return false;
    }
    let is_sound = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    if !callback.iter().all(is_sound) {
        request.log(
            Level::Info,
            format_args!("client sent invalid callback name: \"{shown}\""),
        );
        return false;
    }
    true
}

/// A list that is made while it is sent.
struct List {
    format: Format,
    path: Vec<u8>,
    callback: Vec<u8>,
    exact_size: bool,
    /// What is added to UTC.
    offset_s: i64,
    /// Whether names are counted in characters.
    is_utf8: bool,
    entries: Vec<Entry>,
    /// The entry that comes next; nothing before the beginning.
    next: Option<usize>,
}

impl Source for List {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        let mut out = Vec::new();
        let first = match self.next {
            None => {
                self.begin(&mut out);
                0
            }
            Some(next) => next,
        };
        if self.next.is_some_and(|next| next > self.entries.len()) {
            return Poll::Ready(None);
        }
        let mut at = first;
        while at < self.entries.len() && out.len() < PIECE_BYTES {
            self.entry(at, &mut out);
            at += 1;
        }
        if at == self.entries.len() {
            self.end(&mut out);
            at += 1;
        }
        self.next = Some(at);
        Poll::Ready(Some(Ok(Piece::Bytes(Bytes::from(out)))))
    }
}

impl List {
    fn begin(&self, out: &mut Vec<u8>) {
        match self.format {
            Format::Html => {
                out.extend_from_slice(b"<html>\r\n<head><title>Index of ");
                escape_html(&self.path, out);
                out.extend_from_slice(b"</title></head>\r\n<body>\r\n<h1>Index of ");
                escape_html(&self.path, out);
                out.extend_from_slice(b"</h1><hr><pre><a href=\"../\">../</a>\r\n");
            }
            Format::Jsonp => {
                out.extend_from_slice(b"/* callback */\r\n");
                out.extend_from_slice(&self.callback);
                out.extend_from_slice(b"([");
            }
            Format::Json => out.push(b'['),
            Format::Xml => out.extend_from_slice(b"<?xml version=\"1.0\"?>\r\n<list>\r\n"),
        }
    }

    fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.format {
            Format::Html => b"</pre><hr></body>\r\n</html>\r\n",
            Format::Json => b"\r\n]",
            Format::Jsonp => b"\r\n]);",
            Format::Xml => b"</list>\r\n",
        });
    }

    fn entry(&self, at: usize, out: &mut Vec<u8>) {
        let entry = &self.entries[at];
        match self.format {
            Format::Html => self.html(entry, out),
            Format::Json | Format::Jsonp => {
                if at > 0 {
                    out.push(b',');
                }
                json(entry, out);
            }
            Format::Xml => xml(entry, out),
        }
    }

    /// A line of the page.
    ///
    /// Source: nginx's `ngx_http_autoindex_html`.
    fn html(&self, entry: &Entry, out: &mut Vec<u8>) {
        let is_folder = entry.metadata.is_dir();
        out.extend_from_slice(b"<a href=\"");
        escape_component(&entry.name, out);
        if is_folder {
            out.push(b'/');
        }
        out.extend_from_slice(b"\">");
        let text = match self.is_utf8 {
            true => std::str::from_utf8(&entry.name).ok(),
            false => None,
        };
        let mut width = text.map_or(entry.name.len(), |text| text.chars().count());
        let shown = if width > SHOWN_MAX {
            let cut = text.and_then(|text| text.char_indices().nth(SHOWN_MAX - 3));
            &entry.name[..cut.map_or(SHOWN_MAX - 3, |(at, _)| at)]
        } else {
            &entry.name
        };
        escape_html(shown, out);
        if width > SHOWN_MAX {
            out.extend_from_slice(b"..&gt;</a>");
        } else {
            if is_folder && width < SHOWN_MAX {
                out.push(b'/');
                width += 1;
            }
            out.extend_from_slice(b"</a>");
            out.resize(out.len() + SHOWN_MAX - width, b' ');
        }
        let time = Timestamp::from_second(modified_s(entry) + self.offset_s).unwrap_or_default();
        let _ = write!(out, " {} ", time.strftime("%d-%b-%Y %H:%M"));
        let bytes = entry.metadata.len();
        let _ = match (is_folder, self.exact_size) {
            (true, true) => write!(out, "{:>19}", "-"),
            (true, false) => write!(out, "{:>7}", "-"),
            (false, true) => write!(out, "{bytes:>19}"),
            (false, false) => match rounded(bytes) {
                (size, Some(unit)) => write!(out, "{size:>6}{unit}"),
                (size, None) => write!(out, "{size:>7}"),
            },
        };
        out.extend_from_slice(b"\r\n");
    }
}

fn modified_s(entry: &Entry) -> i64 {
    std::os::unix::fs::MetadataExt::mtime(&entry.metadata)
}

/// A size and its unit, rounded.
fn rounded(bytes: u64) -> (u64, Option<char>) {
    let (shift, unit) = match bytes {
        0..=9999 => return (bytes, None),
        10_000..=0xf_ffff => (10, 'K'),
        0x10_0000..=0x3fff_ffff => (20, 'M'),
        _ => (30, 'G'),
    };
    (((bytes >> (shift - 1)) + 1) >> 1, Some(unit))
}

/// Source: nginx's `ngx_http_autoindex_json`.
fn json(entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n{ \"name\":\"");
    escape_json(&entry.name, out);
    let mut time = [0; 29];
    revolve_http::date::format_imf(modified_s(entry), &mut time);
    let kind = kind(entry);
    let _ = write!(
        out,
        "\", \"type\":\"{kind}\", \"mtime\":\"{}\"",
        time.escape_ascii()
    );
    if entry.metadata.is_file() {
        let _ = write!(out, ", \"size\":{}", entry.metadata.len());
    }
    out.extend_from_slice(b" }");
}

/// Source: nginx's `ngx_http_autoindex_xml`.
fn xml(entry: &Entry, out: &mut Vec<u8>) {
    let kind = kind(entry);
    let time = Timestamp::from_second(modified_s(entry)).unwrap_or_default();
    let _ = write!(
        out,
        "<{kind} mtime=\"{}\"",
        time.strftime("%Y-%m-%dT%H:%M:%SZ")
    );
    if entry.metadata.is_file() {
        let _ = write!(out, " size=\"{}\"", entry.metadata.len());
    }
    out.push(b'>');
    escape_html(&entry.name, out);
    let _ = write!(out, "</{kind}>\r\n");
}

fn kind(entry: &Entry) -> &'static str {
    if entry.metadata.is_dir() {
        "directory"
    } else if entry.metadata.is_file() {
        "file"
    } else {
        "other"
    }
}

/// Source: nginx's `ngx_escape_html`.
fn escape_html(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            byte => out.push(*byte),
        }
    }
}

/// Source: nginx's `ngx_escape_json`.
fn escape_json(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..=0x1f => {
                let _ = write!(out, "\\u{byte:04X}");
            }
            byte => out.push(*byte),
        }
    }
}

/// Source: nginx's `NGX_ESCAPE_URI_COMPONENT`.
fn escape_component(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(*byte);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::TestSite;

    #[test]
    fn sizes_are_rounded_to_the_nearest() {
        for (bytes, shown) in [
            (0, (0, None)),
            (9999, (9999, None)),
            (10_000, (10, Some('K'))),
            (10_751, (10, Some('K'))),
            (10_752, (11, Some('K'))),
            ((1 << 20) - 1, (1024, Some('K'))),
            (1 << 20, (1, Some('M'))),
            ((3 << 20) / 2, (2, Some('M'))),
            ((1 << 30) - 1, (1024, Some('M'))),
            (1 << 40, (1024, Some('G'))),
        ] {
            assert_eq!(rounded(bytes), shown, "{bytes}");
        }
    }

    /// A large folder comes in many pieces.
    #[test]
    fn a_list_streams() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..1000 {
            std::fs::write(folder.path().join(format!("{number:04}.txt")), "").unwrap();
        }
        let mut site = TestSite::new(&format!(
            "root {}; autoindex on; autoindex_format jsonp;",
            folder.path().display()
        ));
        let (answer, _) = site.ask("GET /?callback=f HTTP/1.1");
        assert!(answer.starts_with(
            "200\n/* callback */\r\nf([\r\n{ \"name\":\"0000.txt\", \"type\":\"file\", \"mtime\":\""
        ));
        assert!(answer.ends_with("\"size\":0 }\r\n]);"));
        assert_eq!(answer.matches("{ \"name\":").count(), 1000);
        assert_eq!(answer.matches(" },\r\n{").count(), 999);
        let long = "f".repeat(129);
        for name in ["a-b", "a(b", "a%20", long.as_str()] {
            let (answer, _) = site.ask(&format!("GET /?callback={name} HTTP/1.1"));
            assert!(answer.starts_with("400\n"), "{name}");
        }
        assert!(site.ask("GET /none/ HTTP/1.1").0.starts_with("404\n"));
    }
}
