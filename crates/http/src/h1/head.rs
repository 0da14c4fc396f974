//! Request heads: the request line and the header lines.

use super::error::HeadError;
use super::headers;
use super::parser::{HeadParser, State, line_end};
use super::{request_line, scan};
use crate::head::Head;
use crate::header::{HeaderId, HeaderSpan};
use crate::span::Span;
use crate::target::TargetForm;
use crate::version::Version;

/// What a head may cost. A parser may be given other limits with each call, as long as they are
/// the same for one head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// The longest line, with its CRLF: the size of one buffer of `large_client_header_buffers`.
    /// A request line that is longer is [`HeadError::UriTooLong`] (or, if it has no target by then,
    /// one that is malformed), a header line [`HeadError::HeaderTooLarge`].
    pub line_bytes_max: usize,
    /// The longest head: number times size of `large_client_header_buffers`; beyond it
    /// [`HeadError::RequestTooLarge`]. nginx adds what its first buffer holds and loses what does
    /// not fill a buffer, so its limit is near, not at, this one.
    pub head_bytes_max: usize,
    /// The most header lines: `max_headers` of nginx 1.29.
    pub headers_max: usize,
    /// Whether `_` is valid in a header's name: `underscores_in_headers`.
    pub underscores: bool,
    /// Whether a header with an invalid name is left out (and put into [`Head::ignored`]) or taken
    /// as it is: `ignore_invalid_headers`. Spaces and control characters in a name are an error in
    /// either case.
    pub ignore_invalid: bool,
}

impl Default for HeadLimits {
    /// nginx's defaults: lines of 8 KiB, heads of 32 KiB, 1000 headers, no underscores, invalid
    /// names ignored.
    fn default() -> Self {
        Self {
            line_bytes_max: 8 * 1024,
            head_bytes_max: 32 * 1024,
            headers_max: 1000,
            underscores: false,
            ignore_invalid: true,
        }
    }
}

/// How far a head has been read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// All bytes have been read and the head has not ended.
    Partial,
    /// The head has ended, and is whole.
    Complete {
        /// How many bytes it took, with line ends skipped before it and the empty line after it.
        head_bytes: usize,
    },
}

impl HeadParser {
    /// A parser before the first byte of a head. It owns no memory until it reads a header line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what was read, empties `head`, and keeps its memory for the next one.
    pub fn reset(&mut self, head: &mut Head) {
        // What is not set here is set before it is read.
        self.state = State::Lead;
        self.at = 0;
        self.line_start = 0;
        head.reset();
    }

    /// Whether a byte of the request line has been seen, besides line ends before it: a connection
    /// on which none has been is idle.
    #[must_use]
    pub fn line_started(&self) -> bool {
        self.state != State::Lead
    }

    /// After an error, the line that it is about, up to the byte at which it was found.
    #[must_use]
    pub fn error_line(&self) -> Span {
        Span::new(self.line_start.min(self.at), self.at)
    }

    /// What nginx shows as `$request`: the request line, or while it is incomplete or wrong,
    /// what has arrived of it. `head` and `bytes` are those given to [`parse`](Self::parse).
    #[must_use]
    pub fn request_line_or_start(&self, head: &Head, bytes: &[u8]) -> Span {
        if head.request_line_done() {
            return head.request_line;
        }
        let start = self.line_start.min(bytes.len());
        let rest = &bytes[start..];
        let end = memchr::memchr2(b'\r', b'\n', rest).map_or(bytes.len(), |len| start + len);
        Span::new(start, end)
    }

