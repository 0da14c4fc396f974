//! Names and their addresses: asked of name servers without blocking the loop, and kept for as long
//! as they hold.
//!
//! One [`Resolver`] a loop and set of servers, which configurations share. Those who ask for one name
//! at a time wait for one query. When the servers are gone, what they said last is taken for a day
//! (RFC 8767). Without servers of its own a resolver does as the machine's files say
//! (`/etc/resolv.conf` and `/etc/hosts`); other sources of nsswitch.conf(5) are not asked.

mod message;
mod servers;
mod system;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use revolve_reactor::local::{Either, Notify, select};
use revolve_reactor::{now, spawn, timeout};

use self::message::{CHAIN_MAX, Data, DnsName, Kind, Question, Reply};
use self::servers::{Order, Servers};
use self::system::System;

/// How long a server is waited for at first where nothing says otherwise.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How long the addresses of the other family are waited for, once there are those of IPv4.
const OTHER_FAMILY_WAIT: Duration = Duration::from_millis(50);
/// A day: nothing is waited for, or kept, for longer.
const LONG: Duration = Duration::from_secs(86_400);
/// Answers hold for at least and at most so long, whatever their zone says.
const TTL_MIN_S: u32 = 1;
const TTL_MAX_S: u32 = 86_400;
/// What `/etc/hosts` says is as good as new for so long.
const HOSTS_HOLD: Duration = Duration::from_secs(10);
/// So long it holds that there is nothing.
const NEGATIVE_MAX: Duration = Duration::from_secs(10);
/// Servers that could not answer are not asked again for so long.
const FAILURE_REST: Duration = Duration::from_secs(1);
/// What does not hold any more is taken for so long when no server answers,
const STALE_MAX: Duration = LONG;
/// and servers that do not are waited for no longer than that then (RFC 8767, 5).
const STALE_WAIT: Duration = Duration::from_millis(1800);
/// How long no server is asked again then.
const STALE_REST: Duration = Duration::from_secs(5);
/// Names that are kept, and names that are asked for at one time. A client may choose them.
const ENTRIES_MAX: usize = 4096;
const PENDING_MAX: usize = 1024;

/// Which servers are asked, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolverSpec {
    /// The servers; none for what the machine's files say.
    pub(crate) servers: Vec<SocketAddr>,
    /// How long answers hold, instead of what they say (`valid=`).
    pub(crate) valid: Option<Duration>,
    /// Whether IPv4 addresses are asked for.
    pub(crate) ipv4: bool,
    /// Whether IPv6 addresses are asked for.
    pub(crate) ipv6: bool,
}

impl Default for ResolverSpec {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            valid: None,
            ipv4: true,
            ipv6: true,
        }
    }
}

/// Why a name has no addresses. Displayed in nginx's words: `3: Host not found`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResolveError {
    /// The name servers say so, with that code.
    Code(u8),
    /// None of them has answered.
    TimedOut,
    /// Too many names are asked for.
    Busy,
}

impl ResolveError {
    const NOT_FOUND: Self = Self::Code(3);

    /// Whether there is no such name; otherwise nobody knows.
    pub(crate) fn is_not_found(self) -> bool {
        self == Self::NOT_FOUND
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, text) = match self {
            Self::Code(code) => match code {
                1 => (1, "Format error"),
                2 => (2, "Server failure"),
                3 => (3, "Host not found"),
                4 => (4, "Unimplemented"),
                5 => (5, "Operation refused"),
                other => (*other, "Unknown error"),
            },
            Self::TimedOut => (110, "Operation timed out"),
            Self::Busy => (2, "Too many names are being resolved"),
        };
        write!(f, "{code}: {text}")
    }
}

impl std::error::Error for ResolveError {}

/// The addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// At least one; those of IPv4 first, each family from a place of its list that differs from
    /// time to time.
    pub(crate) addresses: Vec<IpAddr>,
    /// Until when that holds; `None` for an address that was written as one.
    pub(crate) expires_at: Option<Instant>,
}

