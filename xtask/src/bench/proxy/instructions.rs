//! `cargo xtask bench proxy --instructions`: what a request costs in user space, counted.

use super::asking::{CONNECTIONS, probe, setup};
use super::cases::Case;
use super::setup::Upstreams;
use crate::bench::callgrind::Callgrind;
use crate::bench::clients::{self, Client};
use crate::bench::options::Options;
use crate::bench::process::{self, LOAD_CPU};
use crate::bench::servers::{Kind, Server, Setup, Workspace};
use crate::bench::{http_instructions, servers};

pub(super) fn run(workspace: &Workspace, case: &Case, options: &Options) -> Result<(), String> {
    let connections = options.connections.unwrap_or(CONNECTIONS);
    let mut counted = Vec::new();
    for kind in &options.servers {
        counted.push((*kind, measure(workspace, *kind, case, connections)?));
    }
    println!(
        "{}: user-space instructions a request, by callgrind; {connections} connections\n{}",
        case.name,
        http_instructions::table(&counted)
    );
    Ok(())
}

/// Instructions a request: the difference between many and few, so that starting falls out.
fn measure(
    workspace: &Workspace,
    kind: Kind,
    case: &Case,
    connections: usize,
) -> Result<f64, String> {
    let count = |rounds: usize| {
        Callgrind::count(|runner| {
            let setup = Setup {
                runner,
                ..setup(case, connections)
            };
            let server = servers::Server::start(workspace, kind, &setup)?;
            process::on_cpu(LOAD_CPU, || load(&server, case, connections, rounds))?
        })
    };
    let bytes = case.sent_bytes + case.answer_bytes;
    let many = http_instructions::rounds(bytes, connections);
    let few = many / http_instructions::MANY_PER_FEW;
    let more = count(many)? as f64 - count(few)? as f64;
    Ok(more / ((many - few) * connections) as f64)
}

/// Asks on every connection and reads every answer, again and again.
fn load(server: &Server, case: &Case, connections: usize, rounds: usize) -> Result<(), String> {
    let say = |error: std::io::Error| format!("{}: {error}", server.kind.name());
    let bytes = probe(case, server)?;
    let request = case.request();
    let mut answer = vec![0; bytes];
    let mut clients: Vec<Client> = clients::connect_all(server.address(), 0..connections)?;
    for _ in 0..rounds {
        if case.upstreams == Upstreams::Each {
            clients = clients::connect_all(server.address(), 0..connections)?;
        }
        for client in &clients {
            client.send(&request).map_err(say)?;
        }
        for client in &clients {
            client.receive(&mut answer).map_err(say)?;
            if !answer.starts_with(b"HTTP/1.1 200 ") {
                return Err(format!("{} answers out of step", server.kind.name()));
            }
        }
    }
    Ok(())
}