    /// Reads on in `bytes`, all bytes of the head received so far and possibly more, and notes in
    /// `head` what is there.
    ///
    /// # Errors
    ///
    /// See [`HeadError`]. Later calls return the same error, until [`reset`](Self::reset).
    pub fn parse(
        &mut self,
        head: &mut Head,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Progress, HeadError> {
        let parsed = match self.state {
            State::Lead if self.at == 0 => self.whole_head(head, bytes, limits),
            _ => self.advance(head, bytes, limits),
        };
        if let Err(error) = parsed {
            self.state = State::Failed(error);
        }
        parsed
    }

    /// Reads a head that is all there and ordinary, as most are. Where it is not, what has been read
    /// of it is gone on with.
    #[inline]
    fn whole_head(
        &mut self,
        head: &mut Head,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Progress, HeadError> {
        // Each of its lines ends before the longest line would, so that no limit is met unseen.
        let end = self.window_end(bytes.len().min(head_bytes_max(limits)), limits);
        let window = &bytes[..end];
        if request_line::read_whole(self, head, window) {
            self.whole_lines(head, window, limits)?;
            if window[self.at..].starts_with(b"\r\n") {
                self.at += 2;
                self.finish(head, window)?;
                return Ok(Progress::Complete {
                    head_bytes: self.at,
                });
            }
        }
        self.advance(head, bytes, limits)
    }

    fn advance(
        &mut self,
        head: &mut Head,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Progress, HeadError> {
        let head_end = bytes.len().min(head_bytes_max(limits));
        let mut end = self.window_end(head_end, limits);
        loop {
            let window = &bytes[..end];
            let more = match self.state {
                State::Complete => true,
                State::Failed(error) => return Err(error),
                State::HeaderStart
                | State::HeaderName
                | State::BeforeValue
                | State::HeaderValue => self.header_line(head, window, limits)?,
                _ => request_line::read(self, head, window)?,
            };
            if self.state == State::Complete {
                return Ok(Progress::Complete {
                    head_bytes: self.at,
                });
            }
            // Where a line ended, the window of the next one reaches further.
            let seen = end;
            end = self.window_end(head_end, limits);
            if !more && end == seen {
                break;
            }
        }
        if end >= self.line_start.saturating_add(limits.line_bytes_max) {
            return Err(self.line_too_long(head));
        }
        if end >= head_bytes_max(limits) {
            return Err(self.head_too_large(head));
        }
        Ok(Progress::Partial)
    }

    /// No byte past this offset is looked at, so that a limit is hit at the same byte in whatever
    /// pieces it arrives.
    #[inline]
    fn window_end(&self, head_end: usize, limits: &HeadLimits) -> usize {
        head_end.min(self.line_start.saturating_add(limits.line_bytes_max))
    }

    fn line_too_long(&self, head: &Head) -> HeadError {
        match self.state {
            _ if head.request_line_done() => HeadError::HeaderTooLarge,
            // There is no target yet that could be too long.
            State::Method => HeadError::InvalidMethod,
            State::BeforeTarget => HeadError::InvalidRequest,
            _ => HeadError::UriTooLong,
        }
    }

    fn head_too_large(&self, head: &Head) -> HeadError {
        match self.line_started() && !head.request_line_done() {
            true => self.line_too_long(head),
            false => HeadError::RequestTooLarge,
        }
    }
}

/// Spans are of 32 bits.
fn head_bytes_max(limits: &HeadLimits) -> usize {
    limits.head_bytes_max.min(u32::MAX as usize)
}

/// What a byte means in a header's name.
const NAME_VALID: u8 = 0;
const NAME_UNDERSCORE: u8 = 1;
const NAME_INVALID: u8 = 2;
const NAME_COLON: u8 = 3;
const NAME_FATAL: u8 = 4;

static NAME_CLASS: [u8; 256] = {
    let mut table = [NAME_INVALID; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' => NAME_VALID,
            b'_' => NAME_UNDERSCORE,
            b':' => NAME_COLON,
            0..=b' ' | 0x7f => NAME_FATAL,
            _ => NAME_INVALID,
        };
        byte += 1;
    }
    table
};

/// The header lines. Each method reads on in the window and returns false at its end.
impl HeadParser {
    fn header_line(
        &mut self,
        head: &mut Head,
        window: &[u8],
        limits: &HeadLimits,
    ) -> Result<bool, HeadError> {
        if self.state == State::HeaderStart {
            self.whole_lines(head, window, limits)?;
        }
        if self.state == State::HeaderStart && !self.header_start(head, window)? {
            return Ok(false);
        }
        if self.state == State::HeaderName && !self.header_name(window, limits)? {
            return Ok(false);
        }
        if self.state == State::BeforeValue && !self.before_value(window) {
            return Ok(false);
        }
        if self.state == State::HeaderValue {
            return self.header_value(head, window, limits);
        }
        Ok(true)
    }

    fn header_start(&mut self, head: &mut Head, window: &[u8]) -> Result<bool, HeadError> {
        self.line_start = self.at;
        match window.get(self.at) {
            None => return Ok(false),
            Some(b'\r' | b'\n') => {
                let Some(next) = line_end(window, self.at) else {
                    return Ok(false);
                };
                self.at = next.map_err(|()| HeadError::InvalidHeaderLine)?;
                self.finish(head, window)?;
            }
            Some(_) => {
                self.name_invalid = false;
                self.state = State::HeaderName;
            }
        }
        Ok(true)
    }

    fn header_name(&mut self, window: &[u8], limits: &HeadLimits) -> Result<bool, HeadError> {
        let mut at = self.at;
        loop {
            let Some(&byte) = window.get(at) else {
                self.at = at;
                return Ok(false);
            };
            match NAME_CLASS[byte as usize] {
                NAME_VALID => {}
                NAME_UNDERSCORE => self.name_invalid |= !limits.underscores,
                NAME_INVALID => self.name_invalid = true,
                NAME_COLON if at > self.line_start => break,
                _ => {
                    self.at = at;
                    return Err(HeadError::InvalidHeaderLine);
                }
            }
            at += 1;
        }
        self.name = Span::new(self.line_start, at);
        self.at = at + 1;
        self.state = State::BeforeValue;
        Ok(true)
    }

    fn before_value(&mut self, window: &[u8]) -> bool {
        while let Some(&byte) = window.get(self.at) {
            if !matches!(byte, b' ' | b'\t') {
                self.mark = self.at;
                self.state = State::HeaderValue;
                return true;
            }
            self.at += 1;
        }
        false
    }

    fn header_value(
        &mut self,
        head: &mut Head,
        window: &[u8],
        limits: &HeadLimits,
    ) -> Result<bool, HeadError> {
        let rest = window.get(self.at..).unwrap_or_default();
        let Some(len) = memchr::memchr3(b'\n', b'\r', 0, rest) else {
            self.at = window.len();
            return Ok(false);
        };
        self.at += len;
        let Some(next) = line_end(window, self.at) else {
            return Ok(false);
        };
        let next = next.map_err(|()| HeadError::InvalidHeaderLine)?;
        let mut value_end = self.at;
        while value_end > self.mark && matches!(window[value_end - 1], b' ' | b'\t') {
            value_end -= 1;
        }
        if self.name_invalid && limits.ignore_invalid {
            check_count(head, limits)?;
            head.ignored.push(Span::new(self.line_start, self.at));
        } else {
            let name = self.name;
            let id = HeaderId::of_name(name.of(window));
            let value = Span::new(self.mark, value_end);
            self.push(head, window, limits, HeaderSpan { name, value, id })?;
        }
        self.at = next;
        self.line_start = next;
        self.state = State::HeaderStart;
        Ok(true)
    }

    /// Takes ordinary lines, one after the other, up to one that is not.
    fn whole_lines(
        &mut self,
        head: &mut Head,
        window: &[u8],
        limits: &HeadLimits,
    ) -> Result<(), HeadError> {
        let mut at = self.at;
        let mut rest = &window[at..];
        // The line that ends the head is not one of them.
        while !matches!(rest.first(), None | Some(b'\r')) {
            let Some(line) = whole_line(rest) else { break };
            let header = line.at(at);
            self.line_start = at;
            self.at = at + line.line_end;
            self.push(head, window, limits, header)?;
            rest = line.rest;
            at = window.len() - rest.len();
        }
        self.at = at;
        self.line_start = at;
        Ok(())
    }

    pub(super) fn finish(&mut self, head: &mut Head, window: &[u8]) -> Result<(), HeadError> {
        if head.version > Version::HTTP_09 {
            head.framing = headers::framing(&head.known, window, head.method, head.version)?;
            head.keep_alive = headers::keep_alive_of(&head.known, head.version);
        }
        if let Some(expect) = head.known.get(HeaderId::Expect) {
            head.expect_continue = head.version > Version::HTTP_10
                && expect.of(window).eq_ignore_ascii_case(b"100-continue");
        }
        self.state = State::Complete;
        Ok(())
    }
}

/// A header line, as offsets from its first byte.
pub(super) struct WholeLine<'a> {
    id: HeaderId,
    name_end: usize,
    value_start: usize,
    /// Where the value ends and its CRLF stands.
    line_end: usize,
    /// What follows the line.
    pub(super) rest: &'a [u8],
}

impl WholeLine<'_> {
    /// The line as spans, if it begins at `at`.
    #[inline(always)]
    pub(super) fn at(&self, at: usize) -> HeaderSpan {
        HeaderSpan {
            name: Span::new(at, at + self.name_end),
            value: Span::new(at + self.value_start, at + self.line_end),
            id: self.id,
        }
    }
}

