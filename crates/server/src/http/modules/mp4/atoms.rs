//! Atoms: lengths, names, and what is in them (ISO/IEC 14496-12, section 4.2).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

/// Why a file cannot be cut: what the log says, where `@` stands for the file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) String);

impl Fault {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Where the bytes of a file are read from.
pub(super) trait ReadAt {
    /// Fills the buffer from this place on. As [`FileExt::read_exact_at`].
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

impl ReadAt for Bytes {
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let end = at.saturating_add(buffer.len() as u64) as usize;
        let bytes = self
            .get(at as usize..end)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

impl ReadAt for Arc<File> {
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(&**self, buffer, at)
    }
}

/// A file of a known size.
pub(super) struct Input<'a> {
    pub(super) file: &'a dyn ReadAt,
    pub(super) size: u64,
}

impl Input<'_> {
    /// Reads a range.
    ///
    /// Errors: the file ends before, or cannot be read.
    pub(super) fn read(&self, at: u64, len: u64) -> Result<Vec<u8>, Fault> {
        if at.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(Fault::new("\"@\" mp4 file truncated"));
        }
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, at).map_err(|error| {
            let reason = crate::log::error_text(&error);
            Fault(format!("pread() \"@\" failed ({reason})"))
        })?;
        Ok(bytes)
    }
}

/// The beginning of an atom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) name: [u8; 4],
    /// Bytes of the header itself: 8, or 16 where the length has 64 bits.
    pub(super) len: u64,
    /// Bytes of header and content.
    pub(super) atom_len: u64,
}

impl Header {
    /// Reads the header at the beginning of `bytes`, in a container with `left` bytes left. `None` is
    /// the end of the container (a length of 0).
    pub(super) fn read(bytes: &[u8], left: u64) -> Result<Option<Self>, Fault> {
        let truncated = || Fault::new("\"@\" mp4 file truncated");
        let short = u64::from(u32_at(bytes, 0).ok_or_else(truncated)?);
        let (len, atom_len) = match short {
            0 => return Ok(None),
            1 => (16, u64_at(bytes, 8).ok_or_else(truncated)?),
            len => (8, len),
        };
        if atom_len < len {
            return Err(Fault(format!("\"@\" mp4 atom is too small:{atom_len}")));
        }
        let name = bytes.get(4..8).ok_or_else(truncated)?;
        if atom_len > left {
            return Err(Fault(format!("\"@\" mp4 atom too large:{atom_len}")));
        }
        Ok(Some(Self {
            name: name.try_into().expect("four bytes were taken"),
            len,
            atom_len,
        }))
    }
}

/// Calls `act` with the name and the content of each atom of a container, until that says that it has
/// enough.
///
/// `bytes` may go on behind the container, as the file does: what does not end where it should is named as
/// what stands there.
pub(super) fn each<'a>(
    bytes: &'a [u8],
    within: Range<usize>,
    mut act: impl FnMut([u8; 4], Range<usize>) -> Result<Skip, Fault>,
) -> Result<Skip, Fault> {
    let mut at = within.start;
    while at < within.end {
        let left = (within.end - at) as u64;
        let rest: &'a [u8] = bytes.get(at..).unwrap_or_default();
        let Some(header) = Header::read(rest, left)? else {
            return Ok(Skip::No);
        };
        let content = at + header.len as usize..at + header.atom_len as usize;
        at = content.end;
        if act(header.name, content)? == Skip::Container {
            return Ok(Skip::Container);
        }
    }
    Ok(Skip::No)
}

/// Whether what an atom lies in is to be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    No,
    Container,
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(
        bytes.try_into().expect("four bytes were taken"),
    ))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_be_bytes(
        bytes.try_into().expect("eight bytes were taken"),
    ))
}

/// Appends the header of an atom with so many bytes in it.
pub(super) fn put_header(out: &mut Vec<u8>, name: &[u8; 4], content_len: usize) {
    out.extend_from_slice(&(content_len as u32).wrapping_add(8).to_be_bytes());
    out.extend_from_slice(name);
}

/// Appends an atom.
pub(super) fn put(out: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) {
    put_header(out, name, content.len());
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_two_forms() {
        let read = |bytes: &[u8], left| {
            Header::read(bytes, left).map(|found| found.map(|it| (it.len, it.atom_len)))
        };
        assert_eq!(read(b"\0\0\0\x0cmoovxxxx", 12), Ok(Some((8, 12))));
        assert_eq!(
            read(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x10", 16),
            Ok(Some((16, 16)))
        );
        assert_eq!(read(b"\0\0\0\0moov", 8), Ok(None));
        let said = |bytes: &[u8], left| read(bytes, left).unwrap_err().0;
        assert_eq!(said(b"\0\0\0\x07moov", 8), "\"@\" mp4 atom is too small:7");
        assert_eq!(
            said(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f", 16),
            "\"@\" mp4 atom is too small:15"
        );
        assert_eq!(said(b"\0\0\0\x09moov", 8), "\"@\" mp4 atom too large:9");
        assert_eq!(said(b"\0\0", 8), "\"@\" mp4 file truncated");
    }
}
