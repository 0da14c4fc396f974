//! `cargo xtask bench tls`: what a handshake, and what a request by TLS costs.

mod load;
mod peer;

use std::path::Path;
use std::time::Duration;

use self::load::Stopped;
use self::peer::{Peer, Running};
use super::options::Options;
use super::process;
use super::servers::Workspace;
use super::table::{Spread, Table};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Connections with a full handshake and nothing behind it.
    Full,
    /// The same by a session of before, and one request.
    Resumed,
    /// Requests on kept connections.
    Requests,
}

/// One case, and the bound that Revolve holds itself to: CPU, at most so many times nginx's.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    work: Work,
    path: &'static str,
    body_bytes: usize,
    /// Connections of requests, where none are asked for.
    connections: usize,
    ratio_max: Option<f64>,
}

const CASES: [Case; 5] = [
    Case {
        name: "tls-full",
        work: Work::Full,
        path: "/1k.html",
        body_bytes: 1 << 10,
        connections: 32,
        ratio_max: Some(0.5),
    },
    Case {
        name: "tls-resumed",
        work: Work::Resumed,
        path: "/1k.html",
        body_bytes: 1 << 10,
        connections: 32,
        ratio_max: None,
    },
    Case {
        name: "tls-1k",
        work: Work::Requests,
        path: "/1k.html",
        body_bytes: 1 << 10,
        connections: 32,
        ratio_max: Some(0.85),
    },
    Case {
        name: "tls-100k",
        work: Work::Requests,
        path: "/100k.html",
        body_bytes: 100 << 10,
        connections: 32,
        ratio_max: Some(0.75),
    },
    Case {
        name: "tls-10m",
        work: Work::Requests,
        path: "/10m.html",
        body_bytes: 10 << 20,
        connections: 8,
        ratio_max: Some(0.75),
    },
];

/// The case of idle connections, which are held to so many bytes each.
const IDLE: &str = "tls-idle";
const IDLE_BYTES_MAX: f64 = 5.0 * 1024.0;
const IDLE_CONNECTIONS: usize = 1000;
const SETTLE: Duration = Duration::from_millis(500);

/// One measurement.
struct Sample {
    cpu_us: f64,
    per_s: f64,
}

/// Measures every case, or the one that was asked for, and prints a table for each.
pub(super) fn run(root: &Path, options: &Options) -> Result<(), String> {
    let workspace = Workspace::new(root, options)?;
    peer::make_certificate(workspace.folder())?;
    let mut peers = vec![Peer::Nginx, Peer::Revolve];
    peers.extend(options.against.iter().map(|_| Peer::Against));
    for peer in [Peer::H2o, Peer::Haproxy] {
        match peer.program(&workspace) {
            Ok(_) => peers.push(peer),
            Err(why) => println!("{} is left out: {why}", peer.name()),
        }
    }
    let mut past = Vec::new();
    for case in CASES.iter().filter(|case| options.wants(case.name)) {
        past.extend(measure(&workspace, case, &peers, options)?);
    }
    if options.wants(IDLE) {
        past.extend(idle(&workspace, &peers, options)?);
    }
    if options.check && !past.is_empty() {
        return Err(past.join("\n"));
    }
    Ok(())
}

/// Measures one case; gives what is past its bound.
fn measure(
    workspace: &Workspace,
    case: &Case,
    peers: &[Peer],
    options: &Options,
) -> Result<Option<String>, String> {
    let serves = |peer: &&Peer| case.body_bytes <= peer.body_bytes_max();
    let peers: Vec<Peer> = peers.iter().filter(serves).copied().collect();
    let connections = options.connections.unwrap_or(case.connections);
    let seconds = options.seconds.unwrap_or(2);
    let mut servers = Vec::new();
    for peer in &peers {
        let server = Running::start(workspace, *peer, connections)?;
        sample(&server, case, connections, 1)?;
        servers.push(server);
    }
    let mut samples: Vec<Vec<Sample>> = servers.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for (server, samples) in servers.iter().zip(&mut samples) {
            samples.push(sample(server, case, connections, seconds)?);
        }
    }
    println!(
        "{}: {} bytes of body, {} rounds of {seconds} s",
        case.name, case.body_bytes, options.rounds
    );
    println!("{}", table(&peers, &samples));
    Ok(past_bound(case, &peers, &samples))
}

