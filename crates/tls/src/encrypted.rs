//! Keys that a password opens: PKCS#8 with PBES2 (RFC 8018), as OpenSSL 3 writes it, and the older form with
//! header lines (`Proc-Type: 4,ENCRYPTED`).

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, PaddedBlockDecryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use md5::{Digest, Md5};

use crate::der::{Elements, OCTETS, OID, SEQUENCE, element};
use crate::error::KeyError;
use crate::pem::Section;

/// Rounds of a key derivation that are gone through at most: what is more takes seconds.
const ROUNDS_MAX: u32 = 10_000_000;

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
/// `hmacWithSHA1` and its like differ in the last byte alone.
const HMAC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2];
/// `aes128-CBC` and its like differ in the last byte alone.
const AES: &[u8] = &[0x60, 0x86, 0x48, 1, 101, 3, 4, 1];

/// A cipher, and how many bytes its key has.
#[derive(Clone, Copy)]
struct Cipher(&'static Algorithm, usize);

const AES_128_CBC: Cipher = Cipher(&AES_128, 16);
const AES_192_CBC: Cipher = Cipher(&AES_192, 24);
const AES_256_CBC: Cipher = Cipher(&AES_256, 32);

/// How a PKCS#8 key is encrypted.
struct Pbes2<'a> {
    hmac: pbkdf2::Algorithm,
    salt: &'a [u8],
    rounds: NonZeroU32,
    cipher: Cipher,
    iv: [u8; 16],
    sealed: &'a [u8],
}

fn pbes2(der: &[u8]) -> Option<Pbes2<'_>> {
    let mut info = Elements(Elements(der).take(SEQUENCE)?);
    let mut algorithm = Elements(info.take(SEQUENCE)?);
    let sealed = info.take(OCTETS)?;
    (algorithm.take(OID)? == PBES2).then_some(())?;
    let mut both = Elements(algorithm.take(SEQUENCE)?);
    let mut derivation = Elements(both.take(SEQUENCE)?);
    let mut encryption = Elements(both.take(SEQUENCE)?);
    (derivation.take(OID)? == PBKDF2).then_some(())?;
    let mut derivation = Elements(derivation.take(SEQUENCE)?);
    let salt = derivation.take(OCTETS)?;
    let rounds = derivation.number()?;
    // How long the key is says the cipher, too.
    let _ = derivation.number();
    let hmac = match derivation.take(SEQUENCE) {
        None => pbkdf2::PBKDF2_HMAC_SHA1,
        Some(hmac) => match Elements(hmac).take(OID)?.strip_prefix(HMAC)? {
            [7] => pbkdf2::PBKDF2_HMAC_SHA1,
            [9] => pbkdf2::PBKDF2_HMAC_SHA256,
            [10] => pbkdf2::PBKDF2_HMAC_SHA384,
            [11] => pbkdf2::PBKDF2_HMAC_SHA512,
            _ => return None,
        },
    };
    let cipher = match encryption.take(OID)?.strip_prefix(AES)? {
        [2] => AES_128_CBC,
        [22] => AES_192_CBC,
        [42] => AES_256_CBC,
        _ => return None,
    };
    Some(Pbes2 {
        hmac,
        salt,
        rounds: NonZeroU32::new(rounds).filter(|it| it.get() <= ROUNDS_MAX)?,
        cipher,
        iv: encryption.take(OCTETS)?.try_into().ok()?,
        sealed,
    })
}

/// Opens an encrypted PKCS#8 key with the first password that does.
pub(crate) fn open_pkcs8(der: &[u8], passwords: &[Vec<u8>]) -> Result<Vec<u8>, KeyError> {
    if passwords.is_empty() {
        return Err(KeyError::Encrypted);
    }
    let parts = pbes2(der).ok_or_else(unsupported)?;
    let open = |password: &Vec<u8>| {
        let mut key = vec![0; parts.cipher.1];
        pbkdf2::derive(parts.hmac, parts.rounds, parts.salt, password, &mut key);
        let opened = decrypt(parts.cipher, &key, parts.iv, parts.sealed)?;
        // A wrong password may leave what looks like an end.
        let is_key = matches!(element(&opened), Some((_, [])));
        (is_key && opened.first() == Some(&SEQUENCE)).then_some(opened)
    };
    passwords.iter().find_map(open).ok_or(KeyError::Encrypted)
}

/// Whether a section is encrypted as its header lines say.
pub(crate) fn is_encrypted_by_header(section: &Section) -> bool {
    let mut headers = section.headers.iter();
    headers.any(|(name, value)| name == "Proc-Type" && value.ends_with("ENCRYPTED"))
}

/// Opens a key that is encrypted as its header lines say.
pub(crate) fn open_by_header(
    section: &Section,
    passwords: &[Vec<u8>],
) -> Result<Vec<u8>, KeyError> {
    let mut headers = section.headers.iter();
    let info = headers.find(|(name, _)| name == "DEK-Info");
    let info = info.and_then(|(_, value)| value.split_once(','));
    let (cipher, iv) = info.ok_or(KeyError::MalformedPem)?;
    let cipher = match cipher.trim() {
        "AES-128-CBC" => AES_128_CBC,
        "AES-192-CBC" => AES_192_CBC,
        "AES-256-CBC" => AES_256_CBC,
        _ => return Err(unsupported()),
    };
    let iv = bytes_of(iv.trim()).and_then(|iv| <[u8; 16]>::try_from(iv).ok());
    let iv = iv.ok_or(KeyError::MalformedPem)?;
    let open = |password: &Vec<u8>| {
        let key = bytes_to_key(password, &iv[..8], cipher.1);
        let opened = decrypt(cipher, &key, iv, &section.content)?;
        let is_key = matches!(element(&opened), Some((_, [])));
        (is_key && opened.first() == Some(&SEQUENCE)).then_some(opened)
    };
    passwords.iter().find_map(open).ok_or(KeyError::Encrypted)
}

/// Source: OpenSSL's `EVP_BytesToKey` with MD5 and one round.
fn bytes_to_key(password: &[u8], salt: &[u8], len: usize) -> Vec<u8> {
    let mut key = Vec::new();
    let mut last = Vec::new();
    while key.len() < len {
        let mut hash = Md5::new();
        hash.update(&last);
        hash.update(password);
        hash.update(salt);
        last = hash.finalize().to_vec();
        key.extend_from_slice(&last);
    }
    key.truncate(len);
    key
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn decrypt(Cipher(cipher, _): Cipher, key: &[u8], iv: [u8; 16], sealed: &[u8]) -> Option<Vec<u8>> {
    let key = UnboundCipherKey::new(cipher, key).ok()?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
    let mut opened = sealed.to_vec();
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    let len = key.decrypt(&mut opened, context).ok()?.len();
    opened.truncate(len);
    Some(opened)
}

fn unsupported() -> KeyError {
    KeyError::UnsupportedKey(
        "it is encrypted in a way that is not to be had; AES-CBC is".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_no_key(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let passwords = [b"secret".to_vec()];
            prop_assert!(open_pkcs8(&bytes, &passwords).is_err());
            for info in ["AES-128-CBC,00112233445566778899AABBCCDDEEFF", "AES-256-CBC,0", "", "X,é"] {
                let section = Section {
                    label: "RSA PRIVATE KEY".into(),
                    headers: vec![("DEK-Info".into(), info.into())],
                    content: bytes.clone(),
                };
                prop_assert!(open_by_header(&section, &passwords).is_err());
            }
        }
    }
}
