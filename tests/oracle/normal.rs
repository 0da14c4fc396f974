//! What two servers may say differently: their name, their port, the moment, random boundaries.

use crate::support::End;

/// What one server answered to some bytes.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// All that it sent.
    pub(super) bytes: Vec<u8>,
    /// What became of the connection.
    pub(super) end: End,
}

impl Answer {
    /// What it says of the moment.
    pub(super) fn date(&self) -> Option<&[u8]> {
        let mut lines = self.bytes.split(|byte| *byte == b'\n');
        lines.find_map(|line| line.strip_prefix(b"Date: "))
    }
}

/// Who answered.
#[derive(Clone, Debug)]
pub(super) struct Who {
    /// `nginx/1.22.1`
    pub(super) signature: String,
    /// Where it listens.
    pub(super) port: u16,
}

impl Who {
    fn name(&self) -> &str {
        self.signature.split('/').next().unwrap_or_default()
    }
}

/// The answer in a form in which two servers that behave the same say the same.
pub(super) fn normal(answer: &Answer, who: &Who) -> String {
    let text = answer.bytes.escape_ascii().to_string();
    let text = text.replace("\\r\\n", "\r\n").replace("\\n", "\n");
    let (signature, name) = (&who.signature, who.name());
    let text = text
        .replace(
            &format!("<center>{signature}</center>"),
            "<center>S</center>",
        )
        .replace(&format!("<center>{name}</center>"), "<center>S</center>")
        .replace(&format!("Server: {signature}\r\n"), "Server: S/V\r\n")
        .replace(&format!("Server: {name}\r\n"), "Server: S\r\n")
        .replace(&format!(":{}", who.port), ":PORT");
    let text = times(&text);
    let text = boundaries(&text);
    let text = lengths(&text);
    format!("{text}\n[{:?}]", answer.end)
}

/// `Date` is now, and a dynamic `Expires` is so many seconds after it.
fn times(text: &str) -> String {
    let mut now = None;
    let mut out = String::new();
    for line in text.split_inclusive("\r\n") {
        let header = line.trim_end_matches("\r\n").split_once(": ");
        match header {
            Some(("Date", date)) => {
                now = seconds(date);
                out.push_str(if now.is_some() { "Date: now\r\n" } else { line });
            }
            Some(("Expires", date)) => match (now, seconds(date)) {
                (Some(now), Some(then)) if (then - now).abs() < 86_400 => {
                    out.push_str(&format!("Expires: now + {}\r\n", then - now));
                }
                _ => out.push_str(line),
            },
            _ => out.push_str(line),
        }
    }
    out
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn seconds(date: &str) -> Option<i64> {
    let (_, rest) = date.strip_suffix(" GMT")?.split_once(", ")?;
    let mut words = rest.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = months.find(words.next()?)? as i64 / 3 + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(str::parse::<i64>);
    let (hour, minute, second) = (clock.next()?, clock.next()?, clock.next()?);
    // Days from a year that begins in March: the leap day is its last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    const DAYS_TO_1970: i64 = 719_468;
    Some(((days - DAYS_TO_1970) * 24 + hour.ok()?) * 3600 + minute.ok()? * 60 + second.ok()?)
}

/// The boundary of `multipart/byteranges`, twenty digits.
fn boundaries(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(at) = text.find("boundary=0") {
        let from = at + "boundary=".len();
        let boundary: String = text[from..].chars().take(20).collect();
        assert!(
            boundary.len() == 20 && boundary.bytes().all(|byte| byte.is_ascii_digit()),
            "a boundary of twenty digits: {boundary}"
        );
        text = text.replace(&boundary, "BOUNDARY");
    }
    text
}

/// The length of a built-in error page depends on the server's name at its foot.
fn lengths(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("Content-Length: ") {
        let (before, from) = rest.split_at(at);
        let end = from.find("\r\n").unwrap_or(from.len());
        let value = &from["Content-Length: ".len()..end];
        let body = from.find("\r\n\r\n").map_or("", |at| &from[at + 4..]);
        out.push_str(before);
        out.push_str(if is_page(text, value, body) {
            "Content-Length: N"
        } else {
            &from[..end]
        });
        rest = &from[end..];
    }
    out + rest
}

/// Whether a body is a built-in error page, or a length is that of one whose body stays behind.
fn is_page(text: &str, length: &str, body: &str) -> bool {
    let errors = ["HTTP/1.1 3", "HTTP/1.1 4", "HTTP/1.1 5"];
    let has_error = errors.iter().any(|error| text.contains(error));
    let is_short = matches!(length.parse(), Ok(130..=300));
    let has_no_body = body.is_empty() || body.starts_with("HTTP/1.1 ");
    body.starts_with("<html>\r\n<head><title>") || (has_error && has_no_body && is_short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_seconds() {
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:01 GMT"), Some(1));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(
            seconds("Thu, 29 Feb 2024 12:00:00 GMT"),
            Some(1_709_208_000)
        );
        assert_eq!(seconds("now"), None);
    }

    #[test]
    fn answers_that_differ_in_name_and_time_alone_are_the_same() {
        let answer = |name: &str, date: &str, length: u32, port: u16| {
            let page = format!("<html>\r\n<head><title>x<center>{name}/9.9</center>");
            let head = format!(
                "HTTP/1.1 404 Not Found\r\nServer: {name}/9.9\r\nDate: {date}\r\n\
                 Content-Length: {length}\r\nLocation: http://x:{port}/\r\n\r\n"
            );
            let who = Who {
                signature: format!("{name}/9.9"),
                port,
            };
            let bytes = (head + &page).into_bytes();
            let end = End::Closed;
            normal(&Answer { bytes, end }, &who)
        };
        let nginx = answer("nginx", "Thu, 01 Jan 1970 00:00:01 GMT", 153, 8000);
        assert_eq!(
            nginx,
            answer("revolve", "Thu, 01 Jan 1970 00:00:09 GMT", 155, 9000)
        );
        assert_ne!(nginx, answer("revolve", "no date", 155, 9000));
    }
}
