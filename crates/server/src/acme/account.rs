//! Who we are to an authority: a key, by which each of our questions is signed (RFC 7515, RFC 8555, 6.2).

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

/// An account's key.
pub(super) struct AccountKey {
    pair: EcdsaKeyPair,
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
