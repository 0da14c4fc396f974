//! What a body is made of: pieces, and what is asked for one after the other.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use revolve_reactor::Buffer;

use crate::file_cache::{Content, FileEntry};

/// A piece of a response's body.
#[derive(Debug)]
pub(crate) enum Piece {
    /// A part of a file, from memory or by the kernel.
    File {
        /// The file.
        file: Rc<FileEntry>,
        /// First byte.
        start: u64,
        /// Bytes.
        len: u64,
    },
    /// Bytes that others may hold, too.
    Bytes(Bytes),
    /// Bytes as they were received: from sources that were allowed to give them, and for nobody else.
    Buffer(Buffer),
    /// A range of the response's text memory; in pieces that lie ready alone.
    Text {
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
    },
}

impl Clone for Piece {
    fn clone(&self) -> Self {
        self.slice(0, self.len())
    }
}

impl Piece {
    /// Bytes in the piece.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Buffer(buffer) => buffer.len() as u64,
            Piece::Text { start, end } => (end - start) as u64,
            Piece::File { len, .. } => *len,
        }
    }

    /// Whether it lies in a file that is not in the cache's memory.
    pub(crate) fn is_on_disk(&self) -> bool {
        matches!(self, Piece::File { file, .. } if matches!(file.content, Content::Descriptor(_)))
    }

    /// The part of the piece that begins at `start` and is `len` bytes long.
    pub(crate) fn slice(&self, start: u64, len: u64) -> Piece {
        debug_assert!(start + len <= self.len());
        match self {
            Piece::Bytes(bytes) => {
                Piece::Bytes(bytes.slice(start as usize..(start + len) as usize))
            }
            Piece::Buffer(buffer) => {
                let part = start as usize..(start + len) as usize;
                Piece::Bytes(Bytes::copy_from_slice(&buffer[part]))
            }
            Piece::Text { start: first, .. } => {
                let first = first + start as usize;
                Piece::Text {
                    start: first,
                    end: first + len as usize,
                }
            }
            Piece::File {
                file, start: first, ..
            } => Piece::File {
                file: file.clone(),
                start: first + start,
                len,
            },
        }
    }

    /// Takes the first `len` bytes off the piece.
    pub(crate) fn split_to(&mut self, len: u64) -> Piece {
        let first = self.slice(0, len);
        *self = self.slice(len, self.len() - len);
        first
    }
}

/// Why a body could not be brought to its end.
#[derive(Debug)]
pub(crate) struct Broken {
    /// What the error log is to say; `None` where it was said already.
    pub(crate) reason: Option<String>,
}

impl Broken {
    /// A peer failed in the midst of its answer.
    pub(crate) fn while_reading(what: &str) -> Self {
        Self::because(format!("{what} while reading upstream"))
    }

    pub(crate) fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
        }
    }
}

/// A body that is made while it is sent: it is asked for its next piece when there is room for one.
pub(crate) trait Source {
    /// The next piece; `None` at the end. Pieces of text are not among them.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>>;

    /// Whoever asks takes [`Piece::Buffer`], too.
    fn allow_buffers(&mut self) {}
}
