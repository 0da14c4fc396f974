//! Request targets (RFC 9112, section 3.2), and the path that a target asks for.

use std::fmt;

use crate::span::Span;

/// The form of a request target.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum TargetForm {
    /// `/path?args`.
    #[default]
    Origin,
    /// `http://host:port/path?args`.
    Absolute,
    /// `host:port`, with CONNECT only, which is always answered by an error.
    Authority,
    /// `*`, with OPTIONS only: a question about the server, not about what it has (RFC 9110,
    /// section 9.3.7). It has no path to be looked up, and [`normalize_path`] refuses it. nginx
    /// answers 400.
    Asterisk,
}

/// A request target, taken apart but not decoded.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Target {
    /// Which of the four forms it has.
    pub form: TargetForm,
    /// What `$request_uri` is: path, arguments and fragment as they were sent. Of an absolute
    /// form without a path (`http://host`) it is `/`.
    pub raw: Span,
    /// The path as it was sent; ends before `?` and `#`. Empty in `http://host?args`.
    pub path: Span,
    /// What follows the first `?`, up to a `#`; `None` without a `?`, empty in `/path?`.
    pub args: Option<Span>,
    /// Whether the path has to go through [`normalize_path`] before it is looked up, because it
    /// holds a `%`, a `#`, `//` or `/.` (or does not begin with `/`).
    pub complex: bool,
    /// The scheme of an absolute form, without `://`. Any scheme is taken, as in nginx.
    pub scheme: Option<Span>,
    /// The host of an absolute or authority form, with the brackets of an IPv6 literal.
    pub host: Option<Span>,
    /// The port of an absolute or authority form: digits, or nothing.
    pub port: Option<Span>,
}

impl Target {
    /// The target of an origin form that begins at `at` of a head; `None` where it is none: it begins
    /// with another byte than `/`, or holds a space or a control character.
    pub(crate) fn origin(raw: &[u8], at: usize) -> Option<Self> {
        let (b"/", rest) = raw.split_at_checked(1)? else {
            return None;
        };
        let mut target = Self {
            raw: Span::new(at, at + raw.len()),
            ..Self::default()
        };
        let mut before = b'/';
        let mut path_end = None;
        for (place, &byte) in rest.iter().enumerate() {
            match byte {
                0..=b' ' | 0x7f => return None,
                // Behind the path nothing else matters.
                _ if path_end.is_some() => {}
                b'?' | b'#' => {
                    target.complex |= byte == b'#';
                    path_end = Some(1 + place);
                }
                b'%' => target.complex = true,
                b'/' | b'.' => target.complex |= before == b'/',
                _ => {}
            }
            before = byte;
        }
        let path_end = path_end.unwrap_or(raw.len());
        target.path = Span::new(at, at + path_end);
        if raw.get(path_end) == Some(&b'?') {
            let args = &raw[path_end + 1..];
            let len = memchr::memchr(b'#', args).unwrap_or(args.len());
            target.args = Some(Span::new(at + path_end + 1, at + path_end + 1 + len));
        }
        Some(target)
    }
}

/// Why a path cannot be looked up. Each is a 400, `client sent invalid request`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum TargetError {
    /// A `%` without two hexadecimal digits.
    InvalidEscape,
    /// `%00`, or a NUL byte.
    NulByte,
    /// `/..` at the root.
    AboveRoot,
    /// It does not begin with `/`: the `*` of `OPTIONS *`.
    NotAbsolute,
}

impl TargetError {
    /// The status to answer with: 400.
    #[must_use]
    pub fn status(self) -> u16 {
        400
    }

    /// What nginx logs.
    #[must_use]
    pub fn message(self) -> &'static str {
        "client sent invalid request"
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = match self {
            Self::InvalidEscape => "a \"%\" without two hexadecimal digits",
            Self::NulByte => "a NUL byte in the path",
            Self::AboveRoot => "the path leaves the root",
            Self::NotAbsolute => "the path does not begin with \"/\"",
        };
        write!(f, "{}: {detail}", self.message())
    }
}

impl std::error::Error for TargetError {}

