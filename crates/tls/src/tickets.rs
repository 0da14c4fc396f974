//! Session tickets: what a client keeps for a server, sealed by keys that several processes share.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use rustls::server::ProducesTickets;

const NAME_BYTES: usize = 16;
/// When a ticket was made stands first in what is sealed, in seconds since 1970.
const TIME_BYTES: usize = 8;

/// The key of tickets.
struct Key {
    name: [u8; NAME_BYTES],
    aead: LessSafeKey,
}

/// Gives the secrets that keys of tickets are made of, which change with time. Any thread may ask.
pub trait TicketSecrets: Send + Sync + fmt::Debug {
    /// The number of the period that a time lies in, in seconds since 1970: while it is the same, so are the
    /// secrets.
    fn period(&self, now_s: u64) -> u64;

    /// The secrets of a period, of which the first seals; empty where there are none to be had.
    fn secrets(&self, period: u64) -> Vec<[u8; 32]>;
}

/// Where keys come from.
enum Source {
    Fixed(Arc<[Key]>),
    Rotated {
        secrets: Arc<dyn TicketSecrets>,
        /// Those of the period that was asked for last.
        held: Mutex<Option<(u64, Arc<[Key]>)>>,
    },
}

/// Seals and opens tickets: with the first key, and with any of them.
pub struct Tickets {
    source: Source,
    /// What tickets are bound to: one that another server has sealed is none of ours.
    context: Vec<u8>,
    lifetime_s: u32,
}

impl Tickets {
    /// Tickets by keys that are derived from these secrets, of which the first seals. `context` names the
    /// server and how it verifies clients; tickets are good for it alone, and for so many seconds.
    ///
    /// `None` without a secret.
    pub fn new(secrets: &[impl AsRef<[u8]>], context: &[u8], lifetime_s: u32) -> Option<Self> {
        let keys = keys(secrets);
        (!keys.is_empty()).then(|| Self {
            source: Source::Fixed(keys),
            context: digest(context),
            lifetime_s,
        })
    }

    /// The same by secrets that change with time.
    pub fn rotated(secrets: Arc<dyn TicketSecrets>, context: &[u8], lifetime_s: u32) -> Self {
        Self {
            source: Source::Rotated {
                secrets,
                held: Mutex::default(),
            },
            context: digest(context),
            lifetime_s,
        }
    }

    fn keys(&self, now_s: u64) -> Arc<[Key]> {
        let (secrets, held) = match &self.source {
            Source::Fixed(keys) => return keys.clone(),
            Source::Rotated { secrets, held } => (secrets, held),
        };
        let period = secrets.period(now_s);
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, keys)) = held.as_ref().filter(|(of, _)| *of == period) {
            return keys.clone();
        }
        let keys = keys(&secrets.secrets(period));
        if !keys.is_empty() {
            *held = Some((period, keys.clone()));
        }
        keys
    }

    fn seal(&self, plain: &[u8], now_s: u64) -> Option<Vec<u8>> {
        let keys = self.keys(now_s);
        let key = keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let len = NAME_BYTES + NONCE_LEN + TIME_BYTES + plain.len() + 16;
        let mut ticket = Vec::with_capacity(len);
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(&now_s.to_le_bytes());
        ticket.extend_from_slice(plain);
        let sealed = &mut ticket[NAME_BYTES + NONCE_LEN..];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let aad = Aad::from(&self.context);
        let tag = key
            .aead
            .seal_in_place_separate_tag(nonce, aad, sealed)
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn open(&self, ticket: &[u8], now_s: u64) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let keys = self.keys(now_s);
        let key = keys.iter().find(|key| key.name == name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = sealed.to_vec();
        let aad = Aad::from(&self.context);
        let opened = key.aead.open_in_place(nonce, aad, &mut opened).ok()?;
        let (made_at_s, plain) = opened.split_first_chunk::<TIME_BYTES>()?;
        let age_s = now_s.saturating_sub(u64::from_le_bytes(*made_at_s));
        (age_s < u64::from(self.lifetime_s)).then(|| plain.to_vec())
    }
}

fn keys(secrets: &[impl AsRef<[u8]>]) -> Arc<[Key]> {
    secrets
        .iter()
        .filter_map(|secret| key(secret.as_ref()))
        .collect()
}

/// The time in seconds since 1970.
fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn key(secret: &[u8]) -> Option<Key> {
    let derive = |label: &[u8]| {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(label);
        context.update(secret);
        context.finish()
    };
    let mut name = [0; NAME_BYTES];
    name.copy_from_slice(derive(b"revolve ticket name").as_ref().get(..NAME_BYTES)?);
    let unbound = UnboundKey::new(&AES_256_GCM, derive(b"revolve ticket key").as_ref()).ok()?;
    Some(Key {
        name,
        aead: LessSafeKey::new(unbound),
    })
}

/// SHA-256, of what sessions are bound to.
pub fn digest(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime_s
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, now_s())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, now_s())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("lifetime_s", &self.lifetime_s)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_opened_by_its_key_and_its_server_alone() {
        let tickets = |secrets: &[&[u8]], context| Tickets::new(secrets, context, 300).unwrap();
        let old = tickets(&[b"one"], b"a");
        let ticket = old.encrypt(b"state").unwrap();
        assert_eq!(old.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        let rotated = tickets(&[b"two", b"one"], b"a");
        assert_eq!(rotated.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        assert!(
            !rotated
                .encrypt(b"state")
                .unwrap()
                .starts_with(&ticket[..NAME_BYTES])
        );
        assert_eq!(tickets(&[b"two"], b"a").decrypt(&ticket), None);
        assert_eq!(tickets(&[b"one"], b"b").decrypt(&ticket), None);
        for at in 0..ticket.len() {
            assert_eq!(old.decrypt(&ticket[..at]), None);
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(old.decrypt(&changed), None);
        }
    }

    #[test]
    fn a_ticket_is_good_for_its_lifetime() {
        let tickets = Tickets::new(&[b"one"], b"a", 300).unwrap();
        let ticket = tickets.seal(b"state", 1000).unwrap();
        assert!(tickets.open(&ticket, 1299).is_some());
        assert!(tickets.open(&ticket, 1300).is_none());
    }

    /// A secret a hundred seconds, of which two are known.
    #[derive(Debug)]
    struct Numbers;

    impl TicketSecrets for Numbers {
        fn period(&self, now_s: u64) -> u64 {
            now_s / 100
        }

        fn secrets(&self, period: u64) -> Vec<[u8; 32]> {
            let numbers = [period, period.saturating_sub(1)];
            numbers.iter().map(|it| [*it as u8; 32]).collect()
        }
    }

    #[test]
    fn keys_change_with_time_and_the_one_before_still_opens() {
        let tickets = || Tickets::rotated(Arc::new(Numbers), b"a", 1000);
        let (one, other) = (tickets(), tickets());
        let ticket = one.seal(b"state", 150).unwrap();
        let later = one.seal(b"state", 210).unwrap();
        assert_ne!(ticket[..NAME_BYTES], later[..NAME_BYTES]);
        for tickets in [one, other] {
            assert!(tickets.open(&ticket, 199).is_some());
            assert!(tickets.open(&ticket, 299).is_some());
            assert!(tickets.open(&ticket, 300).is_none());
            assert!(tickets.open(&later, 300).is_some());
        }
    }
}
