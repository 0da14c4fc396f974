//! When a certificate is to be renewed, as its authority says. Source: RFC 9773.

use aws_lc_rs::rand;
use jiff::Timestamp;
use revolve_tls::rustls::pki_types::CertificateDer;
use serde_json::Value;

use super::account::base64url;

const HOUR_S: i64 = 3600;

/// How long an authority may keep us from asking again, and how long it is not asked where it says nothing.
/// Source: RFC 9773, 4.3.
const ASK_AGAIN_S: i64 = 6 * HOUR_S;
const ASK_AGAIN_S_MIN: i64 = 60;
const ASK_AGAIN_S_MAX: i64 = 24 * HOUR_S;

/// A number below `most` that nobody foretells; 0 where there is none.
pub(super) fn random_below(most: i64) -> i64 {
    let mut bytes = [0; 8];
    if most < 1 || rand::fill(&mut bytes).is_err() {
        return 0;
    }
    (i64::from_le_bytes(bytes) & i64::MAX) % most
}

/// By what an authority knows a certificate; `None` where that names no key of its issuer.
/// Source: RFC 9773, 4.1.
pub(super) fn certificate_id(certificate: &CertificateDer<'_>) -> Option<String> {
    let (key, serial) = revolve_tls::issuer_key_and_serial(certificate)?;
    Some(format!("{}.{}", base64url(&key), base64url(&serial)))
}

/// What an authority has said of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// From when to when it suggests to renew, in seconds since 1970.
    pub(super) window_s: (i64, i64),
    /// Where it says why.
    pub(super) explanation: Option<String>,
    /// So many seconds it is not to be asked again.
    pub(super) ask_again_s: i64,
}

/// Reads what an authority says.
///
/// Errors: what is wrong with it.
pub(super) fn read(answer: &Value, retry_after: Option<&str>) -> Result<Said, String> {
    let time = |name: &str| {
        let text = answer["suggestedWindow"][name].as_str();
        let time = text.and_then(|text| text.parse::<Timestamp>().ok());
        let time = time.ok_or_else(|| format!("its window has no \"{name}\""));
        time.map(Timestamp::as_second)
    };
    let window_s = (time("start")?, time("end")?);
    if window_s.0 > window_s.1 {
        return Err("its window ends before it starts".to_owned());
    }
    let asked = retry_after.and_then(|text| text.trim().parse::<i64>().ok());
    Ok(Said {
        window_s,
        explanation: answer["explanationURL"].as_str().map(str::to_owned),
        ask_again_s: asked
            .unwrap_or(ASK_AGAIN_S)
            .clamp(ASK_AGAIN_S_MIN, ASK_AGAIN_S_MAX),
    })
}

/// What is said for people of when an authority suggests to renew.
pub(super) fn shown(said: &Said) -> String {
    let time = |at_s| Timestamp::from_second(at_s).map_or("?".to_owned(), |at| at.to_string());
    let (start_s, end_s) = said.window_s;
    let mut text = format!("between {} and {}", time(start_s), time(end_s));
    if let Some(why) = &said.explanation {
        let why = crate::log::Shown(why.as_bytes());
        text.push_str(&format!(" ({why})"));
    }
    text
}

/// What is known of when a certificate is to be renewed.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// What it is about.
    id: String,
    window_s: Option<(i64, i64)>,
    /// When, chosen by chance in the window.
    at_s: Option<i64>,
    ask_at_s: i64,
}

impl Renewal {
    /// Whether its authority is to be asked about a certificate.
    pub(super) fn is_to_be_asked(&mut self, id: &str, now_s: i64) -> bool {
        if self.id != id {
            *self = Renewal {
                id: id.to_owned(),
                ..Renewal::default()
            };
        }
        now_s >= self.ask_at_s
    }

