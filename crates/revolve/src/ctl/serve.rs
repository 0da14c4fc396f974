//! One client of the control socket, from its line to the answer's.
//!
//! All of it runs on the master's loop and waits for nobody for long: a client has so many
//! seconds to ask and to read, and a few clients are served at a time.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::{
    Framed, LineCodec, Listener, Piece, Semaphore, SendQueue, Stream, now, sleep, spawn,
};
use revolve_server::log::Level;
use serde_json::{Value, json};

use super::{COMMAND_BYTES_MAX, Command, Operated, facts};
use crate::changes::Changes;
use crate::process;

/// How long a client may take to ask, and to take the answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);
/// Clients that are served at a time; others wait in the backlog.
const CLIENTS_MAX: usize = 8;
/// How long the answer to a reload waits for the workers to take the configuration.
const RELOAD_PATIENCE: Duration = Duration::from_secs(5);
const RELOAD_CHECK: Duration = Duration::from_millis(5);
/// The pause after accepting has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A client's process and user.
type Peer = (i32, u32);

/// Serves clients until it is cancelled.
pub(super) async fn listen<O: Operated>(operated: Rc<O>, listener: Rc<Listener>) {
    let room = Semaphore::new(CLIENTS_MAX);
    while let Ok(permit) = room.acquire().await {
        match listener.accept().await {
            Ok((fd, _)) => {
                let operated = Rc::clone(&operated);
                spawn(async move {
                    client(operated, fd).await;
                    drop(permit);
                });
            }
            Err(error) => {
                let reason = revolve_conf::os_error_text(&error);
                let message = format!("accept4() on the control socket failed {reason}");
                operated
                    .service()
                    .borrow()
                    .log
                    .write(Level::Alert, &message);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn client<O: Operated>(operated: Rc<O>, fd: OwnedFd) {
    let Ok(peer) = process::peer(fd.as_fd()) else {
        return;
    };
    let Ok(stream) = Stream::from_fd(fd) else {
        return;
    };
    let mut lines = Framed::new(stream, LineCodec::new(COMMAND_BYTES_MAX));
    let answer = match lines.next_before(now() + CLIENT_PATIENCE).await {
        Ok(None) => return,
        Ok(Some(line)) if is_permitted(peer) => match Command::parse(&line) {
            Ok(command) => obey(&operated, command, peer).await,
            Err(error) => json!({ "error": error }),
        },
        Ok(Some(_)) => json!({ "error": refusal(peer) }),
        Err(error) => json!({ "error": format!("the command could not be read: {error}") }),
    };
    let mut bytes = answer.to_string().into_bytes();
    bytes.push(b'\n');
    let answer = SendQueue::from(Piece::from(bytes).into_chunk());
    // A client that takes no answer does not want it.
    let _ = lines.stream().send(answer).stall_max(CLIENT_PATIENCE).await;
}

/// Root, and the user that the master runs as. The file's mode says the same; this holds where
/// somebody changed it.
fn is_permitted((_, uid): Peer) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

fn refusal((_, uid): Peer) -> String {
    format!(
        "not permitted: the user with number {uid} is neither root nor the one that the server runs as"
    )
}

async fn obey<O: Operated>(operated: &Rc<O>, command: Command, (pid, uid): Peer) -> Value {
    match command {
        Command::Status => facts::status(operated).await,
        Command::Connections(max) => facts::connections(operated, max).await,
        Command::Workers => facts::workers(operated),
        Command::Certificates => facts::certificates(operated),
        Command::Upstreams => facts::upstreams(operated, None).await,
        Command::Order(order) => {
            let words = order.line();
            let message = format!("\"{words}\" said by process {pid} of user {uid}");
            operated.service().borrow().log.notice(&message);
            facts::upstreams(operated, Some(&order)).await
        }
        Command::Reload { color } => {
            let message = format!("reload asked for by process {pid} of user {uid}, reconfiguring");
            operated.service().borrow().log.notice(&message);
            reload(operated, color).await
        }
    }
}

async fn reload<O: Operated>(operated: &Rc<O>, color: bool) -> Value {
    let reloaded = Rc::clone(operated).reload(color);
    let Some(changes) = reloaded.changes else {
        return json!({
            "error": "the new configuration was not taken, nothing changed",
            "said": reloaded.said,
        });
    };
    let generation = operated.service().borrow().generation;
    let trouble = settled(operated, generation).await;
    success(operated, &changes, &reloaded.said, generation, &trouble)
}

/// Waits until every worker that stays serves the configuration, or a newer one; the answer is
/// what is wrong with those that do not.
async fn settled<O: Operated>(operated: &Rc<O>, generation: u64) -> Vec<String> {
    let end = now() + RELOAD_PATIENCE;
    loop {
        let mut workers = operated.workers();
        workers.retain(|worker| !worker.is_leaving && worker.generation < generation);
        let waits = workers.iter().any(|worker| worker.refused < generation);
        if !waits || now() >= end {
            return workers.iter().map(facts::behind).collect();
        }
        sleep(RELOAD_CHECK).await;
    }
}

fn success<O: Operated>(
    operated: &Rc<O>,
    changes: &Changes,
    said: &str,
    generation: u64,
    trouble: &[String],
) -> Value {
    let workers = operated.workers();
    let serving = workers
        .iter()
        .filter(|it| !it.is_leaving && it.generation >= generation);
    json!({
        "generation": generation,
        "workers_serving": serving.count(),
        "workers_leaving": workers.iter().filter(|it| it.is_leaving).count(),
        "changes": changes.json(),
        "said": said,
        "trouble": trouble,
    })
}
