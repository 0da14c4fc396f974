//! A configuration in use by one loop: what a request holds on to from its beginning to its end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::config::Base;
use crate::http::Http;
use crate::http::location::Location;
use crate::log::Logs;
use crate::runtime::loop_state::Installed;
use crate::upstream::{Group, Registry};
use crate::zones::Zones;

/// One configuration and its open logs, on one loop.
///
/// A reload puts a new one beside it; requests under way keep theirs, and the last of them
/// frees it.
pub(crate) struct Site {
    /// The `http` block.
    pub(crate) http: Arc<Http>,
    /// What the configuration says besides.
    pub(crate) base: Arc<Base>,
    /// The logs that it names.
    pub(crate) logs: Rc<Logs>,
    /// The zones that it names, open.
    pub(crate) zones: Arc<Zones>,
    /// The groups that requests are passed to, in the order of the configuration's list.
    groups: RefCell<Vec<Rc<Group>>>,
    /// Whether requests that begin now are served by it.
    in_force: Cell<bool>,
    /// The locations of the configuration, within easy reach: every step of a request asks one.
    pub(crate) locations: Arc<[Location]>,
}

impl Site {
    pub(crate) fn new(http: Arc<Http>, installed: &Installed, registry: &Registry) -> Self {
        for tls in http.servers.iter().filter_map(|server| server.tls.as_ref()) {
            tls.bind(&installed.zones);
        }
        let groups = http.upstreams.iter();
        let groups = groups.map(|upstream| registry.group(&upstream.spec));
        Self {
            groups: RefCell::new(groups.collect()),
            in_force: Cell::new(true),
            base: installed.base.clone(),
            logs: installed.logs.clone(),
            zones: installed.zones.clone(),
            locations: Arc::clone(&http.locations),
            http,
        }
    }

    /// Whether requests that begin now are served by it.
    pub(crate) fn is_in_force(&self) -> bool {
        self.in_force.get()
    }

    /// Another takes its place.
    pub(crate) fn retire(&self) {
        self.in_force.set(false);
    }

    /// The group at a place of the configuration's list, as its names lead now.
    pub(crate) fn group(&self, place: usize) -> Rc<Group> {
        self.groups.borrow()[place].clone()
    }

    /// The group of a name, if there is one, and its place.
    pub(crate) fn group_named(&self, name: &str) -> Option<(usize, Rc<Group>)> {
        let groups = self.groups.borrow();
        let place = groups.iter().position(|it| it.spec.name == name)?;
        Some((place, groups[place].clone()))
    }

    /// All groups, as their names lead now.
    pub(crate) fn groups(&self) -> Vec<Rc<Group>> {
        self.groups.borrow().clone()
    }

    /// Puts another group into the place of one whose names lead elsewhere.
    pub(crate) fn replace_group(&self, place: usize, group: Rc<Group>) {
        self.groups.borrow_mut()[place] = group;
    }
}