    /// Takes what the authority has said; whether that is something new is the answer.
    pub(super) fn heard(&mut self, said: &Said, now_s: i64) -> bool {
        self.ask_at_s = now_s + said.ask_again_s;
        if self.window_s == Some(said.window_s) {
            return false;
        }
        let (start_s, end_s) = said.window_s;
        self.window_s = Some(said.window_s);
        self.at_s = Some(start_s + random_below(end_s - start_s + 1));
        true
    }

    /// It has said nothing that is of use; what it said before holds.
    pub(super) fn heard_nothing(&mut self, now_s: i64) {
        self.ask_at_s = now_s + ASK_AGAIN_S;
    }

    /// Whether a certificate that is valid from and to these times is to be renewed: at the time that was
    /// chosen, where its authority has named any, else when two thirds of its time are over. A window that
    /// comes too late does not count.
    pub(super) fn is_due(&self, (not_before_s, not_after_s): (i64, i64), now_s: i64) -> bool {
        let life_s = not_after_s - not_before_s;
        let latest_s = not_after_s - life_s / 20;
        let at_s = self.at_s.unwrap_or(not_before_s + life_s / 3 * 2);
        now_s >= at_s.min(latest_s)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_authority_says_is_read() {
        let answer = json!({
            "suggestedWindow": { "start": "2025-01-02T04:00:00Z", "end": "2025-01-03T04:00:00+00:00" },
            "explanationURL": "https://a.test/why",
        });
        let said = read(&answer, Some("21600")).unwrap();
        assert_eq!(said.window_s, (1_735_790_400, 1_735_876_800));
        assert_eq!(said.explanation.as_deref(), Some("https://a.test/why"));
        for (header, expected_s) in [
            (None, ASK_AGAIN_S),
            (Some("soon"), ASK_AGAIN_S),
            (Some("0"), ASK_AGAIN_S_MIN),
            (Some("7200"), 7200),
            (Some("999999999"), ASK_AGAIN_S_MAX),
        ] {
            assert_eq!(read(&answer, header).unwrap().ask_again_s, expected_s);
        }
        assert!(read(&json!({}), None).is_err());
        let window = json!({ "start": "2025-01-02T00:00:00Z", "end": "2025-01-01T00:00:00Z" });
        assert!(read(&json!({ "suggestedWindow": window }), None).is_err());
    }

    #[test]
    fn a_time_is_chosen_in_the_window_and_kept_for_as_long_as_that_is_the_same() {
        let said = |start_s, end_s| Said {
            window_s: (start_s, end_s),
            explanation: None,
            ask_again_s: 100,
        };
        let mut renewal = Renewal::default();
        let life = (0, 1_000_000);
        assert!(renewal.is_to_be_asked("a", 0));
        assert!(!renewal.is_due(life, 600_000) && renewal.is_due(life, 666_666));
        assert!(renewal.heard(&said(1000, 2000), 0));
        assert!(!renewal.is_to_be_asked("a", 99) && renewal.is_to_be_asked("a", 100));
        assert!(!renewal.is_due(life, 999) && renewal.is_due(life, 2000));
        let at_s = renewal.at_s;
        assert!(!renewal.heard(&said(1000, 2000), 100));
        assert_eq!(renewal.at_s, at_s);
        renewal.heard_nothing(200);
        assert!(renewal.is_due(life, 2000));
        // One that comes after its end is no reason to let it expire.
        assert!(renewal.heard(&said(2_000_000, 3_000_000), 300));
        assert!(!renewal.is_due(life, 949_999) && renewal.is_due(life, 950_000));
        // What was said of another is of no use.
        assert!(renewal.is_to_be_asked("b", 300));
        assert!(renewal.is_due(life, 700_000));
    }

    #[test]
    fn chance_stays_below_its_bound() {
        assert_eq!(
            (random_below(0), random_below(-1), random_below(1)),
            (0, 0, 0)
        );
        assert!((0..1000).all(|_| (0..7).contains(&random_below(7))));
        assert!((0..1000).any(|_| random_below(2) == 1));
    }
}
