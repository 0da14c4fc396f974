//! HTTP dates (RFC 9110, section 5.6.7): one form is written, three are read.
//!
//! Times are whole seconds since 1970-01-01 00:00:00 UTC. Nothing here asks a clock.

const WEEKDAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const MONTH_DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const DAY_S: i64 = 86_400;

/// The first second of the year 0, and the last of 9999: what four digits of a year can say.
const YEAR_0_S: i64 = -62_167_219_200;
const YEAR_9999_END_S: i64 = 253_402_300_799;

/// Writes `unix_s` (seconds since the epoch) as an IMF-fixdate,
/// `Sun, 06 Nov 1994 08:49:37 GMT`.
///
/// A time outside of the years 0 to 9999 is written as the nearest that lies within.
pub fn format_imf(unix_s: i64, out: &mut [u8; 29]) {
    let unix_s = unix_s.clamp(YEAR_0_S, YEAR_9999_END_S);
    let days = unix_s.div_euclid(DAY_S);
    let second = unix_s.rem_euclid(DAY_S) as u32;
    let (year, month, day) = civil_from_days(days);
    // 1970-01-01 was a Thursday.
    let weekday = (days + 4).rem_euclid(7) as usize;

    *out = *b"Sun, 06 Nov 1994 08:49:37 GMT";
    out[0..3].copy_from_slice(WEEKDAYS[weekday]);
    two_digits(&mut out[5..7], day);
    out[8..11].copy_from_slice(MONTHS[month as usize - 1]);
    two_digits(&mut out[12..14], year / 100);
    two_digits(&mut out[14..16], year % 100);
    two_digits(&mut out[17..19], second / 3600);
    two_digits(&mut out[20..22], second / 60 % 60);
    two_digits(&mut out[23..25], second % 60);
}

/// Reads an HTTP date in any of its three forms and returns seconds since the epoch:
///
/// * IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`;
/// * RFC 850, `Sunday, 06-Nov-94 08:49:37 GMT`, where a year below 70 is of the 21st century;
/// * asctime, `Sun Nov  6 08:49:37 1994`.
///
/// Like nginx's `ngx_parse_http_time` it does not look at the weekday nor at what follows the
/// time (`GMT`), and refuses days that the month does not have. A leap second (`:60`) is refused,
/// as is a year before 1970.
#[must_use]
pub fn parse(value: &[u8]) -> Option<i64> {
    let comma = value.iter().position(|&byte| matches!(byte, b',' | b' '))?;
    let rest = &value[comma..];
    let fields = match rest.first()? {
        b',' => after_weekday(skip_spaces(&rest[1..]))?,
        _ => asctime(skip_spaces(rest))?,
    };
    fields.unix_s()
}

/// A date taken apart; `month` counts from 1.
struct Fields {
    year: u32,
    month: u32,
    day: u32,
    second_of_day: u32,
}

impl Fields {
    fn unix_s(&self) -> Option<i64> {
        let divides = |years| self.year.is_multiple_of(years);
        let leap = divides(4) && (!divides(100) || divides(400));
        let days = MONTH_DAYS[self.month as usize - 1] + u32::from(leap && self.month == 2);
        if self.year < 1970 || self.day == 0 || self.day > days {
            return None;
        }
        let days = days_from_civil(self.year, self.month, self.day);
        Some(days * DAY_S + i64::from(self.second_of_day))
    }
}

/// `06 Nov 1994 08:49:37` or `06-Nov-94 08:49:37`.
fn after_weekday(text: &[u8]) -> Option<Fields> {
    let day = number(text.get(0..2)?)?;
    let separator = *text.get(2)?;
    if !matches!(separator, b' ' | b'-') || text.get(6) != Some(&separator) {
        return None;
    }
    let month = month(text.get(3..6)?)?;
    let (year, time) = if separator == b'-' {
        let year = number(text.get(7..9)?)?;
        (year + if year < 70 { 2000 } else { 1900 }, text.get(9..)?)
    } else {
        (number(text.get(7..11)?)?, text.get(11..)?)
    };
    let (&space, time) = time.split_first()?;
    if space != b' ' {
        return None;
    }
    Some(Fields {
        year,
        month,
        day,
        second_of_day: time_of_day(skip_spaces(time))?,
    })
}

