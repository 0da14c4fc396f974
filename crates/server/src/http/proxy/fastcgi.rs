//! FastCGI's records: those of a request's body, and how an answer is taken out of them.

use std::cell::RefCell;
use std::rc::Rc;

use revolve_http::fastcgi::{self, FastCgiError, Read, Reader};

/// How much of a body one record holds: all of them are filled to a multiple of eight.
pub(super) const RECORD_BYTES: usize = 32 * 1024;
/// The record that ends a request's body.
pub(super) static LAST_RECORD: [u8; 8] = fastcgi::stdin_head(0);
/// What is kept of an application's standard error until it is logged.
const STDERR_BYTES_MAX: usize = 64 * 1024;

/// The head of a record of the body.
pub(super) fn record_head(len: usize) -> [u8; 8] {
    fastcgi::stdin_head(len.min(RECORD_BYTES) as u16)
}

/// Takes an answer out of the records that it comes in.
pub(crate) struct Records {
    reader: Reader,
    is_ended: bool,
    /// Whether something came behind the end.
    has_more: bool,
    stderr: Rc<RefCell<Vec<u8>>>,
}

impl Records {
    /// `stderr` gets what the application writes to its standard error.
    pub(super) fn new(stderr: Rc<RefCell<Vec<u8>>>) -> Self {
        Self {
            reader: Reader::new(),
            is_ended: false,
            has_more: false,
            stderr,
        }
    }

    /// Whether the application has ended the request.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether it has, and no more than that: the connection may carry another request.
    pub(super) fn is_whole(&self) -> bool {
        self.is_ended && !self.has_more
    }

    /// Appends to `out` what is the answer's own in these bytes.
    pub(super) fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), FastCgiError> {
        loop {
            if self.is_ended {
                self.has_more |= !input.is_empty();
                return Ok(());
            }
            let consumed = match self.reader.read(input)? {
                Read::Stdout { start, consumed } => {
                    out.extend_from_slice(&input[start..consumed]);
                    consumed
                }
                Read::Stderr { start, consumed } => {
                    let mut stderr = self.stderr.borrow_mut();
                    let room = STDERR_BYTES_MAX.saturating_sub(stderr.len());
                    let said = &input[start..consumed];
                    stderr.extend_from_slice(&said[..said.len().min(room)]);
                    consumed
                }
                Read::End { consumed, .. } => {
                    self.is_ended = true;
                    consumed
                }
                Read::NeedMore { .. } => return Ok(()),
            };
            input = &input[consumed..];
        }
    }
}
