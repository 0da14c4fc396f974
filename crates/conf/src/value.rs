//! Values with units: sizes, times, flags and numbers.
//!
//! Source: nginx's documentation, "Configuration file measurement units", and the behaviour of
//! its `ngx_parse_size`, `ngx_parse_offset` and `ngx_parse_time`.

use crate::diagnostic::Diagnostic;
use crate::word::Word;

/// The largest value of any kind: nginx's numbers are signed and 64 bits wide.
const VALUE_MAX: u64 = i64::MAX as u64;

/// A decimal number without sign: `512`.
pub fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|&value| value <= VALUE_MAX)
}

/// A size in bytes: a number, or one with `k` or `m` (either case) after it: `8k`, `1m`.
pub fn size(text: &str) -> Option<u64> {
    scaled(text, &[(b'k', 10), (b'm', 20)])
}

/// An offset in bytes: as [`size`], and `g` is known too.
pub fn offset(text: &str) -> Option<u64> {
    scaled(text, &[(b'k', 10), (b'm', 20), (b'g', 30)])
}

fn scaled(text: &str, units: &[(u8, u32)]) -> Option<u64> {
    let last = text.as_bytes().last()?.to_ascii_lowercase();
    let shift = units
        .iter()
        .find(|(unit, _)| *unit == last)
        .map(|&(_, shift)| shift);
    let Some(shift) = shift else {
        return number(text);
    };
    let value = number(&text[..text.len() - 1])?;
    (value <= VALUE_MAX >> shift).then(|| value << shift)
}

/// `on` or `off`, in any case.
pub fn flag(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("on") {
        Some(true)
    } else if text.eq_ignore_ascii_case("off") {
        Some(false)
    } else {
        None
    }
}

/// A time in milliseconds: `500ms`, `30s`, `1h 30m`. A bare number is in seconds. Units go from
/// large to small (`w d h m s ms`), each at most once.
///
/// As in nginx, months and years (`M`, `y`) are for times in whole seconds alone: see [`time_s`].
pub fn time_ms(text: &str) -> Option<u64> {
    time(text, Resolution::Milliseconds)
}

/// A time in whole seconds: as [`time_ms`], with `y` (365 days) and `M` (30 days) and without
/// `ms`.
pub fn time_s(text: &str) -> Option<u64> {
    time(text, Resolution::Seconds)
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Resolution {
    Seconds,
    Milliseconds,
}

/// The units of time from the largest to the smallest, in seconds; `ms` is not among them.
const TIME_UNITS: [(u8, u64); 7] = [
    (b'y', 365 * 24 * 60 * 60),
    (b'M', 30 * 24 * 60 * 60),
    (b'w', 7 * 24 * 60 * 60),
    (b'd', 24 * 60 * 60),
    (b'h', 60 * 60),
    (b'm', 60),
    (b's', 1),
];
/// The place of seconds in [`TIME_UNITS`].
const SECONDS_PLACE: usize = 6;
/// The place of milliseconds, after all of [`TIME_UNITS`].
const MILLISECONDS_PLACE: usize = TIME_UNITS.len();

fn time(text: &str, resolution: Resolution) -> Option<u64> {
    let per_second = if resolution == Resolution::Seconds {
        1
    } else {
        1000
    };
    // The first place of TIME_UNITS that may still come: units only get smaller.
    let mut place_min = if resolution == Resolution::Seconds {
        0
    } else {
        2
    };
    let mut total = 0u64;
    let mut has_digit = false;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        has_digit |= digits > 0;
        let mut value = 0u64;
        for digit in &rest[..digits] {
            value = value
                .checked_mul(10)?
                .checked_add(u64::from(digit - b'0'))?;
        }
        rest = &rest[digits..];
        let (place, scale, taken) = match rest {
            // A number at the end, or one with only blanks after it, is in seconds.
            [] | [b' ', ..] if place_min <= SECONDS_PLACE => {
                (MILLISECONDS_PLACE, per_second, rest.len().min(1))
            }
            [] => (MILLISECONDS_PLACE, per_second, 0),
            [b'm', b's', ..] if resolution == Resolution::Milliseconds => {
                (MILLISECONDS_PLACE, 1, 2)
            }
            [b'm', b's', ..] => return None,
            [unit, ..] => {
                let place = TIME_UNITS.iter().position(|(name, _)| name == unit)?;
                (place, TIME_UNITS[place].1 * per_second, 1)
            }
        };
        if taken > 0 && place < place_min {
            return None;
        }
        place_min = place + 1;
        rest = &rest[taken..];
        let blanks = rest.iter().take_while(|&&byte| byte == b' ').count();
        rest = &rest[blanks..];
        total = total.checked_add(value.checked_mul(scale)?)?;
    }
    (has_digit && total <= VALUE_MAX).then_some(total)
}

fn invalid(word: &Word, directive: &str, kind: &str, expected: &str) -> Diagnostic {
    Diagnostic::new(
        word.span,
        format!("\"{directive}\" directive invalid {kind}"),
    )
    .label(format!("expected {expected}"))
}

