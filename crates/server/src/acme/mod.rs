//! Certificates from an authority, got and renewed by ourselves (ACME, RFC 8555).
//!
//! One loop of one worker orders for all: it holds a lock in the folder of each issuer, which its end
//! releases. What comes of it lies in a file, which handshakes read again when it has changed; so nobody
//! needs to be told.

mod account;
mod challenges;
mod dns;
mod order;
mod renewal;
mod spec;
mod state;
pub(crate) mod tls_alpn;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use revolve_reactor::sleep;

pub(crate) use self::account::ExternalAccount;
pub(crate) use self::challenges::{ChallengeZone, Challenges};
use self::renewal::{Renewal, random_below};
pub use self::spec::NamedCertificate;
use self::spec::now_s;
pub(crate) use self::spec::{Acme, Challenge, DnsCommand, Issuer, Wanted};
use self::state::Lock;
use self::state::Standing;
use crate::net::resolver::Resolver;

/// Between two looks at what is due, and two tries to be the one who orders.
const PAUSE: Duration = Duration::from_secs(10);

/// After a failure it is tried again in so many seconds, and then in twice as many each time; up to a quarter
/// more by chance, so that not all come at once after an authority was away.
const RETRY_S: i64 = 60;
const RETRY_S_MAX: i64 = 6 * 3600;

/// What is known of the orders for a certificate.
#[derive(Default)]
struct Tried {
    failures: u32,
    next_at_s: i64,
    /// What its authority says of when to renew it.
    renewal: Renewal,
}

impl Tried {
    /// It has failed: the next try is in so many seconds.
    fn put_off(&mut self) -> i64 {
        let wait_s = (RETRY_S << self.failures.min(16)).min(RETRY_S_MAX);
        self.failures += 1;
        let wait_s = wait_s + random_below(wait_s / 4);
        self.next_at_s = now_s() + wait_s;
        wait_s
    }
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

/// Whether a certificate is to be ordered, and which it takes the place of, by the name that its authority
/// has for that.
async fn due(
    (issuer, wanted): (&Issuer, &Wanted),
    renewal: &mut Renewal,
    resolver: &Resolver,
    say: &impl Fn(bool, String),
) -> Result<Option<Option<String>>, String> {
    let (life_s, id) = match state::standing(wanted)? {
        Standing::Missing => return Ok(Some(None)),
        Standing::Issued { life_s, id } => (life_s, id),
    };
    if let Some(id) = id
        .as_deref()
        .filter(|id| renewal.is_to_be_asked(id, now_s()))
    {
        let names = wanted.names.join(", ");
        let name = &issuer.name;
        match order::renewal_info((issuer, &wanted.names), id, resolver).await {
            Ok(Some(said)) => {
                if renewal.heard(&said, now_s()) {
                    let shown = renewal::shown(&said);
                    say(
                        false,
                        format!("acme issuer \"{name}\" suggests to renew {names} {shown}"),
                    );
                }
            }
            Ok(None) => renewal.heard_nothing(now_s()),
            Err(why) => {
                renewal.heard_nothing(now_s());
                let what = format!("does not say when to renew {names}: {why}");
                say(true, format!("acme issuer \"{name}\" {what}"));
            }
        }
    }
    Ok(renewal.is_due(life_s, now_s()).then_some(id))
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
    let due = due((issuer, wanted), &mut tried.renewal, resolver, say).await;
    let replaces = match due {
        Ok(Some(replaces)) => replaces,
        Ok(None) => return,
        Err(why) => {
            say(true, format!("acme: {why}"));
            tried.put_off();
            return;
        }
    };
    let names = wanted.names.join(", ");
    let order = order::Order {
        issuer,
        names: &wanted.names,
        replaces: replaces.as_deref(),
    };
    let obtained = order::obtain(&order, challenges, resolver, say).await;
    let done =
        obtained.and_then(|pem| state::write(&wanted.path, &pem).map_err(|it| it.to_string()));
    let name = &issuer.name;
    match done {
        Ok(()) => {
            *tried = Tried::default();
            let what = format!("has issued a certificate for {names}");
            say(false, format!("acme issuer \"{name}\" {what}"));
        }
        Err(why) => {
            let wait_s = tried.put_off();
            let what = format!("has issued nothing for {names}: {why}; next try in {wait_s} s");
            say(true, format!("acme issuer \"{name}\" {what}"));
        }
    }
}
