//! Which signature schemes a handshake has come to, which rustls keeps to itself.

use std::cell::Cell;
use std::sync::Arc;

use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

thread_local! {
    /// Of the step that this thread goes in a handshake: what was signed with, and what the peer has signed
    /// with. A step is one call of rustls, which comes back before another is made.
    static OF_STEP: Cell<(Option<u16>, Option<u16>)> = const { Cell::new((None, None)) };
}

/// What the steps since the last call have come to: own scheme, and the peer's.
pub(crate) fn take() -> (Option<u16>, Option<u16>) {
    OF_STEP.take()
}

fn note_own(scheme: SignatureScheme) {
    let (_, peer) = OF_STEP.get();
    OF_STEP.set((Some(scheme.into()), peer));
}

/// Takes note of what the peer has signed with.
pub(crate) fn note_peer(scheme: SignatureScheme) {
    let (own, _) = OF_STEP.get();
    OF_STEP.set((own, Some(scheme.into())));
}

/// The same key, which says what it signs with.
pub(crate) fn noting(key: &CertifiedKey) -> Arc<CertifiedKey> {
    Arc::new(CertifiedKey {
        key: Arc::new(Noting(key.key.clone())),
        ..key.clone()
    })
}

#[derive(Debug)]
struct Noting(Arc<dyn SigningKey>);

impl SigningKey for Noting {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let signer = self.0.choose_scheme(offered)?;
        Some(Box::new(NotingSigner(signer)))
    }

    fn public_key(&self) -> Option<rustls::pki_types::SubjectPublicKeyInfoDer<'_>> {
        self.0.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

#[derive(Debug)]
struct NotingSigner(Box<dyn Signer>);

impl Signer for NotingSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        note_own(self.0.scheme());
        self.0.sign(message)
    }

    fn scheme(&self) -> SignatureScheme {
        self.0.scheme()
    }
}

/// The name of a signature scheme in IANA's registry, as OpenSSL 3.5 says it (RFC 8446, 4.2.3).
pub fn scheme_name(number: u16) -> Option<&'static str> {
    Some(match number {
        0x0201 => "rsa_pkcs1_sha1",
        0x0203 => "ecdsa_sha1",
        0x0401 => "rsa_pkcs1_sha256",
        0x0403 => "ecdsa_secp256r1_sha256",
        0x0501 => "rsa_pkcs1_sha384",
        0x0503 => "ecdsa_secp384r1_sha384",
        0x0601 => "rsa_pkcs1_sha512",
        0x0603 => "ecdsa_secp521r1_sha512",
        0x0804 => "rsa_pss_rsae_sha256",
        0x0805 => "rsa_pss_rsae_sha384",
        0x0806 => "rsa_pss_rsae_sha512",
        0x0807 => "ed25519",
        0x0808 => "ed448",
        _ => return None,
    })
}
