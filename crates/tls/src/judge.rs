//! Judging the certificates that a peer has shown.
//!
//! A chain is good where both agree: `webpki`, which checks all of RFC 5280 that it knows, and the steps of
//! OpenSSL's `X509_verify_cert` below, by whose numbers and words people know what is wrong. Three things
//! that OpenSSL takes and `webpki` does not are left to the latter alone: certificates of X.509's first
//! version, and an authority's own certificate that is trusted itself.

use std::collections::HashMap;
use std::fmt;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::signatures::is_signed_by;

/// What a certificate is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// A client shows it.
    Client,
    /// A server shows it.
    Server,
}

/// Why a certificate is not taken, by OpenSSL's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyError(pub u32);

/// Source: `X509_verify_cert_error_string` of OpenSSL 3; nginx for what OCSP says.
const TEXTS: &[(u32, &str)] = &[
    (1, "unspecified certificate verification error"),
    (2, "unable to get issuer certificate"),
    (3, "unable to get certificate CRL"),
    (7, "certificate signature failure"),
    (8, "CRL signature failure"),
    (9, "certificate is not yet valid"),
    (10, "certificate has expired"),
    (11, "CRL is not yet valid"),
    (12, "CRL has expired"),
    (18, "self-signed certificate"),
    (19, "self-signed certificate in certificate chain"),
    (20, "unable to get local issuer certificate"),
    (21, "unable to verify the first certificate"),
    (22, "certificate chain too long"),
    (23, "certificate revoked"),
    (25, "path length constraint exceeded"),
    (26, "unsuitable certificate purpose"),
    (34, "unhandled critical extension"),
    (35, "key usage does not include CRL signing"),
    (47, "permitted subtree violation"),
    (68, "CA signature digest algorithm too weak"),
    (76, "certificate status request failed"),
    (77, "certificate status unknown"),
    (79, "invalid CA certificate"),
];

impl VerifyError {
    const UNSPECIFIED: Self = Self(1);
    const NO_ISSUER: Self = Self(2);
    const NO_CRL: Self = Self(3);
    const SIGNATURE: Self = Self(7);
    const CRL_SIGNATURE: Self = Self(8);
    const NOT_YET_VALID: Self = Self(9);
    const EXPIRED: Self = Self(10);
    const CRL_NOT_YET_VALID: Self = Self(11);
    const CRL_EXPIRED: Self = Self(12);
    const SELF_SIGNED: Self = Self(18);
    const SELF_SIGNED_IN_CHAIN: Self = Self(19);
    const NO_LOCAL_ISSUER: Self = Self(20);
    const NO_FIRST_SIGNATURE: Self = Self(21);
    const TOO_LONG: Self = Self(22);
    /// The certificate was revoked.
    pub const REVOKED: Self = Self(23);
    const PATH_LENGTH: Self = Self(25);
    const PURPOSE: Self = Self(26);
    const CRITICAL_EXTENSION: Self = Self(34);
    const CRL_KEY_USAGE: Self = Self(35);
    const NAME_CONSTRAINT: Self = Self(47);
    const WEAK_DIGEST: Self = Self(68);
    /// It is not known whether the certificate was revoked.
    pub const OCSP_FAILED: Self = Self(76);
    /// Who has issued the certificate does not know it.
    pub const OCSP_UNKNOWN: Self = Self(77);
    const NOT_AN_AUTHORITY: Self = Self(79);

    /// OpenSSL's number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Whether it says no more than that the authority is not known, which `optional_no_ca` lets pass.
    ///
    /// Source: nginx's `ngx_ssl_verify_error_optional`.
    pub fn is_unknown_authority(self) -> bool {
        matches!(
            self,
            Self::SELF_SIGNED
                | Self::SELF_SIGNED_IN_CHAIN
                | Self::NO_LOCAL_ISSUER
                | Self::NO_FIRST_SIGNATURE
                | Self(27)
        )
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = TEXTS.iter().find(|(number, _)| *number == self.0);
        f.write_str(found.map_or(TEXTS[0].1, |(_, text)| text))
    }
}

