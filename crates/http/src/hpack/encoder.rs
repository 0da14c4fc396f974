//! From fields to a header block.

use super::huffman;
use super::integer;
use super::name::{Name, NameKind};
use super::static_table::{INDEX_OF_ID, STATIC, index_of_other};
use super::table::Table;
use crate::header::HeaderId;

/// What the table holds at most, whatever the other side would let it: what repeats in the heads of one
/// connection is a few hundred bytes.
const TABLE_BYTES_MAX: usize = 4096;

/// Entries that are searched; those that are older are as if they were gone.
const SEARCHED_MAX: usize = 64;

/// Longer values are not worth the room that they take away from others.
const INDEXED_BYTES_MAX: usize = 512;

/// Longer names are never put into the table.
const NAME_BYTES_MAX: usize = 64;

/// Writes header blocks.
///
/// What repeats goes into the table: a field whose value is the same in most heads (`server`, `date`,
/// `content-type`) when it is first said; one that differs from file to file (`etag`, `last-modified`,
/// `content-length`) when it is said for the second time; secrets never (RFC 7541, section 7.1.3).
pub struct Encoder {
    table: Table,
    /// A hash of name and value of each entry, the newest last.
    hashes: Vec<u32>,
    /// What the other side allows, where it has said so since the last block.
    resized: Option<Resized>,
    /// Hashes of fields that were said once, by their last bits.
    said: [u32; 64],
    /// Whether the block at hand would be written the same again.
    is_settled: bool,
}

/// The sizes that the other side has allowed since the last block.
#[derive(Clone, Copy)]
struct Resized {
    least: usize,
    last: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            table: Table::new(TABLE_BYTES_MAX),
            hashes: Vec::new(),
            resized: None,
            said: [0; 64],
            is_settled: true,
        }
    }
}

impl Encoder {
    /// One for a side that has not said anything else than the default yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The other side's table may hold so many bytes (`SETTINGS_HEADER_TABLE_SIZE`).
    pub fn set_table_bytes_max(&mut self, bytes_max: usize) {
        let last = bytes_max.min(TABLE_BYTES_MAX);
        let least = self.resized.map_or(last, |resized| resized.least.min(last));
        self.resized = Some(Resized { least, last });
    }

