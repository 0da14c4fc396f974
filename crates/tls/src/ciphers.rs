//! OpenSSL's language of cipher strings, over the suites that there are; and its names of suites,
//! versions and groups.
//!
//! Source: openssl-ciphers(1), and `ssl_create_cipher_list` where that is silent.

use rustls::crypto::{SupportedKxGroup, aws_lc_rs};
use rustls::{CipherSuite, NamedGroup, SupportedCipherSuite};

/// A suite of TLS 1.2.
struct Suite {
    name: &'static str,
    /// What IANA calls it.
    iana: &'static str,
    suite: SupportedCipherSuite,
    /// The words that it answers to, besides those that all do.
    words: &'static [&'static str],
    bits: u16,
}

/// In the order of OpenSSL's own list.
static SUITES: [Suite; 6] = [
    Suite {
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        iana: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        suite: aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        words: &[
            "aECDSA",
            "ECDSA",
            "AES",
            "AES256",
            "AESGCM",
            "FIPS",
            "SUITEB128",
            "SUITEB192",
        ],
        bits: 256,
    },
    Suite {
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        iana: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        suite: aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        words: &["aRSA", "AES", "AES256", "AESGCM", "FIPS"],
        bits: 256,
    },
    Suite {
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        iana: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        suite: aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        words: &["aECDSA", "ECDSA", "CHACHA20"],
        bits: 256,
    },
    Suite {
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        iana: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        suite: aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        words: &["aRSA", "CHACHA20"],
        bits: 256,
    },
    Suite {
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        iana: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        suite: aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        words: &[
            "aECDSA",
            "ECDSA",
            "AES",
            "AES128",
            "AESGCM",
            "FIPS",
            "SUITEB128",
        ],
        bits: 128,
    },
    Suite {
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        iana: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        suite: aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        words: &["aRSA", "AES", "AES128", "AESGCM", "FIPS"],
        bits: 128,
    },
];

/// Words that each of the suites answers to.
const WORDS_OF_ALL: [&str; 10] = [
    "ALL", "DEFAULT", "HIGH", "kECDHE", "kEECDH", "ECDHE", "EECDH", "ECDH", "TLSv1.2", "AEAD",
];

/// Words for what nobody is to have, or what is no cipher: that none of the suites answers to them needs
/// no word of ours.
const WORDS_OF_NONE: [&str; 4] = ["COMPLEMENTOFDEFAULT", "COMPLEMENTOFALL", "MEDIUM", "LOW"];

impl Suite {
    /// Whether it is what an element of a string says: words joined by `+`, all of which it answers to.
    fn is(&self, element: &str) -> bool {
        element.split('+').all(|word| {
            word == self.name
                || word == self.iana
                || WORDS_OF_ALL.contains(&word)
                || self.words.contains(&word)
        })
    }
}

/// What a cipher string comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Ciphers {
    /// The suites of TLS 1.2, the server's favourite first. Those of 1.3 are not chosen by such strings.
    pub suites: Vec<SupportedCipherSuite>,
    /// Elements that ask for what is not to be had.
    pub missing: Vec<String>,
}

/// Evaluates a cipher string.
pub fn ciphers(string: &str) -> Ciphers {
    let mut active: Vec<usize> = Vec::new();
    let mut killed: Vec<usize> = Vec::new();
    let mut missing = Vec::new();
    for element in string
        .split([':', ',', ' ', ';'])
        .filter(|it| !it.is_empty())
    {
        if let Some(command) = element.strip_prefix('@') {
            if command == "STRENGTH" {
                active.sort_by_key(|index| std::cmp::Reverse(SUITES[*index].bits));
            }
            continue;
        }
        let (sign, words) = match element.split_at_checked(1) {
            Some((sign @ ("!" | "-" | "+"), words)) => (sign, words),
            _ => ("", element),
        };
        let named = |index: &usize| SUITES[*index].is(words);
        match sign {
            "!" => {
                active.retain(|index| !named(index));
                killed.extend((0..SUITES.len()).filter(named));
            }
            "-" => active.retain(|index| !named(index)),
            "+" => active.sort_by_key(named),
            _ => {
                let matching: Vec<usize> = (0..SUITES.len()).filter(named).collect();
                if matching.is_empty() && !WORDS_OF_NONE.contains(&words) {
                    missing.push(words.to_owned());
                }
                for index in matching {
                    if !active.contains(&index) && !killed.contains(&index) {
                        active.push(index);
                    }
                }
            }
        }
    }
    Ciphers {
        suites: active.iter().map(|index| SUITES[*index].suite).collect(),
        missing,
    }
}

/// The suites of TLS 1.3 that a list names, the favourite first; names of others are left out.
pub fn suites_of_13(list: &str) -> Vec<SupportedCipherSuite> {
    let all = aws_lc_rs::ALL_CIPHER_SUITES.iter();
    let all: Vec<_> = all.filter(|suite| suite.tls13().is_some()).collect();
    let names = list.split(':').map(str::trim);
    names
        .filter_map(|name| all.iter().find(|suite| cipher_name(suite.suite()) == name))
        .map(|suite| **suite)
        .collect()
}

/// What OpenSSL calls a suite, as `$ssl_cipher` has it.
pub fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => {
            let known = SUITES.iter().find(|known| known.suite.suite() == other);
            known.map_or("", |known| known.name)
        }
    }
}

