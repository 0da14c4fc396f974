//! Chunked bodies (RFC 9112, section 7.1).

use std::fmt;

use crate::target::hex_digit;
use crate::token::is_token_byte;
use crate::trailers::Trailers;

/// The longest chunk line that is taken, size and extensions and CRLF: 4096 bytes.
pub const CHUNK_LINE_BYTES_MAX: usize = 4096;

/// The most bytes of chunk extensions that are taken in one body: 16 KiB. Nobody uses extensions
/// but to make a server read much and do little.
pub const EXTENSION_BYTES_MAX: usize = 16 * 1024;

/// The most bytes of trailer lines that are taken: 8 KiB.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// What [`ChunkedDecoder::decode`] found. All offsets count from the first byte of its input.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// `input[start..end]` are bytes of the body; drop `consumed` bytes and call again.
    Data {
        /// The offset of the first byte of the body.
        start: usize,
        /// The offset past the last.
        end: usize,
        /// How many bytes of the input are done with; here the same as `end`.
        consumed: usize,
    },
    /// All of the input is done with, and the body has not ended.
    NeedMore {
        /// How many bytes of the input are done with: all.
        consumed: usize,
    },
    /// The body and its trailers have ended; what follows is the next request.
    Done {
        /// How many bytes of the input belonged to the body.
        consumed: usize,
    },
}

/// Why a chunked body cannot be read, whoever sent it: nothing behind it can be found on its
/// connection. What that means is the reader's to say: of a client's body it is a 400, of an
/// upstream's a 502.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum BodyError {
    /// No digit where a size should be, or something else than CRLF or `;` after it.
    InvalidChunkSize,
    /// A size of more than `i64::MAX`.
    ChunkTooLarge,
    /// A chunk extension that is not `;name`, `;name=token` or `;name="quoted"`, or a bare CR or LF
    /// behind a size.
    InvalidExtension,
    /// More than [`CHUNK_LINE_BYTES_MAX`] or [`EXTENSION_BYTES_MAX`].
    ExtensionTooLong,
    /// A chunk's bytes do not end in CRLF.
    MissingCrlf,
    /// A trailer line that would be refused as a header line, or that ends in a bare LF.
    InvalidTrailer,
    /// More than [`TRAILER_BYTES_MAX`].
    TrailerTooLarge,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidChunkSize => "invalid chunk size",
            Self::ChunkTooLarge => "the chunk size is too large",
            Self::InvalidExtension => "invalid chunk extension",
            Self::ExtensionTooLong => "the chunk extensions are too long",
            Self::MissingCrlf => "no CRLF after a chunk",
            Self::InvalidTrailer => "invalid trailer line",
            Self::TrailerTooLarge => "the trailers are too long",
        })
    }
}

impl std::error::Error for BodyError {}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    /// Before the first digit of a size.
    SizeStart,
    Size,
    /// Spaces after the size, which only an extension may follow.
    SizeSpace,
    Extension(Extension),
    /// After the CR of a chunk line.
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    /// After the CR of a trailer line.
    TrailerLf,
    /// After the CR of the empty line.
    EndLf,
    Done,
    Failed(BodyError),
}

/// Where within a chunk extension (RFC 9112, section 7.1.1): `;name`, and perhaps `=value`. White
/// space may stand before each part and nowhere else.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Extension {
    /// Before the first byte of a name.
    NameStart,
    Name,
    /// Spaces after a name, which only `=` or another extension may follow.
    NameSpace,
    /// Before the first byte of a value.
    ValueStart,
    Token,
    Quoted,
    /// After a backslash in quotes.
    Escaped,
    /// After the quote that ends a value.
    ValueEnd,
    /// Spaces after a value, which only another extension may follow.
    ValueSpace,
}

impl Extension {
    /// Where the next byte leads; `None` where it may not stand. CR is not asked for.
    fn next(self, byte: u8) -> Option<Self> {
        use Extension::*;
        let is_space = matches!(byte, b' ' | b'\t');
        Some(match (self, byte) {
            (NameStart | ValueStart, _) if is_space => self,
            (NameStart | Name, _) if is_token_byte(byte) => Name,
            (Name | NameSpace, b'=') => ValueStart,
            (Name | NameSpace, _) if is_space => NameSpace,
            (Name | NameSpace | Token | ValueEnd | ValueSpace, b';') => NameStart,
            (ValueStart, b'"') => Quoted,
            (ValueStart | Token, _) if is_token_byte(byte) => Token,
            (Quoted, b'"') => ValueEnd,
            (Quoted, b'\\') => Escaped,
            (Quoted | Escaped, b'\t' | b' '..=0x7e | 0x80..) => Quoted,
            (Token | ValueEnd | ValueSpace, _) if is_space => ValueSpace,
            _ => return None,
        })
    }

    /// Whether the line may end here.
    fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::ValueEnd)
    }
}