impl std::error::Error for VerifyError {}

/// Whom to trust.
#[derive(Debug, Default)]
pub struct Trust {
    certificates: Vec<CertificateDer<'static>>,
    /// Their places by their subjects: there may be hundreds.
    by_subject: HashMap<Vec<u8>, Vec<usize>>,
    anchors: Vec<TrustAnchor<'static>>,
    /// Those of the certificates that are no roots.
    intermediates: Vec<CertificateDer<'static>>,
    crls: Vec<Vec<u8>>,
    depth_max: usize,
}

/// A certificate of a chain.
struct Link<'a> {
    certificate: X509Certificate<'a>,
    /// Whether it is one of those that are trusted.
    is_trusted: bool,
}

impl Trust {
    /// These certificates and what they have issued, with so many between a peer's own and a root, at most.
    /// Where there are lists of what was revoked, each authority of a chain is to have one.
    pub fn new(
        certificates: Vec<CertificateDer<'static>>,
        crls: Vec<Vec<u8>>,
        depth_max: usize,
    ) -> Self {
        let mut by_subject: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (place, der) in certificates.iter().enumerate() {
            if let Some(parsed) = parsed(der) {
                let subject = parsed.subject().as_raw().to_vec();
                by_subject.entry(subject).or_default().push(place);
            }
        }
        let is_root = |der: &&CertificateDer<'static>| parsed(der).is_some_and(|it| is_own(&it));
        let anchors = certificates.iter().filter(is_root);
        let anchors = anchors.filter_map(|der| anchor_from_trusted_cert(der).ok());
        Self {
            anchors: anchors.map(|anchor| anchor.to_owned()).collect(),
            intermediates: certificates
                .iter()
                .filter(|der| !is_root(der))
                .cloned()
                .collect(),
            certificates,
            by_subject,
            crls,
            depth_max,
        }
    }

    /// The subjects of the certificates, as DER.
    pub fn subjects(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let parsed = self.certificates.iter().filter_map(parsed);
        parsed.map(|it| it.subject().as_raw().to_vec())
    }

