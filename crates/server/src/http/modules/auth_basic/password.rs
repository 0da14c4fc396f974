//! Whether a password is the one that a line of a password file was made of.
//!
//! Source: crypt(5), and the forms that nginx's `auth_basic_user_file` names.

use md5::{Digest, Md5};
use sha_crypt::{PasswordVerifier, ShaCrypt};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use yescrypt::Yescrypt;

use crate::http::base64::{self, Letters};

/// What comes of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the password.
    Same,
    /// It is another.
    Other,
    /// The line is in no form that is known.
    UnknownForm,
}

/// Forms in clear text or of one round, told in microseconds: not worth a thread.
const QUICK: [&[u8]; 3] = [b"{PLAIN}", b"{SSHA}", b"{SHA}"];

/// Bytes of a digest of SHA-1.
const SHA1_BYTES: usize = 20;

/// Whether comparing takes so long that a loop must not wait for it.
pub(super) fn is_slow(stored: &[u8]) -> bool {
    !QUICK.iter().any(|form| strip(stored, form).is_some())
}

/// Compares a password with what is stored of one.
pub(super) fn compare(password: &[u8], stored: &[u8]) -> Verdict {
    if let Some(plain) = strip(stored, b"{PLAIN}") {
        return verdict(password.ct_eq(plain).into());
    }
    if let Some(encoded) = strip(stored, b"{SSHA}") {
        return salted_sha1(password, encoded);
    }
    if let Some(encoded) = strip(stored, b"{SHA}") {
        // A salt of no bytes.
        return salted_sha1(password, encoded);
    }
    let Ok(text) = std::str::from_utf8(stored) else {
        return Verdict::UnknownForm;
    };
    match text.as_bytes() {
        [b'$', b'a', b'p', b'r', b'1', b'$', rest @ ..] => md5_crypt(password, b"$apr1$", rest),
        [b'$', b'1', b'$', rest @ ..] => md5_crypt(password, b"$1$", rest),
        [b'$', b'5' | b'6', b'$', ..] => sha_crypt(password, text),
        [b'$', b'2', b'a' | b'b' | b'x' | b'y', b'$', ..] => match bcrypt::verify(password, text) {
            Ok(is_same) => verdict(is_same),
            Err(_) => Verdict::UnknownForm,
        },
        [b'$', b'y', b'$', ..] => yescrypt(password, text),
        _ => Verdict::UnknownForm,
    }
}

fn verdict(is_same: bool) -> Verdict {
    match is_same {
        true => Verdict::Same,
        false => Verdict::Other,
    }
}

/// What follows the name of a form, in whatever case that is written.
fn strip<'a>(stored: &'a [u8], form: &[u8]) -> Option<&'a [u8]> {
    let (name, rest) = stored.split_at_checked(form.len())?;
    name.eq_ignore_ascii_case(form).then_some(rest)
}

/// The digest of password and salt, and behind it the salt.
fn salted_sha1(password: &[u8], encoded: &[u8]) -> Verdict {
    let Some(decoded) = base64::decode(encoded, Letters::Standard) else {
        return Verdict::UnknownForm;
    };
    let Some((digest, salt)) = decoded.split_at_checked(SHA1_BYTES) else {
        return Verdict::UnknownForm;
    };
    let made = Sha1::new().chain_update(password).chain_update(salt);
    verdict(made.finalize().ct_eq(digest).into())
}

fn sha_crypt(password: &[u8], stored: &str) -> Verdict {
    let Ok(hash) = sha_crypt::PasswordHashRef::new(stored) else {
        return Verdict::UnknownForm;
    };
    judged(ShaCrypt::default().verify_password(password, hash))
}

fn yescrypt(password: &[u8], stored: &str) -> Verdict {
    let Ok(hash) = yescrypt::PasswordHashRef::new(stored) else {
        return Verdict::UnknownForm;
    };
    judged(Yescrypt::default().verify_password(password, hash))
}

