//! What a server agrees to, whatever its certificates are.

use std::sync::Arc;

use revolve_tls::rustls::ServerConfig;
use revolve_tls::rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use revolve_tls::rustls::sign::CertifiedKey;
use revolve_tls::{ServerOptions, Tickets};

use super::sessions::{Bound, SharedSessions};
use super::ticket_keys::RotatedSecrets;

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

/// Where the keys of tickets come from.
#[derive(Debug, Clone)]
pub(crate) enum TicketPlace {
    /// There are no tickets.
    Nowhere,
    /// Secrets of which they are made, the first of which seals.
    Named(Vec<Vec<u8>>),
    /// We make them.
    Rotated(RotatedSecrets),
}

/// All that is known before the certificates are.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(super) options: ServerOptions,
    pub(super) tickets: TicketPlace,
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
        let lifetime_s = self.session_timeout_s;
        let tickets = match &self.tickets {
            TicketPlace::Nowhere => None,
            TicketPlace::Named(secrets) => Tickets::new(secrets, &context, lifetime_s),
            TicketPlace::Rotated(secrets) => {
                let secrets = Arc::new(secrets.clone());
                Some(Tickets::rotated(secrets, &context, lifetime_s))
            }
        };
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
