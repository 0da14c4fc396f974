//! The challenge that is answered within a handshake. Source: RFC 8737.

use std::sync::Arc;

use rcgen::{CustomExtension, KeyPair};
use revolve_tls::rustls::ServerConfig;
use revolve_tls::{ClientHello, ServerOptions};

use super::challenges::Challenges;
use super::state;

/// The protocol above TLS that an authority speaks.
pub(crate) const PROTOCOL: &[u8] = b"acme-tls/1";

/// What an authority's handshake is answered by; `None` for every other handshake, and where nothing is to
/// be shown of the name that it asks for.
pub(crate) fn answer(hello: &ClientHello, challenges: &Challenges) -> Option<Arc<ServerConfig>> {
    // An authority names this protocol alone, so that nobody else gets such a certificate by chance.
    let [protocol] = hello.protocols.as_slice() else {
        return None;
    };
    let asked = hello
        .server_name
        .as_deref()
        .filter(|_| protocol == PROTOCOL)?;
    let (name, authorization) = challenges.authorization(asked)?;
    made(&name, &authorization).ok()
}

/// A certificate for a name alone which says what the authority wants to hear, by a key of its own.
fn made(name: &str, authorization: &[u8]) -> Result<Arc<ServerConfig>, String> {
    let mut params = state::params(&[name.to_owned()])?;
    let digest = revolve_tls::digest(authorization);
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let text = |error: rcgen::Error| error.to_string();
    let key = KeyPair::generate().map_err(text)?;
    let certificate = params.self_signed(&key).map_err(text)?;
    let chain = vec![certificate.der().clone()];
    let pair = revolve_tls::key_pair(chain, key.serialize_pem().as_bytes(), &[]);
    let options = ServerOptions {
        keys: vec![pair.map_err(|error| error.to_string())?.certified],
        protocols: vec![PROTOCOL.to_vec()],
        ..ServerOptions::default()
    };
    options.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_of_an_authority_alone_is_answered() {
        let challenges = Challenges::of(8);
        challenges
            .put_authorization("a.test", "token.hash")
            .unwrap();
        let hello = |name: &str, protocols: &[&[u8]]| ClientHello {
            server_name: Some(name.into()),
            protocols: protocols.iter().map(|it| it.to_vec()).collect(),
            ..ClientHello::default()
        };
        let is_answered = |hello: ClientHello| answer(&hello, &challenges).is_some();
        assert!(is_answered(hello("a.test", &[PROTOCOL])));
        assert!(!is_answered(hello("b.test", &[PROTOCOL])));
        assert!(!is_answered(hello("a.test", &[])));
        assert!(!is_answered(hello("a.test", &[b"http/1.1", PROTOCOL])));
        challenges.remove_authorization("a.test");
        assert!(!is_answered(hello("a.test", &[PROTOCOL])));
    }
}
