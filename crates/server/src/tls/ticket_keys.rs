//! Keys of tickets where none are named: made by ourselves, shared by all workers, and changed with time.

use std::sync::{Arc, OnceLock};

use revolve_tls::TicketSecrets;

use crate::zones::{Secret, SharedSecrets};

/// The secrets of tickets that live for so many seconds, in a zone that is opened after the configuration
/// was built. A secret seals for as long as a ticket lives, and opens for as long again. Source: nginx's
/// `ngx_ssl_rotate_ticket_keys`.
#[derive(Clone, Debug)]
pub(crate) struct RotatedSecrets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    period_s: u32,
    zone: OnceLock<SharedSecrets>,
}

impl RotatedSecrets {
    pub(super) fn new(lifetime_s: u32) -> Self {
        Self(Arc::new(Inner {
            period_s: lifetime_s.max(1),
            zone: OnceLock::new(),
        }))
    }

    /// From now on they lie there.
    pub(crate) fn bind(&self, secrets: &SharedSecrets) {
        let _ = self.0.zone.set(secrets.clone());
    }
}

impl TicketSecrets for RotatedSecrets {
    fn period(&self, now_s: u64) -> u64 {
        now_s / u64::from(self.0.period_s)
    }

    fn secrets(&self, period: u64) -> Vec<Secret> {
        let zone = self.0.zone.get();
        zone.map_or(Vec::new(), |zone| zone.of_period(self.0.period_s, period))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_share_a_zone_have_the_same_secrets() {
        let zone = SharedSecrets::of_one_process();
        let [one, other, longer] = [300, 300, 600].map(RotatedSecrets::new);
        assert!(one.secrets(1).is_empty(), "there is no zone yet");
        for secrets in [&one, &other, &longer] {
            secrets.bind(&zone);
        }
        assert_eq!((one.period(299), one.period(300)), (0, 1));
        assert_eq!(one.secrets(1), other.secrets(1));
        assert_ne!(one.secrets(1), longer.secrets(1));
    }
}
