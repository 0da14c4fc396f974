//! Chains of certificates, good and bad, judged by us and by `openssl verify`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams,
    CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, NameConstraints, RevokedCertParams,
};
use revolve_tls::rustls::pki_types::CertificateDer;
use revolve_tls::{Trust, Usage, VerifyError, revocation_lists};

/// What is wrong with a chain, or only unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twist {
    LeafExpired,
    LeafEarly,
    IntermediateExpired,
    RootExpired,
    LeafForged,
    IntermediateForged,
    IntermediateIsNoAuthority,
    IntermediateMaySignNothing,
    IntermediateHasPathLengthZero,
    RootHasPathLengthZero,
    LeafForServers,
    LeafForClients,
    LeafForAnything,
    LeafForCodeAlone,
    LeafMayNotSign,
    LeafIsAuthority,
    LeafIsSelfSigned,
    LeafIsSelfSignedAndTrusted,
    LeafHasUnknownCritical,
    LeafHasUnknown,
    IntermediatePermitsOthers,
    IntermediatePermitsIt,
    IntermediateExcludesIt,
    IntermediatesMissing,
    IntermediatesTrusted,
    RootMissing,
    RootSent,
    OthersSent,
    SentBackwards,
    Listed,
    LeafRevoked,
    IntermediateRevoked,
    ListMissing,
    ListExpired,
    ListForged,
}

use Twist::*;

const ALL: [Twist; 35] = [
    LeafExpired,
    LeafEarly,
    IntermediateExpired,
    RootExpired,
    LeafForged,
    IntermediateForged,
    IntermediateIsNoAuthority,
    IntermediateMaySignNothing,
    IntermediateHasPathLengthZero,
    RootHasPathLengthZero,
    LeafForServers,
    LeafForClients,
    LeafForAnything,
    LeafForCodeAlone,
    LeafMayNotSign,
    LeafIsAuthority,
    LeafIsSelfSigned,
    LeafIsSelfSignedAndTrusted,
    LeafHasUnknownCritical,
    LeafHasUnknown,
    IntermediatePermitsOthers,
    IntermediatePermitsIt,
    IntermediateExcludesIt,
    IntermediatesMissing,
    IntermediatesTrusted,
    RootMissing,
    RootSent,
    OthersSent,
    SentBackwards,
    Listed,
    LeafRevoked,
    IntermediateRevoked,
    ListMissing,
    ListExpired,
    ListForged,
];

/// A chain, and how it is judged.
#[derive(Debug, Clone)]
struct Case {
    intermediates: usize,
    twists: Vec<Twist>,
    depth: usize,
    usage: Usage,
}

fn time(days: i64) -> SystemTime {
    let days_s = Duration::from_secs(86_400 * days.unsigned_abs());
    match days < 0 {
        true => SystemTime::now() - days_s,
        false => SystemTime::now() + days_s,
    }
}

fn params(name: &str, serial: u8, days: (i64, i64)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(u64::from(serial).into());
    params.not_before = time(days.0).into();
    params.not_after = time(days.1).into();
    params.use_authority_key_identifier_extension = true;
    params
}

struct Made {
    certificate: Certificate,
    params: CertificateParams,
    key_id: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// What lies in the files of a case.
struct Files {
    sent: Vec<Certificate>,
    trusted: Vec<Certificate>,
    lists: String,
}

impl Case {
    fn has(&self, twist: Twist) -> bool {
        self.twists.contains(&twist)
    }

    fn days(&self, early: bool, late: bool) -> (i64, i64) {
        match (early, late) {
            (true, _) => (2, 10),
            (_, true) => (-10, -2),
            _ => (-2, 10),
        }
    }

