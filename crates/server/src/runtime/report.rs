//! What a worker tells of itself, for whoever operates it: its loops and its connections.
//!
//! Nothing is counted for it that costs a request more than one addition on its own loop; what the
//! kernel knows anyway (bytes of a TCP connection) is asked of the kernel when somebody wants it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use revolve_reactor::{Address, LoopHandle, LoopStats, Semaphore, timeout};

/// One event loop.
#[derive(Clone, Debug)]
pub struct LoopReport {
    /// Whether it accepts for others and serves nothing itself.
    pub accepts_only: bool,
    /// Connections that are open.
    pub open: usize,
    /// Connections that it has taken, since it was built.
    pub accepted: u64,
    /// Requests that have begun, since it was built.
    pub requests: u64,
    /// What the loop itself has done.
    pub stats: LoopStats,
    /// Its connections, as many as were asked for.
    pub connections: Vec<ConnectionReport>,
}

/// What a connection is about.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// It has not sent a request yet.
    New,
    /// It waits for its next request.
    Idle,
    /// A request is read or answered.
    Active,
}

impl ConnectionState {
    /// The state in one word.
    pub fn name(self) -> &'static str {
        match self {
            ConnectionState::New => "new",
            ConnectionState::Idle => "idle",
            ConnectionState::Active => "active",
        }
    }
}

/// One connection.
#[derive(Clone, Debug)]
pub struct ConnectionReport {
    /// Its number in logs (`*1`).
    pub number: u64,
    /// The client.
    pub peer: Address,
    /// The listener that it came by.
    pub listener: Address,
    /// What it is about.
    pub state: ConnectionState,
    /// How long it has lived.
    pub age: Duration,
    /// How long it has waited for a request; `None` while one is read or answered.
    pub idle: Option<Duration>,
    /// Requests that it has begun.
    pub requests: u32,
    /// Bytes received, as the kernel counts them; `None` for a Unix socket.
    pub received_bytes: Option<u64>,
    /// Bytes sent that the client has acknowledged; `None` for a Unix socket.
    pub sent_bytes: Option<u64>,
}

/// Asks loops of other threads, all at once. The answers are in the order of the loops; a loop
/// that took longer than `patience` has none.
pub(crate) async fn gather<'a, T: Send + 'static>(
    handles: impl Iterator<Item = &'a LoopHandle>,
    patience: Duration,
    ask: impl Fn() -> Option<T> + Send + Clone + 'static,
) -> Vec<Option<T>> {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let arrived = Semaphore::new(0);
    let mut asked = 0;
    for (place, handle) in handles.enumerate() {
        let (ask, answers, arrived) = (ask.clone(), answers.clone(), arrived.clone());
        asked += 1;
        handle.run_in_loop(move || {
            let answer = ask();
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.push((place, answer));
            drop(answers);
            arrived.add_permits(1);
        });
    }
    // Whether all came or the time ran out, what is there is the answer.
    let _ = timeout(patience, arrived.acquire_many(asked)).await;
    let mut sorted: Vec<Option<T>> = Vec::new();
    sorted.resize_with(asked, || None);
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    for (place, answer) in answers.drain(..) {
        sorted[place] = answer;
    }
    sorted
}

#[cfg(test)]
mod tests {
    use revolve_reactor::{EventLoop, Reactors};

    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_left_out_and_the_others_answer() {
        let reactors = Reactors::spawn(3, "report", |_| {}).unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let stuck = reactors.handles().nth(1).unwrap();
        stuck.run_in_loop(move || assert!(held.recv().is_err(), "nothing is sent"));
        let thread = || std::thread::current().name().map(str::to_owned);
        let answers = EventLoop::new().unwrap().block_on(gather(
            reactors.handles(),
            Duration::from_secs(2),
            thread,
        ));
        drop(release);
        let names: Vec<Option<&str>> = answers.iter().map(|name| name.as_deref()).collect();
        assert_eq!(names, [Some("report-0"), None, Some("report-2")]);
    }

    #[test]
    fn without_other_loops_nobody_is_waited_for() {
        let nobody: [LoopHandle; 0] = [];
        let answers = EventLoop::new().unwrap().block_on(gather(
            nobody.iter(),
            Duration::from_secs(3600),
            || Some(1),
        ));
        assert!(answers.is_empty());
    }
}
