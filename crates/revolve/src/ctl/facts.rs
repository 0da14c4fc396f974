//! What the server says of itself, as JSON.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::desk::Desk;
use super::order::Order;
use super::{Operated, WorkerView, state};
use crate::message::Subject;
use crate::{expiry, version};

/// `workers`: what the master and the kernel know, without a question to any worker.
pub(super) fn workers<O: Operated>(operated: &Rc<O>) -> Value {
    let workers = operated.workers();
    json!({ "workers": workers.iter().map(worker).collect::<Value>() })
}

/// `certificates`: those of the configuration in force. One that expires soon is in trouble.
pub(super) fn certificates<O: Operated>(operated: &Rc<O>) -> Value {
    let service = operated.service().borrow();
    let now_s = expiry::now_s();
    let mut trouble = Vec::new();
    let mut listed = Vec::new();
    for certificate in service.config.certificates() {
        trouble.extend(expiry::warning(&certificate, now_s));
        let facts = &certificate.facts;
        listed.push(json!({
            "file": certificate.path.display().to_string(),
            "names": facts.names,
            "subject": facts.subject,
            "issuer": facts.issuer,
            "not_before_s": facts.not_before_s,
            "not_after_s": facts.not_after_s,
            "days_left": expiry::days_left(facts, now_s),
            "acme_issuer": certificate.acme_issuer,
        }));
    }
    json!({ "certificates": listed, "trouble": trouble })
}

/// `status`: everything in numbers.
pub(super) async fn status<O: Operated>(operated: &Rc<O>) -> Value {
    let workers = ask_all(operated, Subject::Loops(0)).await;
    let sum = |field: &str| -> u64 {
        let numbers = workers.iter().filter_map(|worker| worker[field].as_u64());
        numbers.sum()
    };
    let (connections, accepted, requests) = (sum("connections"), sum("accepted"), sum("requests"));
    let service = operated.service().borrow();
    let process = service.config.process();
    let mut master = process_facts(std::process::id());
    master["pid"] = std::process::id().into();
    master["generation"] = service.generation.into();
    master["age_ms"] = ms_since(service.started).into();
    master["turns"] = revolve_reactor::current().stats().turns.into();
    let listens = service.config.listens();
    json!({
        "version": version::NUMBER,
        "state": operated.state(),
        "configuration": {
            "file": service.config_path().display().to_string(),
            "generation": service.generation,
            "age_ms": ms_since(service.taken_at),
        },
        "listeners": listens.map(|spec| Value::from(spec.id.to_string())).collect::<Value>(),
        "workers_wanted": process.worker_count(),
        "worker_connections": process.connections_max(),
        "connections": connections,
        "accepted": accepted,
        "requests": requests,
        "master": master,
        "workers": workers,
    })
}

/// `connections`: those of every worker.
pub(super) async fn connections<O: Operated>(operated: &Rc<O>, max: usize) -> Value {
    let mut workers = ask_all(operated, Subject::Loops(max)).await;
    for worker in &mut workers {
        if let Some(worker) = worker.as_object_mut() {
            worker.remove("loops");
        }
    }
    json!({ "listed_max": max, "workers": workers })
}

/// `upstreams`: the groups of servers, as all workers know them; an order is obeyed before.
pub(super) async fn upstreams<O: Operated>(operated: &Rc<O>, order: Option<&Order>) -> Value {
    let words = order.map(Order::line);
    let answers = ask_all(operated, Subject::Upstreams(words)).await;
    let mut groups: Vec<Value> = Vec::new();
    let mut trouble = Vec::new();
    for mut worker in answers {
        let is_serving = worker["state"] == "serving";
        if let Some(said) = worker["trouble"].as_str() {
            trouble.push(format!("worker process {} {said}", worker["pid"]));
        }
        for group in worker["upstreams"].as_array_mut().into_iter().flatten() {
            let known = groups.iter_mut().find(|it| it["name"] == group["name"]);
            match known {
                None if is_serving => groups.push(group.take()),
                None => {}
                Some(known) => add_up(known, group),
            }
        }
    }
    let mut answer = json!({ "upstreams": groups, "trouble": trouble });
    match order {
        Some(order) if !knows(&answer, order) => {
            let (group, server) = (&order.group, &order.server);
            let message = format!("there is no server \"{server}\" in a group \"{group}\"");
            answer = json!({ "error": message });
        }
        Some(order) => {
            if let Err(said) = keep(operated, order) {
                answer["trouble"] = json!([said]);
            }
        }
        None => {}
    }
    answer
}

/// Keeps an order in the file of its group, where that has one.
fn keep<O: Operated>(operated: &Rc<O>, order: &Order) -> Result<(), String> {
    let service = operated.service().borrow();
    let Some(path) = service.config.upstream_state(&order.group) else {
        return Ok(());
    };
    state::keep(path, order).map_err(|error| {
        let (shown, reason) = (path.display(), revolve_conf::os_error_text(&error));
        format!("it is obeyed, but not kept: writing \"{shown}\" failed {reason}")
    })
}

