//! How text that somebody else wrote is shown: one rule for logs, diagnostics and terminals.
//!
//! What a client sent or a file holds goes into lines that people and programs read. None of it may
//! end a line, turn the direction of the text, paint a terminal, or pass for another part of the line.

use std::fmt;
use std::io::Write;

/// A value within a line, such as a path or a name.
///
/// Text stays as it is. As `\xHH`, a byte at a time, stand: what is not UTF-8; characters that are not
/// seen or change how others are seen (controls, also those of U+0080 to U+009F, line separators, marks
/// of direction and other format characters); quotes and backslashes; a comma before a space; and the
/// colon behind one of the words by which nginx's error log names its parts (`client:`).
#[derive(Copy, Clone, Debug)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, |at, character| delimits(self.0, at, character), f)
    }
}

/// A whole line or a part of one, whose own quotes and commas stay: the last gate before it is written.
#[derive(Copy, Clone, Debug)]
pub struct ShownLine<'a>(pub &'a [u8]);

impl ShownLine<'_> {
    /// Shows what was appended to `out` from `start` on.
    pub fn in_place(out: &mut Vec<u8>, start: usize) {
        if out[start..].iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return;
        }
        let line = out.split_off(start);
        // Writing to memory cannot fail.
        let _ = write!(out, "{}", ShownLine(&line));
    }
}

impl fmt::Display for ShownLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, |_, _| false, f)
    }
}

/// The words before a colon in lines of nginx's error log.
const LABELS: [&[u8]; 8] = [
    b"client",
    b"server",
    b"request",
    b"subrequest",
    b"upstream",
    b"host",
    b"referrer",
    b"login",
];

/// Whether a character of a value could be taken for one of the line around it.
fn delimits(value: &[u8], at: usize, character: char) -> bool {
    match character {
        '"' | '\\' => true,
        ',' => value.get(at + 1) == Some(&b' '),
        ':' => LABELS.iter().any(|label| value[..at].ends_with(label)),
        _ => false,
    }
}

/// Whether a character is seen as itself, and leaves alone how others are seen.
pub(crate) fn is_printable(character: char) -> bool {
    let is_format = matches!(character,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'
        | '\u{891}' | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}'
        | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}');
    !character.is_control() && !is_format
}

fn show(
    bytes: &[u8],
    delimits: impl Fn(usize, char) -> bool,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let escape = |bytes: &[u8], f: &mut fmt::Formatter<'_>| {
        bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02X}"))
    };
    let mut chunk_start = 0;
    for chunk in bytes.utf8_chunks() {
        let text = chunk.valid();
        let mut shown = 0;
        for (at, character) in text.char_indices() {
            if is_printable(character) && !delimits(chunk_start + at, character) {
                continue;
            }
            let end = at + character.len_utf8();
            f.write_str(&text[shown..at])?;
            escape(&text.as_bytes()[at..end], f)?;
            shown = end;
        }
        f.write_str(&text[shown..])?;
        escape(chunk.invalid(), f)?;
        chunk_start += text.len() + chunk.invalid().len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: impl AsRef<[u8]>) -> String {
        Shown(text.as_ref()).to_string()
    }

    #[test]
    fn text_of_any_language_stays() {
        for text in [
            "",
            "/srv/ü",
            "日本語",
            "עברית",
            "नमस्ते",
            "e\u{301}",
            "a,b",
            "a: b",
            "10:20",
            "👍",
        ] {
            assert_eq!(shown(text), text);
            assert_eq!(ShownLine(text.as_bytes()).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_seen_is_escaped_a_byte_at_a_time() {
        for (text, expected) in [
            ("a\n\r\t\0\u{7f}", "a\\x0A\\x0D\\x09\\x00\\x7F"),
            ("\u{85}", "\\xC2\\x85"),
            ("\u{9b}31m", "\\xC2\\x9B31m"),
            ("\u{202e}txt", "\\xE2\\x80\\xAEtxt"),
            ("\u{2066}\u{2069}", "\\xE2\\x81\\xA6\\xE2\\x81\\xA9"),
            ("\u{2028}\u{2029}", "\\xE2\\x80\\xA8\\xE2\\x80\\xA9"),
            (
                "\u{200b}\u{feff}\u{ad}",
                "\\xE2\\x80\\x8B\\xEF\\xBB\\xBF\\xC2\\xAD",
            ),
            ("\u{e0041}", "\\xF3\\xA0\\x81\\x81"),
        ] {
            assert_eq!(shown(text), expected);
            assert_eq!(ShownLine(text.as_bytes()).to_string(), expected);
        }
        assert_eq!(shown(b"/srv/\xfc\xff/a"), "/srv/\\xFC\\xFF/a");
        assert_eq!(shown(b"\xe2\x80"), "\\xE2\\x80");
    }

    #[test]
    fn a_value_cannot_pass_for_another_part_of_its_line() {
        let forged = "/x\", client: 198.51.100.7, server: y, request: \"GET /";
        let expected = "/x\\x22\\x2C client\\x3A 198.51.100.7\\x2C server\\x3A y\\x2C \
                        request\\x3A \\x22GET /";
        assert_eq!(shown(forged), expected);
        assert_eq!(shown("a\\x22"), "a\\x5Cx22");
        assert_eq!(ShownLine(forged.as_bytes()).to_string(), forged);
    }

    #[test]
    fn what_was_appended_is_shown_and_nothing_before_it() {
        for (line, expected) in [("plain, \"text\"", "plain, \"text\""), ("a\nb", "a\\x0Ab")] {
            let mut out = b"\n".to_vec();
            out.extend_from_slice(line.as_bytes());
            ShownLine::in_place(&mut out, 1);
            assert_eq!(out, [b"\n", expected.as_bytes()].concat());
        }
    }
}
