//! The block `upstream`: a group of servers that requests are passed to.
//!
//! ```nginx
//! upstream app {
//!     least_conn;
//!     server 127.0.0.1:8080 weight=3 max_fails=2 fail_timeout=5s;
//!     server unix:/run/app.sock backup;
//!     keepalive 16;
//! }
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::value::{number, time_ms, time_ms_of};
use revolve_conf::{Diagnostic, Directive, HostNames, Span, Word, os_error_text};
use revolve_reactor::Address;

use crate::config::scope::{HTTP, UPSTREAM, choice, invalid_parameter, invalid_value, set_once};
use crate::config::variable::Value;
use crate::http::Names;
use crate::http::modules::sticky::Sticky;
use crate::http::modules::{Module, resolver};
use crate::http::scope::{Block, DirectiveRow, LocationMatch, Scope, row};
use crate::upstream::balance::{Better, Time};
use crate::upstream::budget::RetryBudget;
use crate::upstream::pool::KeptLimits;
use crate::upstream::zone::{PeersZone, UNNAMED, ZONE};
use crate::upstream::{Balance, GroupSpec, ServerSpec};
use crate::zones::zone_bytes;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_upstream_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

/// Repetitions that a budget has in any case, where nothing is said.
const RETRIES_MIN: u64 = 3;
/// NGINX Plus' default of `queue`.
const QUEUE_TIMEOUT_MS: u64 = 60_000;

/// A group with what http alone knows of it.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) spec: GroupSpec,
    /// What `hash` chooses by; the client's address for `ip_hash`.
    pub(crate) key: Option<Value>,
    /// `sticky`: how clients are bound to servers.
    pub(crate) sticky: Option<Sticky>,
    /// `queue`: how many requests wait for a server, and for how long.
    pub(crate) queue: Option<Queue>,
    /// `resolver` and `resolver_timeout`, where it has its own.
    pub(crate) names: Option<Names>,
    /// `resolver_timeout`, milliseconds.
    names_timeout_ms: Option<u64>,
    /// `state`: the file of what an operator has said of its servers.
    pub(crate) state: Option<PathBuf>,
}

impl Upstream {
    fn new(spec: GroupSpec) -> Self {
        Self {
            spec,
            key: None,
            sticky: None,
            queue: None,
            names: None,
            names_timeout_ms: None,
            state: None,
        }
    }
}

/// `queue`.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) most: u64,
    pub(crate) timeout: Duration,
}

/// The groups met while the configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Upstreams(Vec<Mention>);

/// A group that was named; its block may come later in the file, or never.
#[derive(Debug)]
struct Mention {
    name: String,
    /// The port where the name gives none.
    port: u16,
    span: Span,
    declared: Option<Upstream>,
}

impl Upstreams {
    /// The place of the group that `proxy_pass` and its like name: a block, or the server itself.
    pub(crate) fn mention(&mut self, name: &str, port: u16, word: &Word) -> usize {
        let known = self.0.iter().position(|it| {
            it.name == name
                && (it.port == port || it.declared.is_some() || it.port == 0 || port == 0)
        });
        known.unwrap_or_else(|| {
            self.0.push(Mention {
                name: name.to_owned(),
                port,
                span: word.span,
                declared: None,
            });
            self.0.len() - 1
        })
    }

    fn declare(&mut self, upstream: Upstream, word: &Word) -> Result<(), Diagnostic> {
        let name = &upstream.spec.name;
        if self
            .0
            .iter()
            .any(|it| it.name == *name && it.declared.is_some())
        {
            let message = format!("duplicate upstream \"{name}\"");
            return Err(Diagnostic::new(word.span, message).label("a group of this name is there"));
        }
        let mut mentions = self.0.iter_mut().filter(|it| it.name == *name);
        let Some(first) = mentions.next() else {
            self.0.push(Mention {
                name: name.clone(),
                port: 0,
                span: word.span,
                declared: Some(upstream),
            });
            return Ok(());
        };
        first.declared = Some(upstream);
        Ok(())
    }

