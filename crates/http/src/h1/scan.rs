//! Searches that look at many bytes at a time, for lines that are whole and ordinary.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = LOW << 7;

/// The offset of the first byte below `LIMIT`, which is at most 0x80.
///
/// Sixteen bytes at a time are compared as a whole, which compilers turn into a few vector
/// instructions, and the byte itself is looked for in the sixteen that hold it. The last sixteen
/// may overlap those before.
#[inline]
pub(super) fn find_below<const LIMIT: u8>(bytes: &[u8]) -> Option<usize> {
    let Some(last) = bytes.last_chunk::<16>() else {
        return find_below_in_few::<LIMIT>(bytes);
    };
    let mut offset = 0;
    for chunk in bytes.as_chunks::<16>().0 {
        if any_below::<LIMIT>(chunk) {
            return Some(offset + first_below::<LIMIT>(chunk));
        }
        offset += 16;
    }
    any_below::<LIMIT>(last).then(|| bytes.len() - 16 + first_below::<LIMIT>(last))
}

#[inline]
fn any_below<const LIMIT: u8>(chunk: &[u8; 16]) -> bool {
    chunk
        .iter()
        .fold(false, |found, &byte| found | (byte < LIMIT))
}

/// The same among fewer than sixteen bytes.
#[inline]
fn find_below_in_few<const LIMIT: u8>(bytes: &[u8]) -> Option<usize> {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        let found = below::<LIMIT>(u64::from_le_bytes(*first));
        if found != 0 {
            return Some(found.trailing_zeros() as usize / 8);
        }
        let found = below::<LIMIT>(u64::from_le_bytes(*last));
        return (found != 0).then(|| bytes.len() - 8 + found.trailing_zeros() as usize / 8);
    }
    bytes.iter().position(|&byte| byte < LIMIT)
}

/// The offset of the first byte below `LIMIT` among sixteen, of which one is.
#[inline]
fn first_below<const LIMIT: u8>(chunk: &[u8; 16]) -> usize {
    let (words, _) = chunk.as_chunks::<8>();
    let low = below::<LIMIT>(u64::from_le_bytes(words[0]));
    if low != 0 {
        return low.trailing_zeros() as usize / 8;
    }
    let high = below::<LIMIT>(u64::from_le_bytes(words[1]));
    8 + high.trailing_zeros() as usize / 8
}

/// Sets bit 7 of the first byte that is below `LIMIT`; those after it mean nothing, because the
/// subtraction borrows from them.
#[inline]
const fn below<const LIMIT: u8>(word: u64) -> u64 {
    word.wrapping_sub(LOW * LIMIT as u64) & !word & HIGH
}

/// The offset of the first colon among 32 bytes.
#[inline]
pub(super) fn find_colon(bytes: &[u8; 32]) -> Option<usize> {
    for (index, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let found = below::<1>(u64::from_le_bytes(*word) ^ (LOW * b':' as u64));
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    None
}

/// What [`look_at_target`] saw.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct TargetBytes {
    /// A `%`, a `#`, DEL, or a dot or slash after a slash.
    pub(super) special: bool,
    /// A `?`.
    pub(super) question: bool,
}

/// Says what is in the first `len` bytes. It may see some that follow them, up to sixteen: both
/// answers may be yes where they should be no, but not the reverse.
#[inline]
pub(super) fn look_at_target(bytes: &[u8], len: usize) -> TargetBytes {
    let mut seen = TargetBytes::default();
    let mut at = 0;
    while at < len {
        let mut padded = [0; 17];
        let chunk = match bytes[at..].first_chunk::<17>() {
            Some(chunk) => chunk,
            None => {
                padded[..bytes.len() - at].copy_from_slice(&bytes[at..]);
                &padded
            }
        };
        if let (Some(bytes), Some(next)) = (chunk.first_chunk(), chunk.last_chunk()) {
            seen.special |= is_special(bytes, next);
            seen.question |= bytes
                .iter()
                .fold(false, |found, &byte| found | (byte == b'?'));
        }
        at += 16;
    }
    seen
}

/// Whether any of sixteen bytes, each seen with the one after it, is special.
#[inline]
fn is_special(bytes: &[u8; 16], next: &[u8; 16]) -> bool {
    let hits: [u8; 16] = std::array::from_fn(|index| {
        let (byte, next) = (bytes[index], next[index]);
        let alone = (byte == b'%') | (byte == b'#') | (byte == 0x7f);
        // A slash and a dot differ in one bit.
        u8::from(alone | ((byte == b'/') & (next | 1 == b'/')))
    });
    u128::from_ne_bytes(hits) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_wherever_it_is() {
        for filler in [0x20u8, b'a', 0x7f, 0x80, 0xff] {
            for len in 0..50 {
                let bytes = vec![filler; len];
                assert_eq!(find_below::<0x20>(&bytes), None);
                for at in 0..len {
                    let mut bytes = bytes.clone();
                    bytes[at] = 0x1f;
                    bytes[at + 1..].fill(0);
                    assert_eq!(find_below::<0x20>(&bytes), Some(at), "{at} of {len}");
                }
            }
        }
    }

    #[test]
    fn a_colon_is_found_wherever_it_is() {
        for filler in [0, b'9', b';', 0x7f, 0xba, 0xff] {
            let mut bytes = [filler; 32];
            assert_eq!(find_colon(&bytes), None);
            for at in (0..32).rev() {
                bytes[at] = b':';
                assert_eq!(find_colon(&bytes), Some(at));
            }
        }
    }

    #[test]
    fn what_is_in_a_target_is_seen_wherever_it_is() {
        for (text, special, question) in [
            ("%", true, false),
            ("#", true, false),
            ("\x7f", true, false),
            ("//", true, false),
            ("/.", true, false),
            ("?", false, true),
            ("/", false, false),
        ] {
            for before in 0..40 {
                for after in 0..20 {
                    let target = "a".repeat(before) + text + &"b".repeat(after);
                    for tail in ["", " HTTP/1.1\r\nHost: a\r\n\r\n"] {
                        let bytes = target.clone() + tail;
                        let seen = look_at_target(bytes.as_bytes(), target.len());
                        assert_eq!(seen, TargetBytes { special, question }, "{bytes}");
                    }
                }
            }
        }
    }
}
