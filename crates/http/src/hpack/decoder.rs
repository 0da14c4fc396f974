//! From a header block to fields.

use super::error::DecodeError;
use super::fields::{Field, Fields};
use super::huffman;
use super::integer;
use super::name::Name;
use super::static_table::STATIC;
use super::table::{ENTRY_OVERHEAD, Table};
use crate::span::Span;

/// Reads header blocks. What one says depends on those before it, so that all of them must be read, in
/// order, whoever wants their fields.
pub struct Decoder {
    table: Table,
    /// What the other side was told that the table may hold.
    size_allowed: usize,
}

impl Decoder {
    /// One whose table may hold so many bytes.
    #[must_use]
    pub fn new(table_bytes_max: usize) -> Self {
        Self {
            table: Table::new(table_bytes_max),
            size_allowed: table_bytes_max,
        }
    }

    /// Reads a whole block into `fields`, which is emptied first.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`]: nothing more can be read then.
    pub fn decode(&mut self, block: &[u8], fields: &mut Fields) -> Result<(), DecodeError> {
        fields.clear();
        let mut rest = block;
        let mut may_resize = true;
        while let Some(first) = rest.first() {
            match first {
                0x80.. => self.indexed(&mut rest, fields)?,
                0x40..0x80 => self.literal(&mut rest, 6, true, fields)?,
                0x20..0x40 => {
                    let size = integer::read(&mut rest, 5)?;
                    if size > self.size_allowed || !may_resize {
                        return Err(DecodeError::TableSize);
                    }
                    self.table.resize(size);
                    continue;
                }
                _ => self.literal(&mut rest, 4, false, fields)?,
            }
            may_resize = false;
        }
        Ok(())
    }

    fn indexed(&self, rest: &mut &[u8], fields: &mut Fields) -> Result<(), DecodeError> {
        let index = integer::read(rest, 7)?;
        let (name, value, looked_at) = self.get(index)?;
        if fields.takes(name.len() + value.len() + ENTRY_OVERHEAD)? {
            let start = fields.bytes.len();
            fields.bytes.extend_from_slice(name);
            let middle = fields.bytes.len();
            fields.bytes.extend_from_slice(value);
            fields.push(start, middle, looked_at);
        }
        Ok(())
    }

    fn literal(
        &mut self,
        rest: &mut &[u8],
        prefix_bits: u32,
        is_inserted: bool,
        fields: &mut Fields,
    ) -> Result<(), DecodeError> {
        let index = integer::read(rest, prefix_bits)?;
        let start = fields.bytes.len();
        let known = match index {
            0 => {
                string(rest, fields)?;
                None
            }
            index => {
                let (name, _, looked_at) = self.get(index)?;
                fields.bytes.extend_from_slice(name);
                Some(looked_at)
            }
        };
        let middle = fields.bytes.len();
        string(rest, fields)?;
        let (name, value) = fields.bytes[start..].split_at(middle - start);
        let looked_at = known.unwrap_or_else(|| Name::of(name));
        if is_inserted {
            self.table.insert(name, value, looked_at);
        }
        let size = fields.bytes.len() - start + ENTRY_OVERHEAD;
        match fields.takes(size)? {
            true => fields.push(start, middle, looked_at),
            false => fields.bytes.truncate(start),
        }
        Ok(())
    }

    fn get(&self, index: usize) -> Result<(&[u8], &[u8], Name), DecodeError> {
        let at = index.checked_sub(1).ok_or(DecodeError::Index)?;
        match STATIC.get(at) {
            Some(field) => Ok((field.text.as_bytes(), field.value.as_bytes(), field.name)),
            None => {
                let found = self.table.get(at - STATIC.len());
                found.ok_or(DecodeError::Index)
            }
        }
    }
}

/// Reads a string, and appends what it says.
fn string(rest: &mut &[u8], fields: &mut Fields) -> Result<(), DecodeError> {
    let is_huffman = rest.first().is_some_and(|first| first & 0x80 != 0);
    let len = integer::read(rest, 7)?;
    let (text, after) = rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
    *rest = after;
    if is_huffman {
        return huffman::decode(text, &mut fields.bytes).map_err(|_| DecodeError::Huffman);
    }
    fields.bytes.extend_from_slice(text);
    Ok(())
}

impl Fields {
    fn push(&mut self, start: usize, middle: usize, name: Name) {
        let end = self.bytes.len();
        self.list.push(Field {
            name: Span::new(start, middle),
            value: Span::new(middle, end),
            looked_at: name,
        });
    }
}
