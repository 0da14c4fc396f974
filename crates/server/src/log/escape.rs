//! What makes text fit for a line of an access log: nobody forges a line, or paints a terminal.
//!
//! The error log's rule is that of diagnostics, [`revolve_conf::shown`]: each value that a client or a
//! file brought passes through [`Shown`](revolve_conf::Shown), and each line through
//! [`ShownLine`](revolve_conf::ShownLine) before it is written.

/// Escapes what was appended from `start` on as nginx does by default: quotes, backslashes and bytes
/// outside of printable ASCII become `\xHH`.
pub(crate) fn as_default(out: &mut Vec<u8>, start: usize) {
    rewrite(out, start, needs_default, |byte, out| {
        let [high, low] = hex(byte);
        out.extend_from_slice(&[b'\\', b'x', high, low]);
    });
}

/// Escapes what was appended from `start` on as a JSON string is.
pub(crate) fn as_json(out: &mut Vec<u8>, start: usize) {
    rewrite(out, start, needs_json, |byte, out| match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        _ => {
            let [high, low] = hex(byte);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    });
}

/// Rewrites the bytes that need it, from `start` on. Most lines have none, which is found out fast.
#[inline]
fn rewrite(
    out: &mut Vec<u8>,
    start: usize,
    needs: impl Fn(u8) -> bool,
    write: impl Fn(u8, &mut Vec<u8>),
) {
    if !has_any(&out[start..], &needs) {
        return;
    }
    for byte in out.split_off(start) {
        if needs(byte) {
            write(byte, out);
        } else {
            out.push(byte);
        }
    }
}

/// Whether a byte is one of those. Sixteen at a time are looked at as a whole, which compilers turn into
/// a few vector instructions; the last sixteen may overlap those before.
#[inline]
fn has_any(bytes: &[u8], is_one: impl Fn(u8) -> bool) -> bool {
    let is_among = |few: &[u8]| few.iter().fold(false, |found, byte| found | is_one(*byte));
    match bytes.last_chunk::<16>() {
        Some(last) => {
            let chunks = bytes.as_chunks::<16>().0;
            chunks.iter().any(|chunk| is_among(chunk)) || is_among(last)
        }
        None => is_among(bytes),
    }
}

#[inline]
fn needs_default(byte: u8) -> bool {
    !(0x20..0x7f).contains(&byte) | (byte == b'"') | (byte == b'\\')
}

#[inline]
fn needs_json(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn hex(byte: u8) -> [u8; 2] {
    let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
    [digit(byte >> 4), digit(byte & 15)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_it_is_escaped_and_nothing_else() {
        let escaped = |escape: fn(&mut Vec<u8>, usize), text: &[u8]| {
            let mut out = [b"\n", text].concat();
            escape(&mut out, 1);
            out
        };
        let text = b"a\"b\\c\n\x01\x7f\xff";
        let expected = b"\na\\x22b\\x5Cc\\x0A\\x01\\x7F\\xFF";
        assert_eq!(escaped(as_default, text), expected);
        let expected = b"\na\\\"b\\\\c\\n\\u0001\x7f\xff";
        assert_eq!(escaped(as_json, text), expected);
    }

    #[test]
    fn what_needs_escaping_is_found_wherever_it_stands() {
        for needs in [needs_default as fn(u8) -> bool, needs_json] {
            for byte in 0..=u8::MAX {
                for len in 1..40 {
                    for at in [0, len / 2, len - 1] {
                        let mut value = vec![b'a'; len];
                        value[at] = byte;
                        assert_eq!(
                            has_any(&value, needs),
                            needs(byte),
                            "{byte} at {at} of {len}"
                        );
                    }
                }
            }
            assert!(!has_any(b"", needs));
        }
    }
}