    /// All groups in the order of their places. A name that leads nowhere is a warning: its requests get
    /// 502.
    pub(crate) fn finish(
        self,
        hosts: &mut HostNames,
        diagnostics: &mut revolve_conf::Diagnostics,
    ) -> Vec<Upstream> {
        let of = |mention: Mention| {
            let Mention {
                name,
                port,
                span,
                declared,
            } = mention;
            declared.unwrap_or_else(|| {
                let addresses = addresses(&name, port, |host| of_system(hosts, host))
                    .unwrap_or_else(|reason| {
                        let message = format!("host not found in upstream \"{name}\"");
                        let warning = Diagnostic::new(span, message).label(format!(
                            "{reason}; what is passed there gets 502 until it is found"
                        ));
                        diagnostics.push(warning.warn());
                        Vec::new()
                    });
                if port == 0
                    && addresses
                        .iter()
                        .any(|it| it.as_inet().is_some_and(|it| it.port() == 0))
                {
                    let message = format!("no port in upstream \"{name}\"");
                    diagnostics.push(
                        Diagnostic::new(span, message)
                            .label("expected one, or the name of an `upstream`"),
                    );
                }
                let mut server = ServerSpec::new(&name, addresses);
                server.host = host_name(&name, port);
                let mut spec = GroupSpec::new(&name);
                spec.servers.push(server);
                Upstream::new(spec)
            })
        };
        self.0.into_iter().map(of).collect()
    }
}

fn of_system(hosts: &mut HostNames, host: &str) -> Result<Vec<IpAddr>, String> {
    hosts.addresses(host).map_err(|error| error.to_string())
}

/// Where `host`, `host:port`, `[ipv6]:port` or `unix:/path` leads.
///
/// Errors: why, in a few words.
pub(crate) fn addresses(
    text: &str,
    default_port: u16,
    look_up: impl FnOnce(&str) -> Result<Vec<IpAddr>, String>,
) -> Result<Vec<Address>, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_suffix(':').unwrap_or(path);
        if path.is_empty() || path.len() > 107 {
            return Err("expected a path of 1 to 107 bytes after unix:".into());
        }
        return Ok(vec![Address::Unix(PathBuf::from(path))]);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let port = port.parse::<u16>().ok().filter(|port| *port > 0);
            (host, port.ok_or("expected a port from 1 to 65535")?)
        }
        _ => (text, default_port),
    };
    let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let ips = match inner {
        Some(inner) => {
            let ip = inner.parse::<Ipv6Addr>();
            vec![IpAddr::V6(ip.map_err(|_| "this is no IPv6 address")?)]
        }
        None => match host.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) if host.is_empty() => return Err("expected a host".into()),
            Err(_) => look_up(host)?,
        },
    };
    let with_port = |ip| Address::Inet(SocketAddr::new(ip, port));
    Ok(ips.into_iter().map(with_port).collect())
}

/// The name and port of a server that is not written as an address.
pub(crate) fn host_name(text: &str, default_port: u16) -> Option<(String, u16)> {
    let mut name = None;
    let found = addresses(text, default_port, |host| {
        name = Some(host.to_owned());
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    });
    let port = found.ok()?.first()?.as_inet()?.port();
    name.map(|name| (name, port))
}

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "upstream",
        contexts: HTTP,
        args: Args::ONE_BLOCK,
        set: upstream,
    },
    DirectiveRow {
        name: "server",
        contexts: UPSTREAM,
        args: Args::ONE_MORE,
        set: server,
    },
    DirectiveRow {
        name: "least_conn",
        contexts: UPSTREAM,
        args: Args::NONE,
        set: |scope, d| balance(scope, d, Balance::LeastConnections, None),
    },
    DirectiveRow {
        name: "ip_hash",
        contexts: UPSTREAM,
        args: Args::NONE,
        set: |scope, d| balance(scope, d, Balance::IpHash, None),
    },
    row(UPSTREAM, "hash", Args::ONE_OR_TWO, hash),
    row(UPSTREAM, "random", Args::range(0, 2), random),
    row(UPSTREAM, "least_time", Args::ONE_OR_TWO, least_time),
    row(UPSTREAM, "queue", Args::ONE_OR_TWO, queue),
    row(UPSTREAM, "resolver", Args::ONE_MORE, |scope, d| {
        if group(scope).names.is_some() {
            return Err(duplicate(d));
        }
        let spec = Arc::new(resolver::spec(&mut scope.shared.hosts, d)?);
        let timeout_ms = resolver::TIMEOUT_MS;
        group(scope).names = Some(Names { spec, timeout_ms });
        Ok(())
    }),
    row(UPSTREAM, "resolver_timeout", Args::ONE, |scope, d| {
        let ms = time_ms_of(&d.args[0], &d.name.text)?;
        set_once(&mut group(scope).names_timeout_ms, ms, d)
    }),
    DirectiveRow {
        name: "keepalive",
        contexts: UPSTREAM,
        args: Args::ONE_OR_TWO,
        set: keepalive,
    },
    DirectiveRow {
        name: "keepalive_requests",
        contexts: UPSTREAM,
        args: Args::ONE,
        set: |scope, d| {
            let word = &d.args[0];
            let most = number(&word.text).and_then(|most| u32::try_from(most).ok());
            let expected = "expected a number of requests";
            let most = most.ok_or_else(|| invalid_parameter(word, expected))?;
            kept(scope).requests_max = most;
            Ok(())
        },
    },
    DirectiveRow {
        name: "keepalive_time",
        contexts: UPSTREAM,
        args: Args::ONE,
        set: |scope, d| {
            let ms = time_ms_of(&d.args[0], &d.name.text)?;
            kept(scope).age_max = Duration::from_millis(ms);
            Ok(())
        },
    },
    DirectiveRow {
        name: "keepalive_timeout",
        contexts: UPSTREAM,
        args: Args::ONE,
        set: |scope, d| {
            let ms = time_ms_of(&d.args[0], &d.name.text)?;
            kept(scope).idle_max = Duration::from_millis(ms);
            Ok(())
        },
    },
    row(
        UPSTREAM,
        "proxy_retry_budget",
        Args::ONE_OR_TWO,
        retry_budget,
    ),
    row(UPSTREAM, "zone", Args::ONE_OR_TWO, zone),
    row(UPSTREAM, "state", Args::ONE, |scope, d| {
        let path = scope.shared.full_path(&d.args[0].text);
        set_once(&mut group(scope).state, path, d)
    }),
];

