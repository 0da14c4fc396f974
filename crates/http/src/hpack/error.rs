//! Why a header block cannot be read.

use std::fmt;

/// Why a header block cannot be read. Nothing that follows on its connection can be, either.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// It ends within a field.
    Truncated,
    /// An integer that no length and no index needs.
    IntegerTooLarge,
    /// An index that nothing has.
    Index,
    /// A string that is not in the Huffman code.
    Huffman,
    /// The table is to become larger than it may, or not at the beginning of a block.
    TableSize,
    /// The fields come to more than four times what they may.
    TooLarge,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "a header block ends within a field",
            Self::IntegerTooLarge => "a header block has an integer that is too large",
            Self::Index => "a header block has an index that is not in the table",
            Self::Huffman => "a header block has an invalid Huffman code",
            Self::TableSize => "a header block changes the table's size as it may not",
            Self::TooLarge => "a header block is far too large",
        })
    }
}

impl std::error::Error for DecodeError {}
