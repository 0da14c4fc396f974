//! HTTP on one loop: the configuration in force, and what all requests of the loop share.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use revolve_reactor::spawn;

use crate::acme::{self, Challenges};
use crate::http::Http;
use crate::http::h1::preamble::Preambles;
use crate::http::modules::{auth_basic, cache, health_check};
use crate::http::names;
use crate::http::site::Site;
use crate::log::Level;
use crate::runtime::connection::Connection;
use crate::runtime::loop_state::{Installed, LoopState};
use crate::upstream::zone::Home;
use crate::upstream::{Group, Registry};

/// HTTP on one loop. It serves nothing before it is configured.
#[derive(Default)]
pub(crate) struct HttpLoop {
    site: RefCell<Option<Rc<Site>>>,
    upstreams: Rc<Registry>,
    pub(crate) preambles: Preambles,
    /// What upstreams have answered.
    pub(crate) caches: cache::LoopCaches,
    /// Passwords that were right.
    pub(crate) passwords: auth_basic::Remembered,
    /// The number of the configuration in force.
    in_force: Rc<Cell<u64>>,
    boundary: Cell<u64>,
    /// Numbers under a key of this loop's own (SipHash) are what nobody can guess, `$request_id`.
    id_key: RandomState,
    ids: Cell<u64>,
}

impl HttpLoop {
    /// Takes a configuration: requests that begin from now on are served by it.
    pub(crate) fn configure(&self, http: &Arc<Http>, installed: &Rc<Installed>) {
        self.upstreams.set_home(Home {
            zones: installed.zones.clone(),
            worker: installed.seat.number(),
        });
        let site = Site::new(http.clone(), installed, &self.upstreams);
        let site = Rc::new(site);
        names::watch(&site, &self.upstreams);
        self.order(&site);
        health_check::watch(&site, &self.upstreams);
        cache::watch(&site);
        if let Some(before) = self.site.borrow_mut().replace(site) {
            before.retire();
        }
        self.upstreams.forget_unused();
    }

    /// Has certificates be ordered, for as long as this configuration is in force.
    fn order(&self, site: &Rc<Site>) {
        self.in_force.set(site.http.id);
        let Some(acme) = &site.http.acme else {
            return;
        };
        let (id, in_force) = (site.http.id, self.in_force.clone());
        let challenges = site.zones.state::<Challenges>(acme.zone).clone();
        let names = &site.http.names;
        let timeout = Duration::from_millis(names.timeout_ms);
        let (spec, acme) = (names.spec.clone(), acme.clone());
        let logs = site.logs.clone();
        let say = move |is_error: bool, what: String| {
            let level = if is_error {
                Level::Error
            } else {
                Level::Notice
            };
            logs.process(level, format_args!("{what}"));
        };
        let is_in_force = move || in_force.get() == id;
        spawn(async move {
            if let Some(state) = LoopState::current() {
                let resolver = state.resolvers.get(&spec, timeout);
                acme::run(acme, challenges, resolver, is_in_force, say).await;
            }
        });
    }

    /// The configuration for the next request.
    ///
    /// Panics where none has an `http` block: nothing is listened on then, so no request can ask.
    pub(crate) fn site(&self) -> Rc<Site> {
        let site = self.site.borrow();
        site.clone()
            .expect("a connection came in, so there is an http block")
    }

    /// The groups of the configuration in force.
    pub(crate) fn groups(&self) -> Vec<Rc<Group>> {
        let site = self.site.borrow();
        site.as_ref().map(|site| site.groups()).unwrap_or_default()
    }

    /// Whether a connection that was just accepted begins with a handshake.
    pub(crate) fn speaks_tls(&self, connection: &Connection) -> bool {
        let site = self.site.borrow();
        let site = site.as_ref();
        site.is_some_and(|site| site.http.hosts_at(connection).is_tls)
    }

    /// A number for the boundary of a multipart response.
    pub(crate) fn next_boundary(&self) -> u64 {
        self.boundary.set(self.boundary.get() + 1);
        self.boundary.get()
    }

    /// A number that nobody foretells.
    pub(crate) fn random(&self) -> u64 {
        let number = self.ids.get();
        self.ids.set(number.wrapping_add(1));
        self.id_key.hash_one(number)
    }

    /// 16 bytes that no request had before, and that nobody can guess.
    pub(crate) fn next_request_id(&self) -> [u8; 16] {
        let number = self.ids.get();
        self.ids.set(number.wrapping_add(1));
        let half = |salt: u8| u128::from(self.id_key.hash_one((number, salt)));
        (half(0) << 64 | half(1)).to_be_bytes()
    }
}
