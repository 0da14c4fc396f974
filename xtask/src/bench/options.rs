//! The command line of `cargo xtask bench`.

use std::path::{Path, PathBuf};

use super::http::CASES;
use super::proxy::cases;
use super::servers::Kind;

pub(super) const USAGE: &str = "\
usage: cargo xtask bench [http | proxy | tls | memory | dealing | echo | models] [options]

  --rounds N          rounds of turns (5)
  --seconds S         length of one measurement (2; echo and models: 1)
  --connections N     connections of the load (64, and 8 for 10 MiB; memory: 10000; dealing: 480; tls: 32,
                      8 for 10 MiB, idle 1000)
  --case NAME         one case alone: static-1k, return, site, static-100k, static-10m of http;
                      get-1k, post-1k, get-1m, post-1m and each of them with -each of proxy;
                      tls-full, tls-resumed, tls-1k, tls-100k, tls-10m, tls-idle of tls
  --servers A,B       http, memory and dealing: some of floor, nginx, nginx-cache, revolve;
                      proxy: of nginx, haproxy, revolve
  --against BINARY    one more server in the same turns: a revolve built at another commit
  --memory            proxy: memory of connections that wait, kept ones and WebSockets
  --strace            http and proxy: system calls per request instead of time
  --instructions      http, proxy and echo: user-space instructions instead of time, by callgrind
  --check             http, proxy, tls and dealing: fail when Revolve is past the bounds that the project holds
                      itself to
  --no-build          measure what was built before

Servers run on CPU 0 and the load on CPU 1, on ports 18200 and up of 127.0.0.1.
";

/// The cases of `tls`.
pub(super) const TLS_CASES: [&str; 6] = [
    "tls-full",
    "tls-resumed",
    "tls-1k",
    "tls-100k",
    "tls-10m",
    "tls-idle",
];

/// Which bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Http,
    Proxy,
    Tls,
    Memory,
    Dealing,
    Echo,
    Models,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) mode: Mode,
    pub(super) rounds: usize,
    /// Length of one measurement, where it was given.
    pub(super) seconds: Option<u64>,
    /// Where it was given.
    pub(super) connections: Option<usize>,
    pub(super) case: Option<String>,
    pub(super) servers: Vec<Kind>,
    /// Another binary of the server.
    pub(super) against: Option<PathBuf>,
    pub(super) memory: bool,
    pub(super) strace: bool,
    pub(super) instructions: bool,
    pub(super) check: bool,
    pub(super) build: bool,
}

impl Options {
    /// Parses the arguments; `None` when help was asked for.
    pub(super) fn parse(arguments: &[String]) -> Result<Option<Self>, String> {
        let mut options = Self {
            mode: Mode::Http,
            rounds: 5,
            seconds: None,
            connections: None,
            case: None,
            servers: Vec::new(),
            against: None,
            memory: false,
            strace: false,
            instructions: false,
            check: false,
            build: true,
        };
        let mut words = arguments.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "--help" | "-h" => return Ok(None),
                "http" => options.mode = Mode::Http,
                "tls" => options.mode = Mode::Tls,
                "memory" => options.mode = Mode::Memory,
                "dealing" => options.mode = Mode::Dealing,
                "echo" => options.mode = Mode::Echo,
                "models" => options.mode = Mode::Models,
                "--against" => options.against = Some(binary(words.next())?),
                "--instructions" => options.instructions = true,
                "proxy" => options.mode = Mode::Proxy,
                "--memory" => options.memory = true,
                "--strace" => options.strace = true,
                "--check" => options.check = true,
                "--no-build" => options.build = false,
                "--rounds" => options.rounds = number(word, words.next())?,
                "--seconds" => options.seconds = Some(number(word, words.next())? as u64),
                "--connections" => options.connections = Some(number(word, words.next())?),
                "--case" => options.case = Some(case(words.next())?),
                "--servers" => options.servers = kinds(words.next())?,
                other => return Err(format!("bench does not know `{other}`\n\n{USAGE}")),
            }
        }
        let serves = |kind: &Kind| match options.mode {
            Mode::Proxy => !matches!(kind, Kind::Floor | Kind::NginxCache),
            _ => *kind != Kind::HaProxy,
        };
        if let Some(kind) = options.servers.iter().find(|kind| !serves(kind)) {
            return Err(format!("{} has no part in this bench", kind.name()));
        }
        if options.servers.is_empty() {
            options.servers = options.default_servers();
        }
        if options.against.is_some() {
            options.servers.push(Kind::Against);
        }
        Ok(Some(options))
    }

    /// Whether a case is to be run.
    pub(super) fn wants(&self, case: &str) -> bool {
        self.case.as_ref().is_none_or(|name| name == case)
    }

    fn default_servers(&self) -> Vec<Kind> {
        match self.mode {
            Mode::Http if self.strace => vec![Kind::Nginx, Kind::Revolve],
            Mode::Http => vec![Kind::Floor, Kind::Nginx, Kind::NginxCache, Kind::Revolve],
            Mode::Proxy => vec![Kind::Nginx, Kind::HaProxy, Kind::Revolve],
            Mode::Tls | Mode::Memory | Mode::Dealing => vec![Kind::Nginx, Kind::Revolve],
            Mode::Echo | Mode::Models => Vec::new(),
        }
    }
}