/// What OpenSSL calls a suite of that number, where it is one of those that are to be had.
pub fn cipher_name_of(number: u16) -> Option<&'static str> {
    Some(cipher_name(CipherSuite::from(number))).filter(|name| !name.is_empty())
}

/// Groups by the names that OpenSSL gives them; the first of each is what `$ssl_curve` says.
static GROUPS: &[(&[&str], u16, Option<&dyn SupportedKxGroup>)] = &[
    (
        &["X25519MLKEM768"],
        0x11ec,
        Some(aws_lc_rs::kx_group::X25519MLKEM768),
    ),
    (
        &["SecP256r1MLKEM768"],
        0x11eb,
        Some(aws_lc_rs::kx_group::SECP256R1MLKEM768),
    ),
    (&["MLKEM768"], 0x0201, Some(aws_lc_rs::kx_group::MLKEM768)),
    (&["X25519"], 0x001d, Some(aws_lc_rs::kx_group::X25519)),
    (
        &["prime256v1", "P-256", "secp256r1"],
        0x0017,
        Some(aws_lc_rs::kx_group::SECP256R1),
    ),
    (
        &["secp384r1", "P-384"],
        0x0018,
        Some(aws_lc_rs::kx_group::SECP384R1),
    ),
    (&["secp521r1", "P-521"], 0x0019, None),
    (&["X448"], 0x001e, None),
    (&["ffdhe2048"], 0x0100, None),
    (&["ffdhe3072"], 0x0101, None),
    (&["ffdhe4096"], 0x0102, None),
    (&["ffdhe6144"], 0x0103, None),
    (&["ffdhe8192"], 0x0104, None),
];

/// What a list of groups comes to.
#[derive(Debug, Clone)]
pub struct Groups {
    /// The groups for the key exchange, the server's favourite first.
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    /// Names of what is not to be had.
    pub missing: Vec<String>,
}

/// Reads a list of groups, separated by colons (nginx `ssl_ecdh_curve`); `auto` is what
/// [`default_groups`] gives.
pub fn groups(list: &str) -> Groups {
    let mut found = Groups {
        groups: Vec::new(),
        missing: Vec::new(),
    };
    for name in list.split(':').filter(|name| !name.is_empty()) {
        if name == "auto" {
            found.groups.extend(default_groups());
            continue;
        }
        let known = GROUPS.iter().find(|(names, _, _)| {
            let mut names = names.iter();
            names.any(|known| known.eq_ignore_ascii_case(name))
        });
        match known.and_then(|(_, _, group)| *group) {
            Some(group) => {
                let is_new = found.groups.iter().all(|it| it.name() != group.name());
                found.groups.extend(is_new.then_some(group));
            }
            None => found.missing.push(name.to_owned()),
        }
    }
    found
}

/// The groups of a server that is not told which: the hybrid that withstands quantum computers first.
pub fn default_groups() -> Vec<&'static dyn SupportedKxGroup> {
    aws_lc_rs::DEFAULT_KX_GROUPS.to_vec()
}

/// What OpenSSL calls a group, where it has a name for it.
pub fn group_name(group: NamedGroup) -> Option<&'static str> {
    group_name_of(u16::from(group))
}

/// What OpenSSL calls the group of that number.
pub fn group_name_of(number: u16) -> Option<&'static str> {
    let known = GROUPS.iter().find(|(_, known, _)| *known == number);
    known.map(|(names, _, _)| names[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(string: &str) -> Vec<&'static str> {
        let suites = ciphers(string).suites;
        suites.iter().map(|it| cipher_name(it.suite())).collect()
    }

    /// What `openssl ciphers -s -tls1_2` of OpenSSL 3.0 gives for the same strings, less what is not to be had.
    #[test]
    fn strings_mean_what_they_mean_to_openssl() {
        let all: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
        assert_eq!(names("HIGH:!aNULL:!MD5"), all);
        assert_eq!(names("DEFAULT"), all);
        assert_eq!(
            names("EECDH+AESGCM:EDH+AESGCM"),
            [all[0], all[1], all[4], all[5]]
        );
        assert_eq!(names("ALL:!ECDSA:+AES256"), [all[3], all[5], all[1]]);
        assert_eq!(
            names("ALL:-CHACHA20:CHACHA20"),
            [all[0], all[1], all[4], all[5], all[2], all[3]]
        );
        assert_eq!(names("ALL:!CHACHA20:CHACHA20").len(), 4);
        assert_eq!(
            names("AES128:AES256:@STRENGTH"),
            [all[0], all[1], all[4], all[5]]
        );
        assert_eq!(names("RSA:3DES:NULL"), [""; 0]);
        assert_eq!(names("aRSA+CHACHA20 aECDSA+AES128"), [all[3], all[4]]);
        assert_eq!(names("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), [all[5]]);
    }

    #[test]
    fn what_is_not_to_be_had_is_named() {
        let found = ciphers("ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256:!MD5:-DES:+RC4");
        assert_eq!(found.suites.len(), 1);
        assert_eq!(found.missing, ["DHE-RSA-AES128-GCM-SHA256"]);
        let found = groups("X25519:secp521r1:P-256:prime256v1");
        let names: Vec<_> = found
            .groups
            .iter()
            .map(|it| group_name(it.name()))
            .collect();
        assert_eq!(names, [Some("X25519"), Some("prime256v1")]);
        assert_eq!(found.missing, ["secp521r1"]);
    }
}
