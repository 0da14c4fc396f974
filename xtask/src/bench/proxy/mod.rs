//! `cargo xtask bench proxy`: what a request costs that is passed on.
//!
//! nginx, HAProxy and Revolve stand before the same bare upstream, which shares its CPU with the load.

pub(crate) mod backend;
pub(super) mod cases;
pub(super) mod setup;

mod asking;
mod counts;
mod instructions;
mod memory;

use std::path::Path;

use self::asking::{CONNECTIONS, ask, probe, script, setup};
use self::backend::Backend;
use self::cases::{CASES, Case};
use super::http::{self, Sample};
use super::options::Options;
use super::servers::{Kind, Server, Workspace};
use super::wrk;

/// Runs what was asked for.
pub(super) fn run(root: &Path, options: &Options) -> Result<(), String> {
    let workspace = Workspace::new(root, options)?;
    let _backend = Backend::start()?;
    if options.memory {
        return memory::run(&workspace, options);
    }
    let mut past = Vec::new();
    for case in CASES.iter().filter(|case| options.wants(case.name)) {
        if options.strace {
            counts::run(&workspace, case, options)?;
        } else if options.instructions {
            instructions::run(&workspace, case, options)?;
        } else {
            past.extend(measure(&workspace, case, options)?);
        }
    }
    match options.check && !past.is_empty() {
        true => Err(past.join("\n")),
        false => Ok(()),
    }
}

/// Measures one case; gives what is past its bound.
fn measure(
    workspace: &Workspace,
    case: &Case,
    options: &Options,
) -> Result<Option<String>, String> {
    let connections = options.connections.unwrap_or(CONNECTIONS);
    let seconds = options.seconds.unwrap_or(2);
    let script = script(case)?;
    let mut servers = Vec::new();
    for kind in &options.servers {
        let server = Server::start(workspace, *kind, &setup(case, connections))?;
        probe(case, &server)?;
        servers.push(server);
    }
    let mut samples: Vec<Vec<Sample>> = servers.iter().map(|_| Vec::new()).collect();
    let run = |server: &Server, seconds| {
        let load = wrk::run(&ask(case, server, &script), connections, seconds);
        load.map_err(|error| format!("{}: {error}", server.kind.name()))
    };
    for server in &servers {
        // What is opened, mapped or grown once is not the cost of a request.
        run(server, 1)?;
    }
    for _ in 0..options.rounds {
        for (server, samples) in servers.iter().zip(&mut samples) {
            let before_ns = server.cpu_ns()?;
            let load = run(server, seconds)?;
            let taken_ns = server.cpu_ns()?.saturating_sub(before_ns);
            samples.push(Sample::new(load, taken_ns));
        }
    }
    if let Some(script) = script {
        let _ = std::fs::remove_file(script);
    }
    println!(
        "{}: {} bytes there, {} bytes back, {connections} connections, {} rounds of {seconds} s",
        case.name, case.sent_bytes, case.answer_bytes, options.rounds
    );
    let kinds: Vec<Kind> = servers.iter().map(|server| server.kind).collect();
    println!("{}", http::table(&kinds, &samples));
    let ratio = http::ratio_to(Kind::Nginx, &kinds, &samples);
    Ok(ratio.filter(|ratio| *ratio > case.ratio_max).map(|ratio| {
        format!(
            "{}: Revolve takes {ratio:.2} times the CPU of nginx, at most {:.2} is allowed",
            case.name, case.ratio_max
        )
    }))
}