    /// A number that stays as long as the same fields come to the same bytes.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.table.inserted()
    }

    /// Whether the same fields would be written as the same bytes again, as long as the generation is.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Begins a block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        self.is_settled = true;
        let Some(Resized { least, last }) = self.resized.take() else {
            return;
        };
        if last == self.table.size_max() && least == last {
            return;
        }
        for size in [least, last] {
            self.table.resize(size);
            integer::write(size, 5, 0x20, out);
        }
        self.forget_evicted();
    }

    /// Appends a status.
    pub fn status(&mut self, status: u16, out: &mut Vec<u8>) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                let mut digits = itoa::Buffer::new();
                let digits = digits.format(status).as_bytes();
                return self.pair((b":status", 8), digits, Indexing::Yes, out);
            }
        };
        out.push(0x80 | index);
    }

    /// Appends a field. Capital letters of its name are made small.
    pub fn field(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let mut lower = [0; NAME_BYTES_MAX];
        let Some(lower) = lower.get_mut(..name.len()) else {
            let name = name.to_ascii_lowercase();
            return literal((&name, 0), value, 0x00, 4, out);
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let id = HeaderId::of_name(lower);
        let index = match id {
            HeaderId::Other => index_of_other(lower),
            id => usize::from(INDEX_OF_ID[id as usize]),
        };
        self.pair((lower, index), value, indexing(id), out);
    }

    /// Appends a pseudo-header of a request.
    pub fn pseudo(&mut self, name: &'static [u8], value: &[u8], out: &mut Vec<u8>) {
        let of_name = |field: &&super::static_table::StaticField| field.text.as_bytes() == name;
        let index = STATIC.iter().position(|field| of_name(&field));
        let indexing = match name {
            b":path" => Indexing::Seldom,
            _ => Indexing::Yes,
        };
        self.pair((name, index.map_or(0, |at| at + 1)), value, indexing, out);
    }

    fn pair(
        &mut self,
        (name, static_index): (&[u8], usize),
        value: &[u8],
        indexing: Indexing,
        out: &mut Vec<u8>,
    ) {
        let mut at = static_index;
        while let Some(field) = at.checked_sub(1).and_then(|at| STATIC.get(at)) {
            if field.text.as_bytes() != name {
                break;
            }
            if field.value.as_bytes() == value {
                return integer::write(at, 7, 0x80, out);
            }
            at += 1;
        }
        let field = (name, static_index);
        if indexing == Indexing::Never {
            return literal(field, value, 0x10, 4, out);
        }
        let hash = hash(name, value);
        if let Some(index) = self.find(hash, name, value) {
            return integer::write(index + STATIC.len() + 1, 7, 0x80, out);
        }
        if name.len() + value.len() > INDEXED_BYTES_MAX {
            return literal(field, value, 0x00, 4, out);
        }
        // Next time it is another: it goes into the table then, or is there.
        self.is_settled = false;
        if indexing == Indexing::Seldom && !self.was_said(hash) {
            return literal(field, value, 0x00, 4, out);
        }
        literal(field, value, 0x40, 6, out);
        let looked_at = Name {
            kind: NameKind::Plain,
            id: HeaderId::Other,
        };
        if self.table.insert(name, value, looked_at) {
            self.hashes.push(hash);
        }
        self.forget_evicted();
    }

    fn forget_evicted(&mut self) {
        let kept = self.table.len().min(SEARCHED_MAX);
        if self.hashes.len() > 2 * SEARCHED_MAX || self.hashes.len() > self.table.len() {
            self.hashes.drain(..self.hashes.len() - kept);
        }
    }

    fn find(&self, hash: u32, name: &[u8], value: &[u8]) -> Option<usize> {
        let newest = self.hashes.iter().rev().take(SEARCHED_MAX).enumerate();
        let mut same = newest.filter(|(_, known)| **known == hash);
        same.find_map(|(index, _)| {
            let (known, its_value, _) = self.table.get(index)?;
            (known == name && its_value == value).then_some(index)
        })
    }

    /// Whether a field was said before, as far as is remembered.
    fn was_said(&mut self, hash: u32) -> bool {
        let slot = &mut self.said[hash as usize % 64];
        std::mem::replace(slot, hash) == hash
    }
}

/// When a field goes into the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Indexing {
    /// When it is first said.
    Yes,
    /// When it is said again.
    Seldom,
    /// Never, and nobody on the way may do so either.
    Never,
}

fn indexing(id: HeaderId) -> Indexing {
    match id {
        HeaderId::SetCookie | HeaderId::Authorization | HeaderId::ProxyAuthorization => {
            Indexing::Never
        }
        HeaderId::ContentLength
        | HeaderId::Etag
        | HeaderId::LastModified
        | HeaderId::ContentRange
        | HeaderId::Location
        | HeaderId::Age
        | HeaderId::Expires
        | HeaderId::Cookie
        | HeaderId::Other => Indexing::Seldom,
        _ => Indexing::Yes,
    }
}

fn literal(
    (name, static_index): (&[u8], usize),
    value: &[u8],
    flags: u8,
    prefix_bits: u32,
    out: &mut Vec<u8>,
) {
    integer::write(static_index, prefix_bits, flags, out);
    if static_index == 0 {
        string(name, out);
    }
    string(value, out);
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    let len = huffman::encoded_len(text);
    if len < text.len() {
        integer::write(len, 7, 0x80, out);
        huffman::encode(text, out);
    } else {
        integer::write(text.len(), 7, 0, out);
        out.extend_from_slice(text);
    }
}

/// A hash of a field. Whoever makes two the same has them compared, and no more.
fn hash(name: &[u8], value: &[u8]) -> u32 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = (name.len() as u64) << 32 | value.len() as u64;
    for part in [name, value] {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(MULTIPLIER);
            hash ^= hash >> 32;
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(MULTIPLIER);
        hash ^= hash >> 32;
    }
    // 0 is what nobody has said.
    (hash >> 16) as u32 | 1
}