    /// Judges what a peer has shown, its own certificate first, at a time in seconds since 1970.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        usage: Usage,
        now_s: i64,
    ) -> Result<(), VerifyError> {
        let Some((own, others)) = chain.split_first() else {
            return Err(VerifyError::UNSPECIFIED);
        };
        let own_link = parsed(own).ok_or(VerifyError::UNSPECIFIED)?;
        let mut errors = Vec::new();
        let path = self.build(own, own_link, others, &mut errors);
        check_extensions(&path, usage, &mut errors);
        if !self.crls.is_empty() {
            self.check_revocation(&path, now_s, &mut errors);
        }
        check_signatures(&path, now_s, &mut errors);
        // As with a callback that always goes on: the last one counts. Source: nginx's verify callback.
        if let Some(error) = errors.pop() {
            return Err(error);
        }
        match self.judge_by_webpki(own, others, usage, now_s) {
            Ok(()) => Ok(()),
            Err(webpki::Error::UnsupportedCertVersion | webpki::Error::CaUsedAsEndEntity)
                if !path.iter().any(has_name_constraints) =>
            {
                Ok(())
            }
            Err(error) => Err(of_webpki(&error)),
        }
    }

    /// The certificates from a peer's own up to the root that vouches for it, as far as they are known.
    pub fn path(&self, chain: &[CertificateDer<'_>]) -> Vec<CertificateDer<'static>> {
        let Some((own, others)) = chain.split_first() else {
            return Vec::new();
        };
        let Some(own_link) = parsed(own) else {
            return Vec::new();
        };
        let path = self.build(own, own_link, others, &mut Vec::new());
        let path = path.iter().map(|link| link.certificate.as_raw().to_vec());
        path.map(CertificateDer::from).collect()
    }

    fn judge_by_webpki(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        usage: Usage,
        now_s: i64,
    ) -> Result<(), webpki::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let between: Vec<CertificateDer<'_>> =
            others.iter().chain(&self.intermediates).cloned().collect();
        let now_s = u64::try_from(now_s).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_s));
        let usage = match usage {
            Usage::Client => KeyUsage::client_auth(),
            Usage::Server => KeyUsage::server_auth(),
        };
        EndEntityCert::try_from(own)?
            .verify_for_usage(
                algorithms.all,
                &self.anchors,
                &between,
                now,
                usage,
                None,
                None,
            )
            .map(|_| ())
    }

    /// Goes from the peer's own certificate up to a root, as far as that leads.
    ///
    /// Source: OpenSSL's `build_chain`.
    fn build<'a>(
        &'a self,
        own: &CertificateDer<'_>,
        own_link: X509Certificate<'a>,
        others: &'a [CertificateDer<'a>],
        errors: &mut Vec<VerifyError>,
    ) -> Vec<Link<'a>> {
        let others: Vec<_> = others.iter().filter_map(parsed).collect();
        let is_trusted = self.certificates.contains(own);
        let mut path = vec![Link {
            certificate: own_link,
            is_trusted,
        }];
        loop {
            let last = &path[path.len() - 1];
            if is_own(&last.certificate) {
                if last.is_trusted {
                    return path;
                }
                break;
            }
            if path.len() > self.depth_max + 1 {
                errors.push(VerifyError::TOO_LONG);
                break;
            }
            let issuer = last.certificate.issuer().as_raw();
            let places = self.by_subject.get(issuer).map_or(&[][..], Vec::as_slice);
            let named = places.iter().map(|place| &self.certificates[*place]);
            let trusted: Vec<_> = named.filter_map(parsed).collect();
            let find = |among: &[X509Certificate<'a>]| {
                let fits = |it: &&X509Certificate<'a>| {
                    let is_new = path.iter().all(|link| link.certificate != **it);
                    is_new && may_have_issued(it, &last.certificate)
                };
                among.iter().find(fits).cloned()
            };
            let next = match find(&trusted) {
                Some(certificate) => Some((certificate, true)),
                None if path[1..].iter().any(|link| link.is_trusted) => None,
                None => find(&others).map(|certificate| (certificate, false)),
            };
            let Some((certificate, is_trusted)) = next else {
                break;
            };
            path.push(Link {
                certificate,
                is_trusted,
            });
        }
        let last = &path[path.len() - 1];
        errors.push(match is_own(&last.certificate) {
            true if path.len() == 1 => VerifyError::SELF_SIGNED,
            true => VerifyError::SELF_SIGNED_IN_CHAIN,
            false if path[1..].iter().any(|link| link.is_trusted) => VerifyError::NO_ISSUER,
            false => VerifyError::NO_LOCAL_ISSUER,
        });
        path
    }

    /// Source: OpenSSL's `check_revocation` with `X509_V_FLAG_CRL_CHECK_ALL`.
    fn check_revocation(&self, path: &[Link<'_>], now_s: i64, errors: &mut Vec<VerifyError>) {
        let crls = self.crls.iter();
        let crls: Vec<_> = crls
            .filter_map(|der| Some((der, CertificateRevocationList::from_der(der).ok()?.1)))
            .filter(|(_, crl)| !crl.extensions().iter().any(|it| it.critical))
            .collect();
        for (place, link) in path.iter().enumerate() {
            let issuer = path.get(place + 1).unwrap_or(link);
            let named = crls
                .iter()
                .filter(|(_, crl)| crl.issuer().as_raw() == link.certificate.issuer().as_raw());
            let Some((der, crl)) = named.max_by_key(|(_, crl)| crl.last_update().timestamp())
            else {
                errors.push(VerifyError::NO_CRL);
                continue;
            };
            let issuer = &issuer.certificate;
            if issuer.subject().as_raw() != crl.issuer().as_raw() {
                errors.push(VerifyError::NO_CRL);
                continue;
            }
            let may_sign = key_usage(issuer).is_none_or(|usage| usage.crl_sign());
            if !may_sign {
                errors.push(VerifyError::CRL_KEY_USAGE);
            }
            if crl.last_update().timestamp() > now_s {
                errors.push(VerifyError::CRL_NOT_YET_VALID);
            }
            if crl.next_update().is_some_and(|at| at.timestamp() < now_s) {
                errors.push(VerifyError::CRL_EXPIRED);
            }
            if !is_signed_by(der, issuer.public_key()) {
                errors.push(VerifyError::CRL_SIGNATURE);
            }
            let serial = link.certificate.raw_serial();
            if crl
                .iter_revoked_certificates()
                .any(|it| it.raw_serial() == serial)
            {
                errors.push(VerifyError::REVOKED);
            }
        }
    }
}

