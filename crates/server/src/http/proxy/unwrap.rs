//! Answers that come wrapped in something else than HTTP, or that are none.

use super::fastcgi::Records;
use super::memcached::Found;

/// Takes a head and a body out of what a peer sends.
pub(crate) enum Unwrap {
    /// Out of the records of FastCGI.
    Records(Records),
    /// Out of what memcached says, for which it writes a head.
    Found(Found),
}

impl Unwrap {
    /// Whether the peer has ended its answer.
    pub(super) fn is_ended(&self) -> bool {
        match self {
            Unwrap::Records(records) => records.is_ended(),
            Unwrap::Found(found) => found.is_ended(),
        }
    }

    /// Whether it has, and no more than that: the connection may carry another request.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Unwrap::Records(records) => records.is_whole(),
            Unwrap::Found(found) => found.is_whole(),
        }
    }

    /// Whether the body is whole only when the answer has ended, although its length is known.
    pub(super) fn awaits_end(&self) -> bool {
        match self {
            Unwrap::Records(_) => false,
            Unwrap::Found(found) => !found.is_ended(),
        }
    }

    /// Appends to `out` what is the answer's own in these bytes.
    ///
    /// Errors: what the error log is to say.
    pub(super) fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Unwrap::Records(records) => {
                let fed = records.feed(input, out);
                fed.map_err(|error| format!("upstream sent {error}"))
            }
            Unwrap::Found(found) => {
                let fed = found.feed(input, out);
                fed.map_err(|error| format!("memcached sent {error}"))
            }
        }
    }
}
