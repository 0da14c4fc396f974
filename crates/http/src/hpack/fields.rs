//! The fields of a header block.

use super::error::DecodeError;
use super::name::Name;
use crate::span::Span;

/// So many times what the fields may come to is still read, so that the request can be answered; more is
/// an attack.
const READ_FACTOR: usize = 4;

/// A field.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name, in [`Fields::bytes`].
    pub name: Span,
    /// Its value, in [`Fields::bytes`].
    pub value: Span,
    /// What the name is.
    pub looked_at: Name,
}

/// The fields of a header block, in memory that is used again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fields {
    /// What the spans of the fields point into.
    pub bytes: Vec<u8>,
    /// The fields, in order.
    pub list: Vec<Field>,
    /// What they may come to: names, values, and 32 bytes a field.
    size_max: usize,
    size: usize,
}

impl Fields {
    /// None yet. They may come to so many bytes, with 32 a field (`SETTINGS_MAX_HEADER_LIST_SIZE`).
    #[must_use]
    pub fn new(size_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            list: Vec::new(),
            size_max,
            size: 0,
        }
    }

    /// Whether there were more than there may be; those beyond were left out.
    #[must_use]
    pub fn are_too_large(&self) -> bool {
        self.size > self.size_max
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let part = |span: Span| span.of(&self.bytes);
        self.list
            .iter()
            .map(move |field| (part(field.name), part(field.value)))
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
        self.size = 0;
    }

    /// Counts a field; the answer is whether it is kept.
    pub(super) fn takes(&mut self, size: usize) -> Result<bool, DecodeError> {
        self.size = self.size.saturating_add(size);
        if self.size > self.size_max.saturating_mul(READ_FACTOR) {
            return Err(DecodeError::TooLarge);
        }
        Ok(self.size <= self.size_max)
    }
}
