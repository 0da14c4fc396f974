//! What header lines mean to the protocol: which of them are known, how the body is framed,
//! whether the connection stays open.

use super::Span;
use super::error::HeadError;
use super::head::{Method, Version};

/// One header line of a request.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct HeaderSpan {
    /// The name, in the letters that the client used.
    pub name: Span,
    /// The value without the spaces and tabs around it; never holds CR, LF or NUL.
    pub value: Span,
    /// Which of the known headers it is, so that nobody need compare names again.
    pub id: HeaderId,
}

/// How a request's body is delimited (RFC 9112, section 6).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Framing {
    /// No body: neither `Content-Length` nor `Transfer-Encoding`.
    #[default]
    None,
    /// As many bytes as `Content-Length` says, which may be 0. At most `i64::MAX`, as in nginx.
    Length(u64),
    /// `Transfer-Encoding: chunked`: read it with [`ChunkedDecoder`](super::ChunkedDecoder).
    Chunked,
}

/// Whether the client wants the connection to stay open after the response.
///
/// As in nginx: a `Connection` line that contains `close` turns it off, one that contains
/// `keep-alive` turns it on, otherwise it is on from HTTP/1.1 onwards. Where one line says `close`
/// and another `keep-alive`, `close` wins, whatever their order (RFC 9112, section 9.3); nginx
/// lets the later line win.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum KeepAlive {
    /// Close after the response.
    #[default]
    Off,
    /// Another request may follow.
    On,
}

impl KeepAlive {
    /// Whether another request may follow.
    #[must_use]
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Declares [`HeaderId`] together with the table of names that it is looked up in.
macro_rules! header_ids {
    ($($id:ident $name:literal,)*) => {
        /// The headers that Revolve knows by name, so that they are compared once, when they are
        /// parsed.
        #[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        pub enum HeaderId {
            $(#[doc = concat!("`", $name, "`")] $id,)*
            /// Any other header.
            Other,
        }

        const KNOWN_HEADERS: &[(&str, HeaderId)] = &[$(($name, HeaderId::$id),)*];
    };
}

header_ids! {
    Accept "accept",
    AcceptEncoding "accept-encoding",
    AcceptLanguage "accept-language",
    Authorization "authorization",
    CacheControl "cache-control",
    Connection "connection",
    ContentLength "content-length",
    ContentRange "content-range",
    ContentType "content-type",
    Cookie "cookie",
    Depth "depth",
    Destination "destination",
    Expect "expect",
    Host "host",
    IfMatch "if-match",
    IfModifiedSince "if-modified-since",
    IfNoneMatch "if-none-match",
    IfRange "if-range",
    IfUnmodifiedSince "if-unmodified-since",
    KeepAlive "keep-alive",
    Overwrite "overwrite",
    Range "range",
    Referer "referer",
    Te "te",
    TransferEncoding "transfer-encoding",
    Upgrade "upgrade",
    UpgradeInsecureRequests "upgrade-insecure-requests",
    UserAgent "user-agent",
    Via "via",
    XForwardedFor "x-forwarded-for",
    XForwardedProto "x-forwarded-proto",
    XRealIp "x-real-ip",
}

const SLOTS: usize = 128;

/// A known name, as it is compared: in lower case, and padded.
struct KnownName {
    id: HeaderId,
    len: usize,
    words: [u64; 4],
    /// The bits that count: of a letter all but the case, of a `-` all, past the name none.
    masks: [u64; 4],
}

impl KnownName {
    const NONE: Self = Self {
        id: HeaderId::Other,
        len: 0,
        words: [0; 4],
        masks: [0; 4],
    };

    const fn new(name: &[u8], id: HeaderId) -> Self {
        let mut known = Self {
            id,
            len: name.len(),
            ..Self::NONE
        };
        let mut at = 0;
        while at < name.len() {
            let shift = at % 8 * 8;
            let mask = if name[at].is_ascii_lowercase() {
                0xdf
            } else {
                0xff
            };
            known.words[at / 8] |= (name[at] as u64) << shift;
            known.masks[at / 8] |= mask << shift;
            at += 1;
        }
        known
    }

