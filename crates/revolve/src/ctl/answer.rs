//! A worker's answer: its loops and its connections.

use std::time::Duration;

use revolve_server::Worker;
use revolve_server::report::{ConnectionReport, LoopReport};
use serde_json::{Value, json};

/// How long another loop of the worker may take.
const LOOP_PATIENCE: Duration = Duration::from_millis(500);

/// What the worker's loops do, and so many connections of each.
pub(crate) async fn of(worker: &Worker, connections_max: usize) -> Value {
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
