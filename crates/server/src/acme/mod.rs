//! Certificates from an authority, got and renewed by ourselves (ACME, RFC 8555).
//!
//! One loop of one worker orders for all: it holds a lock in the folder of each issuer, which its end
//! releases. What comes of it lies in a file, which handshakes read again when it has changed; so nobody
//! needs to be told.

mod account;
mod challenges;
mod order;
mod spec;
mod state;
pub(crate) mod tls_alpn;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use revolve_reactor::sleep;

pub(crate) use self::challenges::{ChallengeZone, Challenges};
use self::spec::now_s;
pub(crate) use self::spec::{Acme, Challenge, Issuer, Wanted};
use self::state::Lock;
use crate::net::resolver::Resolver;

/// Between two looks at what is due, and two tries to be the one who orders.
const PAUSE: Duration = Duration::from_secs(10);

/// After a failure it is tried again in so many seconds, and then in twice as many each time.
const RETRY_S: i64 = 60;
const RETRY_S_MAX: i64 = 6 * 3600;

/// What is known of the orders for a certificate.
#[derive(Default)]
struct Tried {
    failures: u32,
    next_at_s: i64,
}

/// Orders what is due, for as long as the configuration is in force. `say` is told what the error log says,
/// and whether it is an error.
pub(crate) async fn run(
    acme: Arc<Acme>,
    challenges: Challenges,
    resolver: Resolver,
    is_in_force: impl Fn() -> bool,
    say: impl Fn(bool, String),
) {
    let mut locks: HashMap<usize, Lock> = HashMap::new();
    let mut tried: Vec<Tried> = acme.wanted.iter().map(|_| Tried::default()).collect();
    let mut has_complained = false;
    while is_in_force() {
        for (place, issuer) in acme.issuers.iter().enumerate() {
            if locks.contains_key(&place) {
                continue;
            }
            match Lock::take(&issuer.state) {
                Ok(Some(lock)) => {
                    locks.insert(place, lock);
                }
                Ok(None) => {}
                Err(error) if !has_complained => {
                    has_complained = true;
                    let (name, error) = (&issuer.name, revolve_conf::os_error_text(&error));
                    let path = issuer.state.display();
                    say(
                        true,
                        format!("acme issuer \"{name}\": \"{path}\" cannot be used {error}"),
                    );
                }
                Err(_) => {}
            }
        }
        for (wanted, tried) in acme.wanted.iter().zip(&mut tried) {
            if locks.contains_key(&wanted.issuer) && tried.next_at_s <= now_s() {
                order_if_due(&acme, wanted, tried, &challenges, &resolver, &say).await;
            }
        }
        sleep(PAUSE).await;
    }
}

async fn order_if_due(
    acme: &Acme,
    wanted: &Wanted,
    tried: &mut Tried,
    challenges: &Challenges,
    resolver: &Resolver,
    say: &impl Fn(bool, String),
) {
    let issuer = &acme.issuers[wanted.issuer];
    let names = wanted.names.join(", ");
    let due = match state::is_due(wanted, now_s()) {
        Ok(due) => due,
        Err(why) => {
            say(true, format!("acme: {why}"));
            tried.next_at_s = now_s() + RETRY_S;
            return;
        }
    };
    if !due {
        return;
    }
    let obtained = order::obtain(issuer, &wanted.names, challenges, resolver).await;
    let done =
        obtained.and_then(|pem| state::write(&wanted.path, &pem).map_err(|it| it.to_string()));
    match done {
        Ok(()) => {
            *tried = Tried::default();
            let name = &issuer.name;
            say(
                false,
                format!("acme issuer \"{name}\" has issued a certificate for {names}"),
            );
        }
        Err(why) => {
            let wait_s = (RETRY_S << tried.failures.min(16)).min(RETRY_S_MAX);
            tried.failures += 1;
            // Not all at once, after an authority was away.
            let spread_s = i64::from(names.len() as u32 % 30);
            tried.next_at_s = now_s() + wait_s + spread_s;
            let name = &issuer.name;
            say(
                true,
                format!(
                    "acme issuer \"{name}\" has issued nothing for {names}: {why}; next try in {wait_s} s"
                ),
            );
        }
    }
}