/// The one of several certificates that has issued another.
pub fn issuer_of<'a, 'd: 'a>(
    certificate: &CertificateDer<'_>,
    among: impl Iterator<Item = &'a CertificateDer<'d>>,
) -> Option<&'a CertificateDer<'d>> {
    let of = parsed(certificate)?;
    among.into_iter().find(|candidate| {
        parsed(candidate).is_some_and(|issuer| {
            may_have_issued(&issuer, &of) && is_signed_by(of.as_raw(), issuer.public_key())
        })
    })
}

fn parsed<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(der).ok().map(|(_, it)| it)
}

/// Whether a certificate names itself as its issuer.
fn is_own(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
        && has_key_named_by(certificate, certificate)
}

/// Whether the key of a certificate is the one that another says it was signed with, as far as both say.
fn has_key_named_by(issuer: &X509Certificate<'_>, of: &X509Certificate<'_>) -> bool {
    let named = of
        .extensions()
        .iter()
        .find_map(|it| match it.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
            _ => None,
        });
    let own = issuer
        .extensions()
        .iter()
        .find_map(|it| match it.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id),
            _ => None,
        });
    match (named, own) {
        (Some(named), Some(own)) => named.0 == own.0,
        _ => true,
    }
}

/// Source: OpenSSL's `X509_check_issued`.
fn may_have_issued(issuer: &X509Certificate<'_>, of: &X509Certificate<'_>) -> bool {
    issuer.subject().as_raw() == of.issuer().as_raw()
        && has_key_named_by(issuer, of)
        && key_usage(issuer).is_none_or(|usage| usage.key_cert_sign())
}

fn key_usage(certificate: &X509Certificate<'_>) -> Option<x509_parser::extensions::KeyUsage> {
    let mut all = certificate.extensions().iter();
    all.find_map(|it| match it.parsed_extension() {
        ParsedExtension::KeyUsage(usage) => Some(*usage),
        _ => None,
    })
}

fn has_name_constraints(link: &Link<'_>) -> bool {
    let mut all = link.certificate.extensions().iter();
    all.any(|it| matches!(it.parsed_extension(), ParsedExtension::NameConstraints(_)))
}

