//! Who we are to an authority: a key, by which each of our questions is signed (RFC 7515, RFC 8555, 6.2).

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use aws_lc_rs::{digest, hmac};
use serde_json::{Value, json};

/// An account's key.
pub(super) struct AccountKey {
    pair: EcdsaKeyPair,
}

/// By what an authority knows us that issues to its customers alone (RFC 8555, 7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ExternalAccount {
    /// The name of the key.
    pub(crate) kid: String,
    key: Vec<u8>,
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl ExternalAccount {
    /// By a key in base64 for URLs; `None` where it is none.
    pub(crate) fn new(kid: &str, key: &str) -> Option<Self> {
        let key = from_base64url(key.trim())?;
        (!key.is_empty()).then(|| Self {
            kid: kid.to_owned(),
            key,
        })
    }
}

/// The bytes of base64 for URLs, with or without padding.
fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

/// Base64 for URLs, without padding.
pub(super) fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(bits);
        for at in 0..=group.len() {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(char::from(digit));
        }
    }
    out
}

impl AccountKey {
    /// Of PKCS#8.
    pub(super) fn new(pkcs8: &[u8]) -> Result<Self, String> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8);
        let pair = pair.map_err(|_| "the account's key is none of ECDSA P-256".to_owned())?;
        Ok(Self { pair })
    }

    /// The public key as JSON has it. The order of its fields is what its thumbprint rests on.
    fn jwk(&self) -> (String, Value) {
        // An uncompressed point: a byte, and two numbers of 32.
        let point = self.pair.public_key().as_ref();
        let (x, y) = (base64url(&point[1..33]), base64url(&point[33..65]));
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        (text, json!({ "crv": "P-256", "kty": "EC", "x": x, "y": y }))
    }

    /// Source: RFC 7638.
    pub(super) fn thumbprint(&self) -> String {
        let (text, _) = self.jwk();
        base64url(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    }

    /// What binds this key to an account that the authority knows otherwise, for an account at this URL.
    pub(super) fn bound(&self, external: &ExternalAccount, url: &str) -> Value {
        let protected = json!({ "alg": "HS256", "kid": external.kid, "url": url });
        let protected = base64url(protected.to_string().as_bytes());
        let payload = base64url(self.jwk().1.to_string().as_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &external.key);
        let signature = hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
        let signature = base64url(signature.as_ref());
        json!({ "protected": protected, "payload": payload, "signature": signature })
    }

    /// A signed question; `kid` is the account's URL, once that is known, and no payload asks for what is
    /// there.
    pub(super) fn signed(
        &self,
        (url, nonce, kid): (&str, &str, Option<&str>),
        payload: Option<&Value>,
    ) -> Result<String, String> {
        let mut protected = json!({ "alg": "ES256", "nonce": nonce, "url": url });
        match kid {
            Some(kid) => protected["kid"] = kid.into(),
            None => protected["jwk"] = self.jwk().1,
        }
        let protected = base64url(protected.to_string().as_bytes());
        let payload = payload.map(ToString::to_string).unwrap_or_default();
        let payload = base64url(payload.as_bytes());
        let message = format!("{protected}.{payload}");
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes());
        let signature = signature.map_err(|_| "signing has failed".to_owned())?;
        let signature = base64url(signature.as_ref());
        let signed = json!({ "protected": protected, "payload": payload, "signature": signature });
        Ok(signed.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_for_urls_goes_both_ways() {
        for len in 0..40_u8 {
            let bytes: Vec<u8> = (0..len).map(|at| at.wrapping_mul(89) ^ 0xfb).collect();
            assert_eq!(from_base64url(&base64url(&bytes)), Some(bytes));
        }
        assert_eq!(from_base64url("_-8=").as_deref(), Some(&[0xff, 0xef][..]));
        assert_eq!(from_base64url("a b"), None);
        assert!(ExternalAccount::new("kid", "").is_none());
        let account = ExternalAccount::new("kid", "c2VjcmV0\n").unwrap();
        assert_eq!(account.key, b"secret");
        assert!(!format!("{account:?}").contains("115"));
    }
}
