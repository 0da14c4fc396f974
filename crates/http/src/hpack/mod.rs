//! HPACK (RFC 7541): header fields of HTTP/2, said again by a number.

mod decoder;
mod encoder;
mod error;
mod fields;
pub mod huffman;
mod integer;
mod name;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

pub use self::decoder::Decoder;
pub use self::encoder::Encoder;
pub use self::error::DecodeError;
pub use self::fields::{Field, Fields};
pub use self::name::{Name, NameKind};
