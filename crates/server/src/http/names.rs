//! The names of upstreams, asked for again while a configuration is in force.
//!
//! What the start has found holds until a name server says otherwise; a name that the start has not found
//! is asked for until it is. Each loop asks for itself.

use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use revolve_reactor::{Address, now, sleep, spawn};

use crate::http::site::Site;
use crate::log::Level;
use crate::net::resolver::{ResolveError, Resolver};
use crate::runtime::loop_state::LoopState;
use crate::upstream::peer::ServicePlace;
use crate::upstream::{GroupSpec, Registry, ServerSpec};

/// Names are asked for no more often, whatever their servers say.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// More places of a service are not taken.
const SERVICE_TARGETS_MAX: usize = 256;
/// Nor less often: a configuration that is gone is noticed then.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Asks for the names of a configuration's groups for as long as it is in force.
pub(super) fn watch(site: &Rc<Site>, registry: &Rc<Registry>) {
    for (place, upstream) in site.http.upstreams.iter().enumerate() {
        if upstream
            .spec
            .servers
            .iter()
            .any(|server| server.host.is_some() || server.service.is_some())
        {
            let (site, registry) = (Rc::downgrade(site), registry.clone());
            spawn(watch_group(site, registry, place));
        }
    }
}

async fn watch_group(site: Weak<Site>, registry: Rc<Registry>, place: usize) {
    let mut told: Vec<Option<String>> = Vec::new();
    loop {
        let Some((mut spec, resolver)) = site.upgrade().and_then(|site| begin(&site, place)) else {
            return;
        };
        told.resize(spec.servers.len(), None);
        let (changed, pause) = ask(&mut spec, &resolver, &mut told).await;
        let Some(site) = site.upgrade() else {
            return;
        };
        if changed {
            site.replace_group(place, registry.group(&spec));
            registry.forget_unused();
        }
        drop(site);
        sleep(pause).await;
    }
}

/// The group as it is, and whom to ask for its names.
fn begin(site: &Site, place: usize) -> Option<(GroupSpec, Resolver)> {
    let state = LoopState::current()?;
    let own = &site.http.upstreams[place].names;
    let names = own.as_ref().unwrap_or(&site.http.names);
    let resolver = state
        .resolvers
        .get(&names.spec, Duration::from_millis(names.timeout_ms));
    Some((site.group(place).spec.clone(), resolver))
}

/// Asks for each name of a group. The answer is whether one leads elsewhere now, and when to ask again.
async fn ask(
    spec: &mut GroupSpec,
    resolver: &Resolver,
    told: &mut [Option<String>],
) -> (bool, Duration) {
    let mut changed = false;
    let mut pause = PAUSE_MAX;
    for (server, told) in spec.servers.iter_mut().zip(told) {
        let Some((host, port)) = server.host.clone() else {
            continue;
        };
        let (asked, found) = match &server.service {
            None => (host.clone(), ask_host(resolver, &host, port).await),
            Some(service) => {
                let name = service_name(service, &host);
                let found = ask_service(resolver, &name, server.weight).await;
                (name, found)
            }
        };
        match found {
            Ok((found, expires_at)) => {
                *told = None;
                if let Some(at) = expires_at {
                    pause = pause.min(at.saturating_duration_since(now()));
                }
                changed |= found.put_into(server);
            }
            // Where it has led is kept: other sources than name servers may have said so.
            Err(error) => {
                pause = PAUSE_MIN;
                tell(server, told, &asked, error);
            }
        }
    }
    (changed, pause.max(PAUSE_MIN))
}

/// Says once that a name leads nowhere.
fn tell(server: &ServerSpec, told: &mut Option<String>, name: &str, error: ResolveError) {
    let text = error.to_string();
    if told.as_ref() != Some(&text)
        && let Some(state) = LoopState::current()
    {
        let level = match server.addresses.is_empty() && server.places.is_empty() {
            true => Level::Error,
            false => Level::Info,
        };
        state.log(level, format_args!("{name} could not be resolved ({text})"));
    }
    *told = Some(text);
}

/// Where a name leads.
enum Found {
    Addresses(Vec<Address>),
    Places(Vec<ServicePlace>),
}

impl Found {
    /// The answer is whether it leads elsewhere than before.
    fn put_into(self, server: &mut ServerSpec) -> bool {
        match self {
            Found::Addresses(mut found) => {
                let mut known = server.addresses.clone();
                found.sort();
                known.sort();
                let changed = found != known;
                if changed {
                    server.addresses = found;
                }
                changed
            }
            Found::Places(mut found) => {
                found.sort();
                found.dedup();
                let changed = found != server.places;
                server.places = found;
                changed
            }
        }
    }
}

type Asked = Result<(Found, Option<Instant>), ResolveError>;

async fn ask_host(resolver: &Resolver, host: &str, port: u16) -> Asked {
    let answer = resolver.lookup(host).await?;
    let with_port = |ip| Address::Inet(SocketAddr::new(ip, port));
    let addresses = answer.addresses.into_iter().map(with_port).collect();
    Ok((Found::Addresses(addresses), answer.expires_at))
}

/// The name that the places of a service are asked for by: `http` of `example.org` is
/// `_http._tcp.example.org`, and what has dots or an underscore is a beginning as it stands.
fn service_name(service: &str, host: &str) -> String {
    match service.contains('.') || service.starts_with('_') {
        true => format!("{service}.{host}"),
        false => format!("_{service}._tcp.{host}"),
    }
}

/// The places of a service: those of the lowest priority, and the others for when these may not be asked.
/// What one of them weighs is what its record says, times what the configuration does.
async fn ask_service(resolver: &Resolver, name: &str, weight: u32) -> Asked {
    let (targets, expires_at) = resolver.lookup_srv(name).await?;
    let first = targets.iter().map(|target| target.priority).min();
    let mut places = Vec::new();
    let mut failure = None;
    for target in targets.iter().take(SERVICE_TARGETS_MAX) {
        let answer = match resolver.lookup(&target.host).await {
            Ok(answer) => answer,
            Err(error) => {
                failure = Some(error);
                continue;
            }
        };
        places.extend(answer.addresses.into_iter().map(|ip| ServicePlace {
            address: Address::Inet(SocketAddr::new(ip, target.port)),
            weight: u32::from(target.weight).max(1).saturating_mul(weight),
            is_backup: Some(target.priority) != first,
        }));
    }
    match failure {
        Some(error) if places.is_empty() => Err(error),
        _ => Ok((Found::Places(places), Some(expires_at))),
    }
}
