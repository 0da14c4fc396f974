//! For how long an answer may be kept (RFC 9111, with nginx's rules where they differ).

/// What the headers of an answer say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Until when it is fresh, in seconds of Unix time.
    pub(crate) valid_until: i64,
    /// `stale-while-revalidate`, seconds.
    pub(crate) updating_s: u32,
    /// `stale-if-error`, seconds.
    pub(crate) error_s: u32,
    /// `Vary`: names in lower case, with commas between them; empty for none.
    pub(crate) vary: Vec<u8>,
}

/// No more than this is looked at of `Vary`.
const VARY_BYTES_MAX: usize = 1024;

/// Judges an answer. `default_s` is for how long it is kept where it says nothing itself; names in `ignored`
/// are in lower case. `None`: it is not kept.
pub(crate) fn judge<'a>(
    headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ignored: &[String],
    now: i64,
    default_s: u64,
) -> Option<Verdict> {
    let mut said = Said::default();
    for (name, value) in headers {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let Some(known) = KNOWN.into_iter().find(|known| is(known)) else {
            continue;
        };
        if !ignored.iter().any(|it| it == known) {
            said.take(known, value, now);
        }
    }
    if said.sets_cookie || said.varies_by_all {
        return None;
    }
    let from_now = |seconds: u64| now.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX));
    let valid_until = match (said.accel, said.is_private, said.max_age, said.expires) {
        // It goes before all others.
        (Some(until), ..) => until,
        (None, true, ..) => return None,
        (None, false, Some(seconds), _) => from_now(seconds),
        (None, false, None, Some(until)) => until,
        (None, false, None, None) => from_now(default_s),
    };
    (valid_until > now).then_some(Verdict {
        valid_until,
        updating_s: said.updating_s,
        error_s: said.error_s,
        vary: said.vary,
    })
}

const KNOWN: [&str; 5] = [
    "x-accel-expires",
    "cache-control",
    "expires",
    "set-cookie",
    "vary",
];

#[derive(Default)]
struct Said {
    accel: Option<i64>,
    is_private: bool,
    max_age: Option<u64>,
    is_shared_age: bool,
    updating_s: u32,
    error_s: u32,
    expires: Option<i64>,
    sets_cookie: bool,
    varies_by_all: bool,
    vary: Vec<u8>,
}

impl Said {
    fn take(&mut self, name: &str, value: &[u8], now: i64) {
        match name {
            "x-accel-expires" => self.accel = accel_expires(value, now).or(self.accel),
            "cache-control" => self.cache_control(value),
            // Of several lines the first holds; what is no date is past.
            "expires" => {
                let until = revolve_http::date::parse(value).unwrap_or(i64::MIN);
                self.expires = self.expires.or(Some(until));
            }
            "set-cookie" => self.sets_cookie = true,
            _ => self.vary(value),
        }
    }

    fn cache_control(&mut self, value: &[u8]) {
        for (name, argument) in directives(value) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            let seconds = || seconds(argument);
            if is("no-cache") || is("no-store") || is("private") {
                self.is_private = true;
            } else if is("s-maxage") {
                // What is no number is stale (RFC 9111, section 4.2.1).
                self.max_age = Some(seconds().unwrap_or(0));
                self.is_shared_age = true;
            } else if is("max-age") && !self.is_shared_age {
                self.max_age = Some(seconds().unwrap_or(0));
            } else if is("stale-while-revalidate") {
                self.updating_s = short(seconds());
            } else if is("stale-if-error") {
                self.error_s = short(seconds());
            }
        }
    }

    fn vary(&mut self, value: &[u8]) {
        for name in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if name == b"*" || self.vary.len() + name.len() > VARY_BYTES_MAX {
                self.varies_by_all = true;
                return;
            }
            let name = name.to_ascii_lowercase();
            if name.is_empty() || names(&self.vary).any(|known| known == name) {
                continue;
            }
            if !self.vary.is_empty() {
                self.vary.push(b',');
            }
            self.vary.extend_from_slice(&name);
        }
    }
}

fn short(seconds: Option<u64>) -> u32 {
    u32::try_from(seconds.unwrap_or(0)).unwrap_or(u32::MAX)
}

/// `@` and a time, or seconds from now; 0 is a time that is past.
fn accel_expires(value: &[u8], now: i64) -> Option<i64> {
    let value = value.trim_ascii();
    match value.strip_prefix(b"@") {
        Some(at) => seconds(at).map(|at| i64::try_from(at).unwrap_or(i64::MAX)),
        None => seconds(value).map(|it| now.saturating_add(i64::try_from(it).unwrap_or(i64::MAX))),
    }
}

/// A number of digits alone; one that is too large is as large as can be.
fn seconds(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| {
        text.iter().fold(0_u64, |sum, digit| {
            sum.saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        })
    })
}

/// The directives of a `Cache-Control` line, each with its argument. A comma in quotes is none between them.
fn directives(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut is_quoted = false;
    let parts = value.split(move |byte| {
        is_quoted ^= *byte == b'"';
        *byte == b',' && !is_quoted
    });
    parts.map(|part| {
        let at = memchr::memchr(b'=', part).unwrap_or(part.len());
        let (name, argument) = part.split_at(at);
        let argument = argument.strip_prefix(b"=").unwrap_or_default().trim_ascii();
        let inner = argument
            .strip_prefix(b"\"")
            .and_then(|it| it.strip_suffix(b"\""));
        (name.trim_ascii(), inner.unwrap_or(argument))
    })
}

