//! DER, element by element: what is read and written here is small, and known in advance.

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const OCTETS: u8 = 4;
const INTEGER: u8 = 2;
pub(crate) const OID: u8 = 6;

/// What stands in an element of DER behind its tag and its length, and what follows it.
pub(crate) fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let len = len
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte));
            (len, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(len)
}

/// Elements, one after the other.
pub(crate) struct Elements<'a>(pub(crate) &'a [u8]);

impl<'a> Elements<'a> {
    /// The content of the next one, if it has this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        (*self.0.first()? == tag).then_some(())?;
        self.next().map(|(_, content)| content)
    }

    /// The tag and the content of the next one.
    pub(crate) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let tag = *self.0.first()?;
        let (content, rest) = element(self.0)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The next one as a whole, with its tag and its length.
    pub(crate) fn whole(&mut self) -> Option<&'a [u8]> {
        let before = self.0;
        self.next()?;
        Some(&before[..before.len() - self.0.len()])
    }

    pub(crate) fn number(&mut self) -> Option<u32> {
        let bytes = self.take(INTEGER)?;
        let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
        (bytes.len() <= 4).then(|| {
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
        })
    }
}

/// An element of these parts.
pub(crate) fn written(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match len {
        0..=0x7f => out.push(len as u8),
        _ => {
            let bytes = len.to_be_bytes();
            let first = bytes.iter().position(|byte| *byte > 0).unwrap_or(0);
            out.push(0x80 | (bytes.len() - first) as u8);
            out.extend_from_slice(&bytes[first..]);
        }
    }
    out.extend(parts.iter().copied().flatten());
    out
}

/// Seconds since 1970 of a GeneralizedTime, `20261201120000Z`.
pub(crate) fn time_s(text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    if digits.len() != 14 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |at: std::ops::Range<usize>| {
        digits[at]
            .iter()
            .fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'))
    };
    let (year, month, day) = (number(0..4), number(4..6), number(6..8));
    let (hour, minute, second) = (number(8..10), number(10..12), number(12..14));
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    // Days since 1970 by a year that begins in March. Source: Howard Hinnant's `days_from_civil`.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        for (text, seconds) in [
            ("19700101000000Z", Some(0)),
            ("20000229235959Z", Some(951_868_799)),
            ("20261201120000Z", Some(1_796_126_400)),
            ("99991231235959Z", Some(253_402_300_799)),
            ("20261301120000Z", None),
            ("2026120112000Z", None),
            ("20261201120000", None),
            ("2026120112000xZ", None),
        ] {
            assert_eq!(time_s(text.as_bytes()), seconds, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for len in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![5; len];
            let whole = written(OCTETS, &[&content[..len / 2], &content[len / 2..]]);
            let mut elements = Elements(&whole);
            assert_eq!(elements.take(SEQUENCE), None);
            assert_eq!(elements.take(OCTETS), Some(&content[..]));
            assert!(elements.0.is_empty());
        }
        assert_eq!(element(&[4, 0x85, 0, 0, 0, 0, 1, 9]), None);
        assert_eq!(element(&[4, 2, 9]), None);
    }
}
