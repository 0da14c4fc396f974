//! Wall-clock time for logs and headers, read once a turn and formatted once a second.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The loop's wall clock.
pub struct Clock {
    zone: TimeZone,
    /// The turn at which the time was read last; `None` where there is no loop to count turns.
    turn: Option<Cell<u64>>,
    unix_ms: Cell<u64>,
    formatted: RefCell<Formatted>,
    /// The date that was asked for last, and its text.
    http_date: Cell<(i64, [u8; 29])>,
    thread_id: u32,
    host_name: Vec<u8>,
}

/// The texts of one second.
struct Formatted {
    unix_s: i64,
    error: Vec<u8>,
    access: Vec<u8>,
    iso8601: Vec<u8>,
    syslog: Vec<u8>,
}

/// The machine's name in lower case, as nginx shows it.
pub(crate) fn host_name() -> Vec<u8> {
    let system = rustix::system::uname();
    system.nodename().to_bytes().to_ascii_lowercase()
}

impl Clock {
    /// A clock for the loop of the calling thread, in the system's time zone.
    pub fn of_loop() -> Self {
        Self {
            turn: Some(Cell::new(u64::MAX)),
            ..Self::without_loop()
        }
    }

    /// A clock that reads the time whenever it is asked.
    pub fn without_loop() -> Self {
        let empty = Formatted {
            unix_s: i64::MIN,
            error: Vec::new(),
            access: Vec::new(),
            iso8601: Vec::new(),
            syslog: Vec::new(),
        };
        Self {
            zone: TimeZone::system(),
            turn: None,
            unix_ms: Cell::new(0),
            formatted: RefCell::new(empty),
            http_date: Cell::new((0, *b"Thu, 01 Jan 1970 00:00:00 GMT")),
            thread_id: rustix::thread::gettid().as_raw_nonzero().get() as u32,
            host_name: host_name(),
        }
    }

    /// The machine's name, in lower case.
    pub fn host_name(&self) -> &[u8] {
        &self.host_name
    }

    /// The thread that this clock serves, as error lines name it.
    pub fn thread_id(&self) -> u32 {
        self.thread_id
    }

    /// Milliseconds of Unix time, read once a turn where there is a loop.
    pub fn unix_ms(&self) -> u64 {
        let stale = match &self.turn {
            Some(turn) => {
                let now = revolve_reactor::turn();
                turn.replace(now) != now
            }
            None => true,
        };
        if stale {
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            self.unix_ms.set(since.as_millis() as u64);
        }
        self.unix_ms.get()
    }

    /// Seconds of Unix time.
    pub fn unix_s(&self) -> i64 {
        (self.unix_ms() / 1000) as i64
    }

    fn with<T>(&self, use_it: impl FnOnce(&Formatted) -> T) -> T {
        let unix_s = self.unix_s();
        if self.formatted.borrow().unix_s != unix_s {
            self.format(unix_s);
        }
        use_it(&self.formatted.borrow())
    }

    fn format(&self, unix_s: i64) {
        let mut texts = self.formatted.borrow_mut();
        texts.unix_s = unix_s;
        let timestamp = Timestamp::from_second(unix_s).unwrap_or(Timestamp::UNIX_EPOCH);
        let zoned = timestamp.to_zoned(self.zone.clone());
        let time = zoned.datetime();
        let offset_s = zoned.offset().seconds();
        let sign = if offset_s < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset_s.abs() / 3600, offset_s.abs() / 60 % 60);
        let (year, month, day) = (time.year(), time.month(), time.day());
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        let name = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ][month as usize - 1];
        let Formatted {
            error,
            access,
            iso8601,
            syslog,
            ..
        } = &mut *texts;
        for text in [&mut *error, &mut *access, &mut *iso8601, &mut *syslog] {
            text.clear();
        }
        let _ = write!(
            error,
            "{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}"
        );
        let _ = write!(
            access,
            "{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{second:02} {sign}{hours:02}{minutes:02}"
        );
        let _ = write!(
            iso8601,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{sign}{hours:02}:{minutes:02}"
        );
        let _ = write!(syslog, "{name} {day:2} {hour:02}:{minute:02}:{second:02}");
    }

    /// A time as a header shows it. The same one as before, as all answers of a second have with the
    /// same `expires`, costs next to nothing.
    pub(crate) fn http_date(&self, unix_s: i64) -> [u8; 29] {
        let (known_s, mut date) = self.http_date.get();
        if known_s != unix_s {
            revolve_http::date::format_imf(unix_s, &mut date);
            self.http_date.set((unix_s, date));
        }
        date
    }

    /// `2026/11/22 11:00:00`, local time.
    pub fn error_time(&self, out: &mut Vec<u8>) {
        self.with(|texts| out.extend_from_slice(&texts.error));
    }

    /// `22/Nov/2026:11:00:00 +0000` (`$time_local`).
    pub fn access_time(&self, out: &mut Vec<u8>) {
        self.with(|texts| out.extend_from_slice(&texts.access));
    }

    /// `2026-11-22T11:00:00+00:00` (`$time_iso8601`).
    pub fn iso8601_time(&self, out: &mut Vec<u8>) {
        self.with(|texts| out.extend_from_slice(&texts.iso8601));
    }

    /// `Nov 22 11:00:00`, local time (RFC 3164, 4.1.2).
    pub fn syslog_time(&self, out: &mut Vec<u8>) {
        self.with(|texts| out.extend_from_slice(&texts.syslog));
    }

    /// Appends the time as `strftime(3)` would write it, local or that of Greenwich; false where the form is
    /// none.
    pub(crate) fn formatted(&self, format: &str, is_gmt: bool, out: &mut Vec<u8>) -> bool {
        let timestamp = Timestamp::from_second(self.unix_s()).unwrap_or(Timestamp::UNIX_EPOCH);
        let text = match is_gmt {
            true => {
                let zoned = timestamp.to_zoned(TimeZone::UTC);
                jiff::fmt::strtime::format(format.replace("%Z", "GMT"), &zoned)
            }
            false => jiff::fmt::strtime::format(format, &timestamp.to_zoned(self.zone.clone())),
        };
        text.is_ok_and(|text| {
            out.extend_from_slice(text.as_bytes());
            true
        })
    }

    /// The next moment at which the local clock shows this second of the day.
    pub fn next_daily(&self, second: i64) -> i64 {
        let unix_s = self.unix_s();
        let Ok(timestamp) = Timestamp::from_second(unix_s) else {
            return unix_s;
        };
        let zoned = timestamp.to_zoned(self.zone.clone());
        let today = i64::from(zoned.hour()) * 3600
            + i64::from(zoned.minute()) * 60
            + i64::from(zoned.second());
        let midnight = unix_s - today;
        let at = midnight + second;
        if at > unix_s { at } else { at + 86_400 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_time() {
        let clock = Clock::without_loop();
        let mut out = Vec::new();
        clock.error_time(&mut out);
        assert_eq!(out.len(), "2026/11/22 11:00:00".len());
        out.clear();
        clock.access_time(&mut out);
        assert_eq!(out.len(), "22/Nov/2026:11:00:00 +0000".len());
        let now = clock.unix_s();
        let next = clock.next_daily(3600);
        assert!(next > now && next <= now + 86_400);
        for unix_s in [0, 951_782_400, 951_782_400, 0] {
            let mut expected = [0; 29];
            revolve_http::date::format_imf(unix_s, &mut expected);
            assert_eq!(clock.http_date(unix_s), expected);
        }
    }
}
