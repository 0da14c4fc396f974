//! Header lines that are made once and written many times.

/// A time of last change, with its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastModified {
    /// Seconds of Unix time.
    pub unix_s: i64,
    line: [u8; LastModified::LINE.len()],
}

impl LastModified {
    const LINE: &[u8; 46] = b"Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    const TEXT_AT: usize = b"Last-Modified: ".len();

    /// The time and its line.
    pub fn new(unix_s: i64) -> Self {
        let mut text = [0; 29];
        crate::date::format_imf(unix_s, &mut text);
        let mut line = *Self::LINE;
        line[Self::TEXT_AT..][..text.len()].copy_from_slice(&text);
        Self { unix_s, line }
    }

    /// The line, with its end.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// The time as HTTP writes it (RFC 9110 section 5.6.7).
    pub fn text(&self) -> &[u8] {
        &self.line[Self::TEXT_AT..self.line.len() - 2]
    }
}

/// A media type, with its line.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ContentType {
    line: Vec<u8>,
}

impl ContentType {
    const NAME: &[u8; 14] = b"Content-Type: ";

    /// A media type, or none if it is empty.
    pub fn new(text: &[u8]) -> Self {
        let mut new = Self::default();
        if !text.is_empty() {
            new.set_text(text);
        }
        new
    }

    /// Becomes another, and keeps its memory.
    pub fn set(&mut self, other: &Self) {
        self.line.clear();
        self.line.extend_from_slice(&other.line);
    }

    /// Becomes another, and keeps its memory.
    pub fn set_text(&mut self, text: &[u8]) {
        self.line.clear();
        for part in [Self::NAME, text, b"\r\n"] {
            self.line.extend_from_slice(part);
        }
    }

    /// Becomes none, and keeps its memory.
    pub fn clear(&mut self) {
        self.line.clear();
    }

    /// The line, with its end; empty for none.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// The media type; empty for none.
    pub fn text(&self) -> &[u8] {
        let end = self.line.len().saturating_sub(2);
        self.line.get(Self::NAME.len()..end).unwrap_or_default()
    }
}

/// The length of a content, with its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentLength {
    /// Bytes.
    pub bytes: u64,
    line: [u8; 38],
    line_len: u8,
}

impl ContentLength {
    const NAME: &[u8; 16] = b"Content-Length: ";

    /// The length and its line.
    pub fn new(bytes: u64) -> Self {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(bytes).as_bytes();
        let mut line = [0; 38];
        let end = Self::NAME.len() + digits.len();
        line[..Self::NAME.len()].copy_from_slice(Self::NAME);
        line[Self::NAME.len()..end].copy_from_slice(digits);
        line[end..end + 2].copy_from_slice(b"\r\n");
        Self {
            bytes,
            line,
            line_len: (end + 2) as u8,
        }
    }

    /// The line, with its end.
    pub fn line(&self) -> &[u8] {
        &self.line[..usize::from(self.line_len)]
    }

    /// The digits.
    pub fn text(&self) -> &[u8] {
        &self.line[Self::NAME.len()..usize::from(self.line_len) - 2]
    }
}
