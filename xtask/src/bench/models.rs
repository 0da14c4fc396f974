//! `cargo xtask bench models`: what a message costs on each I/O model, beside idle connections.
//!
//! Why epoll: where all descriptors are asked about for each wait, a message pays for every connection
//! that is open; where only the ready ones come back, it pays for itself.

use std::path::Path;
use std::time::Duration;

use super::echo_server::{self, Echo};
use super::load::Load;
use super::options::Options;
use super::process::{self, LOAD_CPU};
use super::table::{Spread, Table};

const MODELS: [&str; 6] = ["blocking", "polling", "select", "poll", "epoll", "io_uring"];
const IDLE: [usize; 4] = [10, 100, 1_000, 10_000];
/// `select(2)` knows no descriptor beyond.
const SELECT_MAX: usize = 1_000;
/// Connections with a message in flight.
const ACTIVE: usize = 8;
const MESSAGE_BYTES: usize = 64;
const DESCRIPTORS: u64 = 12_000;
const WARM_UP: Duration = Duration::from_millis(100);

/// Measures all models, and prints a table.
pub(super) fn run(root: &Path, options: &Options) -> Result<(), String> {
    process::raise_open_files(DESCRIPTORS)?;
    if options.build {
        echo_server::build_examples(root)?;
    }
    let length = Duration::from_secs(options.seconds.unwrap_or(1));
    let mut measured = vec![vec![Vec::new(); IDLE.len()]; MODELS.len()];
    process::on_cpu(LOAD_CPU, || {
        for _ in 0..options.rounds {
            for (model, figures) in MODELS.iter().zip(&mut measured) {
                measure(root, model, figures, length)?;
            }
        }
        Ok::<(), String>(())
    })??;
    let idle = IDLE.map(|idle| format!("{idle} idle"));
    let mut table = Table::new(&["model", &idle[0], &idle[1], &idle[2], &idle[3]]);
    for (model, figures) in MODELS.iter().zip(measured) {
        let median = |figures| Spread::of(figures).map(|spread| format!("{:.2}", spread.median));
        let cells = figures
            .into_iter()
            .map(|one| median(one).unwrap_or("-".into()));
        table.row(std::iter::once((*model).into()).chain(cells));
    }
    println!(
        "CPU µs a message beside idle connections\n{}",
        table.render()
    );
    Ok(())
}

/// One server of `model`, with more and more idle connections. It alone runs, because one of the
/// models never rests.
fn measure(
    root: &Path,
    model: &str,
    figures: &mut [Vec<f64>],
    length: Duration,
) -> Result<(), String> {
    let say = |error: std::io::Error| format!("{model}: {error}");
    let server = match Echo::start(model, echo_server::model(root, model)) {
        // A kernel without it, or one that refuses it: the table lacks a row.
        Err(error) if model == "io_uring" => {
            eprintln!("{error}");
            return Ok(());
        }
        started => started?,
    };
    let mut load = Load::connect(server.address, ACTIVE, MESSAGE_BYTES).map_err(say)?;
    for (idle, figures) in IDLE.into_iter().zip(figures) {
        if model == "select" && idle > SELECT_MAX {
            continue;
        }
        load.idle(server.address, idle).map_err(say)?;
        server.measure(&mut load, WARM_UP)?;
        figures.push(server.measure(&mut load, length)?.0);
    }
    Ok(())
}
