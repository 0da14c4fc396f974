//! Integers (RFC 7541, section 5.1).

use super::error::DecodeError;

/// Reads an integer whose first byte has `prefix_bits` bits of it, and takes it off `input`.
pub(super) fn read(input: &mut &[u8], prefix_bits: u32) -> Result<usize, DecodeError> {
    let (first, mut rest) = input.split_first().ok_or(DecodeError::Truncated)?;
    let mask = (1usize << prefix_bits) - 1;
    let mut value = usize::from(*first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (byte, after) = rest.split_first().ok_or(DecodeError::Truncated)?;
            rest = after;
            // No length and no index that may be meant needs more than 28 bits.
            if shift > 21 {
                return Err(DecodeError::IntegerTooLarge);
            }
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *input = rest;
    Ok(value)
}

/// Appends an integer whose first byte has `prefix_bits` bits of it, and `flags` above.
pub(super) fn write(value: usize, prefix_bits: u32, flags: u8, out: &mut Vec<u8>) {
    let mask = (1usize << prefix_bits) - 1;
    if value < mask {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appendix C.1.
    #[test]
    fn examples_of_the_rfc() {
        for (value, prefix, bytes) in [
            (10, 5, &[10][..]),
            (1337, 5, &[31, 154, 10]),
            (42, 8, &[42]),
        ] {
            let mut out = Vec::new();
            write(value, prefix, 0, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(read(&mut &out[..], prefix), Ok(value));
        }
    }

    #[test]
    fn bounds() {
        for value in [0, 30, 31, 126, 127, 128, 254, 255, 16384, (1 << 28) - 1] {
            for prefix in 4..=8 {
                let mut out = Vec::new();
                write(value, prefix, 0, &mut out);
                out.push(9);
                let mut rest = &out[..];
                assert_eq!(read(&mut rest, prefix), Ok(value));
                assert_eq!(rest, [9]);
                for end in 0..out.len() - 1 {
                    assert_eq!(read(&mut &out[..end], prefix), Err(DecodeError::Truncated));
                }
            }
        }
        // Zeros without end are no way to a long integer either.
        let long = [0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
        assert_eq!(read(&mut &long[..], 7), Err(DecodeError::IntegerTooLarge));
    }
}