/// The names of a list as [`Verdict::vary`] has it.
fn names(vary: &[u8]) -> impl Iterator<Item = &[u8]> {
    vary.split(|byte| *byte == b',')
        .filter(|name| !name.is_empty())
}

/// What of a request chooses among the answers that differ by `vary`; `append` gives the values of a header.
/// White space around commas makes no difference, nor does the order of codings.
pub(crate) fn chooses(vary: &[u8], append: impl Fn(&[u8], &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut value = Vec::new();
    for name in names(vary) {
        value.clear();
        append(name, &mut value);
        let is_coding = name == b"accept-encoding";
        if is_coding {
            value.make_ascii_lowercase();
        }
        let parts = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let mut parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
        if is_coding {
            parts.sort_unstable();
        }
        out.extend_from_slice(name);
        out.push(b':');
        out.extend_from_slice(&parts.join(&b','));
        // No value has one in it.
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000_000;

    fn judged(head: &str, default_s: u64, ignored: &[&str]) -> Option<Verdict> {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let lines = lines.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let ignored: Vec<_> = ignored.iter().map(|it| (*it).to_owned()).collect();
        judge(lines, &ignored, NOW, default_s)
    }

    #[track_caller]
    fn kept_for(head: &str, expected: Option<i64>) {
        let seconds = judged(head, 7, &[]).map(|it| it.valid_until - NOW);
        assert_eq!(seconds, expected, "{head}");
    }

    #[test]
    fn how_long_an_answer_is_kept() {
        kept_for("", Some(7));
        kept_for("Cache-Control: max-age=5", Some(5));
        kept_for("Cache-Control: max-age=5, s-maxage=\"9\"", Some(9));
        kept_for(
            "Cache-Control: s-maxage=9\nCache-Control: max-age=5",
            Some(9),
        );
        kept_for("CACHE-CONTROL: MAX-AGE=5", Some(5));
        kept_for("Cache-Control: public", Some(7));
        kept_for("Cache-Control: x=\"no-store, max-age=5\"", Some(7));
        kept_for("Cache-Control: max-age=5, private", None);
        kept_for("Cache-Control: no-cache=\"set-cookie\"", None);
        kept_for("Cache-Control: no-store", None);
        kept_for("Cache-Control: max-age=0", None);
        kept_for("Cache-Control: max-age=-1", None);
        kept_for(
            "Cache-Control: max-age=99999999999999999999999",
            Some(i64::MAX - NOW),
        );
        kept_for("Expires: Sun, 09 Sep 2001 01:46:50 GMT", Some(10));
        kept_for("Expires: Sun, 09 Sep 2001 01:46:30 GMT", None);
        kept_for("Expires: 0", None);
        kept_for("Expires: 0\nCache-Control: max-age=5", Some(5));
        kept_for(
            "X-Accel-Expires: 3\nCache-Control: no-store\nExpires: 0",
            Some(3),
        );
        kept_for("Cache-Control: max-age=5\nX-Accel-Expires: 0", None);
        kept_for("X-Accel-Expires: @1000000020", Some(20));
        kept_for("X-Accel-Expires: off", Some(7));
        kept_for("Set-Cookie: a=b\nCache-Control: max-age=5", None);
        kept_for("Vary: Accept, *", None);
        assert_eq!(judged("", 0, &[]), None);
    }

    #[test]
    fn what_is_ignored_says_nothing() {
        let head = "Set-Cookie: a=b\nCache-Control: no-store\nVary: *";
        let kept = judged(head, 7, &["set-cookie", "cache-control", "vary"]).unwrap();
        assert_eq!(
            (kept.valid_until, kept.vary.as_slice()),
            (NOW + 7, &b""[..])
        );
        assert_eq!(judged(head, 7, &["set-cookie", "vary"]), None);
    }

    #[test]
    fn stale_answers_and_variants() {
        let head = "Cache-Control: max-age=1, stale-while-revalidate=20, stale-if-error=30\n\
                    Vary: Accept-Encoding,x-a\nVary: X-A, X-B";
        let kept = judged(head, 0, &[]).unwrap();
        assert_eq!((kept.updating_s, kept.error_s), (20, 30));
        assert_eq!(kept.vary, b"accept-encoding,x-a,x-b");
    }

    #[test]
    fn requests_that_differ_in_nothing_that_counts_are_alike() {
        let of = |encoding: &str, other: &str| {
            chooses(b"accept-encoding,x-a", |name, out| {
                let value = if name == b"x-a" { other } else { encoding };
                out.extend_from_slice(value.as_bytes());
            })
        };
        assert_eq!(of("gzip, br", "a , b"), of("BR,gzip", "a,b"));
        assert_ne!(of("gzip", "a,b"), of("gzip", "b,a"));
        assert_ne!(of("gzip", ""), of("", "gzip"));
        assert_ne!(of("gzip", "a"), of("br", "a"));
    }
}
