//! A worker's answer: its loops and its connections.

use std::time::Duration;

use revolve_server::Worker;
use revolve_server::report::{ConnectionReport, LoopReport};
use revolve_server::upstreams::UpstreamReport;
use serde_json::{Value, json};

use super::Command;
use crate::message::Subject;

/// How long another loop of the worker may take.
const LOOP_PATIENCE: Duration = Duration::from_millis(500);

/// What the worker has to say of a subject.
pub(crate) async fn of(worker: &Worker, subject: Subject) -> Value {
    match subject {
        Subject::Loops(connections_max) => loops(worker, connections_max).await,
        Subject::Upstreams(words) => upstreams(worker, words.as_deref()).await,
    }
}

/// The groups behind it. What is shared is the same in all loops; what each has for itself is added up.
async fn upstreams(worker: &Worker, words: Option<&str>) -> Value {
    let order = words.and_then(|words| Command::parse(words.as_bytes()).ok());
    let order = match order {
        Some(Command::Order(order)) => Some(order.for_server()),
        _ => None,
    };
    let loops = worker.upstreams(order, LOOP_PATIENCE).await;
    let mut groups: Vec<UpstreamReport> = Vec::new();
    for group in loops.into_iter().flatten() {
        match groups.iter_mut().find(|known| known.name == group.name) {
            None => groups.push(group),
            Some(known) => {
                known.queued += group.queued;
                for (peer, other) in known.peers.iter_mut().zip(&group.peers) {
                    peer.idle += other.idle;
                }
            }
        }
    }
    json!({ "upstreams": groups.iter().map(upstream).collect::<Value>() })
}

fn upstream(report: &UpstreamReport) -> Value {
    let peers = report.peers.iter().map(|peer| {
        json!({
            "server": peer.server,
            "address": peer.address,
            "state": peer.state,
            "weight": peer.weight,
            "backup": peer.is_backup,
            "connections": peer.connections,
            "idle": peer.idle,
            "requests": peer.requests,
            "failures": peer.failures,
        })
    });
    let budget = report.budget.map(|budget| {
        json!({
            "percent": budget.percent,
            "min": budget.min,
            "requests": budget.requests,
            "retries": budget.retries,
            "refused": budget.refused,
        })
    });
    json!({
        "name": report.name,
        "queued": report.queued,
        "retry_budget": budget,
        "peers": peers.collect::<Value>(),
    })
}

/// What the worker's loops do, and so many connections of each.
async fn loops(worker: &Worker, connections_max: usize) -> Value {
    let loops = worker.report(connections_max, LOOP_PATIENCE).await;
    let listed = loops.iter().flatten().flat_map(|it| &it.connections);
    let listed: Value = listed.map(connection).collect();
    let sum = |field: fn(&LoopReport) -> u64| -> u64 { loops.iter().flatten().map(field).sum() };
    json!({
        "connections": sum(|it| it.open as u64),
        "accepted": sum(|it| it.accepted),
        "requests": sum(|it| it.requests),
        "loops": loops.iter().map(event_loop).collect::<Value>(),
        "listed": listed,
    })
}

fn event_loop(report: &Option<LoopReport>) -> Value {
    let Some(report) = report else {
        return json!({"state": "not answering"});
    };
    json!({
        "state": if report.accepts_only { "accepting" } else { "serving" },
        "connections": report.open,
        "accepted": report.accepted,
        "requests": report.requests,
        "turns": report.stats.turns,
        "ready_events": report.stats.ready_events,
        "tasks_run": report.stats.tasks_run,
        "timers_fired": report.stats.timers_fired,
    })
}

fn connection(report: &ConnectionReport) -> Value {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    json!({
        "number": report.number,
        "peer": report.peer.to_string(),
        "listener": report.listener.to_string(),
        "state": report.state.name(),
        "age_ms": ms(report.age),
        "idle_ms": report.idle.map(ms),
        "requests": report.requests,
        "received_bytes": report.received_bytes,
        "sent_bytes": report.sent_bytes,
    })
}