    fn is(&self, name: &[u8; 32], len: usize) -> bool {
        let mut difference = 0;
        for (index, word) in name.as_chunks::<8>().0.iter().enumerate() {
            difference |= (u64::from_le_bytes(*word) ^ self.words[index]) & self.masks[index];
        }
        self.len == len && difference == 0
    }
}

/// One slot for each value of [`slot`], holding the only known name that hashes to it.
static KNOWN_BY_SLOT: [KnownName; SLOTS] = {
    let mut slots = [const { KnownName::NONE }; SLOTS];
    let mut index = 0;
    while index < KNOWN_HEADERS.len() {
        let (name, id) = KNOWN_HEADERS[index];
        let name = name.as_bytes();
        let slot = slot(name[0], name[name.len() - 1], name.len());
        assert!(
            slots[slot].len == 0,
            "two known headers share a slot: change the hash"
        );
        slots[slot] = KnownName::new(name, id);
        index += 1;
    }
    slots
};

/// A hash of a name by its first byte, its last and its length: the same in either case, and
/// different for each known name (else the table's construction does not compile).
const fn slot(first: u8, last: u8, len: usize) -> usize {
    (len + (first | 0x20) as usize * 3 + (last | 0x20) as usize * 5) % SLOTS
}

impl HeaderId {
    /// The header of this name, in letters of either case.
    #[must_use]
    pub fn of_name(name: &[u8]) -> Self {
        let mut padded = [0; 32];
        match padded.get_mut(..name.len()) {
            Some(start) => start.copy_from_slice(name),
            None => return Self::Other,
        }
        Self::of_padded_name(&padded, name.len())
    }

    /// The same for a name of `len` bytes, of which at most 32, with anything after it.
    #[inline]
    pub(super) fn of_padded_name(name: &[u8; 32], len: usize) -> Self {
        if len == 0 || len > name.len() {
            return Self::Other;
        }
        let known = &KNOWN_BY_SLOT[slot(name[0], name[len - 1], len)];
        if known.is(name, len) {
            known.id
        } else {
            Self::Other
        }
    }
}

/// Where the values of the headers that matter stand, for access without a search.
///
/// Of a header that may not be repeated there is only one; of one that may (`Range`,
/// `User-Agent`, `Referer` and so on) it is the first, as in nginx.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// `Accept-Encoding`.
    pub accept_encoding: Option<Span>,
    /// `Authorization`; a second line is refused.
    pub authorization: Option<Span>,
    /// `Connection`, the first line.
    pub connection: Option<Span>,
    /// `Content-Length`; a second line is refused.
    pub content_length: Option<Span>,
    /// `Content-Range`; a second line is refused.
    pub content_range: Option<Span>,
    /// `Content-Type`.
    pub content_type: Option<Span>,
    /// `Depth` (WebDAV).
    pub depth: Option<Span>,
    /// `Destination` (WebDAV).
    pub destination: Option<Span>,
    /// `Expect`; a second line is refused.
    pub expect: Option<Span>,
    /// `Host` as sent, with its port; a second line is refused. See also
    /// [`Head::host`](super::Head::host).
    pub host: Option<Span>,
    /// `If-Match`; a second line is refused.
    pub if_match: Option<Span>,
    /// `If-Modified-Since`; a second line is refused.
    pub if_modified_since: Option<Span>,
    /// `If-None-Match`; a second line is refused.
    pub if_none_match: Option<Span>,
    /// `If-Range`; a second line is refused.
    pub if_range: Option<Span>,
    /// `If-Unmodified-Since`; a second line is refused.
    pub if_unmodified_since: Option<Span>,
    /// `Keep-Alive`.
    pub keep_alive: Option<Span>,
    /// `Overwrite` (WebDAV).
    pub overwrite: Option<Span>,
    /// `Range`.
    pub range: Option<Span>,
    /// `Referer`.
    pub referer: Option<Span>,
    /// `TE`.
    pub te: Option<Span>,
    /// `Transfer-Encoding`; a second line is refused.
    pub transfer_encoding: Option<Span>,
    /// `Upgrade`.
    pub upgrade: Option<Span>,
    /// `User-Agent`.
    pub user_agent: Option<Span>,
    /// `Via`.
    pub via: Option<Span>,
    /// `X-Real-IP`.
    pub x_real_ip: Option<Span>,
    /// `Cookie`, all lines in order.
    pub cookie: Vec<Span>,
    /// `X-Forwarded-For`, all lines in order.
    pub x_forwarded_for: Vec<Span>,
    /// A `Connection` line said `close`.
    pub(super) close: bool,
    /// A `Connection` line said `keep-alive`.
    pub(super) persist: bool,
}

