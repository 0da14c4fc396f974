//! HTTP on one loop: the configuration in force, and what all requests of the loop share.

use std::cell::{Cell, RefCell};
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;

use crate::http::Http;
use crate::http::h1::preamble::Preambles;
use crate::http::request::Request;
use crate::http::site::Site;
use crate::runtime::loop_state::Installed;

/// HTTP on one loop. It serves nothing before it is configured.
#[derive(Default)]
pub(crate) struct HttpLoop {
    site: RefCell<Option<Rc<Site>>>,
    pub(crate) preambles: Preambles,
    boundary: Cell<u64>,
    drawn: Cell<u64>,
    ids: foldhash::quality::RandomState,
}

impl HttpLoop {
    /// Takes a configuration: requests that begin from now on are served by it.
    pub(crate) fn configure(&self, http: &Arc<Http>, installed: &Rc<Installed>) {
        let site = Site::new(http.clone(), installed);
        *self.site.borrow_mut() = Some(Rc::new(site));
    }

    /// The configuration for the next request.
    ///
    /// Panics where none has an `http` block: nothing is listened on then, so no request can ask.
    pub(crate) fn site(&self) -> Rc<Site> {
        let site = self.site.borrow();
        site.clone()
            .expect("a connection came in, so there is an http block")
    }

    /// A number for the boundary of a multipart response.
    pub(crate) fn next_boundary(&self) -> u64 {
        self.boundary.set(self.boundary.get() + 1);
        self.boundary.get()
    }

    /// A number that nobody foretells.
    pub(crate) fn random(&self) -> u64 {
        self.drawn.set(self.drawn.get().wrapping_add(1));
        self.ids.hash_one(self.drawn.get())
    }

    /// `$request_id`: 32 hexadecimal digits, the same for one request however often it is asked.
    pub(crate) fn request_id(&self, request: &Request) -> String {
        let half = |salt: u8| {
            self.ids
                .hash_one((request.connection.number, request.current.sequence, salt))
        };
        format!("{:016x}{:016x}", half(0), half(1))
    }
}