fn upstream(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let mut level = Block::new(UPSTREAM, LocationMatch::Server, Some(directive.span));
    level.upstream = Some(Upstream::new(GroupSpec::new(&word.text)));
    let level = scope.nested(level, directive.block.as_deref().unwrap_or_default());
    let mut upstream = level.upstream.expect("it was put there");
    read_state(scope, &mut upstream, directive)?;
    if upstream.spec.servers.is_empty() {
        let message = "no servers are inside upstream";
        return Err(Diagnostic::new(directive.span, message).label("expected a `server`"));
    }
    if upstream.spec.zone.is_none() {
        let zone = scope
            .shared
            .zones
            .declare_shared(UNNAMED, PeersZone, word)?;
        upstream.spec.zone = Some(zone);
    }
    if let (Some(names), Some(ms)) = (&mut upstream.names, upstream.names_timeout_ms) {
        names.timeout_ms = ms;
    }
    scope.upstreams.declare(upstream, word)
}

/// Takes what a file of `state` says: lines `server ADDRESS parameters;`. Of a server that the block has,
/// what an operator says holds; one that it has not is added.
fn read_state(
    scope: &mut Scope,
    upstream: &mut Upstream,
    directive: &Directive,
) -> Result<(), Diagnostic> {
    let Some(path) = &upstream.state else {
        return Ok(());
    };
    let text = match scope.shared.secrets.read(path) {
        Ok(text) => text,
        // Nobody has said anything yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let (shown, reason) = (path.display(), os_error_text(&error));
            let message = format!("open() \"{shown}\" failed {reason}");
            return Err(
                Diagnostic::new(directive.span, message).label("its `state` cannot be read")
            );
        }
    };
    for line in String::from_utf8_lossy(&text).lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words = line
            .strip_prefix("server ")
            .and_then(|rest| rest.strip_suffix(';'));
        let words = words.ok_or_else(|| {
            let message = format!("invalid line \"{line}\" in \"{}\"", path.display());
            Diagnostic::new(directive.span, message).label("expected server ADDRESS parameters;")
        })?;
        let word = |text: &str| Word {
            text: text.to_owned(),
            span: directive.span,
            quoted: false,
            begins_line: false,
        };
        let args: Vec<Word> = words.split_whitespace().map(word).collect();
        let said = read_server(scope, &args, directive)?;
        let known = upstream
            .spec
            .servers
            .iter_mut()
            .find(|it| it.name == said.name);
        match known {
            Some(known) => {
                known.weight = said.weight;
                known.is_down = said.is_down;
                known.is_draining = said.is_draining;
            }
            None => upstream.spec.servers.push(said),
        }
    }
    Ok(())
}