fn number(option: &str, value: Option<&str>) -> Result<usize, String> {
    let value = value.ok_or_else(|| format!("{option} needs a number"))?;
    match value.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!(
            "{option} needs a number greater than zero, not `{value}`"
        )),
    }
}

fn case(value: Option<&str>) -> Result<String, String> {
    let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    let of_proxy = cases::CASES.iter().map(|case| case.name).collect();
    let names = [names, of_proxy, TLS_CASES.to_vec()].concat();
    let value = value.ok_or_else(|| format!("--case needs one of {}", names.join(", ")))?;
    if names.contains(&value) {
        return Ok(value.into());
    }
    let names = names.join(", ");
    Err(format!("there is no case `{value}`; there are {names}"))
}

fn binary(value: Option<&str>) -> Result<PathBuf, String> {
    let value = value.ok_or("--against needs a path: a revolve built at another commit")?;
    let path = std::path::absolute(Path::new(value));
    match path.ok().filter(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => Err(format!("--against: there is no file {value}")),
    }
}

fn kinds(value: Option<&str>) -> Result<Vec<Kind>, String> {
    let names = || Kind::ALL.map(Kind::name).join(", ");
    let value = value.ok_or_else(|| format!("--servers needs some of {}", names()))?;
    let kind = |name: &str| {
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("there is no server `{name}`; there are {}", names()))
    };
    value.split(',').map(kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
        Options::parse(&words)
    }

    #[test]
    fn the_defaults_measure_all_servers() {
        let options = parse("").unwrap().unwrap();
        assert_eq!(
            (options.mode, options.rounds, options.build),
            (Mode::Http, 5, true)
        );
        let served = [Kind::Floor, Kind::Nginx, Kind::NginxCache, Kind::Revolve];
        assert_eq!(options.servers, served);
        let options = parse("proxy --case get-1k --memory").unwrap().unwrap();
        assert_eq!(options.servers, [Kind::Nginx, Kind::HaProxy, Kind::Revolve]);
    }

    #[test]
    fn options_are_read() {
        let options =
            parse("http --rounds 3 --seconds 1 --case return --servers floor,nginx --no-build")
                .unwrap()
                .unwrap();
        assert_eq!(
            (options.rounds, options.seconds, options.build),
            (3, Some(1), false)
        );
        assert_eq!(options.case.as_deref(), Some("return"));
        assert_eq!(options.servers, [Kind::Floor, Kind::Nginx]);
        assert!(parse("--help").unwrap().is_none());
        let options = parse("dealing --against /bin/sh --servers nginx").unwrap();
        assert_eq!(options.unwrap().servers, [Kind::Nginx, Kind::Against]);
    }

    #[test]
    fn mistakes_are_named() {
        for line in [
            "--rounds",
            "--rounds 0",
            "--rounds x",
            "--case big",
            "--servers iis",
            "--servers haproxy",
            "proxy --servers floor",
            "--servers against",
            "--against",
            "--against /no/such/revolve",
            "disk",
            "slow",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
