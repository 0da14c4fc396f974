//! What must hold for any bytes. The fuzz target and the test over its corpus call the same function.

use revolve_tls::rustls::pki_types::CertificateDer;
use revolve_tls::{CertificateText, Greeting, Trust, Usage, ocsp, read_greeting};

/// Any bytes as what a client says first: the answer depends on the bytes alone, is not taken back when more
/// come, and nobody is waited for without end.
pub(crate) fn client_hello(data: &[u8]) {
    let whole = read_greeting(data);
    for end in 0..data.len() {
        let before = read_greeting(&data[..end]);
        assert!(before == Greeting::Partial || before == whole, "{end}");
    }
    if data.len() > 64 * 1024 {
        assert_ne!(whole, Greeting::Partial);
    }
}

/// Any text as certificates, keys, lists and answers: what is read of it can be shown, and is judged.
pub(crate) fn certificates(data: &[u8]) {
    let _ = revolve_tls::revocation_lists(data);
    let passwords = [b"secret".to_vec()];
    let found = revolve_tls::certificates(data);
    // What is no PEM may be a certificate as it is.
    let chain = found.unwrap_or_else(|_| vec![CertificateDer::from(data.to_vec())]);
    let _ = revolve_tls::key_pair(chain.clone(), data, &passwords);
    let trust = Trust::new(chain.clone(), Vec::new(), 3);
    for usage in [Usage::Client, Usage::Server] {
        let judged = trust.judge(&chain, usage, 1_800_000_000);
        assert_eq!(judged, trust.judge(&chain, usage, 1_800_000_000));
        assert!(
            Trust::default()
                .judge(&chain, usage, 1_800_000_000)
                .is_err()
        );
    }
    for certificate in &chain {
        let _ = revolve_tls::is_for_host(certificate, "a.example.org");
        let _ = ocsp::responder(certificate);
        let _ = ocsp::read(data, certificate, certificate, 1_800_000_000);
        if let Some(text) = CertificateText::new(certificate) {
            assert!(text.subject().is_ascii() && text.issuer_on_one_line().is_ascii());
            let _ = (
                text.serial(),
                text.hosts(),
                text.not_before(),
                text.not_after(),
            );
            assert!(ocsp::request(certificate, certificate).is_some());
        }
    }
}
