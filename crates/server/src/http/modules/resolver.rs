//! Whom the names of upstreams are asked of while requests are served.
//!
//! ```nginx
//! resolver 10.0.0.2 [2001:db8::2]:5353 valid=30s ipv6=off;
//! resolver_timeout 5s;
//! resolver system;                   # as without any: /etc/resolv.conf and /etc/hosts
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::value::{flag, time_ms};
use revolve_conf::{Diagnostic, Directive, HostNames, Word};

use crate::config::scope::{HTTP, LOCATION, SERVER, invalid_parameter};
use crate::config::setting::settings;
use crate::http::modules::Module;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, slot};
use crate::net::resolver::{Resolver, ResolverSpec};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

const PORT: u16 = 53;
/// The default of `resolver_timeout`.
pub(super) const TIMEOUT_MS: u64 = 30_000;

settings! {
    /// Whom names are asked of.
    pub struct ResolverSettings / RawResolver {
        inherit {
            /// `resolver`, default what the machine's files say.
            spec: Arc<ResolverSpec> = Arc::default(),
            /// `resolver_timeout`, milliseconds, default 30 s.
            timeout_ms: u64 = TIMEOUT_MS,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "resolver",
        contexts: ANY,
        args: Args::ONE_MORE,
        set: resolver,
    },
    DirectiveRow {
        name: "resolver_timeout",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(time_ms resolver.timeout_ms),
    },
];

fn resolver(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    if scope.level.settings.resolver.spec.is_some() {
        return Err(duplicate(directive));
    }
    let spec = spec(&mut scope.shared.hosts, directive)?;
    scope.level.settings.resolver.spec = Some(Arc::new(spec));
    Ok(())
}

/// Whom the directive names.
pub(super) fn spec(
    hosts: &mut HostNames,
    directive: &Directive,
) -> Result<ResolverSpec, Diagnostic> {
    let mut spec = ResolverSpec::default();
    let mut is_system = false;
    for word in &directive.args {
        let text = word.text.as_str();
        if let Some(valid) = text.strip_prefix("valid=") {
            let valid =
                time_ms(valid).ok_or_else(|| invalid(word, "expected a time: valid=30s"))?;
            spec.valid = Some(Duration::from_millis(valid));
        } else if let Some(on) = text.strip_prefix("ipv4=") {
            spec.ipv4 = on_or_off(on, word)?;
        } else if let Some(on) = text.strip_prefix("ipv6=") {
            spec.ipv6 = on_or_off(on, word)?;
        } else if text.starts_with("status_zone=") {
            return Err(invalid_parameter(
                word,
                "numbers of a resolver are not kept yet",
            ));
        } else if text == "system" {
            is_system = true;
        } else {
            servers(word, hosts, &mut spec.servers)?;
        }
    }
    if !spec.ipv4 && !spec.ipv6 {
        let message = "\"ipv4\" and \"ipv6\" cannot both be \"off\"";
        return Err(Diagnostic::new(directive.span, message).label("no address would be left"));
    }
    if is_system != spec.servers.is_empty() {
        let (message, label) = match is_system {
            true => ("invalid number of name servers", "\"system\" stands alone"),
            false => (
                "no name servers defined",
                "expected an address, or \"system\"",
            ),
        };
        return Err(Diagnostic::new(directive.span, message).label(label));
    }
    Ok(spec)
}

/// nginx's words for a parameter whose value is wrong.
fn invalid(word: &Word, expected: &str) -> Diagnostic {
    Diagnostic::new(word.span, format!("invalid parameter: {}", word.text)).label(expected)
}

fn on_or_off(text: &str, word: &Word) -> Result<bool, Diagnostic> {
    flag(text).ok_or_else(|| invalid(word, "expected on or off"))
}

/// Adds the addresses of a name server: `10.0.0.2`, `[::1]:5353`, `dns.example:53`.
fn servers(
    word: &Word,
    hosts: &mut HostNames,
    servers: &mut Vec<SocketAddr>,
) -> Result<(), Diagnostic> {
    let text = word.text.as_str();
    let wrong = |what: &str, label: &str| {
        let message = format!("{what} in resolver \"{text}\"");
        Diagnostic::new(word.span, message).label(label)
    };
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (
            host,
            rest.strip_prefix(':').or(rest.is_empty().then_some("53")),
        ),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("53")),
        },
    };
    let port = match port {
        Some("53") => Some(PORT),
        other => other
            .and_then(|port| port.parse().ok())
            .filter(|port| *port > 0),
    };
    let port = port.ok_or_else(|| {
        let label = match text.matches(':').count() {
            0 | 1 => "expected a port from 1 to 65535",
            _ => "an IPv6 address stands in brackets: [::1]",
        };
        wrong("invalid port", label)
    })?;
    if host.is_empty() {
        return Err(wrong("no host", "expected an address"));
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        servers.push(SocketAddr::new(address, port));
        return Ok(());
    }
    let found = hosts.addresses(host);
    let found = found.map_err(|error| wrong("host not found", &error.to_string()))?;
    servers.extend(
        found
            .into_iter()
            .map(|address| SocketAddr::new(address, port)),
    );
    Ok(())
}