/// Adds what each worker has for itself; what all share is there.
fn add_up(known: &mut Value, other: &Value) {
    fn add(known: &mut Value, other: &Value, name: &str) {
        let sum = known[name].as_u64().unwrap_or(0) + other[name].as_u64().unwrap_or(0);
        known[name] = sum.into();
    }
    add(known, other, "queued");
    for peer in known["peers"].as_array_mut().into_iter().flatten() {
        let others = other["peers"].as_array().into_iter().flatten();
        if let Some(other) = others
            .into_iter()
            .find(|it| it["address"] == peer["address"])
        {
            add(peer, other, "idle");
        }
    }
}

/// Whether an order was said of anybody.
fn knows(answer: &Value, order: &Order) -> bool {
    let groups = answer["upstreams"].as_array().into_iter().flatten();
    let mut peers = groups
        .filter(|group| group["name"] == *order.group)
        .flat_map(|group| group["peers"].as_array().into_iter().flatten());
    peers.any(|peer| peer["server"] == *order.server || peer["address"] == *order.server)
}

/// Asks all workers at once. One that does not answer is there with what is known without it.
async fn ask_all<O: Operated>(operated: &Rc<O>, subject: Subject) -> Vec<Value> {
    let asked: Vec<_> = operated
        .workers()
        .into_iter()
        .map(|view| {
            let (operated, subject) = (Rc::clone(operated), subject.clone());
            let asking = async move {
                let answer = Desk::ask(&operated, view.pid, subject).await;
                (view, answer)
            };
            revolve_reactor::spawn(asking)
        })
        .collect();
    let mut facts = Vec::new();
    for asking in asked {
        // A task that panicked is our bug, and logged; the rest is still worth showing.
        let Ok((view, answer)) = asking.await else {
            continue;
        };
        let mut fact = worker(&view);
        match answer {
            Ok(Some(Value::Object(answer))) => {
                fact.as_object_mut().into_iter().for_each(|fact| {
                    fact.extend(answer.clone());
                });
            }
            Ok(_) => fact["trouble"] = silence(&fact).into(),
            Err(error) => {
                let reason = revolve_conf::os_error_text(&error);
                fact["trouble"] = format!("cannot be asked {reason}").into();
            }
        }
        facts.push(fact);
    }
    facts
}

/// Why a worker may not have answered.
fn silence(fact: &Value) -> String {
    match fact["process_state"].as_str() {
        Some("stopped") => "does not answer: it is stopped (SIGCONT lets it go on)".into(),
        Some("zombie" | "gone") => "does not answer: it has exited".into(),
        _ => "does not answer".into(),
    }
}

/// Why a worker may not serve the configuration yet that it was handed.
pub(super) fn behind(view: &WorkerView) -> String {
    let what = if view.refused > view.generation {
        "could not take it, the error log says why"
    } else if process_facts(view.pid)["process_state"] == "stopped" {
        "is stopped (SIGCONT lets it go on), and takes it then"
    } else {
        "has not taken it yet"
    };
    format!("worker process {} {what}", view.pid)
}

fn worker(view: &WorkerView) -> Value {
    let mut fact = process_facts(view.pid);
    let state = match (view.is_leaving, view.generation) {
        (true, _) => "leaving",
        (false, 0) => "starting",
        (false, _) => "serving",
    };
    fact["index"] = view.index.into();
    fact["pid"] = view.pid.into();
    fact["state"] = state.into();
    fact["generation"] = view.generation.into();
    fact["age_ms"] = ms_since(view.started).into();
    fact
}

fn ms_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What the kernel knows of a process (proc(5)): state, memory, processor time, descriptors.
fn process_facts(pid: u32) -> Value {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let bytes = |name: &str| -> Option<u64> {
        let kibibytes: u64 = field(name)?.parse().ok()?;
        Some(kibibytes * 1024)
    };
    let state = match field("State:").as_deref() {
        Some("R") => "running",
        Some("S" | "D" | "I") => "waiting",
        Some("T" | "t") => "stopped",
        Some("Z") => "zombie",
        Some(_) => "other",
        None => "gone",
    };
    json!({
        "process_state": state,
        "resident_bytes": bytes("VmRSS:"),
        "private_bytes": bytes("RssAnon:"),
        "threads": field("Threads:").and_then(|it| it.parse::<u64>().ok()),
        "cpu_ms": cpu_time(pid).map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
        "descriptors": std::fs::read_dir(format!("/proc/{pid}/fd")).ok().map(Iterator::count),
    })
}

/// Processor time that a process has taken, its own and the kernel's for it.
fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; behind it the third field begins.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut ticks = rest.split_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = ticks.next()?.ok()? + ticks.next()?.ok()?;
    Some(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_this_process_and_not_one_that_is_gone() {
        let facts = process_facts(std::process::id());
        assert!(facts["resident_bytes"].as_u64().unwrap() > 4096, "{facts}");
        assert!(facts["descriptors"].as_u64().unwrap() >= 3, "{facts}");
        assert!(facts["cpu_ms"].is_u64(), "{facts}");
        let gone = process_facts(u32::MAX);
        assert_eq!(gone["process_state"], "gone");
        assert!(silence(&gone).contains("exited"));
    }
}