/// Reads a header line that is all there and has nothing unusual about it: a valid name, a value
/// without control characters, CRLF. Any other line is `None`, and is read element by element with
/// the same result or the error that it deserves.
#[inline(always)]
pub(super) fn whole_line(line: &[u8]) -> Option<WholeLine<'_>> {
    let mut padded = [0; 32];
    let start = match line.first_chunk::<32>() {
        Some(start) => start,
        None => {
            padded[..line.len()].copy_from_slice(line);
            &padded
        }
    };
    let name_end = scan::find_colon(start)?;
    let id = HeaderId::of_padded_name(start, name_end);
    // The name of a known header is valid as it stands.
    if id == HeaderId::Other && !is_valid_name(&start[..name_end]) {
        return None;
    }
    let after_name = &line[name_end + 1..];
    let (space, from) = match after_name {
        [b' ', from @ ..] => (1, from),
        from => (0, from),
    };
    let value_bytes = scan::find_below::<0x20>(from)?;
    let (value, from) = from.split_at(value_bytes);
    let [b'\r', b'\n', rest @ ..] = from else {
        return None;
    };
    if let [b' ', ..] | [.., b' '] = value {
        return None;
    }
    let value_start = name_end + 1 + space;
    Some(WholeLine {
        id,
        name_end,
        value_start,
        line_end: value_start + value_bytes,
        rest,
    })
}