/// A place where a service is to be had (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceTarget {
    /// Those of the lowest are to be taken first.
    pub(crate) priority: u16,
    /// How often one is taken among those of one priority.
    pub(crate) weight: u16,
    /// The port.
    pub(crate) port: u16,
    /// The name of the host.
    pub(crate) host: String,
}

/// What is kept of a question.
#[derive(Default)]
struct Entry {
    /// The data last heard of; none where it was that there is none.
    known: Option<Rc<[Data]>>,
    /// Until when that holds.
    expires_at: Option<Instant>,
    /// Until when nobody is asked again, and why.
    failed: Option<(Instant, ResolveError)>,
    pending: Option<Rc<Pending>>,
}

impl Entry {
    fn fresh(&self) -> Option<Known> {
        let expires_at = self.expires_at.filter(|at| *at > now())?;
        Some((self.known.clone()?, expires_at))
    }

    /// What held until not too long ago.
    fn stale(&self) -> Option<Known> {
        let data = self.known.as_ref().filter(|data| !data.is_empty())?;
        let expired_for = now().saturating_duration_since(self.expires_at?);
        (expired_for < STALE_MAX).then(|| (data.clone(), now() + STALE_REST))
    }
}

/// Data, and until when they hold.
type Known = (Rc<[Data]>, Instant);

/// A query under way.
#[derive(Default)]
struct Pending {
    done: Notify,
    result: RefCell<Option<Result<Known, ResolveError>>>,
}

/// What all who ask the same servers share on a loop.
struct Shared {
    spec: ResolverSpec,
    system: Option<System>,
    servers: Servers,
    entries: RefCell<HashMap<Question, Entry>>,
    /// Queries under way.
    pending: Cell<usize>,
}

/// The resolvers of a loop: one for each set of servers that a configuration names.
#[derive(Default)]
pub(crate) struct Resolvers {
    all: RefCell<Vec<(Arc<ResolverSpec>, Rc<Shared>)>>,
}

impl Resolvers {
    /// The resolver of these servers, which waits for so long (`resolver_timeout`).
    pub(crate) fn get(&self, spec: &Arc<ResolverSpec>, timeout: Duration) -> Resolver {
        let timeout = timeout.min(LONG);
        let mut all = self.all.borrow_mut();
        for (known, shared) in all.iter_mut() {
            if Arc::ptr_eq(known, spec) || *known == *spec {
                // The configuration in force keeps it.
                *known = spec.clone();
                let shared = shared.clone();
                return Resolver { shared, timeout };
            }
        }
        // Those that no configuration has any more go, with what they know.
        all.retain(|(known, _)| Arc::strong_count(known) > 1);
        let files = (Path::new("/etc/resolv.conf"), Path::new("/etc/hosts"));
        let shared = Rc::new(Shared::new((**spec).clone(), files));
        all.push((spec.clone(), shared.clone()));
        Resolver { shared, timeout }
    }
}

impl Shared {
    fn new(spec: ResolverSpec, (resolv_conf, hosts): (&Path, &Path)) -> Self {
        let is_system = spec.servers.is_empty();
        let files = || System::new(PathBuf::from(resolv_conf), PathBuf::from(hosts));
        Self {
            system: is_system.then(files),
            spec,
            servers: Servers::default(),
            entries: RefCell::default(),
            pending: Cell::new(0),
        }
    }
}

/// Finds the addresses of names. Loop-local.
#[derive(Clone)]
pub(crate) struct Resolver {
    shared: Rc<Shared>,
    timeout: Duration,
}