impl Known {
    /// Empties it and keeps the memory.
    pub(super) fn reset(&mut self) {
        let mut cookie = std::mem::take(&mut self.cookie);
        let mut x_forwarded_for = std::mem::take(&mut self.x_forwarded_for);
        cookie.clear();
        x_forwarded_for.clear();
        *self = Self {
            cookie,
            x_forwarded_for,
            ..Self::default()
        };
    }

    /// Takes note of one header line other than `Host`, which the head's parser sees to.
    pub(super) fn note(&mut self, bytes: &[u8], line: HeaderSpan) -> Result<(), HeadError> {
        use HeaderId as Id;
        let value = line.value;
        // The slot, and whether a second line is refused; nginx refuses the same ones.
        let (slot, unique) = match line.id {
            Id::Cookie => {
                self.cookie.push(value);
                return Ok(());
            }
            Id::XForwardedFor => {
                self.x_forwarded_for.push(value);
                return Ok(());
            }
            Id::Connection => {
                self.note_connection(value.of(bytes));
                (&mut self.connection, false)
            }
            Id::AcceptEncoding => (&mut self.accept_encoding, false),
            Id::ContentType => (&mut self.content_type, false),
            Id::Depth => (&mut self.depth, false),
            Id::Destination => (&mut self.destination, false),
            Id::KeepAlive => (&mut self.keep_alive, false),
            Id::Overwrite => (&mut self.overwrite, false),
            Id::Range => (&mut self.range, false),
            Id::Referer => (&mut self.referer, false),
            Id::Te => (&mut self.te, false),
            Id::Upgrade => (&mut self.upgrade, false),
            Id::UserAgent => (&mut self.user_agent, false),
            Id::Via => (&mut self.via, false),
            Id::XRealIp => (&mut self.x_real_ip, false),
            Id::Authorization => (&mut self.authorization, true),
            Id::ContentLength => (&mut self.content_length, true),
            Id::ContentRange => (&mut self.content_range, true),
            Id::Expect => (&mut self.expect, true),
            Id::IfMatch => (&mut self.if_match, true),
            Id::IfModifiedSince => (&mut self.if_modified_since, true),
            Id::IfNoneMatch => (&mut self.if_none_match, true),
            Id::IfRange => (&mut self.if_range, true),
            Id::IfUnmodifiedSince => (&mut self.if_unmodified_since, true),
            Id::TransferEncoding => (&mut self.transfer_encoding, true),
            _ => return Ok(()),
        };
        match slot {
            None => *slot = Some(value),
            Some(_) if unique => return Err(HeadError::DuplicateHeader),
            Some(_) => {}
        }
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8]) {
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.persist = true;
        } else if contains_ignore_case(value, b"close") {
            self.close = true;
        } else if contains_ignore_case(value, b"keep-alive") {
            self.persist = true;
        }
    }

    pub(super) fn keep_alive_of(&self, version: Version) -> KeepAlive {
        let on = !self.close && (self.persist || version > Version::HTTP_10);
        if on { KeepAlive::On } else { KeepAlive::Off }
    }

    /// Checks what can only be checked when all lines are there, in nginx's order, and says how
    /// the body is framed.
    pub(super) fn framing(
        &self,
        bytes: &[u8],
        method: Method,
        version: Version,
    ) -> Result<Framing, HeadError> {
        if self.host.is_none() && version > Version::HTTP_10 {
            return Err(HeadError::MissingHost);
        }
        let length = match self.content_length {
            None => None,
            Some(value) => Some(content_length(value.of(bytes))?),
        };
        match method {
            Method::Connect => return Err(HeadError::ConnectMethod),
            Method::Trace => return Err(HeadError::TraceMethod),
            _ => {}
        }
        let Some(coding) = self.transfer_encoding else {
            return Ok(length.map_or(Framing::None, Framing::Length));
        };
        if version < Version::HTTP_11 {
            return Err(HeadError::TransferEncodingInHttp10);
        }
        if !coding.of(bytes).eq_ignore_ascii_case(b"chunked") {
            return Err(HeadError::UnknownTransferEncoding);
        }
        if length.is_some() {
            return Err(HeadError::ContentLengthAndTransferEncoding);
        }
        Ok(Framing::Chunked)
    }
}

