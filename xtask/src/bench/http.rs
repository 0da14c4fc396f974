//! `cargo xtask bench http`: what a request costs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::clients;
use super::floor::HEAD_BYTES;
use super::options::Options;
use super::servers::{Kind, Server, Setup, Workspace};
use super::site;
use super::table::{Spread, Table};
use super::wrk::{self, Ask, Load};

/// A bound that Revolve holds itself to: CPU per request, at most so many times another's.
#[derive(Clone, Copy)]
pub(super) struct Bound {
    against: Kind,
    ratio_max: f64,
}

/// One kind of request.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    /// Header lines of the site's browser; none where the plain server is asked.
    pub(super) lines: &'static [&'static str],
    /// Bytes of the answer's body.
    pub(super) body_bytes: usize,
    /// Connections of the load, where none are asked for.
    pub(super) connections: usize,
    bound: Bound,
}

impl Case {
    /// The request, whole.
    pub(super) fn request(&self) -> String {
        match self.lines {
            [] => clients::request(self.path),
            lines => format!(
                "GET {} HTTP/1.1\r\n{}\r\n\r\n",
                self.path,
                lines.join("\r\n")
            ),
        }
    }

    /// What wrk is told.
    pub(super) fn ask(&self, server: &Server) -> Ask {
        Ask {
            url: format!("http://{}{}", self.address(server), self.path),
            lines: self.lines,
            script: None,
        }
    }

    /// Where a server answers it.
    pub(super) fn address(&self, server: &Server) -> SocketAddr {
        let mut address = server.address();
        if !self.lines.is_empty() && server.kind != Kind::Floor {
            address.set_port(address.port() + site::PORT_STEP);
        }
        address
    }
}

pub(super) const CASES: [Case; 5] = [
    Case {
        name: "static-1k",
        path: "/1k.html",
        lines: &[],
        body_bytes: 1 << 10,
        connections: 64,
        bound: Bound {
            against: Kind::Floor,
            ratio_max: 1.25,
        },
    },
    Case {
        name: "return",
        path: "/return",
        lines: &[],
        body_bytes: 2,
        connections: 64,
        bound: Bound {
            against: Kind::Floor,
            ratio_max: 1.15,
        },
    },
    Case {
        name: "site",
        path: site::PATH,
        lines: site::LINES,
        body_bytes: site::BODY_BYTES,
        connections: 64,
        bound: Bound {
            against: Kind::Nginx,
            ratio_max: 0.5,
        },
    },
    Case {
        name: "static-100k",
        path: "/100k.html",
        lines: &[],
        body_bytes: 100 << 10,
        connections: 64,
        bound: Bound {
            against: Kind::Nginx,
            ratio_max: 1.0,
        },
    },
    Case {
        name: "static-10m",
        path: "/10m.html",
        lines: &[],
        body_bytes: 10 << 20,
        connections: 8,
        bound: Bound {
            against: Kind::Nginx,
            ratio_max: 1.0,
        },
    },
];

/// Servers that all are compared with, where they run.
pub(super) const COMPARED: [Kind; 3] = [Kind::Floor, Kind::Nginx, Kind::Against];

/// One measurement: what the load saw and what the server paid.
pub(super) struct Sample {
    load: Load,
    cpu_us: f64,
}

impl Sample {
    /// Of a load that took so many nanoseconds of the server.
    pub(super) fn new(load: Load, taken_ns: u64) -> Self {
        Self {
            load,
            cpu_us: taken_ns as f64 / 1000.0 / load.requests as f64,
        }
    }
}

