//! Certificates that are about to expire: a line in the log once a day, from two weeks before.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use revolve_reactor::sleep;
use revolve_server::log::Level;
use revolve_server::{CertificateFacts, NamedCertificate};

use crate::service::Service;

/// Days before its end from which on a certificate is said to expire.
const DAYS_MIN: i64 = 14;

const DAY_S: i64 = 86_400;

/// How often it is looked, so that a certificate of a reload is not overlooked for a day.
const CHECK: Duration = Duration::from_secs(60);

/// The time in seconds since 1970.
pub(crate) fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// The days that a certificate is still valid; less than none where it is not any more.
pub(crate) fn days_left(facts: &CertificateFacts, now_s: i64) -> i64 {
    (facts.not_after_s - now_s).div_euclid(DAY_S)
}

/// Days before its end from which on it is said of a certificate that is renewed here. One that is valid for
/// a few days alone is never said to expire while it is renewed in time.
fn days_min(certificate: &NamedCertificate) -> i64 {
    let facts = &certificate.facts;
    let life_days = (facts.not_after_s - facts.not_before_s) / DAY_S;
    match certificate.acme_issuer {
        Some(_) => DAYS_MIN.min(life_days / 4),
        None => DAYS_MIN,
    }
}

/// What is to be said of a certificate that expires soon, or has.
pub(crate) fn warning(certificate: &NamedCertificate, now_s: i64) -> Option<String> {
    let facts = &certificate.facts;
    let (path, names) = (certificate.path.display(), facts.names.join(", "));
    let advice = match &certificate.acme_issuer {
        None => "renew it and reload".to_owned(),
        Some(issuer) => {
            format!("acme issuer \"{issuer}\" has not renewed it, the error log says why")
        }
    };
    match days_left(facts, now_s) {
        days if days > days_min(certificate) => None,
        days if days < 0 => Some(format!(
            "the certificate \"{path}\" of {names} has expired: {advice}"
        )),
        days => Some(format!(
            "the certificate \"{path}\" of {names} expires in {days} days: {advice}"
        )),
    }
}

/// When each was last said, in seconds since 1970.
type Said = HashMap<PathBuf, i64>;

/// Says it of each certificate of a service, once a day.
fn say_due(service: &Service, said: &mut Said) {
    let now_s = now_s();
    let certificates = service.config.certificates();
    said.retain(|path, _| certificates.iter().any(|known| known.path == *path));
    for certificate in certificates {
        let is_due = said
            .get(&certificate.path)
            .is_none_or(|at| now_s - at >= DAY_S);
        if let Some(warning) = warning(&certificate, now_s)
            && is_due
        {
            service.log.write(Level::Warn, &warning);
            said.insert(certificate.path, now_s);
        }
    }
}

/// Says it for as long as the process lives; `service` shows the one that there is.
pub(crate) async fn watch(service: impl Fn(&mut dyn FnMut(&Service))) {
    let mut said = Said::new();
    loop {
        service(&mut |service| say_due(service, &mut said));
        sleep(CHECK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_ones() {
        let certificate = |not_after_s| NamedCertificate {
            path: "a.crt".into(),
            facts: CertificateFacts {
                subject: String::new(),
                issuer: String::new(),
                names: vec!["a.test".into()],
                not_before_s: not_after_s - 90 * DAY_S,
                not_after_s,
            },
            acme_issuer: None,
        };
        for (left_s, days, is_said) in [
            (-1, -1, true),
            (0, 0, true),
            (DAY_S - 1, 0, true),
            (DAY_S, 1, true),
            (14 * DAY_S, 14, true),
            (15 * DAY_S, 15, false),
        ] {
            let certificate = certificate(1_000_000 + left_s);
            assert_eq!(days_left(&certificate.facts, 1_000_000), days);
            let warning = warning(&certificate, 1_000_000);
            assert_eq!(warning.is_some(), is_said, "{left_s}");
            assert_eq!(
                warning.is_some_and(|it| it.contains("has expired")),
                days < 0
            );
        }
    }

    #[test]
    fn what_renews_itself_is_said_when_that_is_late() {
        let certificate = |life_days: i64, left_days: i64| NamedCertificate {
            path: "a.pem".into(),
            facts: CertificateFacts {
                subject: String::new(),
                issuer: String::new(),
                names: vec!["a.test".into()],
                not_before_s: (left_days - life_days) * DAY_S,
                not_after_s: left_days * DAY_S,
            },
            acme_issuer: Some("test".into()),
        };
        let said = warning(&certificate(90, 14), 0).expect("it is late");
        assert!(said.ends_with("acme issuer \"test\" has not renewed it, the error log says why"));
        for (life_days, left_days, is_said) in [(90, 15, false), (6, 2, false), (6, 1, true)] {
            let warning = warning(&certificate(life_days, left_days), 0);
            assert_eq!(warning.is_some(), is_said, "{life_days} {left_days}");
        }
    }
}
