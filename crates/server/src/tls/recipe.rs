//! What a server agrees to, whatever its certificates are.

use std::sync::Arc;

use revolve_tls::rustls::ServerConfig;
use revolve_tls::rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use revolve_tls::rustls::sign::CertifiedKey;
use revolve_tls::{ServerOptions, Tickets};

use super::sessions::{Bound, SharedSessions};

/// Where sessions are kept.
#[derive(Debug, Clone)]
pub(crate) enum SessionPlace {
    /// Nowhere.
    Nowhere,
    /// So many in the worker.
    Worker(usize),
    /// In a zone.
    Shared(Bound),
}

/// All that is known before the certificates are.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(super) options: ServerOptions,
    /// Secrets of which the keys of tickets are made, the first of which seals; none where there are no
    /// tickets.
    pub(super) ticket_secrets: Vec<Vec<u8>>,
    pub(super) sessions: SessionPlace,
    pub(super) session_timeout_s: u32,
    /// How clients are judged, to which sessions are bound.
    pub(super) context: Vec<u8>,
}

impl Recipe {
    /// What rustls is told of a server with these certificates.
    pub(super) fn build(
        &self,
        keys: Vec<Arc<CertifiedKey>>,
    ) -> Result<Arc<ServerConfig>, revolve_tls::rustls::Error> {
        let mut context = Vec::new();
        for certificate in keys.iter().filter_map(|key| key.cert.first()) {
            context.extend_from_slice(certificate);
        }
        context.extend_from_slice(&self.context);
        let tickets = Tickets::new(&self.ticket_secrets, &context, self.session_timeout_s);
        let sessions: Option<Arc<dyn StoresServerSessions>> = match &self.sessions {
            SessionPlace::Nowhere => None,
            SessionPlace::Worker(most) => Some(ServerSessionMemoryCache::new(*most)),
            SessionPlace::Shared(table) => {
                let context = revolve_tls::digest(&context);
                let timeout_s = self.session_timeout_s;
                Some(Arc::new(SharedSessions::new(
                    table.clone(),
                    &context,
                    timeout_s,
                )))
            }
        };
        let options = ServerOptions {
            keys,
            tickets: tickets.map(|tickets| Arc::new(tickets) as _),
            sessions,
            ..self.options.clone()
        };
        options.build()
    }
}
