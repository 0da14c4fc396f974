//! PEM: what stands between two lines of dashes. Source: RFC 7468; RFC 1421 for the header lines of old keys.

use crate::error::KeyError;

/// A section of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// What it is called: `CERTIFICATE`, `PRIVATE KEY`.
    pub(crate) label: String,
    /// Its header lines, of which old encrypted keys have some.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content: Vec<u8>,
}

/// The sections of a text, in their order.
///
/// # Errors
///
/// A section that is not closed, or is not base64.
pub(crate) fn sections(text: &[u8]) -> Result<Vec<Section>, KeyError> {
    let text = String::from_utf8_lossy(text);
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = marked(line, "-----BEGIN ") else {
            continue;
        };
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut digits = String::new();
        loop {
            let line = lines.next().ok_or(KeyError::MalformedPem)?;
            if let Some(end) = marked(line, "-----END ") {
                if end != label {
                    return Err(KeyError::MalformedPem);
                }
                break;
            }
            match line.split_once(':') {
                Some((name, value)) if digits.is_empty() => {
                    headers.push((name.trim().to_owned(), value.trim().to_owned()));
                }
                _ => digits.push_str(line),
            }
        }
        found.push(Section {
            label: label.to_owned(),
            headers,
            content: decode(&digits).ok_or(KeyError::MalformedPem)?,
        });
    }
    Ok(found)
}

fn marked<'a>(line: &'a str, begin: &str) -> Option<&'a str> {
    line.strip_prefix(begin)?.strip_suffix("-----")
}

/// Decodes base64, with its padding.
fn decode(digits: &str) -> Option<Vec<u8>> {
    let padding = digits.len() - digits.trim_end_matches('=').len();
    if !digits.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in digits.bytes().take(digits.len() - padding) {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read(text in "(-----BEGIN A-----\n|-----END A-----|[A-Za-z0-9+/=:-]{0,9}|\n|\r|é){0,20}") {
            let _ = sections(text.as_bytes());
            let _ = crate::certificates(text.as_bytes());
        }
    }

    #[test]
    fn sections_are_read_with_their_headers() {
        let text = b"noise\n-----BEGIN A KEY-----\r\nProc-Type: 4,ENCRYPTED\nDEK-Info: X,00\n\nQUJD\nRA==\n-----END A KEY-----\n\
            -----BEGIN B-----\n-----END B-----\n";
        let found = sections(text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].label.as_str(), &found[0].content[..]),
            ("A KEY", &b"ABCD"[..])
        );
        assert_eq!(found[0].headers[1], ("DEK-Info".into(), "X,00".into()));
        assert_eq!((found[1].label.as_str(), found[1].content.len()), ("B", 0));
        for broken in [
            &b"-----BEGIN A-----\nQUJD\n"[..],
            b"-----BEGIN A-----\nQUJD\n-----END B-----\n",
            b"-----BEGIN A-----\nQU!D\n-----END A-----\n",
            b"-----BEGIN A-----\nQUJ\n-----END A-----\n",
            b"-----BEGIN A-----\n====\n-----END A-----\n",
        ] {
            assert_eq!(sections(broken), Err(KeyError::MalformedPem));
        }
    }
}
