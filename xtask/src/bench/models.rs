//! `cargo xtask bench models`: what a message costs on each I/O model, beside idle connections.
//!
//! The picture of why epoll: where all descriptors are asked about for each wait, a message pays
//! for every connection that is open; where only the ready ones come back, it pays for itself.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::chart::{Chart, Series};
use super::echoes::{self, Asked, Echo};
use super::load::Load;
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
/// Where the picture lies.
const PICTURE: &str = "docs/models.svg";

/// Measures all models, prints a table, and draws the picture.
pub(super) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    let asked = Asked::parse(arguments)?;
    process::raise_open_files(DESCRIPTORS)?;
    if asked.build {
        let example = ["--package", "revolve-reactor", "--example", "models"];
        echoes::build(root, &example)?;
    }
    let program = echoes::target(root).join("release/examples/models");
    let mut measured = vec![vec![Vec::new(); IDLE.len()]; MODELS.len()];
    process::on_cpu(LOAD_CPU, || {
        for _ in 0..asked.rounds {
            for (model, figures) in MODELS.iter().zip(&mut measured) {
                measure(&program, model, figures, asked.length)?;
            }
        }
        Ok::<(), String>(())
    })??;
    let medians: Vec<Vec<Option<f64>>> = measured
        .into_iter()
        .map(|of_model| {
            let median = |figures| Spread::of(figures).map(|spread| spread.median);
            of_model.into_iter().map(median).collect()
        })
        .collect();
    println!(
        "CPU µs a message beside idle connections\n{}",
        table(&medians).render()
    );
    let path = root.join(PICTURE);
    std::fs::write(&path, chart(&medians).render())
        .map_err(|error| format!("{}: {error}", path.display()))?;
    println!("drawn to {PICTURE}");
    Ok(())
}

/// One server of `model`, with more and more idle connections. It alone runs, because one of the
/// models never rests.
fn measure(
    program: &Path,
    model: &str,
    figures: &mut [Vec<f64>],
    length: Duration,
) -> Result<(), String> {
    let say = |error: std::io::Error| format!("{model}: {error}");
    let mut command = Command::new(program);
    command.args([model, "127.0.0.1:0"]);
    let server = match Echo::start(model, command) {
        // A kernel without it, or one that refuses it: the picture lacks a line.
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
        figures.push(server.measure(&mut load, length)?.cpu_us);
    }
    Ok(())
}

fn table(medians: &[Vec<Option<f64>>]) -> Table {
    let idle = IDLE.map(|idle| format!("{idle} idle"));
    let mut head = vec!["model"];
    head.extend(idle.iter().map(String::as_str));
    let mut table = Table::new(&head);
    for (model, figures) in MODELS.iter().zip(medians) {
        let cell = |figure: &Option<f64>| figure.map_or("-".into(), |us| format!("{us:.2}"));
        table.row(std::iter::once((*model).into()).chain(figures.iter().map(cell)));
    }
    table
}

fn chart(medians: &[Vec<Option<f64>>]) -> Chart {
    let series = MODELS.iter().zip(medians).map(|(model, figures)| {
        let points = IDLE.iter().zip(figures);
        Series {
            name: (*model).into(),
            points: points
                .filter_map(|(&idle, figure)| Some((idle as f64, (*figure)?)))
                .collect(),
        }
    });
    Chart {
        title: "CPU time a message, beside idle connections".into(),
        note: format!(
            "µs; echo of {MESSAGE_BYTES} B on {ACTIVE} connections, one CPU; cargo xtask bench models"
        ),
        series: series.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_neither_in_the_table_nor_in_the_picture() {
        let mut medians = vec![vec![Some(5.0); IDLE.len()]; MODELS.len()];
        medians[2][3] = None;
        let table = table(&medians).render();
        let select = table
            .lines()
            .find(|line| line.starts_with("select"))
            .unwrap();
        assert!(select.trim_end().ends_with('-'), "{table}");
        let series = chart(&medians).series;
        let lens: Vec<usize> = series.iter().map(|one| one.points.len()).collect();
        assert_eq!(lens, [4, 4, 3, 4, 4, 4]);
    }
}
