//! Signatures, apart from what they say: whoever has shown a certificate has its key. Whether the
//! certificate is to be trusted is judged after the handshake, so that a refusal can be explained, and so
//! that what has to be looked up may take its time.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::der::element;
use crate::schemes::note_peer;

/// Takes every certificate that its owner has the key of.
#[derive(Debug)]
pub(crate) struct AnyChain {
    algorithms: WebPkiSupportedAlgorithms,
    /// Whose certificates a client is asked for.
    authorities: Vec<DistinguishedName>,
}

impl AnyChain {
    pub(crate) fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self {
            algorithms,
            authorities: Vec::new(),
        }
    }

    /// The same of a server that asks its clients for certificates of these authorities.
    pub(crate) fn asking_for(
        algorithms: WebPkiSupportedAlgorithms,
        authorities: Vec<DistinguishedName>,
    ) -> Self {
        Self {
            algorithms,
            authorities,
        }
    }

    /// Not by rustls' own, which refuse certificates of X.509's first version that people have.
    fn verify_tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let parsed = parse(certificate)?;
        let key = parsed.public_key();
        note_peer(signed.scheme);
        let mapping = self.algorithms.mapping.iter();
        let mut schemes = mapping.filter(|(scheme, _)| *scheme == signed.scheme);
        let is_valid = schemes.any(|(_, algorithms)| {
            algorithms.iter().any(|algorithm| {
                is_key_of(key, algorithm.public_key_alg_id().as_ref())
                    && algorithm
                        .verify_signature(&key.subject_public_key.data, message, signed.signature())
                        .is_ok()
            })
        });
        match is_valid {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify_tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let parsed = parse(certificate)?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        note_peer(signed.scheme);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    let parsed = X509Certificate::from_der(certificate);
    let (_, parsed) = parsed.map_err(|_| Error::from(CertificateError::BadEncoding))?;
    Ok(parsed)
}

/// Whether a public key is of the algorithm of this identifier, the content of its DER.
pub(crate) fn is_key_of(key: &SubjectPublicKeyInfo<'_>, identifier: &[u8]) -> bool {
    let inside = element(key.raw).map(|(inside, _)| inside);
    inside.and_then(element).map(|(inside, _)| inside) == Some(identifier)
}

/// Whether a structure of DER that is signed (`SEQUENCE { what, algorithm, signature }`) was signed by the
/// owner of a key.
pub(crate) fn is_signed_by(signed: &[u8], key: &SubjectPublicKeyInfo<'_>) -> bool {
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    let parts = || {
        let (inside, _) = element(signed)?;
        let (_, behind) = element(inside)?;
        let what = &inside[..inside.len() - behind.len()];
        let (algorithm, behind) = element(behind)?;
        let (signature, _) = element(behind)?;
        // A bit string of whole bytes.
        let (0, signature) = signature
            .split_first()
            .map(|(unused, rest)| (*unused, rest))?
        else {
            return None;
        };
        Some((what, algorithm, signature))
    };
    let Some((what, algorithm, signature)) = parts() else {
        return false;
    };
    algorithms.all.iter().any(|known| {
        known.signature_alg_id().as_ref() == algorithm
            && is_key_of(key, known.public_key_alg_id().as_ref())
            && known
                .verify_signature(&key.subject_public_key.data, what, signature)
                .is_ok()
    })
}

impl ServerCertVerifier for AnyChain {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for AnyChain {
    /// A client without one is answered, and told so.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.authorities
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