/// Source: OpenSSL's `check_extensions`, `X509_check_purpose` and `check_ca`.
fn check_extensions(path: &[Link<'_>], usage: Usage, errors: &mut Vec<VerifyError>) {
    let mut below = 0;
    for (place, link) in path.iter().enumerate() {
        let certificate = &link.certificate;
        let is_unhandled = |extension: &x509_parser::extensions::X509Extension<'_>| {
            extension.critical
                && matches!(
                    extension.parsed_extension(),
                    ParsedExtension::UnsupportedExtension { .. }
                        | ParsedExtension::ParseError { .. }
                        | ParsedExtension::Unparsed
                )
        };
        if certificate.extensions().iter().any(is_unhandled) {
            errors.push(VerifyError::CRITICAL_EXTENSION);
        }
        let constraints =
            certificate
                .extensions()
                .iter()
                .find_map(|it| match it.parsed_extension() {
                    ParsedExtension::BasicConstraints(constraints) => Some(constraints),
                    _ => None,
                });
        let is_misplaced = place > 0 && !is_authority(link, constraints.map(|it| it.ca));
        if is_misplaced {
            errors.push(VerifyError::NOT_AN_AUTHORITY);
        }
        if is_misplaced || !serves(certificate, usage, place == 0) {
            errors.push(VerifyError::PURPOSE);
        }
        let below_max = constraints.and_then(|it| it.path_len_constraint);
        if place > 0 && below_max.is_some_and(|most| below > most) {
            errors.push(VerifyError::PATH_LENGTH);
        }
        if place > 0 && certificate.subject().as_raw() != certificate.issuer().as_raw() {
            below += 1;
        }
    }
}

fn is_authority(link: &Link<'_>, says_so: Option<bool>) -> bool {
    let may_sign = key_usage(&link.certificate).is_none_or(|usage| usage.key_cert_sign());
    let is_old_root =
        link.is_trusted && link.certificate.extensions().is_empty() && is_own(&link.certificate);
    may_sign && says_so.unwrap_or(is_old_root)
}

/// Whether a certificate says that it is good for this.
fn serves(certificate: &X509Certificate<'_>, usage: Usage, is_peers: bool) -> bool {
    let extended = certificate
        .extensions()
        .iter()
        .find_map(|it| match it.parsed_extension() {
            ParsedExtension::ExtendedKeyUsage(usage) => Some(usage),
            _ => None,
        });
    let is_named = extended.is_none_or(|extended| match usage {
        Usage::Client => extended.client_auth,
        Usage::Server => extended.server_auth,
    });
    let may = key_usage(certificate).is_none_or(|key| {
        let agrees = key.digital_signature() || key.key_agreement();
        agrees || usage == Usage::Server && key.key_encipherment()
    });
    is_named && (!is_peers || may)
}

