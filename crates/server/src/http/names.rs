//! The names of upstreams, asked for again while a configuration is in force.
//!
//! What the start has found holds until a name server says otherwise; a name that the start has not found
//! is asked for until it is. Each loop asks for itself.

use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use revolve_reactor::{Address, now, sleep, spawn};

use crate::http::site::Site;
use crate::log::Level;
use crate::net::resolver::Resolver;
use crate::runtime::loop_state::LoopState;
use crate::upstream::{GroupSpec, Registry};

/// Names are asked for no more often, whatever their servers say.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// Nor less often: a configuration that is gone is noticed then.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Asks for the names of a configuration's groups for as long as it is in force.
pub(super) fn watch(site: &Rc<Site>, registry: &Rc<Registry>) {
    for (place, upstream) in site.http.upstreams.iter().enumerate() {
        if upstream
            .spec
            .servers
            .iter()
            .any(|server| server.host.is_some())
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
    let names = &site.http.names;
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
        let Some((host, port)) = &server.host else {
            continue;
        };
        match resolver.lookup(host).await {
            Ok(answer) => {
                *told = None;
                if let Some(at) = answer.expires_at {
                    pause = pause.min(at.saturating_duration_since(now()));
                }
                let with_port = |ip| Address::Inet(SocketAddr::new(ip, *port));
                let mut addresses: Vec<_> = answer.addresses.into_iter().map(with_port).collect();
                let mut known = server.addresses.clone();
                addresses.sort();
                known.sort();
                if addresses != known {
                    server.addresses = addresses;
                    changed = true;
                }
            }
            // Where it has led is kept: other sources than name servers may have said so.
            Err(error) => {
                pause = PAUSE_MIN;
                let text = error.to_string();
                if told.as_ref() != Some(&text)
                    && let Some(state) = LoopState::current()
                {
                    let level = match server.addresses.is_empty() {
                        true => Level::Error,
                        false => Level::Info,
                    };
                    state.log(level, format_args!("{host} could not be resolved ({text})"));
                }
                *told = Some(text);
            }
        }
    }
    (changed, pause.max(PAUSE_MIN))
}
