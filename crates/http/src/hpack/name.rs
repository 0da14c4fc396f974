//! Names of fields, looked at once.

use crate::header::HeaderId;

/// What a name is, so that nobody need compare or check it again.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// What kind of name it is.
    pub kind: NameKind,
    /// Which of the known headers.
    pub id: HeaderId,
}

/// What kind of name a field has.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum NameKind {
    /// Small letters, digits and `-`.
    Plain,
    /// The same, and `_`.
    Underscore,
    /// Other bytes that a name may have (RFC 9110, section 5.6.2), or visible ones that it may not.
    Odd,
    /// One that makes a message malformed: empty, or with a capital letter, a colon, a space, a control
    /// byte or one that is not ASCII (RFC 9113, section 8.2.1).
    Invalid,
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:protocol` (RFC 8441)
    Protocol,
    /// `:status`
    Status,
    /// Any other that begins with a colon.
    OtherPseudo,
}

const PLAIN: u8 = 0;
const UNDERSCORE: u8 = 1;
const ODD: u8 = 2;
const INVALID: u8 = 4;

static CLASS: [u8; 256] = {
    let mut table = [ODD; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => PLAIN,
            b'_' => UNDERSCORE,
            0..=b' ' | b'A'..=b'Z' | b':' | 0x7f..=0xff => INVALID,
            _ => ODD,
        };
        byte += 1;
    }
    table
};

impl Name {
    /// Looks at a name.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let other = |kind| Self {
            kind,
            id: HeaderId::Other,
        };
        match name {
            [b':', rest @ ..] => other(match rest {
                b"method" => NameKind::Method,
                b"scheme" => NameKind::Scheme,
                b"authority" => NameKind::Authority,
                b"path" => NameKind::Path,
                b"protocol" => NameKind::Protocol,
                b"status" => NameKind::Status,
                _ => NameKind::OtherPseudo,
            }),
            [] => other(NameKind::Invalid),
            name => {
                let classes = name.iter().map(|byte| CLASS[*byte as usize]);
                match classes.fold(PLAIN, |all, class| all | class) {
                    PLAIN => Self {
                        kind: NameKind::Plain,
                        id: HeaderId::of_name(name),
                    },
                    UNDERSCORE => other(NameKind::Underscore),
                    class if class & INVALID != 0 => other(NameKind::Invalid),
                    _ => other(NameKind::Odd),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let kinds = [
            (&b"x-1"[..], NameKind::Plain),
            (b"x_1", NameKind::Underscore),
            (b"x_!", NameKind::Odd),
            (b"x!", NameKind::Odd),
            (b"", NameKind::Invalid),
            (b"X", NameKind::Invalid),
            (b"a b", NameKind::Invalid),
            (b"a:", NameKind::Invalid),
            (b"a\r", NameKind::Invalid),
            (b"\xc3\xa4", NameKind::Invalid),
            (b":path", NameKind::Path),
            (b":Path", NameKind::OtherPseudo),
            (b":", NameKind::OtherPseudo),
        ];
        for (name, kind) in kinds {
            assert_eq!(Name::of(name).kind, kind, "{name:?}");
        }
        assert_eq!(Name::of(b"etag").id, HeaderId::Etag);
    }
}
