//! What header lines mean to the protocol: which of them are known, how the body is framed,
//! whether the connection stays open.

use super::Span;
use super::head::{HeadError, Method, Version};

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
    UserAgent "user-agent",
    Via "via",
    XForwardedFor "x-forwarded-for",
    XForwardedProto "x-forwarded-proto",
    XRealIp "x-real-ip",
}

const SLOTS: usize = 128;

/// One slot for each value of [`slot`], holding the only known name that hashes to it.
static KNOWN_BY_SLOT: [(&str, HeaderId); SLOTS] = {
    let mut slots = [("", HeaderId::Other); SLOTS];
    let mut index = 0;
    while index < KNOWN_HEADERS.len() {
        let (name, id) = KNOWN_HEADERS[index];
        let slot = slot(name.as_bytes());
        assert!(
            slots[slot].0.is_empty(),
            "two known headers share a slot: change the hash"
        );
        slots[slot] = (name, id);
        index += 1;
    }
    slots
};

/// A hash of a name that is not empty, the same in either case and different for each known name
/// (the table's construction fails to compile where it is not).
const fn slot(name: &[u8]) -> usize {
    let first = (name[0] | 0x20) as usize;
    let last = (name[name.len() - 1] | 0x20) as usize;
    (name.len() * 1 + first * 3 + last * 5) % SLOTS
}

impl HeaderId {
    /// The header of this name, in letters of either case.
    #[must_use]
    pub fn of_name(name: &[u8]) -> Self {
        if name.is_empty() {
            return Self::Other;
        }
        let (known, id) = KNOWN_BY_SLOT[slot(name)];
        if known.len() == name.len() && eq_lowercase(name, known.as_bytes()) {
            id
        } else {
            Self::Other
        }
    }
}

/// Whether `name` in lower case is `lower`, which is of the same length and made of lower-case
/// letters and `-` only.
fn eq_lowercase(name: &[u8], lower: &[u8]) -> bool {
    let len = name.len();
    if len < 8 {
        return name.eq_ignore_ascii_case(lower);
    }
    let mut at = 0;
    while at + 8 < len {
        if !word_eq_lowercase(name, lower, at) {
            return false;
        }
        at += 8;
    }
    word_eq_lowercase(name, lower, len - 8)
}

/// Compares the eight bytes at `at`: letters (which have bit 6 set, `-` has not) may differ in
/// bit 5, the case, and in nothing else.
fn word_eq_lowercase(name: &[u8], lower: &[u8], at: usize) -> bool {
    let (Some(name), Some(lower)) = (
        name[at..].first_chunk::<8>(),
        lower[at..].first_chunk::<8>(),
    ) else {
        return false;
    };
    let lower = u64::from_le_bytes(*lower);
    let case_bits = (lower & 0x4040_4040_4040_4040) >> 1;
    (u64::from_le_bytes(*name) ^ lower) & !case_bits == 0
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
        if contains_ignore_case(value, b"close") {
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

/// Checks the value of a `Host` line and returns its host without port and without the dot that
/// may end it, as offsets into `value`; `None` where it is no host.
///
/// This is nginx's `ngx_http_validate_host`: not empty, no empty label but the last, no `/`, no
/// space or control character. Stricter than nginx on purpose, because redirects and proxied
/// requests are built out of this value: a port is of digits, brackets stand around an IPv6
/// literal and nowhere else, and the delimiters of a URL (`?`, `#`, `@`, `\`) are refused.
pub(super) fn validate_host(value: &[u8]) -> Option<(usize, usize)> {
    let host_end = if value.first() == Some(&b'[') {
        let close = memchr::memchr(b']', value)?;
        let literal = &value[1..close];
        let valid = literal
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b":.-_~!$&'()*+,;=".contains(&byte));
        if literal.is_empty() || !valid {
            return None;
        }
        close + 1
    } else {
        memchr::memchr(b':', value).unwrap_or(value.len())
    };
    let mut port = &value[host_end..];
    if let Some((&colon, digits)) = port.split_first() {
        if colon != b':' {
            return None;
        }
        port = digits;
    }
    if !port.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let host = &value[..host_end];
    if host.first() != Some(&b'[') && host.iter().any(|&byte| !HOST_BYTES[byte as usize]) {
        return None;
    }
    if host.windows(2).any(|pair| pair == b"..") {
        return None;
    }
    let host_end = if host.last() == Some(&b'.') {
        host_end - 1
    } else {
        host_end
    };
    (host_end > 0).then_some((0, host_end))
}

/// The bytes that may stand in a host name.
static HOST_BYTES: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte <= 0x20 {
        table[byte] = false;
        byte += 1;
    }
    let mut index = 0;
    let refused = b"/?#@\\[]\x7f";
    while index < refused.len() {
        table[refused[index] as usize] = false;
        index += 1;
    }
    table
};