/// `Nov  6 08:49:37 1994`.
fn asctime(text: &[u8]) -> Option<Fields> {
    let month = month(text.get(0..3)?)?;
    if text.get(3) != Some(&b' ') {
        return None;
    }
    let day = match text.get(4..6)? {
        [b' ', digit] => number(&[*digit])?,
        digits => number(digits)?,
    };
    if text.get(6) != Some(&b' ') {
        return None;
    }
    let second_of_day = time_of_day(text.get(7..15)?)?;
    if text.get(15) != Some(&b' ') {
        return None;
    }
    Some(Fields {
        year: number(text.get(16..20)?)?,
        month,
        day,
        second_of_day,
    })
}

/// `08:49:37`, and whatever follows it.
fn time_of_day(text: &[u8]) -> Option<u32> {
    let hour = number(text.get(0..2)?)?;
    let minute = number(text.get(3..5)?)?;
    let second = number(text.get(6..8)?)?;
    let in_range = hour < 24 && minute < 60 && second < 60;
    let colons = text[2] == b':' && text[5] == b':';
    (in_range && colons).then_some(hour * 3600 + minute * 60 + second)
}

fn month(name: &[u8]) -> Option<u32> {
    let index = MONTHS.iter().position(|month| month.as_slice() == name)?;
    Some(index as u32 + 1)
}

/// A number of up to four digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |sum, &byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + u32::from(byte - b'0'))
    })
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    let start = text
        .iter()
        .position(|&byte| byte != b' ')
        .unwrap_or(text.len());
    &text[start..]
}

fn two_digits(out: &mut [u8], value: u32) {
    out[0] = b'0' + (value / 10) as u8;
    out[1] = b'0' + (value % 10) as u8;
}

/// Days since the epoch of a date of the proleptic Gregorian calendar. Years are counted from
/// March, so that the leap day is the last of its year, in eras of 400 years.
fn days_from_civil(year: u32, month: u32, day: u32) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_from_civil`]: year, month and day, both from 1.
fn civil_from_days(days: i64) -> (u32, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as u32, month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(unix_s: i64) -> String {
        let mut out = [0; 29];
        format_imf(unix_s, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn the_three_forms_of_the_rfc_are_one_time() {
        let forms: [&[u8]; 3] = [
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            b"Sunday, 06-Nov-94 08:49:37 GMT",
            b"Sun Nov  6 08:49:37 1994",
        ];
        for form in forms {
            assert_eq!(parse(form), Some(784_111_777));
        }
        assert_eq!(formatted(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn known_times_are_written() {
        assert_eq!(formatted(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(formatted(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(formatted(-1), "Wed, 31 Dec 1969 23:59:59 GMT");
        assert_eq!(formatted(i64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(formatted(i64::MIN), "Sat, 01 Jan 0000 00:00:00 GMT");
    }

    #[test]
    fn rfc_850_years_turn_at_1970() {
        assert_eq!(parse(b"Thursday, 01-Jan-70 00:00:00 GMT"), Some(0));
        assert_eq!(
            parse(b"Friday, 01-Jan-69 00:00:00 GMT"),
            Some(3_124_224_000)
        );
    }

    #[test]
    fn what_is_no_date_is_refused() {
        let bad: [&[u8]; 14] = [
            b"",
            b"Sun",
            b"Sun,",
            b"Sun, 06 Nov 1994",
            b"Sun, 6 Nov 1994 08:49:37 GMT",
            b"Sun, 31 Apr 1994 08:49:37 GMT",
            b"Sun, 29 Feb 1900 08:49:37 GMT",
            b"Sun, 29 Feb 2001 08:49:37 GMT",
            b"Sun, 00 Nov 1994 08:49:37 GMT",
            b"Sun, 06 Nov 1994 24:00:00 GMT",
            b"Sun, 06 Nov 1994 08:60:37 GMT",
            b"Sun, 06 Nov 1994 08:49:60 GMT",
            b"Sun, 06-Nov 1994 08:49:37 GMT",
            b"Wed, 31 Dec 1969 23:59:59 GMT",
        ];
        for text in bad {
            assert_eq!(parse(text), None, "{}", String::from_utf8_lossy(text));
        }
    }

    proptest::proptest! {
        #[test]
        fn written_dates_are_read_back(unix_s in 0i64..=YEAR_9999_END_S) {
            let mut out = [0; 29];
            format_imf(unix_s, &mut out);
            proptest::prop_assert_eq!(parse(&out), Some(unix_s));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(text in proptest::collection::vec(0u8..128, 0..40)) {
            let _ = parse(&text);
        }
    }
}