impl Resolver {
    /// The addresses of a name, or of an address as it may be written in its place.
    ///
    /// Errors: there is no such name, or no server says so in time.
    pub(crate) async fn lookup(&self, name: &str) -> Result<Answer, ResolveError> {
        let literal = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        if let Ok(address) = literal.unwrap_or(name).parse() {
            return Ok(Answer {
                addresses: vec![address],
                expires_at: None,
            });
        }
        let deadline = now() + self.timeout;
        let Some(system) = &self.shared.system else {
            return self.addresses(name, deadline).await;
        };
        let spec = &self.shared.spec;
        if let Some(mut addresses) = system.addresses(name) {
            addresses.retain(|it| if it.is_ipv4() { spec.ipv4 } else { spec.ipv6 });
            if !addresses.is_empty() {
                return Ok(Answer {
                    addresses,
                    expires_at: Some(now() + HOSTS_HOLD),
                });
            }
        }
        let mut error = ResolveError::NOT_FOUND;
        for name in system.conf().candidates(name) {
            match self.addresses(&name, deadline).await {
                Err(not_found) if not_found.is_not_found() => {}
                // Nobody knows whether the name is there: the next may be another's.
                Err(other) => {
                    error = other;
                    break;
                }
                found => return found,
            }
        }
        Err(error)
    }

    /// The places of a service, as its records stand: `_http._tcp.example.org`.
    ///
    /// Errors: as [`lookup`](Resolver::lookup).
    pub(crate) async fn lookup_srv(
        &self,
        name: &str,
    ) -> Result<(Vec<ServiceTarget>, Instant), ResolveError> {
        let name = DnsName::parse(name.as_bytes()).ok_or(ResolveError::NOT_FOUND)?;
        let (data, expires_at) = self.ask(name, Kind::Srv, now() + self.timeout).await?;
        let mut targets = Vec::new();
        for data in data.iter() {
            if let Data::Service(service) = data {
                targets.push(ServiceTarget {
                    priority: service.priority,
                    weight: service.weight,
                    port: service.port,
                    host: service.target.text(),
                });
            }
        }
        Ok((targets, expires_at))
    }

    #[allow(dead_code, reason = "for what asks who a client is")]
    /// The name of an address.
    ///
    /// Errors: as [`lookup`](Resolver::lookup).
    pub(crate) async fn lookup_ptr(&self, address: IpAddr) -> Result<String, ResolveError> {
        let name = DnsName::reverse(address);
        let (data, _) = self.ask(name, Kind::Ptr, now() + self.timeout).await?;
        let names = data.iter().filter_map(|data| match data {
            Data::Name(name) => Some(name.clone()),
            _ => None,
        });
        names.into_iter().next().ok_or(ResolveError::NOT_FOUND)
    }

    /// Asks for the addresses of both families at one time.
    async fn addresses(&self, name: &str, deadline: Instant) -> Result<Answer, ResolveError> {
        let name = DnsName::parse(name.as_bytes()).ok_or(ResolveError::NOT_FOUND)?;
        let spec = &self.shared.spec;
        let none = Err(ResolveError::NOT_FOUND);
        let both = match (spec.ipv4, spec.ipv6) {
            (true, false) => [self.ask(name, Kind::A, deadline).await, none],
            (false, _) => [none, self.ask(name, Kind::Aaaa, deadline).await],
            (true, true) => {
                let mut v4 = pin!(self.ask(name.clone(), Kind::A, deadline));
                let mut v6 = pin!(self.ask(name, Kind::Aaaa, deadline));
                match select(v4.as_mut(), v6.as_mut()).await {
                    Either::First(Ok(v4)) => {
                        let v6 = timeout(OTHER_FAMILY_WAIT, v6).await;
                        [Ok(v4), v6.unwrap_or(none)]
                    }
                    Either::First(Err(error)) => [Err(error), v6.await],
                    Either::Second(v6) => [v4.await, v6],
                }
            }
        };
        let mut answer = Answer {
            addresses: Vec::new(),
            expires_at: None,
        };
        let mut error = ResolveError::NOT_FOUND;
        for family in both {
            match family {
                Ok((data, expires_at)) => {
                    let begin = self.shared.servers.draw() as usize % data.len().max(1);
                    let turned = data[begin..].iter().chain(&data[..begin]);
                    answer
                        .addresses
                        .extend(turned.filter_map(|data| match data {
                            Data::Address(address) => Some(*address),
                            _ => None,
                        }));
                    let earliest = answer.expires_at.unwrap_or(expires_at).min(expires_at);
                    answer.expires_at = Some(earliest);
                }
                Err(other) if error.is_not_found() => error = other,
                Err(_) => {}
            }
        }
        match answer.addresses.is_empty() {
            true => Err(error),
            false => Ok(answer),
        }
    }

