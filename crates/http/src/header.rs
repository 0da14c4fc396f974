//! Header lines, and those of them that are known by name.

use crate::span::Span;

/// One header line.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct HeaderSpan {
    /// The name, in the letters that its sender used.
    pub name: Span,
    /// The value without the spaces and tabs around it; never holds CR, LF or NUL.
    pub value: Span,
    /// Which of the known headers it is, so that nobody need compare names again.
    pub id: HeaderId,
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
    AcceptRanges "accept-ranges",
    Age "age",
    Authorization "authorization",
    CacheControl "cache-control",
    Connection "connection",
    ContentDisposition "content-disposition",
    ContentEncoding "content-encoding",
    ContentLength "content-length",
    ContentRange "content-range",
    ContentType "content-type",
    Cookie "cookie",
    Date "date",
    Depth "depth",
    Destination "destination",
    Etag "etag",
    Expect "expect",
    Expires "expires",
    Host "host",
    IfMatch "if-match",
    IfModifiedSince "if-modified-since",
    IfNoneMatch "if-none-match",
    IfRange "if-range",
    IfUnmodifiedSince "if-unmodified-since",
    KeepAlive "keep-alive",
    LastModified "last-modified",
    Link "link",
    Location "location",
    Overwrite "overwrite",
    Pragma "pragma",
    Proxy "proxy",
    ProxyAuthorization "proxy-authorization",
    ProxyConnection "proxy-connection",
    Range "range",
    Referer "referer",
    Refresh "refresh",
    Server "server",
    SetCookie "set-cookie",
    Status "status",
    Te "te",
    Trailer "trailer",
    TransferEncoding "transfer-encoding",
    Upgrade "upgrade",
    UpgradeInsecureRequests "upgrade-insecure-requests",
    UserAgent "user-agent",
    Vary "vary",
    Via "via",
    WwwAuthenticate "www-authenticate",
    XAccelBuffering "x-accel-buffering",
    XAccelCharset "x-accel-charset",
    XAccelExpires "x-accel-expires",
    XAccelLimitRate "x-accel-limit-rate",
    XAccelRedirect "x-accel-redirect",
    XForwardedFor "x-forwarded-for",
    XForwardedProto "x-forwarded-proto",
    XRealIp "x-real-ip",
}

const SLOTS: usize = 256;

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
    (len + (first | 0x20) as usize * 20 + (last | 0x20) as usize * 26) % SLOTS
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
    pub(crate) fn of_padded_name(name: &[u8; 32], len: usize) -> Self {
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
#[derive(Clone)]
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

/// Headers of a request of which a second line is refused; nginx refuses the same ones.
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

/// A set of headers.
pub(crate) const fn bits(ids: &[HeaderId]) -> u64 {
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
    /// [`Head::host`](crate::Head::host).
    #[must_use]
    pub fn get(&self, id: HeaderId) -> Option<Span> {
        (self.seen & id.bit() != 0).then(|| self.first[id as usize])
    }

    /// Empties it.
    pub(crate) fn reset(&mut self) {
        self.seen = 0;
        self.close = false;
        self.persist = false;
    }

    /// Takes note of one line of a known header, and says whether it may be there: false for a
    /// second line of a header that may have one. Whether the value of `Host` is a host is for the
    /// head's parser to see.
    #[inline(always)]
    pub(crate) fn note(&mut self, bytes: &[u8], line: HeaderSpan) -> bool {
        self.note_of(UNIQUE, bytes, line)
    }

    /// The same, where the headers that may have one line are these, a set of [`bits`].
    #[inline(always)]
    pub(crate) fn note_of(&mut self, unique: u64, bytes: &[u8], line: HeaderSpan) -> bool {
        let HeaderSpan { id, value, .. } = line;
        if id == HeaderId::Connection {
            self.note_connection(value.of(bytes));
        }
        if self.seen & id.bit() == 0 {
            self.seen |= id.bit();
            self.first[id as usize] = value;
            return true;
        }
        unique & id.bit() == 0
    }

    /// The lines of a header have become one, of this value.
    pub(crate) fn replace(&mut self, id: HeaderId, value: Span) {
        self.seen |= id.bit();
        self.first[id as usize] = value;
    }

    /// Whether there is a line of any of these, a set of [`bits`].
    #[inline]
    pub(crate) fn has_any(&self, ids: u64) -> bool {
        self.seen & ids != 0
    }

    /// Whether a `Connection` line said `close`.
    pub(crate) fn says_close(&self) -> bool {
        self.close
    }

    /// Whether a `Connection` line said `keep-alive`.
    pub(crate) fn says_keep_alive(&self) -> bool {
        self.persist
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
}

impl Default for Known {
    fn default() -> Self {
        Self {
            seen: 0,
            first: [Span::default(); KNOWN_HEADERS.len()],
            close: false,
            persist: false,
        }
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

fn contains_ignore_case(value: &[u8], word: &[u8]) -> bool {
    value
        .windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word))
}