/// Digits and nothing else: no sign, no list, no space, and no more than `i64::MAX`.
fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    let digits = value.iter().try_fold(0i64, |sum, &byte| {
        if !byte.is_ascii_digit() {
            return None;
        }
        sum.checked_mul(10)?.checked_add(i64::from(byte - b'0'))
    });
    match digits {
        Some(length) if !value.is_empty() => Ok(length as u64),
        _ => Err(HeadError::InvalidContentLength),
    }
}

fn contains_ignore_case(value: &[u8], word: &[u8]) -> bool {
    value
        .windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word))
}

/// Checks the value of a `Host` line and returns the length of its host, without port and without
/// the dot that may end it; `None` where it is no host.
///
/// This is nginx's `ngx_http_validate_host`: not empty, no empty label but the last, no `/`, no
/// space or control character. Stricter than nginx on purpose, because redirects and proxied
/// requests are built out of this value: a port is of digits, brackets stand around an IPv6
/// literal and nowhere else, and the delimiters of a URL (`?`, `#`, `@`, `\`) are refused.
pub(super) fn validate_host(value: &[u8]) -> Option<usize> {
    let (mut host_end, dot_ends) = match value.first()? {
        b'[' => (literal_len(value)?, false),
        _ => name_len(value)?,
    };
    match value[host_end..].split_first() {
        None => {}
        Some((b':', port)) if port.iter().all(u8::is_ascii_digit) => {}
        Some(_) => return None,
    }
    host_end -= usize::from(dot_ends);
    (host_end > 0).then_some(host_end)
}

/// The length of a host name, and whether a dot ends it.
fn name_len(value: &[u8]) -> Option<(usize, bool)> {
    let mut before = 0;
    for (at, &byte) in value.iter().enumerate() {
        match HOST_CLASS[byte as usize] {
            HOST_PLAIN => {}
            HOST_DOT if before != b'.' => {}
            HOST_COLON => return Some((at, before == b'.')),
            _ => return None,
        }
        before = byte;
    }
    Some((value.len(), before == b'.'))
}

/// The length of an IPv6 (or later) literal, with its brackets.
fn literal_len(value: &[u8]) -> Option<usize> {
    let close = memchr::memchr(b']', value)?;
    let literal = &value[1..close];
    let valid = literal
        .iter()
        .all(|&byte| byte.is_ascii_alphanumeric() || b":.-_~!$&'()*+,;=".contains(&byte));
    let empty_label = literal.windows(2).any(|pair| pair == b"..");
    (valid && !empty_label && !literal.is_empty()).then_some(close + 1)
}

/// What a byte means in a host name.
const HOST_PLAIN: u8 = 0;
const HOST_DOT: u8 = 1;
const HOST_COLON: u8 = 2;
const HOST_FATAL: u8 = 3;

static HOST_CLASS: [u8; 256] = {
    let mut table = [HOST_PLAIN; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'.' => HOST_DOT,
            b':' => HOST_COLON,
            0..=b' ' | 0x7f | b'/' | b'?' | b'#' | b'@' | b'\\' | b'[' | b']' => HOST_FATAL,
            _ => HOST_PLAIN,
        };
        byte += 1;
    }
    table
};