fn is_valid_name(name: &[u8]) -> bool {
    let classes = name.iter().map(|&byte| NAME_CLASS[byte as usize]);
    !name.is_empty() && classes.fold(NAME_VALID, |all, class| all | class) == NAME_VALID
}

impl HeadParser {
    #[inline(always)]
    fn push(
        &mut self,
        head: &mut Head,
        bytes: &[u8],
        limits: &HeadLimits,
        line: HeaderSpan,
    ) -> Result<(), HeadError> {
        check_count(head, limits)?;
        head.headers.push(line);
        match line.id {
            HeaderId::Other => Ok(()),
            HeaderId::Host => self.note_host(head, bytes, line),
            _ => headers::note(&mut head.known, bytes, line),
        }
    }

    #[inline(always)]
    fn note_host(
        &mut self,
        head: &mut Head,
        bytes: &[u8],
        line: HeaderSpan,
    ) -> Result<(), HeadError> {
        headers::note(&mut head.known, bytes, line)?;
        let len = self.host_check.len(line.value.of(bytes));
        let len = len.ok_or(HeadError::InvalidHost)?;
        if head.target.form != TargetForm::Absolute {
            let start = line.value.start as usize;
            head.host = Some(Span::new(start, start + len));
        }
        Ok(())
    }
}

/// Whether there may be another header line.
#[inline]
fn check_count(head: &Head, limits: &HeadLimits) -> Result<(), HeadError> {
    let room = head.headers.len() + head.ignored.len() < limits.headers_max;
    if room {
        Ok(())
    } else {
        Err(HeadError::TooManyHeaders)
    }
}
