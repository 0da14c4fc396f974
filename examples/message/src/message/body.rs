//! Bodies of frames, put together and taken apart.

use crate::frame::Frame;
use bytes::Bytes;

use super::Malformed;

/// A body that is written.
pub(super) struct Body(Vec<u8>);

impl Body {
    pub(super) fn new() -> Body {
        Body(Vec::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn u16(self, number: u16) -> Body {
        self.bytes(&number.to_be_bytes())
    }

    pub(super) fn u32(self, number: u32) -> Body {
        self.bytes(&number.to_be_bytes())
    }

    pub(super) fn u64(self, number: u64) -> Body {
        self.bytes(&number.to_be_bytes())
    }

    /// A name of at most 255 bytes; of a longer one no more is written, which is another name.
    pub(super) fn name(self, name: &str) -> Body {
        let len = name.len().min(usize::from(u8::MAX));
        self.bytes(&[len as u8]).bytes(&name.as_bytes()[..len])
    }

    pub(super) fn text(self, text: &str) -> Body {
        self.bytes(text.as_bytes())
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Body {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.0.into()
    }

    pub(super) fn into_frame(self, kind: u16, flags: u16) -> Frame {
        let body = self.0.into();
        Frame { kind, flags, body }
    }
}

/// What is left of a body that is read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Malformed::Body)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn name(&mut self) -> Result<String, Malformed> {
        let [len] = self.array()?;
        let split = self.0.split_at_checked(len.into());
        let (name, rest) = split.ok_or(Malformed::Body)?;
        self.0 = rest;
        utf8(name)
    }

    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        utf8(std::mem::take(&mut self.0))
    }

    pub(super) fn bytes(&mut self) -> Bytes {
        Bytes::copy_from_slice(std::mem::take(&mut self.0))
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Body)
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.into()).map_err(|_| Malformed::Body)
}
