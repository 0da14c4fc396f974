//! Bytes as text of 64 letters (RFC 4648), as leniently as nginx reads it: what follows the first `=` does
//! not count, nor do bits that make no byte.

/// Which letters stand for 62 and 63.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Letters {
    /// `+` and `/`.
    Standard,
    /// `-` and `_`.
    Url,
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes of a text; `None` where it has other letters, or one that stands alone.
pub(crate) fn decode(text: &[u8], letters: Letters) -> Option<Vec<u8>> {
    let (byte_62, byte_63) = match letters {
        Letters::Standard => (b'+', b'/'),
        Letters::Url => (b'-', b'_'),
    };
    let end = memchr::memchr(b'=', text).unwrap_or(text.len());
    if end % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(end / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in &text[..end] {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            byte if *byte == byte_62 => 62,
            byte if *byte == byte_63 => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

/// Appends bytes as text, with `=` at its end.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(padded);
        for place in 0..4 {
            let letter = STANDARD[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { letter } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"u", "dQ=="),
            (b"u:", "dTo="),
            (b"user:pass", "dXNlcjpwYXNz"),
            (b"\xfb\xff", "+/8="),
        ] {
            let mut out = Vec::new();
            encode(bytes, &mut out);
            assert_eq!(out, text.as_bytes());
            assert_eq!(decode(&out, Letters::Standard).unwrap(), bytes);
        }
        assert_eq!(decode(b"-_8", Letters::Url).unwrap(), b"\xfb\xff");
        assert_eq!(decode(b"dQ=x", Letters::Url).unwrap(), b"u");
        for wrong in [&b"d"[..], b"dQ*", b"d=", b"-_8", b"dTo6d"] {
            assert_eq!(decode(wrong, Letters::Standard), None, "{wrong:?}");
        }
        assert_eq!(decode(b"+/8", Letters::Url), None);
    }
}