/// Takes a chunked body apart, in any fragmentation, without copying it and without allocating
/// anything but room for trailers that are kept.
///
/// Stricter than nginx on purpose: every line of the framing ends in CRLF (nginx takes a bare LF
/// too), spaces may follow a size only before an extension, extensions have the form that the RFC
/// gives them, and extensions and trailers are bounded. Trailers are read by the rules of header lines,
/// and dropped unless [`with_trailers`](Self::with_trailers) asks for them.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// While the size is read, the size so far; then the bytes of the chunk yet to come.
    remaining_bytes: u64,
    line_bytes: usize,
    extension_bytes: usize,
    trailer_bytes: usize,
    trailers: Option<Trailers>,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedDecoder {
    /// A decoder that stands before the first chunk.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::SizeStart,
            remaining_bytes: 0,
            line_bytes: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            trailers: None,
        }
    }

    /// The same, which keeps the trailers for [`trailers`](Self::trailers): at most about
    /// [`TRAILER_BYTES_MAX`] bytes, and none where there are no trailers.
    #[must_use]
    pub fn with_trailers() -> Self {
        Self {
            trailers: Some(Trailers::default()),
            ..Self::new()
        }
    }

    /// The trailers, once the body [has ended](Self::is_done); `None` before, and where they are
    /// not kept.
    #[must_use]
    pub fn trailers(&self) -> Option<&Trailers> {
        self.trailers.as_ref().filter(|_| self.is_done())
    }

    /// How many bytes of the chunk that was begun are yet to come, so that a limit on the body can
    /// be enforced before they arrive; 0 between chunks.
    #[must_use]
    pub fn chunk_remaining_bytes(&self) -> u64 {
        if self.state == State::Data {
            self.remaining_bytes
        } else {
            0
        }
    }

    /// Whether the body and its trailers have ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads on, up to the first piece of the body, the end of it, or the end of `input`.
    ///
    /// Each byte is shown once: the next call gets what is after `consumed`.
    ///
    /// # Errors
    ///
    /// See [`BodyError`]. Later calls return the same error.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, BodyError> {
        let mut at = 0;
        while at < input.len() {
            match self.state {
                State::Data => return Ok(self.data(input, at)),
                State::Done => return Ok(Decoded::Done { consumed: at }),
                State::Failed(error) => return Err(error),
                _ => {}
            }
            if let Err(error) = self.framing_byte(input[at]) {
                self.state = State::Failed(error);
                return Err(error);
            }
            at += 1;
        }
        match self.state {
            State::Done => Ok(Decoded::Done { consumed: at }),
            State::Failed(error) => Err(error),
            _ => Ok(Decoded::NeedMore { consumed: at }),
        }
    }

    fn data(&mut self, input: &[u8], start: usize) -> Decoded {
        let available = (input.len() - start) as u64;
        let taken = available.min(self.remaining_bytes);
        self.remaining_bytes -= taken;
        if self.remaining_bytes == 0 {
            self.state = State::DataCr;
        }
        let end = start + taken as usize;
        Decoded::Data {
            start,
            end,
            consumed: end,
        }
    }

    fn framing_byte(&mut self, byte: u8) -> Result<(), BodyError> {
        self.state = match self.state {
            State::SizeStart | State::Size | State::SizeSpace | State::Extension(_) => {
                self.chunk_line_byte(byte)?
            }
            State::SizeLf => self.chunk_line_end(byte)?,
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataLf if byte == b'\n' => State::SizeStart,
            State::DataCr | State::DataLf => return Err(BodyError::MissingCrlf),
            State::TrailerStart | State::TrailerName | State::TrailerValue => {
                self.trailer_byte(byte)?
            }
            State::TrailerLf if byte == b'\n' => State::TrailerStart,
            State::EndLf if byte == b'\n' => State::Done,
            State::TrailerLf | State::EndLf => return Err(BodyError::InvalidTrailer),
            State::Data | State::Done | State::Failed(_) => unreachable!("not framing"),
        };
        Ok(())
    }

    fn chunk_line_byte(&mut self, byte: u8) -> Result<State, BodyError> {
        self.line_bytes += 1;
        // The CR is counted when it is read, the LF is not counted.
        if self.line_bytes >= CHUNK_LINE_BYTES_MAX {
            return Err(BodyError::ExtensionTooLong);
        }
        match (self.state, byte) {
            (State::Size, b'\r') => Ok(State::SizeLf),
            (State::Extension(at), b'\r') if at.may_end() => Ok(State::SizeLf),
            (State::Extension(at), byte) => {
                self.extension_bytes += 1;
                if self.extension_bytes > EXTENSION_BYTES_MAX {
                    return Err(BodyError::ExtensionTooLong);
                }
                let next = at.next(byte).ok_or(BodyError::InvalidExtension)?;
                Ok(State::Extension(next))
            }
            (State::Size | State::SizeSpace, b';') => Ok(State::Extension(Extension::NameStart)),
            (State::Size | State::SizeSpace, b' ' | b'\t') => Ok(State::SizeSpace),
            (State::SizeStart | State::Size, byte) => {
                let digit = hex_digit(byte).ok_or(BodyError::InvalidChunkSize)?;
                if self.remaining_bytes > (i64::MAX as u64) >> 4 {
                    return Err(BodyError::ChunkTooLarge);
                }
                self.remaining_bytes = self.remaining_bytes << 4 | u64::from(digit);
                Ok(State::Size)
            }
            _ => Err(BodyError::InvalidChunkSize),
        }
    }

    fn chunk_line_end(&mut self, byte: u8) -> Result<State, BodyError> {
        if byte != b'\n' {
            return Err(BodyError::InvalidExtension);
        }
        self.line_bytes = 0;
        Ok(if self.remaining_bytes == 0 {
            State::TrailerStart
        } else {
            State::Data
        })
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<State, BodyError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(BodyError::TrailerTooLarge);
        }
        let next = self.after_trailer_byte(byte)?;
        if let Some(trailers) = &mut self.trailers
            && next != State::EndLf
        {
            trailers.push(byte);
        }
        Ok(next)
    }

    fn after_trailer_byte(&self, byte: u8) -> Result<State, BodyError> {
        match (self.state, byte) {
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, 0..=b' ' | b':' | 0x7f) => {
                Err(BodyError::InvalidTrailer)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, b'\n' | 0) => Err(BodyError::InvalidTrailer),
            (State::TrailerValue, _) => Ok(State::TrailerValue),
            _ => Ok(State::TrailerName),
        }
    }
}