fn sample(
    server: &Running,
    case: &Case,
    connections: usize,
    seconds: u64,
) -> Result<Sample, String> {
    let before_ns = server.cpu_ns()?;
    let port = server.port();
    let done = match case.work {
        Work::Full => load::handshakes((port, None), "-new", seconds),
        // The client has its ticket with the answer.
        Work::Resumed => load::handshakes((port, Some(case.path)), "-reuse", seconds),
        Work::Requests => load::requests((port, case.path), connections, seconds),
    };
    let done = done.map_err(|error| format!("{}: {error}", server.peer.name()))?;
    let taken_ns = server.cpu_ns()?.saturating_sub(before_ns);
    Ok(Sample {
        cpu_us: taken_ns as f64 / 1000.0 / done.count as f64,
        per_s: done.per_s,
    })
}

fn ratio(of: &[Sample], against: &[Sample]) -> Option<Spread> {
    let pairs = of.iter().zip(against);
    Spread::of(pairs.map(|(of, against)| of.cpu_us / against.cpu_us))
}

fn table(peers: &[Peer], samples: &[Vec<Sample>]) -> String {
    let head = [
        "server",
        "CPU µs each",
        "min..max",
        "each second",
        "CPU : nginx",
        "min..max",
    ];
    let mut table = Table::new(&head);
    for (peer, of) in peers.iter().zip(samples) {
        let cpu = Spread::of(of.iter().map(|sample| sample.cpu_us));
        let rate = Spread::of(of.iter().map(|sample| sample.per_s));
        let (Some(cpu), Some(rate), Some(ratio)) = (cpu, rate, ratio(of, &samples[0])) else {
            continue;
        };
        table.row(vec![
            peer.name().into(),
            format!("{:.2}", cpu.median),
            format!("{:.2}..{:.2}", cpu.min, cpu.max),
            format!("{:.0}", rate.median),
            format!("{:.2}", ratio.median),
            format!("{:.2}..{:.2}", ratio.min, ratio.max),
        ]);
    }
    table.render()
}

fn past_bound(case: &Case, peers: &[Peer], samples: &[Vec<Sample>]) -> Option<String> {
    let at = |peer| peers.iter().position(|it| *it == peer);
    let (own, nginx) = (at(Peer::Revolve)?, at(Peer::Nginx)?);
    let ratio = ratio(&samples[own], &samples[nginx])?.median;
    let ratio_max = case.ratio_max?;
    (ratio > ratio_max).then(|| {
        let name = case.name;
        format!("{name}: Revolve takes {ratio:.2} times the CPU of nginx, at most {ratio_max:.2} is allowed")
    })
}

/// What an idle connection costs in resident memory, after a request; gives what is past the bound.
fn idle(
    workspace: &Workspace,
    peers: &[Peer],
    options: &Options,
) -> Result<Option<String>, String> {
    let connections = options.connections.unwrap_or(IDLE_CONNECTIONS);
    process::raise_open_files(connections as u64 + 1000)?;
    let mut table = Table::new(&["server", "RSS before", "RSS with all", "bytes each"]);
    let mut past = None;
    for peer in peers {
        let server = Running::start(workspace, *peer, connections)?;
        let place = (server.port(), "/1k.html");
        load::requests(place, 50, 1)?;
        let resident = || {
            std::thread::sleep(SETTLE);
            process::resident_bytes(&server.workers())
        };
        let before = resident()?;
        let load = Stopped::start(place, connections)?;
        let after = resident()?;
        drop(load);
        let each = (after as f64 - before as f64) / connections as f64;
        if *peer == Peer::Revolve && each > IDLE_BYTES_MAX {
            past = Some(format!(
                "{IDLE}: a connection takes {each:.0} bytes, at most {IDLE_BYTES_MAX:.0} are allowed"
            ));
        }
        table.row(vec![
            peer.name().into(),
            format!("{} KiB", before / 1024),
            format!("{} KiB", after / 1024),
            format!("{each:.0}"),
        ]);
    }
    println!(
        "{IDLE}: {connections} connections that wait after a request\n{}",
        table.render()
    );
    Ok(past)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_knows_every_case() {
        let names = CASES.iter().map(|case| case.name).chain([IDLE]);
        assert!(names.eq(crate::bench::options::TLS_CASES));
    }

    #[test]
    fn the_bound_holds_at_the_limit_and_not_past_it() {
        let of = |cpu_us: f64| vec![Sample { cpu_us, per_s: 1.0 }];
        let peers = [Peer::Nginx, Peer::Revolve];
        let check = |cpu_us| past_bound(&CASES[0], &peers, &[of(4.0), of(cpu_us)]);
        assert_eq!(check(2.0), None);
        assert!(check(2.1).unwrap().contains("tls-full"));
        assert_eq!(past_bound(&CASES[1], &peers, &[of(1.0), of(9.0)]), None);
        assert!(table(&peers, &[of(4.0), of(2.0)]).contains("0.50"));
    }
}
