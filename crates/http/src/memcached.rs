//! memcached's text protocol, as far as fetching a value needs it
//! (<https://github.com/memcached/memcached/blob/master/doc/protocol.txt>).

use std::fmt;

/// The longest key that memcached takes, in bytes.
pub const KEY_BYTES_MAX: usize = 250;

/// The longest line that is taken: a key, two numbers and the words between them are less.
pub const LINE_BYTES_MAX: usize = 512;

/// What ends a response, after the bytes of its value.
const VALUE_END: &[u8] = b"\r\nEND\r\n";

/// What is wrong with a key or with a response.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum MemcachedError {
    /// The key is empty, or longer than [`KEY_BYTES_MAX`].
    InvalidKey,
    /// The first line is none of those that answer a `get`.
    UnexpectedLine,
    /// The value is one of another key.
    OtherKey,
    /// The flags are no number of 32 bits.
    InvalidFlags,
    /// The length is no number of at most `i64::MAX`.
    InvalidLength,
    /// The value is not followed by what ends a response.
    InvalidTrailer,
}

impl fmt::Display for MemcachedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidKey => "invalid memcached key",
            Self::UnexpectedLine => "invalid memcached response",
            Self::OtherKey => "invalid key in memcached response",
            Self::InvalidFlags => "invalid flags in memcached response",
            Self::InvalidLength => "invalid length in memcached response",
            Self::InvalidTrailer => "invalid memcached trailer",
        })
    }
}

impl std::error::Error for MemcachedError {}

/// Appends the key as nginx sends it: spaces, control characters and `%` percent-encoded, so that no
/// key holds a command.
///
/// # Errors
///
/// [`MemcachedError::InvalidKey`], and `out` is as it was.
pub fn escaped_key(out: &mut Vec<u8>, key: &[u8]) -> Result<(), MemcachedError> {
    let start = out.len();
    // No key of more bytes becomes shorter by being escaped.
    for &byte in key.iter().take(KEY_BYTES_MAX + 1) {
        if byte > b' ' && byte != b'%' {
            out.push(byte);
        } else {
            let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    if !(1..=KEY_BYTES_MAX).contains(&(out.len() - start)) {
        out.truncate(start);
        return Err(MemcachedError::InvalidKey);
    }
    Ok(())
}

/// Appends the request for a value by its key, an [`escaped_key`].
pub fn get(out: &mut Vec<u8>, escaped_key: &[u8]) {
    out.extend_from_slice(b"get ");
    out.extend_from_slice(escaped_key);
    out.extend_from_slice(b"\r\n");
}

/// The first line of a response.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ResponseLine {
    /// There is a value of so many bytes. It follows the line, and is read by a [`ValueReader`].
    Found {
        /// What was stored with the value (`memcached_gzip_flag` asks for a bit of it).
        flags: u32,
        /// How long the value is.
        length: u64,
        /// How many bytes the line took.
        consumed: usize,
    },
    /// There is no value of this key, and the response has ended.
    NotFound {
        /// How many bytes the line took.
        consumed: usize,
    },
}

/// Reads the first line of a response to a `get` of this key, from all bytes of it received so far;
/// `None` where more are needed.
///
/// # Errors
///
/// See [`MemcachedError`]: the connection is of no more use.
pub fn response_line(
    bytes: &[u8],
    escaped_key: &[u8],
) -> Result<Option<ResponseLine>, MemcachedError> {
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(lf) = memchr::memchr(b'\n', window) else {
        return match window.len() < LINE_BYTES_MAX {
            true => Ok(None),
            false => Err(MemcachedError::UnexpectedLine),
        };
    };
    let consumed = lf + 1;
    let line = window[..lf].strip_suffix(b"\r");
    let line = line.ok_or(MemcachedError::UnexpectedLine)?;
    if line == b"END" {
        return Ok(Some(ResponseLine::NotFound { consumed }));
    }
    let value = line.strip_prefix(b"VALUE ");
    let mut words = value
        .ok_or(MemcachedError::UnexpectedLine)?
        .split(|&byte| byte == b' ');
    if words.next() != Some(escaped_key) {
        return Err(MemcachedError::OtherKey);
    }
    let flags = number(words.next()).and_then(|flags| u32::try_from(flags).ok());
    let flags = flags.ok_or(MemcachedError::InvalidFlags)?;
    let length = number(words.next()).ok_or(MemcachedError::InvalidLength)?;
    // No `gets` was sent, so that no unique number follows.
    if words.next().is_some() {
        return Err(MemcachedError::InvalidLength);
    }
    Ok(Some(ResponseLine::Found {
        flags,
        length,
        consumed,
    }))
}

fn number(digits: Option<&[u8]>) -> Option<u64> {
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let number = std::str::from_utf8(digits).ok()?.parse::<i64>().ok()?;
    Some(number as u64)
}

/// What [`ValueReader::read`] found: `input[..data_end]` is of the value, `consumed` bytes are done
/// with.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ValueRead {
    /// The offset past the last byte of the value.
    pub data_end: usize,
    /// How many bytes of the input belonged to the response.
    pub consumed: usize,
    /// Whether the response has ended.
    pub done: bool,
}

/// Reads a value and what ends the response, in any fragmentation. Each byte is shown once.
#[derive(Clone, Debug)]
pub struct ValueReader {
    left: u64,
    /// How much of [`VALUE_END`] has come.
    end_seen: usize,
}

impl ValueReader {
    /// A reader before the first byte of a value of so many bytes.
    #[must_use]
    pub fn new(length: u64) -> Self {
        Self {
            left: length,
            end_seen: 0,
        }
    }

    /// Reads on.
    ///
    /// # Errors
    ///
    /// [`MemcachedError::InvalidTrailer`], with later calls too.
    pub fn read(&mut self, input: &[u8]) -> Result<ValueRead, MemcachedError> {
        let data_end = self.left.min(input.len() as u64) as usize;
        self.left -= data_end as u64;
        let expected = &VALUE_END[self.end_seen.min(VALUE_END.len())..];
        let rest = &input[data_end..];
        let len = rest.len().min(expected.len());
        if self.end_seen > VALUE_END.len() || rest[..len] != expected[..len] {
            // Further than any end.
            self.end_seen = VALUE_END.len() + 1;
            return Err(MemcachedError::InvalidTrailer);
        }
        self.end_seen += len;
        Ok(ValueRead {
            data_end,
            consumed: data_end + len,
            done: self.left == 0 && self.end_seen == VALUE_END.len(),
        })
    }
}
