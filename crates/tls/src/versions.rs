//! What both sides tell rustls of versions, suites and groups.

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// All suites of TLS 1.3, and these of 1.2.
pub(crate) fn provider(
    suites: &[SupportedCipherSuite],
    kx_groups: Vec<&'static dyn SupportedKxGroup>,
) -> CryptoProvider {
    let all = aws_lc_rs::default_provider();
    let has_own_13 = suites.iter().any(|suite| suite.tls13().is_some());
    let tls13 = all.cipher_suites.iter();
    let tls13 = tls13.filter(|suite| suite.tls13().is_some() && !has_own_13);
    let mut cipher_suites: Vec<SupportedCipherSuite> = tls13.copied().collect();
    cipher_suites.extend(suites);
    CryptoProvider {
        cipher_suites,
        kx_groups,
        ..all
    }
}

pub(crate) fn versions(has_tls12: bool, has_tls13: bool) -> Vec<&'static SupportedProtocolVersion> {
    [(&TLS13, has_tls13), (&TLS12, has_tls12)]
        .into_iter()
        .filter(|(_, is_spoken)| *is_spoken)
        .map(|(version, _)| version)
        .collect()
}