    fn root(&self) -> Made {
        let mut params = params("root", 1, self.days(false, self.has(RootExpired)));
        params.is_ca = IsCa::Ca(match self.has(RootHasPathLengthZero) {
            true => BasicConstraints::Constrained(0),
            false => BasicConstraints::Unconstrained,
        });
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        Made {
            certificate: params.self_signed(&key).unwrap(),
            key_id: params.key_identifier(&key),
            params: params.clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn intermediate(&self, place: usize, above: &Made) -> Made {
        let is_last = place + 1 == self.intermediates;
        let twisted = |twist| is_last && self.has(twist);
        let days = self.days(false, twisted(IntermediateExpired));
        let serial = if is_last { 20 } else { 10 + place as u8 };
        let mut params = params(&format!("intermediate {place}"), serial, days);
        params.is_ca = match () {
            () if twisted(IntermediateIsNoAuthority) => IsCa::ExplicitNoCa,
            () if place == 0 && self.has(IntermediateHasPathLengthZero) => {
                IsCa::Ca(BasicConstraints::Constrained(0))
            }
            () => IsCa::Ca(BasicConstraints::Unconstrained),
        };
        params.key_usages = match twisted(IntermediateMaySignNothing) {
            true => vec![KeyUsagePurpose::DigitalSignature],
            false => vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign],
        };
        let subtree = |name: &str| vec![GeneralSubtree::DnsName(name.to_owned())];
        let (permitted, excluded) = match () {
            () if twisted(IntermediatePermitsOthers) => (subtree("other.test"), Vec::new()),
            () if twisted(IntermediatePermitsIt) => (subtree("leaf.test"), Vec::new()),
            () if twisted(IntermediateExcludesIt) => (Vec::new(), subtree("leaf.test")),
            () => Default::default(),
        };
        if !permitted.is_empty() || !excluded.is_empty() {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: permitted,
                excluded_subtrees: excluded,
            });
        }
        let key = KeyPair::generate().unwrap();
        let forger = forged(above, twisted(IntermediateForged));
        let signer = forger.as_ref().unwrap_or(&above.issuer);
        Made {
            certificate: params.signed_by(&key, signer).unwrap(),
            key_id: params.key_identifier(&key),
            params: params.clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn leaf(&self, above: &Made) -> Certificate {
        let days = self.days(self.has(LeafEarly), self.has(LeafExpired));
        let mut params = params("leaf", 30, days);
        params.subject_alt_names = vec![rcgen::SanType::DnsName("a.leaf.test".try_into().unwrap())];
        for (twist, usage) in [
            (LeafForServers, ExtendedKeyUsagePurpose::ServerAuth),
            (LeafForClients, ExtendedKeyUsagePurpose::ClientAuth),
            (LeafForAnything, ExtendedKeyUsagePurpose::Any),
            (LeafForCodeAlone, ExtendedKeyUsagePurpose::CodeSigning),
        ] {
            if self.has(twist) {
                params.extended_key_usages.push(usage);
            }
        }
        if self.has(LeafMayNotSign) {
            params.key_usages = vec![KeyUsagePurpose::DataEncipherment];
        }
        if self.has(LeafIsAuthority) {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        for (twist, is_critical) in [(LeafHasUnknownCritical, true), (LeafHasUnknown, false)] {
            if self.has(twist) {
                let oid = [1, 3, 6, 1, 4, 1, 99999, 1];
                let mut extension = CustomExtension::from_oid_content(&oid, vec![5, 0]);
                extension.set_criticality(is_critical);
                params.custom_extensions.push(extension);
            }
        }
        let key = KeyPair::generate().unwrap();
        if self.has(LeafIsSelfSigned) || self.has(LeafIsSelfSignedAndTrusted) {
            return params.self_signed(&key).unwrap();
        }
        let forger = forged(above, self.has(LeafForged));
        let signer = forger.as_ref().unwrap_or(&above.issuer);
        params.signed_by(&key, signer).unwrap()
    }

    fn files(&self) -> Files {
        let mut authorities = vec![self.root()];
        for place in 0..self.intermediates {
            let next = self.intermediate(place, &authorities[place]);
            authorities.push(next);
        }
        let leaf = self.leaf(&authorities[self.intermediates]);
        let lists = self.lists(&authorities);
        let mut authorities = authorities.into_iter().map(|made| made.certificate);
        let root = authorities.next().unwrap();
        let mut between: Vec<Certificate> = authorities.collect();
        between.reverse();
        let mut trusted = Vec::new();
        if self.has(LeafIsSelfSignedAndTrusted) {
            trusted.push(leaf.clone());
        }
        if self.has(IntermediatesTrusted) {
            trusted.extend(between.iter().cloned());
        }
        let mut sent = vec![leaf];
        if self.has(SentBackwards) {
            between.reverse();
        }
        if !self.has(IntermediatesMissing) && !self.has(IntermediatesTrusted) {
            sent.extend(between);
        }
        if self.has(OthersSent) {
            let other = Case {
                intermediates: 0,
                twists: Vec::new(),
                ..self.clone()
            };
            sent.push(other.root().certificate);
        }
        if self.has(RootSent) {
            sent.push(root.clone());
        }
        match self.has(RootMissing) {
            true => trusted.push(self.root().certificate),
            false => trusted.push(root),
        }
        Files {
            sent,
            trusted,
            lists,
        }
    }

    fn lists(&self, authorities: &[Made]) -> String {
        let twists = [
            Listed,
            LeafRevoked,
            IntermediateRevoked,
            ListMissing,
            ListExpired,
            ListForged,
        ];
        if !twists.iter().any(|twist| self.has(*twist)) {
            return String::new();
        }
        let mut lists = String::new();
        for (place, made) in authorities.iter().enumerate() {
            let is_last = place + 1 == authorities.len();
            if is_last && self.has(ListMissing) && place > 0 {
                continue;
            }
            let mut revoked = Vec::new();
            if self.has(LeafRevoked) {
                revoked.push(30);
            }
            if self.has(IntermediateRevoked) {
                revoked.push(20);
            }
            let is_expired = is_last && self.has(ListExpired);
            let list = CertificateRevocationListParams {
                this_update: time(-5).into(),
                next_update: time(if is_expired { -1 } else { 5 }).into(),
                crl_number: 1_u64.into(),
                issuing_distribution_point: None,
                revoked_certs: revoked.into_iter().map(revoked_serial).collect(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            let forger = forged(made, is_last && self.has(ListForged));
            let list = list.signed_by(forger.as_ref().unwrap_or(&made.issuer));
            // Whoever may sign no list signs none.
            if let Ok(list) = list {
                lists.push_str(&list.pem().unwrap());
            }
        }
        lists
    }

    fn by_us(&self, files: &Files) -> Result<(), VerifyError> {
        let der = |all: &[Certificate]| -> Vec<CertificateDer<'static>> {
            all.iter().map(|it| it.der().clone()).collect()
        };
        let lists = match files.lists.is_empty() {
            true => Vec::new(),
            false => revocation_lists(files.lists.as_bytes()).unwrap(),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let trust = Trust::new(der(&files.trusted), lists, self.depth);
        trust.judge(&der(&files.sent), self.usage, now.as_secs() as i64)
    }

    fn by_openssl(&self, files: &Files, folder: &Path) -> bool {
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let pem = |all: &[Certificate]| all.iter().map(Certificate::pem).collect::<String>();
        let mut command = Command::new("openssl");
        command.args(["verify", "-purpose"]);
        command.arg(match self.usage {
            Usage::Client => "sslclient",
            Usage::Server => "sslserver",
        });
        command.arg("-verify_depth").arg(self.depth.to_string());
        command.arg("-no-CApath").arg("-no-CAstore");
        command
            .arg("-CAfile")
            .arg(write("trusted", pem(&files.trusted)));
        if files.sent.len() > 1 {
            command
                .arg("-untrusted")
                .arg(write("untrusted", pem(&files.sent[1..])));
        }
        if !files.lists.is_empty() {
            command.arg("-crl_check").arg("-crl_check_all");
            command
                .arg("-CRLfile")
                .arg(write("lists", files.lists.clone()));
        }
        command.arg(write("leaf", pem(&files.sent[..1])));
        command.output().expect("openssl runs").status.success()
    }
}

/// Somebody who has the name of an authority, and another key, of which he says that it is the true one.
fn forged(made: &Made, is_wanted: bool) -> Option<Issuer<'static, KeyPair>> {
    is_wanted.then(|| {
        let mut params = made.params.clone();
        params.key_identifier_method = KeyIdMethod::PreSpecified(made.key_id.clone());
        Issuer::new(params, KeyPair::generate().unwrap())
    })
}

fn revoked_serial(serial: u8) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: u64::from(serial).into(),
        revocation_time: time(-3).into(),
        reason_code: None,
        invalidity_date: None,
    }
}

/// Each twist alone and in pairs, for chains of up to three authorities between, as far as so many go.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for usage in [Usage::Client, Usage::Server] {
        for intermediates in 0..4 {
            for depth in [0, 1, 3] {
                cases.push(Case {
                    intermediates,
                    twists: Vec::new(),
                    depth,
                    usage,
                });
            }
        }
    }
    for (at, first) in ALL.into_iter().enumerate() {
        for intermediates in [0, 1, 2] {
            let usage = if at % 2 == 0 {
                Usage::Client
            } else {
                Usage::Server
            };
            cases.push(Case {
                intermediates,
                twists: vec![first],
                depth: 3,
                usage,
            });
        }
        let pairs = ALL[at + 1..].iter().enumerate();
        for (place, second) in pairs.filter(|(place, _)| (place + at) % 4 == 0) {
            cases.push(Case {
                intermediates: 1 + place % 2,
                twists: vec![first, *second],
                depth: 1 + place % 3,
                usage: if place % 8 < 4 {
                    Usage::Client
                } else {
                    Usage::Server
                },
            });
        }
    }
    cases
}