/// [`size`] of an argument of `directive`; the error says what was expected.
pub fn size_of(word: &Word, directive: &str) -> Result<u64, Diagnostic> {
    size(&word.text).ok_or_else(|| invalid(word, directive, "value", "a size like 8k or 1m"))
}

/// [`offset`] of an argument of `directive`.
pub fn offset_of(word: &Word, directive: &str) -> Result<u64, Diagnostic> {
    let expected = "a size like 8k, 1m or 1g";
    offset(&word.text).ok_or_else(|| invalid(word, directive, "value", expected))
}

/// [`time_ms`] of an argument of `directive`.
pub fn time_ms_of(word: &Word, directive: &str) -> Result<u64, Diagnostic> {
    let expected = "a time like 500ms, 30s or 1h30m";
    time_ms(&word.text).ok_or_else(|| invalid(word, directive, "value", expected))
}

/// [`time_s`] of an argument of `directive`.
pub fn time_s_of(word: &Word, directive: &str) -> Result<u64, Diagnostic> {
    let expected = "a time in whole seconds, like 30s, 1h30m or 30d";
    time_s(&word.text).ok_or_else(|| invalid(word, directive, "value", expected))
}

/// [`number`] of an argument of `directive`.
pub fn number_of(word: &Word, directive: &str) -> Result<u64, Diagnostic> {
    number(&word.text).ok_or_else(|| invalid(word, directive, "number", "a whole number"))
}

/// [`flag`] of an argument of `directive`.
pub fn flag_of(word: &Word, directive: &str) -> Result<bool, Diagnostic> {
    flag(&word.text).ok_or_else(|| {
        let message = format!(
            "invalid value \"{}\" in \"{directive}\" directive, it must be \"on\" or \"off\"",
            word.text
        );
        Diagnostic::new(word.span, message).label("expected `on` or `off`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileId, Span};

    #[test]
    fn sizes_have_units_in_either_case() {
        assert_eq!(size("0"), Some(0));
        assert_eq!(size("1000"), Some(1000));
        assert_eq!(size("8k"), Some(8 << 10));
        assert_eq!(size("1M"), Some(1 << 20));
        assert_eq!(offset("2g"), Some(2 << 30));
        assert_eq!(offset("2K"), Some(2 << 10));
        for wrong in ["", "k", "1g", "-1", "+1", "1kk", "1 k", "1.5m", "0x10", "é"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_end_where_the_numbers_of_nginx_end() {
        assert_eq!(size("9223372036854775807"), Some(VALUE_MAX));
        assert_eq!(size("9223372036854775808"), None);
        assert_eq!(size("9007199254740991k"), Some(9007199254740991 << 10));
        assert_eq!(size("9007199254740992k"), None);
        assert_eq!(number("99999999999999999999999"), None);
    }

    #[test]
    fn times_add_their_parts() {
        assert_eq!(time_ms("75"), Some(75_000));
        assert_eq!(time_ms("500ms"), Some(500));
        assert_eq!(time_ms("1h 30m"), Some(5_400_000));
        assert_eq!(time_ms("1h30m15s7ms"), Some(5_415_007));
        assert_eq!(time_ms("1m 30"), Some(90_000));
        assert_eq!(time_ms("1w2d"), Some(777_600_000));
        assert_eq!(time_s("1y"), Some(31_536_000));
        assert_eq!(time_s("1M"), Some(2_592_000));
        assert_eq!(time_s("1d12h"), Some(129_600));
        assert_eq!(time_s("10 "), Some(10));
    }

    #[test]
    fn units_of_time_come_once_and_in_order() {
        for wrong in [
            "", "s", " ", "5x", "1m1h", "1s1s", "1ms1s", "1.5s", "-1", "1 s 2 m",
        ] {
            assert_eq!(time_ms(wrong), None, "{wrong:?}");
        }
        assert_eq!(time_ms("1M"), None, "months are for whole seconds");
        assert_eq!(time_ms("1y"), None);
        assert_eq!(time_s("500ms"), None);
        assert_eq!(time_s("99999999999999999999"), None);
        assert_eq!(time_s("9223372036854775807y"), None);
    }

    #[test]
    fn errors_say_what_was_expected() {
        let span = Span {
            file: FileId(0),
            start: 0,
            end: 2,
        };
        let word = Word {
            text: "5q".into(),
            span,
            quoted: false,
            begins_line: false,
        };
        let of = |result: Result<u64, Diagnostic>| {
            let diagnostic = result.unwrap_err();
            (diagnostic.message, diagnostic.label.unwrap())
        };
        let invalid = "\"x\" directive invalid value".to_owned();
        assert_eq!(
            of(size_of(&word, "x")),
            (invalid.clone(), "expected a size like 8k or 1m".into())
        );
        assert_eq!(of(offset_of(&word, "x")).0, invalid);
        assert_eq!(of(time_ms_of(&word, "x")).0, invalid);
        assert_eq!(of(time_s_of(&word, "x")).0, invalid);
        assert_eq!(
            of(number_of(&word, "x")).0,
            "\"x\" directive invalid number"
        );
        assert_eq!(
            flag_of(&word, "x").unwrap_err().label.unwrap(),
            "expected `on` or `off`"
        );
    }
}