/// The group that is being read.
pub(super) fn group(scope: &mut Scope) -> &mut Upstream {
    let group = scope.level.upstream.as_mut();
    group.expect("the directive stands in an `upstream`")
}

fn kept(scope: &mut Scope) -> &mut KeptLimits {
    &mut group(scope).spec.kept
}

fn balance(
    scope: &mut Scope,
    directive: &Directive,
    balance: Balance,
    key: Option<Value>,
) -> Result<(), Diagnostic> {
    let group = group(scope);
    if group.spec.balance != Balance::RoundRobin {
        let warning = Diagnostic::new(directive.span, "load balancing method redefined");
        let warning = warning.label("this one holds").warn();
        group.spec.balance = balance;
        group.key = key;
        scope.shared.diagnostics.push(warning);
        return Ok(());
    }
    group.spec.balance = balance;
    group.key = key;
    Ok(())
}

fn hash(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let key = Value::of(&directive.args[0], &mut scope.shared.registry)?;
    let kind = match directive.args.get(1) {
        None => Balance::Hash,
        Some(word) if word.text == "consistent" => Balance::Consistent,
        Some(word) => return Err(invalid_parameter(word, "expected consistent, or nothing")),
    };
    balance(scope, directive, kind, Some(key))
}

fn random(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let better = match directive.args.as_slice() {
        [] => None,
        [two, ..] if two.text != "two" => {
            return Err(invalid_parameter(two, "expected two, or nothing"));
        }
        [_] => Some(Better::Connections),
        [_, by, ..] => Some(match by.text.as_str() {
            "least_conn" => Better::Connections,
            "least_time=header" => Better::Time(time_of(true)),
            "least_time=last_byte" => Better::Time(time_of(false)),
            _ => {
                let expected = "expected least_conn, least_time=header or least_time=last_byte";
                return Err(invalid_parameter(by, expected));
            }
        }),
    };
    balance(scope, directive, Balance::Random(better), None)
}

fn time_of(of_heads: bool) -> Time {
    Time {
        of_heads,
        inflight: true,
    }
}

fn least_time(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let choices = [("header", true), ("last_byte", false)];
    let mut time = time_of(choice(&directive.args[0], choices)?);
    time.inflight = match directive.args.get(1) {
        None => false,
        Some(word) if word.text == "inflight" => true,
        Some(word) => return Err(invalid_parameter(word, "expected inflight, or nothing")),
    };
    balance(scope, directive, Balance::LeastTime(time), None)
}

fn queue(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let most = number(&word.text).filter(|most| *most > 0);
    let most = most.ok_or_else(|| invalid_value(word, directive, "a number of requests"))?;
    let timeout_ms = match directive.args.get(1) {
        None => QUEUE_TIMEOUT_MS,
        Some(word) => {
            let text = word.text.strip_prefix("timeout=");
            let ms = text.and_then(time_ms).filter(|ms| *ms > 0);
            ms.ok_or_else(|| invalid_parameter(word, "expected timeout=TIME"))?
        }
    };
    let timeout = Duration::from_millis(timeout_ms);
    set_once(&mut group(scope).queue, Queue { most, timeout }, directive)
}

/// `proxy_retry_budget 20% min=3`, or `off`.
fn retry_budget(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    if group(scope).spec.retry_budget.is_some() {
        return Err(duplicate(directive));
    }
    if word.text == "off" && directive.args.len() == 1 {
        return Ok(());
    }
    let percent = word.text.strip_suffix('%').and_then(number);
    let percent = percent.filter(|percent| *percent <= 100);
    let expected = "a share of the requests from 0% to 100%, or off";
    let percent = percent.ok_or_else(|| invalid_value(word, directive, expected))?;
    let min = match directive.args.get(1) {
        None => RETRIES_MIN,
        Some(word) => {
            let min = word.text.strip_prefix("min=").and_then(number);
            min.ok_or_else(|| invalid_parameter(word, "expected min=NUMBER"))?
        }
    };
    group(scope).spec.retry_budget = Some(RetryBudget { percent, min });
    Ok(())
}

fn zone(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    if group(scope).spec.zone.is_some() {
        return Err(duplicate(directive));
    }
    let name = &directive.args[0];
    let zones = &mut scope.shared.zones;
    let zone = match directive.args.get(1) {
        None => zones.mention(&name.text, ZONE, name)?,
        Some(word) => {
            let bytes = zone_bytes(word, &name.text)?;
            zones.declare_shared((&name.text, bytes), PeersZone, word)?
        }
    };
    group(scope).spec.zone = Some(zone);
    Ok(())
}

