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
use std::time::Duration;

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::value::{number, time_ms, time_ms_of};
use revolve_conf::{Diagnostic, Directive, HostNames, Span, Word};
use revolve_reactor::Address;

use crate::config::scope::{HTTP, UPSTREAM, invalid_parameter};
use crate::config::variable::Value;
use crate::http::modules::Module;
use crate::http::scope::{Block, DirectiveRow, LocationMatch, Scope};
use crate::upstream::pool::KeptLimits;
use crate::upstream::{Balance, GroupSpec, ServerSpec};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_upstream_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

/// A group with what http alone knows of it.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) spec: GroupSpec,
    /// What `hash` chooses by; the client's address for `ip_hash`.
    pub(crate) key: Option<Value>,
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
            it.name == name && (it.port == port || it.declared.is_some() || it.port == 0 || port == 0)
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
        if self.0.iter().any(|it| it.name == *name && it.declared.is_some()) {
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
                let addresses = addresses(&name, port, |host| of_system(hosts, host)).unwrap_or_else(|reason| {
                    let message = format!("host not found in upstream \"{name}\"");
                    let warning = Diagnostic::new(span, message)
                        .label(format!("{reason}; what is passed there gets 502 until it is found"));
                    diagnostics.push(warning.warn());
                    Vec::new()
                });
                if port == 0 && addresses.iter().any(|it| it.as_inet().is_some_and(|it| it.port() == 0)) {
                    let message = format!("no port in upstream \"{name}\"");
                    diagnostics.push(Diagnostic::new(span, message).label("expected one, or the name of an `upstream`"));
                }
                let mut server = ServerSpec::new(addresses);
                server.host = host_name(&name, port);
                Upstream {
                    spec: GroupSpec {
                        servers: vec![server],
                        name,
                        balance: Balance::RoundRobin,
                        kept: KeptLimits::default(),
                    },
                    key: None,
                }
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
        set: |scope, d| balance(scope, d, Balance::Hash, None),
    },
    DirectiveRow {
        name: "hash",
        contexts: UPSTREAM,
        args: Args::ONE,
        set: |scope, d| {
            let key = Value::of(&d.args[0], &mut scope.shared.registry)?;
            balance(scope, d, Balance::Hash, Some(key))
        },
    },
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
    DirectiveRow {
        name: "zone",
        contexts: UPSTREAM,
        args: Args::ONE_OR_TWO,
        // Each loop has its own state; the directive is there for those who move from nginx.
        set: crate::config::scope::checked_once,
    },
];

fn upstream(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let mut level = Block::new(UPSTREAM, LocationMatch::Server, Some(directive.span));
    level.upstream = Some(Upstream {
        spec: GroupSpec {
            name: word.text.clone(),
            servers: Vec::new(),
            balance: Balance::RoundRobin,
            kept: KeptLimits::default(),
        },
        key: None,
    });
    let level = scope.nested(level, directive.block.as_deref().unwrap_or_default());
    let upstream = level.upstream.expect("it was put there");
    if upstream.spec.servers.is_empty() {
        let message = "no servers are inside upstream";
        return Err(Diagnostic::new(directive.span, message).label("expected a `server`"));
    }
    scope.upstreams.declare(upstream, word)
}

/// The group that is being read.
fn group(scope: &mut Scope) -> &mut Upstream {
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
    let (name, parameters) = directive
        .args
        .split_first()
        .expect("the table asks for one argument");
    let found = addresses(&name.text, 80, |host| of_system(&mut scope.shared.hosts, host));
    let found = found.unwrap_or_else(|reason| {
        let message = format!("host not found in upstream \"{}\"", name.text);
        let label = format!("{reason}; it is left out until it is found");
        let warning = Diagnostic::new(name.span, message).label(label);
        scope.shared.diagnostics.push(warning.warn());
        Vec::new()
    });
    let mut spec = ServerSpec::new(found);
    spec.host = host_name(&name.text, 80);
    for word in parameters {
        parameter(&mut spec, word, directive)?;
    }
    group(scope).spec.servers.push(spec);
    Ok(())
}

fn parameter(spec: &mut ServerSpec, word: &Word, directive: &Directive) -> Result<(), Diagnostic> {
    let (key, value) = match word.text.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (word.text.as_str(), None),
    };
    let wrong = || {
        let expected = "expected weight=, max_conns=, max_fails=, fail_timeout=, backup or down";
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
        // All names are asked for again.
        ("resolve", None) => {}
        _ => return Err(wrong()),
    }
    Ok(())
}