/// Bytes that decide nothing where they stand in a path: all but `/ . % ? #` and NUL.
static PLAIN: [bool; 256] = {
    let mut table = [true; 256];
    let mut index = 0;
    let special = b"/.%?#\0";
    while index < special.len() {
        table[special[index] as usize] = false;
        index += 1;
    }
    table
};

/// Where the normalizer stands in the segment it is writing.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Segment {
    /// Right after its slash.
    Start,
    /// It is `.` so far.
    Dot,
    /// It is `..` so far.
    DotDot,
    /// It is an ordinary name.
    Name,
}

/// Writes to `out`, which it clears first, the path that `raw_path` asks for: what nginx calls
/// the normalized URI, `$uri`.
///
/// Escapes (`%2F`) are decoded, once: `%25%32%65` becomes `%2e` and stays so. After decoding, `.`
/// and `..` segments are resolved, and with `merge_slashes` neighbouring slashes become one; a
/// slash or dot that was escaped counts like any other. A `?` or `#` that was not escaped ends
/// the path. An empty path is `/`.
///
/// The result begins with `/`, holds no NUL, no `.` or `..` segment, and is no longer than
/// `raw_path` (but for the empty path). Without `merge_slashes`, `..` removes what is before the
/// last slash, even nothing, as in nginx: `/a//../b` is `/a/b`.
///
/// # Errors
///
/// See [`TargetError`]; `out` then holds nothing of use.
pub fn normalize_path(
    raw_path: &[u8],
    merge_slashes: bool,
    out: &mut Vec<u8>,
) -> Result<(), TargetError> {
    out.clear();
    out.reserve(raw_path.len().max(1));
    out.push(b'/');
    let mut at = match raw_path.first() {
        None | Some(b'?' | b'#') => return Ok(()),
        Some(b'/') => 1,
        Some(_) => return Err(TargetError::NotAbsolute),
    };
    let mut segment = Segment::Start;
    while at < raw_path.len() {
        let mut byte = raw_path[at];
        at += 1;
        if PLAIN[byte as usize] {
            out.push(byte);
            segment = Segment::Name;
            continue;
        }
        match byte {
            b'?' | b'#' => break,
            b'%' => {
                byte = decode_escape(&raw_path[at..])?;
                at += 2;
            }
            _ => {}
        }
        segment = match (byte, segment) {
            (0, _) => return Err(TargetError::NulByte),
            (b'/', Segment::Start) if merge_slashes => Segment::Start,
            (b'/', Segment::Start | Segment::Name) => push(out, byte, Segment::Start),
            (b'/', Segment::Dot | Segment::DotDot) => {
                close_segment(out, segment)?;
                Segment::Start
            }
            (b'.', Segment::Start) => push(out, byte, Segment::Dot),
            (b'.', Segment::Dot) => push(out, byte, Segment::DotDot),
            _ => push(out, byte, Segment::Name),
        };
    }
    close_segment(out, segment)
}

fn push(out: &mut Vec<u8>, byte: u8, segment: Segment) -> Segment {
    out.push(byte);
    segment
}

/// Removes a `.` segment, or a `..` segment together with the one before it.
fn close_segment(out: &mut Vec<u8>, segment: Segment) -> Result<(), TargetError> {
    match segment {
        Segment::Start | Segment::Name => {}
        Segment::Dot => out.truncate(out.len() - 1),
        Segment::DotDot => {
            // What is before "/..", and has to end at a slash of its own.
            let before = &out[..out.len() - 3];
            let slash = memchr::memrchr(b'/', before).ok_or(TargetError::AboveRoot)?;
            out.truncate(slash + 1);
        }
    }
    Ok(())
}

fn decode_escape(digits: &[u8]) -> Result<u8, TargetError> {
    match digits {
        [high, low, ..] => match (hex_digit(*high), hex_digit(*low)) {
            (Some(high), Some(low)) => Ok(high << 4 | low),
            _ => Err(TargetError::InvalidEscape),
        },
        _ => Err(TargetError::InvalidEscape),
    }
}

/// The value of a hexadecimal digit in either case.
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