    /// What is known of a name, or heard of it before the deadline.
    async fn ask(
        &self,
        name: DnsName,
        kind: Kind,
        deadline: Instant,
    ) -> Result<Known, ResolveError> {
        let question = Question { name, kind };
        let known = self.ask_any(&question, deadline).await?;
        match known.0.is_empty() {
            true => Err(ResolveError::NOT_FOUND),
            false => Ok(known),
        }
    }

    /// The same, where there being nothing is an answer without data.
    async fn ask_any(&self, question: &Question, deadline: Instant) -> Result<Known, ResolveError> {
        loop {
            let (pending, stale) = {
                let mut entries = self.shared.entries.borrow_mut();
                let entry = entries.get(question);
                if let Some(fresh) = entry.and_then(Entry::fresh) {
                    return Ok(fresh);
                }
                let stale = entry.and_then(Entry::stale);
                let failed = entry.and_then(|entry| entry.failed);
                if let Some((_, error)) = failed.filter(|(until, _)| *until > now()) {
                    return stale.ok_or(error);
                }
                match entry.and_then(|entry| entry.pending.clone()) {
                    Some(pending) => (pending, stale),
                    None => match self.begin(&mut entries, question, deadline) {
                        Some(pending) => (pending, stale),
                        None => return stale.ok_or(ResolveError::Busy),
                    },
                }
            };
            let left = deadline.saturating_duration_since(now());
            let wait = stale.as_ref().map_or(left, |_| left.min(STALE_WAIT));
            if timeout(wait, pending.done()).await.is_err() {
                if stale.is_some() {
                    self.shared
                        .rest(question, STALE_REST, ResolveError::TimedOut);
                }
                return stale.ok_or(ResolveError::TimedOut);
            }
            let result = pending.result.borrow().clone();
            match result {
                Some(Ok(known)) => return Ok(known),
                // Whoever began the query had less time.
                Some(Err(ResolveError::TimedOut)) | None if stale.is_none() && deadline > now() => {
                }
                Some(Err(error)) => return stale.ok_or(error),
                None => return stale.ok_or(ResolveError::TimedOut),
            }
        }
    }

    /// Starts a query, in a task of its own: who has asked may go away, and others wait for it too.
    fn begin(
        &self,
        entries: &mut HashMap<Question, Entry>,
        question: &Question,
        deadline: Instant,
    ) -> Option<Rc<Pending>> {
        let under_way = self.shared.pending.get();
        if under_way >= PENDING_MAX {
            return None;
        }
        self.shared.pending.set(under_way + 1);
        make_room(entries);
        let pending = Rc::new(Pending::default());
        let entry = entries.entry(question.clone()).or_default();
        entry.pending = Some(pending.clone());
        let finishing = Finishing {
            shared: self.shared.clone(),
            question: question.clone(),
            pending: pending.clone(),
        };
        spawn(async move {
            let result = finishing.shared.query(&finishing.question, deadline).await;
            finishing.finish(result);
        });
        Some(pending)
    }
}

impl Pending {
    async fn done(&self) {
        while self.result.borrow().is_none() {
            self.done.notified().await;
        }
    }
}

/// Tells those who wait for a query, also where its task ends before it.
struct Finishing {
    shared: Rc<Shared>,
    question: Question,
    pending: Rc<Pending>,
}

