//! Session tickets: what a client keeps for a server, sealed by keys that several processes share.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use rustls::server::ProducesTickets;

const NAME_BYTES: usize = 16;

/// The key of tickets.
struct Key {
    name: [u8; NAME_BYTES],
    aead: LessSafeKey,
}

/// Seals and opens tickets: with the first key, and with any of them.
pub struct Tickets {
    keys: Vec<Key>,
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
        let keys: Vec<Key> = secrets
            .iter()
            .filter_map(|secret| key(secret.as_ref()))
            .collect();
        (!keys.is_empty()).then(|| Self {
            keys,
            context: digest(context),
            lifetime_s,
        })
    }
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
        let key = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_LEN + plain.len() + 16);
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&nonce);
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

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let key = self.keys.iter().find(|key| key.name == name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = sealed.to_vec();
        let aad = Aad::from(&self.context);
        let len = key.aead.open_in_place(nonce, aad, &mut opened).ok()?.len();
        opened.truncate(len);
        Some(opened)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("keys", &self.keys.len())
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
}
