//! `cargo xtask bench proxy`: what a request costs that is passed on.
//!
//! nginx, HAProxy and Revolve stand before the same bare upstream, which shares its CPU with the load.

pub(crate) mod backend;
pub(super) mod setup;

mod counts;
mod instructions;
mod memory;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::backend::Backend;
use self::setup::Upstreams;
use super::http::{self, Sample};
use super::options::Options;
use super::servers::{Kind, Server, Setup, Workspace};
use super::wrk::{self, Ask};

/// One kind of request.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    path: &'static str,
    /// Bytes of the request's body; none for GET.
    sent_bytes: usize,
    /// Bytes of the answer's body.
    answer_bytes: usize,
    upstreams: Upstreams,
    /// CPU per request, at most so many times nginx's.
    ratio_max: f64,
}

const fn get(name: &'static str, upstreams: Upstreams, kib: usize, ratio_max: f64) -> Case {
    Case {
        name,
        path: if kib == 1 { "/1k" } else { "/1m" },
        sent_bytes: 0,
        answer_bytes: kib << 10,
        upstreams,
        ratio_max,
    }
}

const fn post(name: &'static str, upstreams: Upstreams, kib: usize, ratio_max: f64) -> Case {
    Case {
        name,
        path: "/",
        sent_bytes: kib << 10,
        answer_bytes: 2,
        upstreams,
        ratio_max,
    }
}

pub(super) const CASES: [Case; 8] = [
    get("get-1k", Upstreams::Kept, 1, 0.85),
    get("get-1k-each", Upstreams::Each, 1, 1.0),
    get("get-1m", Upstreams::Kept, 1024, 1.0),
    get("get-1m-each", Upstreams::Each, 1024, 1.0),
    post("post-1k", Upstreams::Kept, 1, 0.85),
    post("post-1k-each", Upstreams::Each, 1, 1.0),
    post("post-1m", Upstreams::Kept, 1024, 1.0),
    post("post-1m-each", Upstreams::Each, 1024, 1.0),
];

/// Connections of the load, where none are asked for.
const CONNECTIONS: usize = 64;

impl Case {
    fn lines(&self) -> &'static [&'static str] {
        match self.upstreams {
            Upstreams::Kept => &[],
            Upstreams::Each => &["Connection: close"],
        }
    }

    /// The request, whole.
    fn request(&self) -> Vec<u8> {
        let method = if self.sent_bytes > 0 { "POST" } else { "GET" };
        let mut head = format!("{method} {} HTTP/1.1\r\nHost: localhost\r\n", self.path);
        for line in self.lines() {
            head.push_str(line);
            head.push_str("\r\n");
        }
        if self.sent_bytes > 0 {
            head.push_str(&format!("Content-Length: {}\r\n", self.sent_bytes));
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.resize(request.len() + self.sent_bytes, b'x');
        request
    }

    /// What wrk is told; a body needs a script of its own.
    fn ask(&self, server: &Server, script: &Option<PathBuf>) -> Ask {
        Ask {
            url: format!("http://{}{}", server.address(), self.path),
            lines: self.lines(),
            script: script.clone(),
        }
    }

    fn script(&self) -> Result<Option<PathBuf>, String> {
        if self.sent_bytes == 0 {
            return Ok(None);
        }
        let name = format!("revolve-bench-{}-{}.lua", std::process::id(), self.name);
        let path = std::env::temp_dir().join(name);
        let text = format!(
            "wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", {})\n",
            self.sent_bytes
        );
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Some(path))
    }
}

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
    let script = case.script()?;
    let mut servers = Vec::new();
    for kind in &options.servers {
        let server = Server::start(workspace, *kind, &setup(case, connections))?;
        probe(case, &server)?;
        servers.push(server);
    }
    let mut samples: Vec<Vec<Sample>> = servers.iter().map(|_| Vec::new()).collect();
    let ask = |server: &Server, seconds| {
        let load = wrk::run(&case.ask(server, &script), connections, seconds);
        load.map_err(|error| format!("{}: {error}", server.kind.name()))
    };
    for server in &servers {
        // What is opened, mapped or grown once is not the cost of a request.
        ask(server, 1)?;
    }
    for _ in 0..options.rounds {
        for (server, samples) in servers.iter().zip(&mut samples) {
            let before_ns = server.cpu_ns()?;
            let load = ask(server, seconds)?;
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

fn setup<'a>(case: &Case, connections: usize) -> Setup<'a> {
    Setup {
        // Both sides.
        connections_max: connections * 2,
        proxy: Some(case.upstreams),
        ..Setup::default()
    }
}

/// Asks once, and checks that the answer is the upstream's; gives its bytes, head and all.
fn probe(case: &Case, server: &Server) -> Result<usize, String> {
    let say = |what: &str| format!("{} of {}: {what}", case.name, server.kind.name());
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(server.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(&case.request())?;
        let mut answer = Vec::new();
        let mut part = [0; 64 * 1024];
        loop {
            let read = stream.read(&mut part)?;
            answer.extend_from_slice(&part[..read]);
            let head = http::head_bytes(&answer);
            if read == 0 || head.is_some_and(|head| answer.len() >= head + case.answer_bytes) {
                return Ok(answer);
            }
        }
    };
    let answer = ask().map_err(|error| say(&error.to_string()))?;
    let head = http::head_bytes(&answer).ok_or_else(|| say("no head came"))?;
    if !answer.starts_with(b"HTTP/1.1 200") || answer.len() != head + case.answer_bytes {
        let line = answer
            .split(|byte| *byte == b'\r')
            .next()
            .unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        return Err(say(&format!(
            "{line}, {} bytes of body",
            answer.len() - head
        )));
    }
    Ok(answer.len())
}