impl Request {
    /// Whom names are asked of here.
    pub(crate) fn resolver(&self) -> Resolver {
        let settings = &self.settings().resolver;
        let timeout = Duration::from_millis(settings.timeout_ms);
        self.connection.state.resolvers.get(&settings.spec, timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use revolve_conf::{Snapshot, SnapshotFiles};

    use crate::config::Prefix;
    use crate::net::resolver::ResolverSpec;

    /// What `http` comes to with these lines, or the first thing that is wrong with them.
    fn read(lines: &str) -> Result<(ResolverSpec, u64), String> {
        let text = format!("events {{}} http {{ {lines} server {{ listen unix:/x; }} }}");
        let mut snapshot = Snapshot::default();
        snapshot.insert_file("/x.conf", text.into_bytes());
        snapshot.insert_host("consul", vec!["192.0.2.7".parse().unwrap()]);
        let prefix = Prefix {
            prefix: "/".into(),
            error_log: "stderr".into(),
            access_log: None,
        };
        let mut files = SnapshotFiles::new(snapshot);
        let (config, _, diagnostics) = crate::load(Path::new("/x.conf"), &prefix, None, &mut files);
        match config {
            Some(config) => {
                let http = config.http.as_ref().unwrap();
                let settings = &http.locations[http.servers[0].location as usize].settings;
                Ok((
                    (*settings.resolver.spec).clone(),
                    settings.resolver.timeout_ms,
                ))
            }
            None => Err(diagnostics.iter().next().unwrap().message.clone()),
        }
    }

    #[test]
    fn servers_and_parameters_are_taken_as_in_nginx() {
        let (spec, timeout_ms) = read("").unwrap();
        assert_eq!((spec, timeout_ms), (ResolverSpec::default(), 30_000));
        let (spec, timeout_ms) = read(
            "resolver 10.0.0.1 10.0.0.2:5353 [::1] [::2]:54 consul:8600 valid=30s ipv6=off; \
             resolver_timeout 5s;",
        )
        .unwrap();
        let servers: Vec<String> = spec.servers.iter().map(ToString::to_string).collect();
        let expected = [
            "10.0.0.1:53",
            "10.0.0.2:5353",
            "[::1]:53",
            "[::2]:54",
            "192.0.2.7:8600",
        ];
        assert_eq!(servers, expected);
        assert_eq!(spec.valid.unwrap().as_secs(), 30);
        assert_eq!((spec.ipv4, spec.ipv6, timeout_ms), (true, false, 5000));
        assert_eq!(read("resolver system;").unwrap().0, ResolverSpec::default());
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_nginx() {
        for (lines, message) in [
            ("resolver 10.0.0.1 valid=x;", "invalid parameter: valid=x"),
            ("resolver 10.0.0.1 ipv6=no;", "invalid parameter: ipv6=no"),
            (
                "resolver 10.0.0.1 ipv4=off ipv6=off;",
                "\"ipv4\" and \"ipv6\" cannot both be \"off\"",
            ),
            ("resolver valid=10s;", "no name servers defined"),
            (
                "resolver system 10.0.0.1;",
                "invalid number of name servers",
            ),
            ("resolver ::1;", "invalid port in resolver \"::1\""),
            (
                "resolver 10.0.0.1:0;",
                "invalid port in resolver \"10.0.0.1:0\"",
            ),
            (
                "resolver 10.0.0.1:99999;",
                "invalid port in resolver \"10.0.0.1:99999\"",
            ),
            ("resolver :53;", "no host in resolver \":53\""),
            (
                "resolver nobody.test;",
                "host not found in resolver \"nobody.test\"",
            ),
            (
                "resolver 10.0.0.1; resolver 10.0.0.2;",
                "\"resolver\" directive is duplicate",
            ),
            (
                "resolver 10.0.0.1 status_zone=x;",
                "invalid parameter \"status_zone=x\"",
            ),
        ] {
            assert_eq!(read(lines), Err(message.to_owned()), "{lines}");
        }
    }
}
