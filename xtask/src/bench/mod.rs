//! `cargo xtask bench`: Revolve beside nginx and beside a bare epoll loop, in one run.
//!
//! Every figure is a ratio against something that ran in the same minute on the same machine: the
//! servers are pinned to one CPU, the load to another, and they are measured in turns (A B C A B
//! C), so that what slows one slows all.

pub(crate) mod floor;

mod callgrind;
mod chart;
mod clients;
mod contenders;
mod dealing;
mod echo;
mod echoes;
mod fairness;
mod field;
mod http;
mod http_instructions;
mod idle;
mod instructions;
mod latency;
mod load;
mod memory;
mod models;
mod options;
mod process;
mod servers;
mod site;
mod slow;
mod strace;
mod table;
mod tools;
mod wrk;

use std::path::Path;

use options::{Mode, Options};

/// Runs the bench that `arguments` name.
///
/// # Errors
///
/// A missing tool (with how to install it), a server that does not start, a load that fails.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    let rest = arguments.get(1..).unwrap_or_default();
    match arguments.first().map(String::as_str) {
        Some("echo") => return echo::run(root, rest),
        Some("fairness") => return fairness::run(root, rest),
        Some("idle") => return idle::run(root, rest),
        Some("models") => return models::run(root, rest),
        _ => {}
    }
    let Some(options) = Options::parse(arguments)? else {
        print!("{}", options::USAGE);
        return Ok(());
    };
    tools::require(&options)?;
    servers::build(root, &options)?;
    match options.mode {
        Mode::Http if options.strace => strace::run(root, &options),
        Mode::Http if options.instructions => http_instructions::run(root, &options),
        Mode::Http => http::run(root, &options),
        Mode::Memory => memory::run(root, &options),
        Mode::Slow => slow::run(root, &options),
        Mode::Dealing => dealing::run(root, &options),
    }
}
