//! `cargo xtask bench http --instructions`: what a request costs in user space, counted.
//!
//! Each server is a single process (`master_process off`): valgrind cannot follow a master to its
//! workers. All connections ask, then all are answered, so that the server's turns are as full as
//! they are under load.

use std::path::Path;

use super::callgrind::Callgrind;
use super::clients::{self, Client};
use super::floor::HEAD_BYTES;
use super::http::{self, CASES, Case};
use super::options::Options;
use super::process::{self, LOAD_CPU};
use super::servers::{Kind, Server, Setup, Workspace};
use super::table::Table;

/// Requests of the longer run: this many, or fewer if their bodies are larger in all than so many
/// bytes, but so many rounds at least.
const REQUESTS_MAX: usize = 12_000;
const BYTES_MAX: usize = 256 << 20;
const ROUNDS_MIN: usize = 6;
/// The longer run in relation to the shorter one.
pub(super) const MANY_PER_FEW: usize = 6;

/// Counts every case, or the one that was asked for, and prints a table for each.
pub(super) fn run(root: &Path, options: &Options) -> Result<(), String> {
    let workspace = Workspace::new(root, options)?;
    for case in CASES.iter().filter(|case| options.wants(case.name)) {
        let connections = options.connections.unwrap_or(case.connections);
        let mut counted = Vec::new();
        // What nginx answers decides the floor's head, as in the bench of time.
        let mut head_bytes = HEAD_BYTES;
        for kind in http::floor_last(&options.servers) {
            let setup = Setup {
                floor_head_bytes: head_bytes,
                floor_body_bytes: case.body_bytes,
                connections_max: connections,
                ..Setup::default()
            };
            let measured = measure(&workspace, kind, case, &setup)?;
            if kind == Kind::Nginx {
                head_bytes = measured.head_bytes;
            }
            counted.push((kind, measured.instructions));
        }
        counted.sort_by_key(|(kind, _)| options.servers.iter().position(|other| other == kind));
        println!(
            "{}: user-space instructions a request, by callgrind; {connections} connections\n{}",
            case.name,
            table(&counted)
        );
    }
    Ok(())
}

struct Measured {
    /// Of user space, a request.
    instructions: f64,
    head_bytes: usize,
}

fn measure(
    workspace: &Workspace,
    kind: Kind,
    case: &Case,
    setup: &Setup,
) -> Result<Measured, String> {
    let mut head_bytes = 0;
    let mut count = |rounds: usize| {
        Callgrind::count(|runner| {
            let setup = Setup { runner, ..*setup };
            let server = Server::start(workspace, kind, &setup)?;
            process::on_cpu(LOAD_CPU, || {
                head_bytes = load(&server, case, setup.connections_max, rounds)?;
                Ok(())
            })?
        })
    };
    let many = rounds(case.body_bytes, setup.connections_max);
    let few = many / MANY_PER_FEW;
    let more = count(many)? as f64 - count(few)? as f64;
    Ok(Measured {
        instructions: more / ((many - few) * setup.connections_max) as f64,
        head_bytes,
    })
}

/// Rounds of one request on each connection.
pub(super) fn rounds(body_bytes: usize, connections: usize) -> usize {
    let requests = REQUESTS_MAX.min(BYTES_MAX / body_bytes.max(1));
    (requests / connections.max(1)).max(ROUNDS_MIN)
}

/// Asks on every connection and reads every answer, again and again; gives the bytes of a head.
fn load(server: &Server, case: &Case, connections: usize, rounds: usize) -> Result<usize, String> {
    let say = |error: std::io::Error| format!("{}: {error}", server.kind.name());
    let head_bytes = http::probe(case, server)?;
    let clients: Vec<Client> = clients::connect_all(case.address(server), 0..connections)?;
    let request = case.request();
    let mut answer = vec![0; head_bytes + case.body_bytes];
    for _ in 0..rounds {
        for client in &clients {
            client.send(request.as_bytes()).map_err(say)?;
        }
        for client in &clients {
            client.receive(&mut answer).map_err(say)?;
            if !answer.starts_with(b"HTTP/1.1 200 ") {
                return Err(format!("{} answers out of step", server.kind.name()));
            }
        }
    }
    Ok(head_bytes)
}

pub(super) fn table(counted: &[(Kind, f64)]) -> String {
    let against = counted.iter().map(|(kind, _)| *kind);
    let against: Vec<Kind> = against
        .filter(|kind| http::COMPARED.contains(kind))
        .collect();
    let mut head = vec!["server".to_owned(), "instructions".to_owned()];
    head.extend(against.iter().map(|kind| format!("x {}", kind.name())));
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut table = Table::new(&head);
    let of = |kind: Kind| counted.iter().find(|(other, _)| *other == kind);
    for (kind, instructions) in counted {
        let mut row = vec![kind.name().to_owned(), format!("{instructions:.0}")];
        let others = against.iter().filter_map(|kind| of(*kind));
        row.extend(others.map(|(_, other)| format!("{:.2}", instructions / other)));
        table.row(row);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_are_asked_for_less_often() {
        assert_eq!(rounds(1024, 64), 187);
        assert_eq!(rounds(100 << 10, 64), 40);
        assert_eq!(rounds(10 << 20, 8), ROUNDS_MIN);
    }

    #[test]
    fn servers_are_compared_with_those_that_were_counted() {
        let text = table(&[(Kind::Nginx, 6000.0), (Kind::Revolve, 3000.0)]);
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows[0].ends_with("x nginx") && !rows[0].contains("floor"));
        assert!(rows[2].ends_with("3000     0.50"), "{text}");
    }
}