fn judged(result: sha_crypt::password_hash::Result<()>) -> Verdict {
    use sha_crypt::password_hash::Error;
    match result {
        Ok(()) => Verdict::Same,
        Err(Error::PasswordInvalid) => Verdict::Other,
        Err(_) => Verdict::UnknownForm,
    }
}

/// A thousand rounds of MD5: `$1$` of Unix, and `$apr1$` of Apache, which differ in the name alone.
///
/// Source: FreeBSD's `crypt-md5.c`.
fn md5_crypt(password: &[u8], form: &[u8], rest: &[u8]) -> Verdict {
    let Some(at) = memchr::memchr(b'$', rest) else {
        return Verdict::UnknownForm;
    };
    let (salt, stored) = (&rest[..at.min(8)], &rest[at + 1..]);
    let inner = Md5::new().chain_update(password).chain_update(salt);
    let inner = inner.chain_update(password).finalize();
    let mut outer = Md5::new().chain_update(password).chain_update(form);
    outer.update(salt);
    for part in password.chunks(inner.len()) {
        outer.update(&inner[..part.len()]);
    }
    let mut bits = password.len();
    while bits != 0 {
        outer.update(match bits & 1 {
            1 => &[0],
            _ => &password[..1],
        });
        bits >>= 1;
    }
    let mut digest = outer.finalize();
    for round in 0..1000 {
        let is_odd = round & 1 == 1;
        let mut next = Md5::new();
        next.update(if is_odd { password } else { &digest });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if is_odd { &digest[..] } else { password });
        digest = next.finalize();
    }
    verdict(md5_letters(&digest).ct_eq(stored).into())
}

/// A digest in the letters of crypt(3), its bytes in the order of md5-crypt.
fn md5_letters(digest: &[u8]) -> [u8; 22] {
    const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let byte = |at: usize| u32::from(digest[at]);
    let threes = ORDER.map(|[high, middle, low]| byte(high) << 16 | byte(middle) << 8 | byte(low));
    let mut out = [0; 22];
    for (at, letter) in out.iter_mut().enumerate() {
        let bits = threes.get(at / 4).copied().unwrap_or(byte(11));
        *letter = LETTERS[(bits >> (at % 4 * 6) & 63) as usize];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_knows_its_password() {
        for stored in [
            "{PLAIN}secret",
            "{plain}secret",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0",
            "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0",
            "$1$saltsalt$9xy1btjgzLYfb7hivXtC//",
            "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
            "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA",
            "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq\
             .H91p5hVO1",
            "$6$rounds=1000$ab$3tLFZOSDxcyiDWcYSrieU1uloXMcbPJQRTcotZNqEJiB1iizwjzbn2jECOCvw6wslPpiTPz\
             li2jppqTUXUq9N0",
            "$y$j9T$abcdefghijklmnop$3dL1LkYnZM.OVXuVdnnaKVDlLYT92dRwOzDZ5XiVCe.",
        ] {
            assert_eq!(
                compare(b"secret", stored.as_bytes()),
                Verdict::Same,
                "{stored}"
            );
            assert_eq!(
                compare(b"secreT", stored.as_bytes()),
                Verdict::Other,
                "{stored}"
            );
            assert_eq!(compare(b"", stored.as_bytes()), Verdict::Other, "{stored}");
        }
    }

    #[test]
    fn what_is_no_form_matches_nothing() {
        for stored in [
            "",
            "rqXexS6ZhobKA",
            "$",
            "$1$",
            "$1$salt",
            "$2y$",
            "$2y$05$short",
            "$5$",
            "$6$rounds=1$x$y",
            "$y$",
            "$y$j9T$",
            "{SHA}",
            "{SHA}!",
            "{SSHA}AAAA",
            "$7$x",
            "\u{fc}",
        ] {
            let verdict = compare(b"secret", stored.as_bytes());
            assert_eq!(verdict, Verdict::UnknownForm, "{stored}");
        }
    }
}
