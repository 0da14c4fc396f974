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

/// What [`find_target_end`] saw.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Target {
    /// Where it ends: before the first space or control character.
    pub(super) len: usize,
    /// A `%`, a `#`, DEL, or a dot or slash after a slash.
    pub(super) special: bool,
    /// A `?`.
    pub(super) question: bool,
}

/// Finds the end of a target, and says what is in it. It looks at some bytes that follow it, up to
/// sixteen: both answers may be yes where they should be no, but not the reverse.
#[inline]
pub(super) fn find_target_end(bytes: &[u8]) -> Option<Target> {
    let mut target = Target::default();
    loop {
        let rest = &bytes[target.len..];
        let mut padded = [b' '; 17];
        let chunk = match rest.first_chunk::<17>() {
            Some(chunk) => chunk,
            None => {
                padded[..rest.len()].copy_from_slice(rest);
                &padded
            }
        };
        let (these, next) = (chunk.first_chunk()?, chunk.last_chunk()?);
        let seen = look(these, next);
        target.special |= seen.special;
        target.question |= seen.question;
        if any_below::<0x21>(these) {
            target.len += first_below::<0x21>(these);
            // What was put behind the bytes ends no target.
            return (target.len < bytes.len()).then_some(target);
        }
        target.len += 16;
    }
}

struct Seen {
    special: bool,
    question: bool,
}

/// What is among sixteen bytes, each seen with the one after it.
///
/// A byte is what is looked for where it differs from it in nothing: the least difference of all is
/// zero then. Written so, and not inlined, it becomes a few vector instructions.
#[inline(never)]
fn look(bytes: &[u8; 16], next: &[u8; 16]) -> Seen {
    let mut to_special = [0; 16];
    let mut to_question = [0; 16];
    for index in 0..16 {
        let (byte, next) = (bytes[index], next[index]);
        let alone = (byte ^ b'%').min(byte ^ b'#').min(byte ^ 0x7f);
        // A slash and a dot differ in one bit.
        to_special[index] = alone.min((byte ^ b'/') | ((next | 1) ^ b'/'));
        to_question[index] = byte ^ b'?';
    }
    Seen {
        special: has_zero(&to_special),
        question: has_zero(&to_question),
    }
}

#[inline]
fn has_zero(bytes: &[u8; 16]) -> bool {
    bytes.iter().fold(false, |found, &byte| found | (byte == 0))
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
                    assert_eq!(find_target_end(target.as_bytes()), None);
                    for tail in [" ", "\n", " HTTP/1.1\r\nHost: a\r\n\r\n"] {
                        let bytes = target.clone() + tail;
                        let len = target.len();
                        let seen = find_target_end(bytes.as_bytes());
                        let expected = Target {
                            len,
                            special,
                            question,
                        };
                        assert_eq!(seen, Some(expected), "{bytes}");
                    }
                }
            }
        }
    }
}
