//! A certificate that nobody vouches for, for a folder that is served on the machine that it is looked at.

use std::net::IpAddr;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

/// A certificate and its key, as PEM.
pub(crate) struct SelfMade {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl std::fmt::Debug for SelfMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SelfMade")
    }
}

/// Makes one for this machine and for a host or an address besides.
///
/// Errors: why, in a few words.
pub(crate) fn make(host: Option<&str>) -> Result<SelfMade, String> {
    let failed = |error: rcgen::Error| format!("no certificate can be made: {error}");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "Revolve, made by itself");
    let own = rustix::system::uname();
    let own = own.nodename().to_str().unwrap_or_default().to_owned();
    let names = [
        "localhost",
        "127.0.0.1",
        "::1",
        &own,
        host.unwrap_or_default(),
    ];
    for name in names {
        let name = match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => match name.to_owned().try_into() {
                Ok(_) if name.is_empty() => continue,
                Ok(name) => SanType::DnsName(name),
                Err(_) => continue,
            },
        };
        if !params.subject_alt_names.contains(&name) {
            params.subject_alt_names.push(name);
        }
    }
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(SelfMade {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_no_names_are_left_out() {
        for host in [
            None,
            Some("a.test"),
            Some("10.1.2.3"),
            Some("a b"),
            Some("é"),
            Some(""),
        ] {
            let made = make(host).unwrap();
            assert!(made.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
            assert!(made.key.starts_with("-----BEGIN PRIVATE KEY-----"));
        }
    }
}
