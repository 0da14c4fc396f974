//! Health checks of groups, while a configuration is in force: by one loop of all workers at a time, and
//! another takes over where that one ends or stands still.

use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use revolve_reactor::{now, sleep, spawn};

use super::asking::probe;
use crate::http::site::Site;
use crate::log::Level;
use crate::runtime::loop_state::LoopState;
use crate::upstream::Registry;
use crate::upstream::clock::now_ms;
use crate::upstream::peer::Health;

/// How often who does not check looks whether it should, and who checks says that it does.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Who has not said so for this long is taken for one that stands still.
const PATIENCE_MS: u64 = 4000;

/// Makes the checks of a configuration for as long as it is in force.
pub(crate) fn watch(site: &Rc<Site>, registry: &Rc<Registry>) {
    for number in 0..site.http.checks.len() {
        spawn(lead(Rc::downgrade(site), registry.clone(), number));
    }
}

/// How a peer has done lately.
#[derive(Default, Clone, Copy)]
struct Record {
    fails: u32,
    passes: u32,
}

/// The site, while it is the one in force.
fn in_force(site: &Weak<Site>) -> Option<Rc<Site>> {
    site.upgrade().filter(|site| site.is_in_force())
}

async fn lead(site: Weak<Site>, registry: Rc<Registry>, number: usize) {
    let leadership = {
        let Some(site) = in_force(&site) else {
            return;
        };
        let check = &site.http.checks[number];
        registry.leadership(&site.group(check.place).spec, PATIENCE_MS)
    };
    let records = Rc::new(std::cell::RefCell::new(HashMap::new()));
    let mut next_at = now();
    loop {
        let Some(current) = in_force(&site) else {
            return;
        };
        // Where the zone has no room for it, each loop checks for itself.
        let leads = leadership.as_ref().is_none_or(|it| it.leads(now_ms()));
        if !leads {
            next_at = now();
        } else if now() >= next_at {
            let check = &current.http.checks[number].check;
            let jitter = match check.jitter.is_zero() {
                true => Duration::ZERO,
                false => {
                    let place = current.http.checks[number].place;
                    check.jitter.mul_f64(current.group(place).chance())
                }
            };
            next_at = now() + check.interval + jitter;
            check_all(&current, number, &records);
        }
        drop(current);
        let left = next_at.saturating_duration_since(now());
        let pause = if leads {
            left.min(LOOK_EVERY)
        } else {
            LOOK_EVERY
        };
        sleep(pause.max(Duration::from_millis(1))).await;
    }
}

type Records = Rc<std::cell::RefCell<HashMap<Rc<str>, Record>>>;

/// Asks all peers of a group, each in a task of its own.
fn check_all(site: &Rc<Site>, number: usize, records: &Records) {
    let group = site.group(site.http.checks[number].place);
    for place in 0..group.peers.len() {
        let (site, group, records) = (site.clone(), group.clone(), records.clone());
        spawn(async move {
            let check = &site.http.checks[number];
            let peer = &group.peers[place];
            let found = probe(&site, check, &peer.address, &group.spec.name).await;
            let mut records = records.borrow_mut();
            let record = records.entry(peer.shown.clone()).or_default();
            let (health, reason) = match found {
                Ok(()) => {
                    record.fails = 0;
                    record.passes = record.passes.saturating_add(1);
                    let is_healthy = record.passes >= check.check.passes;
                    (is_healthy.then_some(Health::Healthy), String::new())
                }
                Err(reason) => {
                    record.passes = 0;
                    record.fails = record.fails.saturating_add(1);
                    let is_unhealthy = record.fails >= check.check.fails;
                    (is_unhealthy.then_some(Health::Unhealthy), reason)
                }
            };
            if let Some(health) = health
                && peer.set_health(health)
            {
                tell(&group.spec.name, &peer.shown, health, &reason);
            }
        });
    }
}

fn tell(group: &str, peer: &str, health: Health, reason: &str) {
    let Some(state) = LoopState::current() else {
        return;
    };
    match health {
        Health::Unhealthy => state.log(
            Level::Warn,
            format_args!(
                "peer is unhealthy: {reason}, health check of peer {peer} in upstream \"{group}\""
            ),
        ),
        _ => state.log(
            Level::Notice,
            format_args!("peer is healthy, health check of peer {peer} in upstream \"{group}\""),
        ),
    }
}