/// Measures every case, or the one that was asked for, and prints a table for each.
pub(super) fn run(root: &Path, options: &Options) -> Result<(), String> {
    let workspace = Workspace::new(root, options)?;
    let mut past = Vec::new();
    for case in CASES {
        if options.wants(case.name) {
            past.extend(measure(&workspace, &case, options)?);
        }
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
    options: &Options,
) -> Result<Option<String>, String> {
    let connections = options.connections.unwrap_or(case.connections);
    let seconds = options.seconds.unwrap_or(2);
    let servers = start(workspace, case, connections, &options.servers)?;
    let mut samples: Vec<Vec<Sample>> = servers.iter().map(|_| Vec::new()).collect();
    for server in &servers {
        // What is opened, mapped or grown once is not the cost of a request.
        wrk::run(&case.ask(server), connections, 1)?;
    }
    for _ in 0..options.rounds {
        for (server, samples) in servers.iter().zip(&mut samples) {
            samples.push(sample(server, case, connections, seconds)?);
        }
    }
    println!(
        "{}: {} bytes of body, {connections} connections, {} rounds of {seconds} s",
        case.name, case.body_bytes, options.rounds
    );
    let kinds: Vec<Kind> = servers.iter().map(|server| server.kind).collect();
    println!("{}", table(&kinds, &samples));
    Ok(past_bound(case, &kinds, &samples))
}

fn start(
    workspace: &Workspace,
    case: &Case,
    connections: usize,
    kinds: &[Kind],
) -> Result<Vec<Server>, String> {
    let mut setup = Setup {
        floor_head_bytes: HEAD_BYTES,
        floor_body_bytes: case.body_bytes,
        connections_max: connections,
        ..Setup::default()
    };
    let mut servers = Vec::new();
    for kind in floor_last(kinds) {
        let server = Server::start(workspace, kind, &setup)?;
        let head_bytes = probe(case, &server)?;
        if kind == Kind::Nginx {
            setup.floor_head_bytes = head_bytes;
        }
        servers.push(server);
    }
    servers.sort_by_key(|server| kinds.iter().position(|kind| *kind == server.kind));
    Ok(servers)
}

/// The floor is started last and answers as many bytes of head as nginx does here.
pub(super) fn floor_last(kinds: &[Kind]) -> Vec<Kind> {
    let mut order = kinds.to_vec();
    order.sort_by_key(|kind| *kind == Kind::Floor);
    order
}

/// Asks once, checks that the answer is a 200 with the body expected, and gives its head's bytes.
pub(super) fn probe(case: &Case, server: &Server) -> Result<usize, String> {
    let address = case.address(server);
    let (path, body_bytes) = (case.path, case.body_bytes);
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(case.request().as_bytes())?;
        let mut answer = Vec::new();
        let mut part = [0; 64 * 1024];
        loop {
            let read = stream.read(&mut part)?;
            answer.extend_from_slice(&part[..read]);
            let whole = head_bytes(&answer).is_some_and(|head| answer.len() >= head + body_bytes);
            if read == 0 || whole {
                return Ok(answer);
            }
        }
    };
    let say = |what: &str| format!("GET {path} of {address}: {what}");
    let answer = ask().map_err(|error| say(&error.to_string()))?;
    let head = head_bytes(&answer).ok_or_else(|| say("the answer has no end of its head"))?;
    let line = String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next().unwrap_or(&[]));
    if !line.starts_with("HTTP/1.1 200") {
        return Err(say(&line));
    }
    if answer.len() != head + body_bytes {
        let got = answer.len() - head;
        return Err(say(&format!(
            "{got} bytes of body came, {body_bytes} were expected"
        )));
    }
    Ok(head)
}

pub(super) fn head_bytes(answer: &[u8]) -> Option<usize> {
    answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4)
}

fn sample(
    server: &Server,
    case: &Case,
    connections: usize,
    seconds: u64,
) -> Result<Sample, String> {
    let before_ns = server.cpu_ns()?;
    let load = wrk::run(&case.ask(server), connections, seconds)
        .map_err(|error| format!("{}: {error}", server.kind.name()))?;
    let taken_ns = server.cpu_ns()?.saturating_sub(before_ns);
    Ok(Sample::new(load, taken_ns))
}

/// CPU per request of one server against another's, round by round.
fn ratio(of: &[Sample], against: &[Sample]) -> Option<Spread> {
    Spread::of(
        of.iter()
            .zip(against)
            .map(|(of, against)| of.cpu_us / against.cpu_us),
    )
}