impl Finishing {
    fn finish(self, result: Result<Known, ResolveError>) {
        *self.pending.result.borrow_mut() = Some(result);
    }
}

impl Drop for Finishing {
    fn drop(&mut self) {
        let mut result = self.pending.result.borrow_mut();
        let result = result.get_or_insert(Err(ResolveError::TimedOut)).clone();
        if let Some(entry) = self.shared.entries.borrow_mut().get_mut(&self.question) {
            entry.pending = None;
            match &result {
                Ok((data, expires_at)) => {
                    entry.known = Some(data.clone());
                    entry.expires_at = Some(*expires_at);
                    entry.failed = None;
                }
                Err(ResolveError::TimedOut) => {}
                Err(error) => entry.failed = Some((now() + FAILURE_REST, *error)),
            }
        }
        self.shared.pending.set(self.shared.pending.get() - 1);
        self.pending.done.notify_all();
    }
}

impl Shared {
    /// Has nobody asked again for a while.
    fn rest(&self, question: &Question, rest: Duration, error: ResolveError) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(question) {
            entry.failed = Some((now() + rest, error));
        }
    }

    fn order(&self) -> Order {
        match &self.system {
            None => Order {
                servers: self.spec.servers.clone(),
                rotates: true,
                wait: FIRST_WAIT,
            },
            Some(system) => {
                let conf = system.conf();
                Order {
                    servers: conf.servers.clone(),
                    rotates: conf.rotate,
                    wait: conf.timeout.min(FIRST_WAIT),
                }
            }
        }
    }

    /// Asks the servers, and those whom they name further.
    async fn query(&self, question: &Question, deadline: Instant) -> Result<Known, ResolveError> {
        let mut asked = question.clone();
        let mut ttl_s = u32::MAX;
        for _ in 0..CHAIN_MAX {
            let reply = self.servers.ask(&self.order(), &asked, deadline).await;
            let reply = reply.ok_or(ResolveError::TimedOut)?;
            match reply.leads_to {
                Some(name) => {
                    ttl_s = ttl_s.min(reply.ttl_s.unwrap_or(u32::MAX));
                    asked.name = name;
                }
                None => return self.judge(reply, ttl_s),
            }
        }
        Err(ResolveError::Code(2))
    }

    fn judge(&self, reply: Reply, alias_ttl_s: u32) -> Result<Known, ResolveError> {
        if !matches!(reply.rcode, 0 | 3) {
            return Err(ResolveError::Code(reply.rcode));
        }
        let lives = |ttl_s: u32| Duration::from_secs(ttl_s.clamp(TTL_MIN_S, TTL_MAX_S).into());
        let valid = self.spec.valid.map(|valid| valid.min(LONG));
        let holds = match reply.ttl_s.filter(|_| !reply.data.is_empty()) {
            Some(ttl_s) => valid.unwrap_or_else(|| lives(ttl_s.min(alias_ttl_s))),
            None => {
                let says = lives(reply.ttl_s.unwrap_or(0)).min(NEGATIVE_MAX);
                valid.map_or(says, |valid| valid.min(says))
            }
        };
        Ok((reply.data.into(), now() + holds))
    }
}

/// Forgets what does not hold any more where there is too much, and then some of the rest.
fn make_room(entries: &mut HashMap<Question, Entry>) {
    if entries.len() < ENTRIES_MAX {
        return;
    }
    let holds = |entry: &Entry| entry.expires_at.is_some_and(|at| at > now());
    entries.retain(|_, entry| entry.pending.is_some() || holds(entry));
    let mut surplus = (entries.len() + ENTRIES_MAX / 8).saturating_sub(ENTRIES_MAX);
    entries.retain(|_, entry| {
        let goes = surplus > 0 && entry.pending.is_none();
        surplus -= usize::from(goes);
        !goes
    });
}