/// Signatures and times, from the root down.
///
/// Source: OpenSSL's `internal_verify`.
fn check_signatures(path: &[Link<'_>], now_s: i64, errors: &mut Vec<VerifyError>) {
    let top = &path[path.len() - 1].certificate;
    let mut first = path.len();
    if !is_own(top) {
        match path.len() {
            1 => errors.push(VerifyError::NO_FIRST_SIGNATURE),
            len => first = len - 1,
        }
    }
    for place in (0..first).rev() {
        let certificate = &path[place].certificate;
        if let Some(issuer) = path.get(place + 1)
            && !is_signed_by(certificate.as_raw(), issuer.certificate.public_key())
        {
            errors.push(VerifyError::SIGNATURE);
        }
        let validity = certificate.validity();
        if validity.not_before.timestamp() > now_s {
            errors.push(VerifyError::NOT_YET_VALID);
        }
        if validity.not_after.timestamp() < now_s {
            errors.push(VerifyError::EXPIRED);
        }
    }
}

fn of_webpki(error: &webpki::Error) -> VerifyError {
    use webpki::Error;
    match error {
        Error::NameConstraintViolation => VerifyError::NAME_CONSTRAINT,
        Error::UnsupportedCriticalExtension => VerifyError::CRITICAL_EXTENSION,
        Error::CertExpired { .. } => VerifyError::EXPIRED,
        Error::CertNotValidYet { .. } => VerifyError::NOT_YET_VALID,
        Error::PathLenConstraintViolated => VerifyError::PATH_LENGTH,
        Error::EndEntityUsedAsCa => VerifyError::NOT_AN_AUTHORITY,
        Error::UnsupportedSignatureAlgorithmContext(_) => VerifyError::WEAK_DIGEST,
        Error::InvalidSignatureForPublicKey => VerifyError::SIGNATURE,
        Error::RequiredEkuNotFoundContext(_) => VerifyError::PURPOSE,
        Error::UnknownIssuer => VerifyError::NO_LOCAL_ISSUER,
        _ => VerifyError::UNSPECIFIED,
    }
}

/// Whether a certificate is for a host: one of its names is, or, where it has none, its common name.
/// An address is looked for among its addresses.
///
/// Source: RFC 9525, 6.3; OpenSSL's `X509_check_host` for the common name.
pub fn is_for_host(certificate: &CertificateDer<'_>, host: &str) -> bool {
    use x509_parser::extensions::GeneralName;
    let Some(certificate) = parsed(certificate) else {
        return false;
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|it| it.value.general_names.as_slice());
    let names = names.unwrap_or_default();
    if let Ok(address) = host.parse::<std::net::IpAddr>() {
        let octets = match address {
            std::net::IpAddr::V4(it) => it.octets().to_vec(),
            std::net::IpAddr::V6(it) => it.octets().to_vec(),
        };
        return names
            .iter()
            .any(|name| matches!(name, GeneralName::IPAddress(bytes) if **bytes == octets[..]));
    }
    let mut dns = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    if names
        .iter()
        .any(|name| matches!(name, GeneralName::DNSName(_)))
    {
        return dns.any(|name| is_name_for(name, host));
    }
    let mut common = certificate.subject().iter_common_name();
    common.any(|name| name.as_str().is_ok_and(|name| is_name_for(name, host)))
}

/// A star stands for one label, the first, and two follow it at least.
fn is_name_for(name: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    if name.eq_ignore_ascii_case(host) {
        return !host.is_empty() && !host.contains('*');
    }
    let (Some(name), Some((first, host))) = (name.strip_prefix("*."), host.split_once('.')) else {
        return false;
    };
    !first.is_empty() && name.contains('.') && name.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_fit_hosts_as_they_should() {
        for (name, host, fits) in [
            ("a.example.org", "A.Example.ORG", true),
            ("a.example.org", "a.example.org.", true),
            ("*.example.org", "a.example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", ".example.org", false),
            ("*.example.org", "a.b.example.org", false),
            ("*.org", "example.org", false),
            ("*", "org", false),
            ("a*.example.org", "ab.example.org", false),
            ("*.example.org", "*.example.org", false),
            ("", "", false),
        ] {
            assert_eq!(is_name_for(name, host), fits, "{name} {host}");
        }
    }

    proptest! {
        /// Whatever a peer shows is judged, and nothing of it is a panic.
        #[test]
        fn any_bytes_are_judged(
            chain in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4),
        ) {
            let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
            prop_assert!(Trust::default().judge(&chain, Usage::Client, 0).is_err());
            prop_assert!(chain.iter().all(|it| !is_for_host(it, "a.test")));
        }

        /// The same of a certificate that is sound but for some bytes.
        #[test]
        fn changed_bytes_are_judged(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let made = rcgen::generate_simple_self_signed(vec!["a.test".into()]).unwrap();
            let sound = made.cert.der().clone();
            let trust = Trust::new(vec![sound.clone()], Vec::new(), 1);
            let mut bytes = sound.to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let is_same = bytes == *sound;
            let changed = CertificateDer::from(bytes);
            let judged = trust.judge(std::slice::from_ref(&changed), Usage::Server, 1_700_000_000);
            prop_assert!(judged.is_err() || is_same, "{:?}", changed);
            let _ = is_for_host(&changed, "a.test");
            if let Some(text) = crate::names::CertificateText::new(&changed) {
                let _ = (text.subject(), text.issuer_on_one_line(), text.serial(), text.hosts());
                let _ = (text.not_before(), text.not_after(), text.days_left(0));
            }
            let _ = crate::ocsp::request(&changed, &sound);
            let _ = crate::ocsp::responder(&changed);
        }
    }
}