pub(super) fn table(kinds: &[Kind], samples: &[Vec<Sample>]) -> String {
    let head = [
        "server",
        "CPU µs/request",
        "min..max",
        "requests/s",
        "min..max",
        "p99 µs",
    ];
    let mut head = head.map(str::to_owned).to_vec();
    let place = |kind: &Kind| kinds.iter().position(|other| other == kind);
    let compared = COMPARED
        .iter()
        .filter_map(|kind| Some((kind, place(kind)?)));
    let compared: Vec<(&Kind, usize)> = compared.collect();
    for (kind, _) in &compared {
        head.extend([format!("CPU : {}", kind.name()), "min..max".into()]);
    }
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut table = Table::new(&head);
    for (kind, of) in kinds.iter().zip(samples) {
        let spread = |figure: fn(&Sample) -> f64| Spread::of(of.iter().map(figure));
        let cpu = spread(|sample| sample.cpu_us);
        let rate = spread(|sample| sample.load.requests_per_s);
        let p99 = spread(|sample| sample.load.p99_us);
        let (Some(cpu), Some(rate), Some(p99)) = (cpu, rate, p99) else {
            continue;
        };
        let mut row = vec![
            kind.name().into(),
            format!("{:.2}", cpu.median),
            format!("{:.2}..{:.2}", cpu.min, cpu.max),
            format!("{:.0}", rate.median),
            format!("{:.0}..{:.0}", rate.min, rate.max),
            format!("{:.0}", p99.median),
        ];
        for (_, at) in &compared {
            if let Some(ratio) = ratio(of, &samples[*at]) {
                row.push(format!("{:.2}", ratio.median));
                row.push(format!("{:.2}..{:.2}", ratio.min, ratio.max));
            }
        }
        table.row(row);
    }
    table.render()
}

/// CPU per request of Revolve against another's: the middle of all rounds.
pub(super) fn ratio_to(against: Kind, kinds: &[Kind], samples: &[Vec<Sample>]) -> Option<f64> {
    let of = |kind: Kind| {
        kinds
            .iter()
            .position(|other| *other == kind)
            .map(|at| &samples[at])
    };
    Some(ratio(of(Kind::Revolve)?, of(against)?)?.median)
}

fn past_bound(case: &Case, kinds: &[Kind], samples: &[Vec<Sample>]) -> Option<String> {
    let ratio = ratio_to(case.bound.against, kinds, samples)?;
    (ratio > case.bound.ratio_max).then(|| {
        format!(
            "{}: Revolve takes {ratio:.2} times the CPU of {}, at most {:.2} is allowed",
            case.name,
            case.bound.against.name(),
            case.bound.ratio_max
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(cpu_us: &[f64]) -> Vec<Sample> {
        let load = Load {
            requests: 1000,
            requests_per_s: 500.0,
            p99_us: 80.0,
        };
        cpu_us
            .iter()
            .map(|cpu_us| Sample {
                load,
                cpu_us: *cpu_us,
            })
            .collect()
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ratio = ratio(&samples(&[4.0, 9.0, 2.0]), &samples(&[2.0, 3.0, 2.0])).unwrap();
        assert_eq!(
            ratio,
            Spread {
                median: 2.0,
                min: 1.0,
                max: 3.0
            }
        );
    }

    #[test]
    fn a_table_has_a_row_for_each_server() {
        let kinds = [Kind::Floor, Kind::Nginx];
        let text = table(&kinds, &[samples(&[2.0]), samples(&[5.0])]);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 3);
        assert!(rows[2].starts_with("nginx"));
        assert!(rows[2].contains("2.50"), "{text}");
    }

    #[test]
    fn the_bound_holds_at_the_limit_and_not_past_it() {
        let kinds = [Kind::Floor, Kind::Revolve];
        let check = |cpu_us| past_bound(&CASES[0], &kinds, &[samples(&[4.0]), samples(&[cpu_us])]);
        assert_eq!(check(5.0), None);
        assert!(check(5.1).unwrap().contains("static-1k"));
        assert_eq!(past_bound(&CASES[0], &kinds[..1], &[samples(&[4.0])]), None);
    }

    #[test]
    fn the_end_of_a_head_is_found() {
        assert_eq!(head_bytes(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody"), Some(25));
        assert_eq!(head_bytes(b"HTTP/1.1 200 OK\r\n"), None);
    }
}
