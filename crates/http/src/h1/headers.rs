//! What header lines mean to the protocol: which of them are known, how the body is framed,
//! whether the connection stays open.

use super::Span;
use super::error::HeadError;
use super::head::{Method, Version};
use super::scan::is_token_byte;

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

        impl HeaderId {
            /// The known ones, each at the place of its number.
            const KNOWN: [Self; KNOWN_HEADERS.len()] = [$(Self::$id,)*];
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
    /// Its bit in a set.
    const fn bit(self) -> u64 {
        1 << self as u64
    }

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

/// Where the values of the known headers stand, for access without a search.
#[derive(Clone, Default)]
pub struct Known {
    /// One bit for each header that a line was there for.
    seen: u64,
    /// The value of its first line; what is not seen means nothing.
    first: [Span; KNOWN_HEADERS.len()],
    /// A `Connection` line said `close`.
    close: bool,
    /// A `Connection` line said `keep-alive`.
    persist: bool,
}

/// Headers of which a second line is refused; nginx refuses the same ones.
const UNIQUE: u64 = bits(&[
    HeaderId::Authorization,
    HeaderId::ContentLength,
    HeaderId::ContentRange,
    HeaderId::Expect,
    HeaderId::Host,
    HeaderId::IfMatch,
    HeaderId::IfModifiedSince,
    HeaderId::IfNoneMatch,
    HeaderId::IfRange,
    HeaderId::IfUnmodifiedSince,
    HeaderId::TransferEncoding,
]);

const fn bits(ids: &[HeaderId]) -> u64 {
    let mut bits = 0;
    let mut index = 0;
    while index < ids.len() {
        bits |= ids[index].bit();
        index += 1;
    }
    bits
}

impl Known {
    /// The value of the header's only line, or of the first where it may be repeated, as in nginx
    /// (`Cookie`, `Range`, `X-Forwarded-For` and so on). `Host` is as sent, with its port; see also
    /// [`Head::host`](super::Head::host).
    #[must_use]
    pub fn get(&self, id: HeaderId) -> Option<Span> {
        (self.seen & id.bit() != 0).then(|| self.first[id as usize])
    }

    /// Empties it.
    pub(super) fn reset(&mut self) {
        self.seen = 0;
        self.close = false;
        self.persist = false;
    }

    /// Takes note of one line of a known header; whether the value of `Host` is a host is for the
    /// head's parser to see.
    #[inline(always)]
    pub(super) fn note(&mut self, bytes: &[u8], line: HeaderSpan) -> Result<(), HeadError> {
        let HeaderSpan { id, value, .. } = line;
        if id == HeaderId::Connection {
            self.note_connection(value.of(bytes));
        }
        if self.seen & id.bit() == 0 {
            self.seen |= id.bit();
            self.first[id as usize] = value;
            return Ok(());
        }
        match id {
            HeaderId::Host => Err(HeadError::DuplicateHost),
            _ if UNIQUE & id.bit() != 0 => Err(HeadError::DuplicateHeader),
            _ => Ok(()),
        }
    }

    /// Whether there is a line of any of these.
    #[inline]
    fn has_any(&self, ids: u64) -> bool {
        self.seen & ids != 0
    }

    fn note_connection(&mut self, value: &[u8]) {
        if value == b"keep-alive" || value.eq_ignore_ascii_case(b"keep-alive") {
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
    #[inline]
    pub(super) fn framing(
        &self,
        bytes: &[u8],
        method: Method,
        version: Version,
    ) -> Result<Framing, HeadError> {
        const FRAMING: u64 = bits(&[HeaderId::ContentLength, HeaderId::TransferEncoding]);
        if version > Version::HTTP_10 && !self.has_any(HeaderId::Host.bit()) {
            return Err(HeadError::MissingHost);
        }
        let length = match self.get(HeaderId::ContentLength) {
            Some(value) => Some(content_length(value.of(bytes))?),
            None => None,
        };
        match method {
            Method::Connect => return Err(HeadError::ConnectMethod),
            Method::Trace => return Err(HeadError::TraceMethod),
            _ if !self.has_any(FRAMING) => return Ok(Framing::None),
            _ => {}
        }
        let Some(coding) = self.get(HeaderId::TransferEncoding) else {
            return Ok(length.map_or(Framing::None, Framing::Length));
        };
        if version < Version::HTTP_11 {
            return Err(HeadError::TransferEncodingInHttp10);
        }
        check_coding(coding.of(bytes))?;
        if length.is_some() {
            return Err(HeadError::ContentLengthAndTransferEncoding);
        }
        Ok(Framing::Chunked)
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        let values = |known: &Self| HeaderId::KNOWN.map(|id| known.get(id));
        (self.close, self.persist, values(self)) == (other.close, other.persist, values(other))
    }
}

impl Eq for Known {}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let there = HeaderId::KNOWN.into_iter();
        f.debug_map()
            .entries(there.filter_map(|id| Some((id, self.get(id)?))))
            .finish()
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

/// `chunked` alone is what can be read. A list that ends in it and holds other codings is well formed
/// (501, RFC 9112, section 6.1); where any other coding is the last, nobody can tell where the body
/// ends (400, section 6.3), as where `chunked` is applied twice or has parameters (section 7.1).
fn check_coding(value: &[u8]) -> Result<(), HeadError> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let mut codings = value.rsplit(|&byte| byte == b',').map(trim_spaces);
    let last = codings.next().unwrap_or_default();
    if !is_chunked(last) {
        return Err(HeadError::InvalidTransferEncoding);
    }
    for coding in codings {
        let (name, parameters) = match memchr::memchr(b';', coding) {
            Some(at) => (trim_spaces(&coding[..at]), &coding[at + 1..]),
            None => (coding, [].as_slice()),
        };
        let is_valid = !name.is_empty() && name.iter().copied().all(is_token_byte);
        let is_visible = parameters
            .iter()
            .all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        if !is_valid || !is_visible || is_chunked(name) {
            return Err(HeadError::InvalidTransferEncoding);
        }
    }
    Err(HeadError::UnknownTransferEncoding)
}

fn trim_spaces(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn contains_ignore_case(value: &[u8], word: &[u8]) -> bool {
    value
        .windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word))
}

/// Checks hosts, and remembers the last: it is most often the next, too.
#[derive(Clone, Debug, Default)]
pub(super) struct HostCheck {
    value: [u8; 32],
    value_len: usize,
    host_len: usize,
}

impl HostCheck {
    /// The same as [`validate_host`].
    #[inline]
    pub(super) fn len(&mut self, value: &[u8]) -> Option<usize> {
        if value == &self.value[..self.value_len] && !value.is_empty() {
            return Some(self.host_len);
        }
        let host_len = validate_host(value)?;
        if let Some(room) = self.value.get_mut(..value.len()) {
            room.copy_from_slice(value);
            self.value_len = value.len();
            self.host_len = host_len;
        }
        Some(host_len)
    }
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
    let mut label_start = 0;
    for (at, &byte) in value.iter().enumerate() {
        match HOST_CLASS[byte as usize] {
            HOST_PLAIN => {}
            // A dot may begin a name, and end a label that is not empty.
            HOST_DOT if at == 0 || at > label_start => label_start = at + 1,
            HOST_COLON => return Some((at, at > 0 && at == label_start)),
            _ => return None,
        }
    }
    Some((value.len(), value.len() == label_start))
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
