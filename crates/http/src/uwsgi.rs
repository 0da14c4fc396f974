//! uwsgi: the head of a request (<https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html>).
//!
//! The body follows it as it is. What comes back is a head that may have a status line
//! ([`StatusLine::Optional`](crate::h1::StatusLine::Optional)), and a body.

use std::fmt;

/// The most bytes that the parameters of a request may have, with the lengths before each: what two
/// bytes can say.
pub const PARAMS_BYTES_MAX: usize = 65535;

/// The parameters do not fit into [`PARAMS_BYTES_MAX`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uwsgi request is too large")
    }
}

impl std::error::Error for TooLarge {}

/// Appends the head of a request. The modifiers choose what handles it (`uwsgi_modifier1` and `2`).
/// Names and values may hold any bytes.
///
/// # Errors
///
/// [`TooLarge`], and `out` is as it was.
pub fn request_head<'a>(
    out: &mut Vec<u8>,
    modifier1: u8,
    modifier2: u8,
    params: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<(), TooLarge> {
    let start = out.len();
    out.extend_from_slice(&[modifier1, 0, 0, modifier2]);
    let params_start = out.len();
    for (name, value) in params {
        for text in [name, value] {
            let fits = out.len() - params_start + 2 + text.len() <= PARAMS_BYTES_MAX;
            let Some(len) = u16::try_from(text.len()).ok().filter(|_| fits) else {
                out.truncate(start);
                return Err(TooLarge);
            };
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(text);
        }
    }
    let bytes = (out.len() - params_start) as u16;
    out[start + 1..start + 3].copy_from_slice(&bytes.to_le_bytes());
    Ok(())
}