fn keepalive(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let expected = "expected a number of connections";
    let most = number(&word.text).ok_or_else(|| {
        let message = format!("invalid value \"{}\" in \"keepalive\" directive", word.text);
        Diagnostic::new(word.span, message).label(expected)
    })?;
    if let Some(local) = directive.args.get(1)
        && local.text != "local"
    {
        return Err(invalid_parameter(local, "expected local, or nothing"));
    }
    kept(scope).connections_max = most as usize;
    Ok(())
}

fn server(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let spec = read_server(scope, &directive.args, directive)?;
    group(scope).spec.servers.push(spec);
    Ok(())
}

fn read_server(
    scope: &mut Scope,
    words: &[Word],
    directive: &Directive,
) -> Result<ServerSpec, Diagnostic> {
    let (name, parameters) = words
        .split_first()
        .expect("the table asks for one argument");
    let found = addresses(&name.text, 80, |host| {
        of_system(&mut scope.shared.hosts, host)
    });
    let found = found.unwrap_or_else(|reason| {
        let message = format!("host not found in upstream \"{}\"", name.text);
        let label = format!("{reason}; it is left out until it is found");
        let warning = Diagnostic::new(name.span, message).label(label);
        scope.shared.diagnostics.push(warning.warn());
        Vec::new()
    });
    let mut spec = ServerSpec::new(&name.text, found);
    spec.host = host_name(&name.text, 80);
    for word in parameters {
        parameter(&mut spec, word, directive)?;
    }
    check_service(&mut spec, name, parameters)?;
    Ok(spec)
}

/// A service is of a name without a port, and is asked for while requests are served.
fn check_service(
    spec: &mut ServerSpec,
    name: &Word,
    parameters: &[Word],
) -> Result<(), Diagnostic> {
    if spec.service.is_none() {
        return Ok(());
    }
    let wrong = |message: &str, label: &str| {
        let message = format!("service upstream \"{}\" {message}", name.text);
        Err(Diagnostic::new(name.span, message).label(label))
    };
    if !parameters.iter().any(|word| word.text == "resolve") {
        return wrong(
            "requires \"resolve\" parameter",
            "its places are asked for again and again",
        );
    }
    if spec.host.is_none() || name.text.contains(':') {
        return wrong(
            "must be a name without a port",
            "each place of a service has its own port",
        );
    }
    spec.addresses.clear();
    Ok(())
}

fn parameter(spec: &mut ServerSpec, word: &Word, directive: &Directive) -> Result<(), Diagnostic> {
    let (key, value) = match word.text.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (word.text.as_str(), None),
    };
    let wrong = || {
        let expected = "expected weight=, max_conns=, max_fails=, fail_timeout=, slow_start=, route=, \
                        service=, resolve, backup, drain or down";
        invalid_parameter(word, expected)
    };
    let count = || value.and_then(number).ok_or_else(wrong);
    match (key, value) {
        ("weight", Some(_)) => {
            let weight = u32::try_from(count()?).ok().filter(|weight| *weight > 0);
            spec.weight = weight.ok_or_else(wrong)?;
        }
        ("max_conns", Some(_)) => spec.connections_max = count()? as usize,
        ("max_fails", Some(_)) => {
            spec.fails_max = u32::try_from(count()?).map_err(|_| wrong())?;
        }
        ("fail_timeout", Some(time)) => {
            let ms = time_ms(time).ok_or_else(wrong)?;
            spec.fail_timeout = Duration::from_millis(ms);
        }
        ("backup", None) => {
            if std::mem::replace(&mut spec.is_backup, true) {
                return Err(duplicate(directive));
            }
        }
        ("down", None) => spec.is_down = true,
        ("drain", None) => spec.is_draining = true,
        ("slow_start", Some(time)) => {
            let ms = time_ms(time).ok_or_else(wrong)?;
            spec.slow_start = Duration::from_millis(ms);
        }
        ("route", Some("")) => {
            return Err(Diagnostic::new(word.span, "route is empty").label("expected route=NAME"));
        }
        ("route", Some(route)) => spec.route = route.to_owned(),
        ("service", Some(service)) if !service.is_empty() => {
            spec.service = Some(service.to_owned());
        }
        // All names are asked for again.
        ("resolve", None) => {}
        _ => return Err(wrong()),
    }
    Ok(())
}