/// `webpki` takes no authority's own certificate, and what we take in its place has no names that are
/// constrained, which nobody would check.
fn may_be_stricter(case: &Case) -> bool {
    let constraints = [
        IntermediatePermitsIt,
        IntermediatePermitsOthers,
        IntermediateExcludesIt,
    ];
    case.has(LeafIsAuthority) && constraints.iter().any(|twist| case.has(*twist))
}

#[test]
fn nothing_is_taken_that_openssl_refuses() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("left out: there is no openssl to compare with");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cases = cases();
    assert!(cases.len() > 200, "{}", cases.len());
    let (mut taken, mut refused) = (0, 0);
    let mut stricter = Vec::new();
    for case in &cases {
        let files = case.files();
        let ours = case.by_us(&files);
        let theirs = case.by_openssl(&files, folder.path());
        assert!(
            theirs || ours.is_err(),
            "taken, and refused by openssl: {case:?}"
        );
        match (&ours, theirs) {
            (Err(error), true) if !may_be_stricter(case) => stricter.push((case, *error)),
            (Ok(()), _) => taken += 1,
            (Err(_), _) => refused += 1,
        }
    }
    assert!(
        stricter.is_empty(),
        "refused, and taken by openssl: {stricter:#?}"
    );
    assert!(taken > 60 && refused > 60, "{taken} {refused}");
}
