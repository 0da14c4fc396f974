//! Comparing a password with a hash that takes its time: on threads of their own.

use std::io;
use std::sync::OnceLock;

use revolve_reactor::{PoolHandle, ThreadPool};

use super::password::{self, Verdict};
use super::{Check, Prepared, ask, judge, prepare};
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::log::Level;

/// Threads that compute hashes, for all loops of the process. More of them would take the processor from
/// the loops.
const THREADS: usize = 2;

/// Hashes that may wait for a thread.
const QUEUED_MAX: usize = 256;

static POOL: OnceLock<io::Result<ThreadPool>> = OnceLock::new();

fn pool() -> Result<PoolHandle, &'static io::Error> {
    let build = || {
        let builder = ThreadPool::builder().threads(THREADS);
        builder.queued_max(QUEUED_MAX).name("password").build()
    };
    POOL.get_or_init(build).as_ref().map(|pool| pool.handle())
}

/// Compares, and waits for what comes of it.
pub(super) async fn on_a_thread(request: &mut Request) -> Outcome {
    // As it was found by whoever began to wait; the file may have changed since, which is as well.
    let Prepared { realm, check } = match prepare(request) {
        Ok(prepared) => prepared,
        Err(outcome) => return outcome,
    };
    let Some(check) = check else {
        return ask(request, &realm);
    };
    let http_loop = request.http_loop.share();
    let remembered = &http_loop.passwords;
    let key = remembered.key(&check.credentials.pair, &check.stored);
    remembered.settled(key).await;
    if remembered.knows(key, revolve_reactor::now()) {
        return Outcome::Allow;
    }
    let mut address = Vec::new();
    request.append_client(&mut address);
    let Some(comparing) = remembered.begin(key, address) else {
        let message = format_args!("too many passwords are being compared for this client");
        request.log(Level::Error, message);
        return Outcome::Finish(503);
    };
    let verdict = compare(request, &check).await;
    if verdict == Some(Verdict::Same) {
        remembered.remember(key, revolve_reactor::now());
    }
    // Those who wait for the same pair look into the memory next.
    drop(comparing);
    match verdict {
        Some(verdict) => judge(request, &check, verdict, &realm),
        None => Outcome::Finish(503),
    }
}

/// `None` where no thread could be had, which is in the log.
async fn compare(request: &Request, check: &Check) -> Option<Verdict> {
    let pool = match pool() {
        Ok(pool) => pool,
        Err(error) => {
            let message = format_args!("no thread to compare passwords on ({error})");
            request.log(Level::Crit, message);
            return None;
        }
    };
    if pool.stats().queued >= QUEUED_MAX {
        let message = format_args!("{QUEUED_MAX} passwords wait to be compared already");
        request.log(Level::Error, message);
        return None;
    }
    let (password, stored) = (check.credentials.password().to_vec(), check.stored.clone());
    match pool
        .run(move || password::compare(&password, &stored))
        .await
    {
        Ok(verdict) => Some(verdict),
        Err(error) => {
            let message = format_args!("comparing a password failed ({error})");
            request.log(Level::Crit, message);
            None
        }
    }
}
