//! What all protocols have in common by which requests are passed on; no module by itself.

pub(crate) mod dial;
pub(crate) mod store;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use revolve_conf::{Diagnostic, Directive, Word};
use revolve_reactor::Address;

use crate::config::scope::{Shared, choice, invalid_parameter, set_once};
use crate::config::setting::settings;
use crate::config::variable::{Registry, Value};
use crate::http::modules::Settings;
use crate::http::modules::cache::CacheSettings;
use crate::http::modules::cgi::Param;
use crate::http::modules::passing_ssl::PassSslSettings;
use crate::http::modules::proxy::Pass;
use crate::http::request::Request;

/// What is spoken with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Protocol {
    #[default]
    Http,
    Grpc,
    FastCgi,
    Uwsgi,
    Scgi,
    Memcached,
    /// Whatever the two sides of a tunnel agree on.
    Tunnel,
}

impl Protocol {
    /// What its directives begin with.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Http => "proxy",
            Protocol::Grpc => "grpc",
            Protocol::FastCgi => "fastcgi",
            Protocol::Uwsgi => "uwsgi",
            Protocol::Scgi => "scgi",
            Protocol::Memcached => "memcached",
            Protocol::Tunnel => "tunnel",
        }
    }

    /// What a URL of it begins with, as the error log shows it.
    pub(crate) fn scheme(self, is_secure: bool) -> &'static str {
        match (self, is_secure) {
            (Protocol::Http, false) => "http://",
            (Protocol::Http, true) => "https://",
            (Protocol::Grpc, false) => "grpc://",
            (Protocol::Grpc, true) => "grpcs://",
            (Protocol::FastCgi, _) => "fastcgi://",
            (Protocol::Uwsgi, false) => "uwsgi://",
            (Protocol::Uwsgi, true) => "suwsgi://",
            (Protocol::Scgi, _) => "scgi://",
            (Protocol::Memcached, _) => "memcached://",
            (Protocol::Tunnel, _) => "",
        }
    }

    /// The port of a server that names none; 0 where one has to be named.
    pub(crate) fn port(self) -> u16 {
        match self {
            Protocol::Http => 80,
            _ => 0,
        }
    }

    /// How requests are passed on by it at a level.
    pub(crate) fn settings(self, settings: &Settings) -> &PassSettings {
        match self {
            Protocol::Http => &settings.proxy_passing,
            Protocol::Grpc => &settings.grpc_passing,
            Protocol::FastCgi => &settings.fastcgi_passing,
            Protocol::Uwsgi => &settings.uwsgi_passing,
            Protocol::Scgi => &settings.scgi_passing,
            Protocol::Memcached => &settings.memcached_passing,
            Protocol::Tunnel => &settings.tunnel_passing,
        }
    }

    /// How its connections are secured, where they can be.
    pub(crate) fn ssl(self, settings: &Settings) -> Option<&PassSslSettings> {
        match self {
            Protocol::Http => Some(&settings.proxy_ssl),
            Protocol::Grpc => Some(&settings.grpc_ssl),
            Protocol::Uwsgi => Some(&settings.uwsgi_ssl),
            Protocol::FastCgi | Protocol::Scgi | Protocol::Memcached | Protocol::Tunnel => None,
        }
    }

    /// The same, while a configuration is built.
    pub(crate) fn ssl_mut(self, settings: &mut Settings) -> Option<&mut PassSslSettings> {
        match self {
            Protocol::Http => Some(&mut settings.proxy_ssl),
            Protocol::Grpc => Some(&mut settings.grpc_ssl),
            Protocol::Uwsgi => Some(&mut settings.uwsgi_ssl),
            Protocol::FastCgi | Protocol::Scgi | Protocol::Memcached | Protocol::Tunnel => None,
        }
    }

    /// Which of its answers are kept.
    pub(crate) fn cache(self, settings: &Settings) -> Option<&CacheSettings> {
        match self {
            Protocol::Http => Some(&settings.proxy_cache),
            Protocol::FastCgi => Some(&settings.fastcgi_cache),
            Protocol::Uwsgi => Some(&settings.uwsgi_cache),
            Protocol::Scgi => Some(&settings.scgi_cache),
            Protocol::Grpc | Protocol::Memcached | Protocol::Tunnel => None,
        }
    }

    /// What is set of a request's header lines.
    pub(crate) fn set_headers(self, settings: &Settings) -> &[(String, Value)] {
        match self {
            Protocol::Http => &settings.proxy.set_headers,
            Protocol::Grpc => &settings.grpc.set_headers,
            _ => &[],
        }
    }

    /// Where they are passed to.
    pub(crate) fn pass(self, settings: &Settings) -> Option<&Pass> {
        match self {
            Protocol::Http => settings.proxy.pass.as_deref(),
            Protocol::Grpc => settings.grpc.pass.as_deref(),
            Protocol::FastCgi => settings.fastcgi_cgi.pass.as_deref(),
            Protocol::Uwsgi => settings.uwsgi_cgi.pass.as_deref(),
            Protocol::Scgi => settings.scgi_cgi.pass.as_deref(),
            Protocol::Memcached => settings.memcached.pass.as_deref(),
            Protocol::Tunnel => settings.tunnel.pass.as_deref(),
        }
    }

    /// What an application behind it is told of a request, where it speaks CGI's language.
    pub(crate) fn params(self, settings: &Settings) -> &[Param] {
        match self {
            Protocol::FastCgi => &settings.fastcgi_cgi.params,
            Protocol::Uwsgi => &settings.uwsgi_cgi.params,
            Protocol::Scgi => &settings.scgi_cgi.params,
            Protocol::Http | Protocol::Grpc | Protocol::Memcached | Protocol::Tunnel => &[],
        }
    }
}

/// Whether requests that a level passes on are seen to their end although their clients have left: there are
/// others who may want the answer.
pub(crate) fn ignores_client_abort(settings: &Settings) -> bool {
    const ALL: [Protocol; 7] = [
        Protocol::Http,
        Protocol::Grpc,
        Protocol::FastCgi,
        Protocol::Uwsgi,
        Protocol::Scgi,
        Protocol::Memcached,
        Protocol::Tunnel,
    ];
    let mut used = ALL.iter().filter(|it| it.pass(settings).is_some());
    used.any(|it| {
        let keeps = it.cache(settings).is_some_and(|cache| cache.zone.is_some());
        keeps || it.settings(settings).ignore_client_abort
    })
}

impl Request {
    /// How it is passed on.
    pub(crate) fn passing(&self) -> &PassSettings {
        self.state.proxy.protocol.settings(self.settings())
    }
}

/// `*_next_upstream`, as bits.
pub(crate) mod next {
    pub(crate) const ERROR: u32 = 1;
    pub(crate) const TIMEOUT: u32 = 2;
    pub(crate) const INVALID_HEADER: u32 = 4;
    pub(crate) const NON_IDEMPOTENT: u32 = 8;
    pub(crate) const HTTP_500: u32 = 16;
    pub(crate) const HTTP_502: u32 = 32;
    pub(crate) const HTTP_503: u32 = 64;
    pub(crate) const HTTP_504: u32 = 128;
    pub(crate) const HTTP_403: u32 = 256;
    pub(crate) const HTTP_404: u32 = 512;
    pub(crate) const HTTP_429: u32 = 1024;
    pub(crate) const OFF: u32 = 1 << 31;
    /// The bits by their names.
    pub(crate) const NAMES: [(&str, u32); 12] = [
        ("error", ERROR),
        ("timeout", TIMEOUT),
        ("invalid_header", INVALID_HEADER),
        ("non_idempotent", NON_IDEMPOTENT),
        ("http_500", HTTP_500),
        ("http_502", HTTP_502),
        ("http_503", HTTP_503),
        ("http_504", HTTP_504),
        ("http_403", HTTP_403),
        ("http_404", HTTP_404),
        ("http_429", HTTP_429),
        ("off", OFF),
    ];
}

settings! {
    /// How requests are passed on, whatever is spoken.
    pub struct PassSettings / RawPass {
        inherit {
            /// `*_connect_timeout`, milliseconds, default 60 s.
            connect_timeout_ms: u64 = 60_000,
            /// `*_send_timeout`, milliseconds, default 60 s between two writes.
            send_timeout_ms: u64 = 60_000,
            /// `*_read_timeout`, milliseconds, default 60 s between two reads.
            read_timeout_ms: u64 = 60_000,
            /// `*_request_buffering`, default on.
            request_buffering: bool = true,
            /// `*_pass_request_headers`, default on.
            pass_request_headers: bool = true,
            /// `*_pass_request_body`, default on.
            pass_request_body: bool = true,
            /// `*_intercept_errors`, default off.
            intercept_errors: bool = false,
            /// `*_next_upstream`, default error and timeout.
            next_upstream: u32 = next::ERROR | next::TIMEOUT,
            /// `*_next_upstream_tries`, default 0: as many as there are.
            tries_max: u64 = 0,
            /// `*_next_upstream_timeout`, milliseconds, default 0: no limit.
            tries_timeout_ms: u64 = 0,
            /// `*_hide_header`, in lower case.
            hidden: Arc<Vec<String>> = Arc::default(),
            /// `*_pass_header`, in lower case.
            passed: Arc<Vec<String>> = Arc::default(),
            /// `*_ignore_headers`, in lower case.
            ignored: Arc<Vec<String>> = Arc::default(),
            /// `*_buffer_size`, bytes, default 16k: the largest head of a response.
            head_bytes_max: u64 = 16 * 1024,
            /// `*_ignore_client_abort`, default off.
            ignore_client_abort: bool = false,
            /// `*_bind`: from which address peers are asked.
            bind: Option<Arc<Bind>> = None,
            /// `*_socket_keepalive`, default off.
            socket_keepalive: bool = false,
            /// `*_socket_rcvbuf`, bytes, default 0: what the system has.
            receive_buffer_bytes: u64 = 0,
            /// `*_socket_sndbuf`, bytes, default 0: what the system has.
            send_buffer_bytes: u64 = 0,
            /// `*_limit_rate`, bytes a second that are read of an answer, default none.
            limit_rate: Option<Arc<Value>> = None,
            /// `*_force_ranges`, default off.
            force_ranges: bool = false,
            /// `*_store`: where answers are kept as files.
            store: Store = Store::Off,
            /// `*_store_access`, default the owner's alone.
            store_mode: u32 = 0o600,
        }
        own {}
    }
}

/// The directives that set these, of one protocol, behind those that it has alone. One that is `streaming`
/// passes bodies as they come, and keeps nothing of them.
macro_rules! rows {
    ($protocol:literal, $group:ident, [$($own:expr),* $(,)?]) => {
        $crate::http::modules::passing::rows!(
            streaming $protocol,
            $group,
            [
                $($own,)*
                $crate::http::scope::row(ANY, concat!($protocol, "_request_buffering"), $crate::http::modules::passing::args::FLAG, slot!(flag $group.request_buffering)),
                $crate::http::scope::row(ANY, concat!($protocol, "_pass_request_headers"), $crate::http::modules::passing::args::FLAG, slot!(flag $group.pass_request_headers)),
                $crate::http::scope::row(ANY, concat!($protocol, "_pass_request_body"), $crate::http::modules::passing::args::FLAG, slot!(flag $group.pass_request_body)),
                $crate::http::scope::row(ANY, concat!($protocol, "_ignore_client_abort"), $crate::http::modules::passing::args::FLAG, slot!(flag $group.ignore_client_abort)),
                $crate::http::scope::row(ANY, concat!($protocol, "_limit_rate"), $crate::http::modules::passing::args::ONE, |scope, d| {
                let rate = passing::limit_rate(&mut scope.shared.registry, d)?;
                $crate::config::scope::set_once(&mut scope.level.settings.$group.limit_rate, rate, d)
            }),
                $crate::http::scope::row(ANY, concat!($protocol, "_force_ranges"), $crate::http::modules::passing::args::FLAG, slot!(flag $group.force_ranges)),
                $crate::http::scope::row(ANY, concat!($protocol, "_store"), $crate::http::modules::passing::args::ONE, |scope, d| {
                let store = passing::stored(&mut scope.shared, d)?;
                $crate::config::scope::set_once(&mut scope.level.settings.$group.store, store, d)
            }),
                $crate::http::scope::row(ANY, concat!($protocol, "_store_access"), $crate::http::modules::passing::args::ONE_TO_THREE, |scope, d| {
                let mode = passing::store_access(d)?;
                $crate::config::scope::set_once(&mut scope.level.settings.$group.store_mode, mode, d)
            }),
                // Nothing is read ahead further than the socket does.
                $crate::http::scope::row(ANY, concat!($protocol, "_buffering"), $crate::http::modules::passing::args::FLAG, checked_once),
                $crate::http::scope::row(ANY, concat!($protocol, "_buffers"), $crate::http::modules::passing::args::TWO, checked_once),
                $crate::http::scope::row(ANY, concat!($protocol, "_busy_buffers_size"), $crate::http::modules::passing::args::ONE, checked_once),
                $crate::http::scope::row(ANY, concat!($protocol, "_max_temp_file_size"), $crate::http::modules::passing::args::ONE, checked_once),
                $crate::http::scope::row(ANY, concat!($protocol, "_temp_file_write_size"), $crate::http::modules::passing::args::ONE, checked_once),
                $crate::http::scope::row(ANY, concat!($protocol, "_temp_path"), $crate::http::modules::passing::args::ONE_TO_FOUR, checked_once),
            ]
        )
    };
    (streaming $protocol:literal, $group:ident, [$($own:expr),* $(,)?]) => {
        $crate::http::modules::passing::rows!(@all $group, [$($own,)*], [
            (concat!($protocol, "_connect_timeout"), ONE, slot!(time_ms $group.connect_timeout_ms)),
            (concat!($protocol, "_send_timeout"), ONE, slot!(time_ms $group.send_timeout_ms)),
            (concat!($protocol, "_read_timeout"), ONE, slot!(time_ms $group.read_timeout_ms)),
            (concat!($protocol, "_intercept_errors"), FLAG, slot!(flag $group.intercept_errors)),
            (concat!($protocol, "_next_upstream"), ONE_MORE, |scope, d| {
                passing::next_upstream(&mut scope.level.settings.$group.next_upstream, d)
            }),
            (concat!($protocol, "_next_upstream_tries"), ONE, slot!(number $group.tries_max)),
            (concat!($protocol, "_next_upstream_timeout"), ONE, slot!(time_ms $group.tries_timeout_ms)),
            (concat!($protocol, "_hide_header"), ONE, |scope, d| {
                passing::add_name(&mut scope.level.settings.$group.hidden, &d.args)
            }),
            (concat!($protocol, "_pass_header"), ONE, |scope, d| {
                passing::add_name(&mut scope.level.settings.$group.passed, &d.args)
            }),
            (concat!($protocol, "_ignore_headers"), ONE_MORE, |scope, d| {
                passing::add_name(&mut scope.level.settings.$group.ignored, &d.args)
            }),
            (concat!($protocol, "_buffer_size"), ONE, slot!(size $group.head_bytes_max)),
            (concat!($protocol, "_bind"), ONE_OR_TWO, |scope, d| {
                let bind = passing::bind(&mut scope.shared.registry, d)?;
                $crate::config::scope::set_once(&mut scope.level.settings.$group.bind, bind, d)
            }),
            (concat!($protocol, "_socket_keepalive"), FLAG, slot!(flag $group.socket_keepalive)),
            (concat!($protocol, "_socket_rcvbuf"), ONE, slot!(size $group.receive_buffer_bytes)),
            (concat!($protocol, "_socket_sndbuf"), ONE, slot!(size $group.send_buffer_bytes)),
        ])
    };
    (@all $group:ident, [$($own:expr,)*], [$(($name:expr, $args:ident, $set:expr),)*]) => {
        &[
            $($own,)*
            $(DirectiveRow {
                name: $name,
                contexts: ANY,
                args: $crate::http::modules::passing::args::$args,
                set: $set,
            },)*
        ]
    };
}
pub(crate) use rows;

/// How many arguments these directives take.
pub(crate) mod args {
    use revolve_conf::directive::Args;

    pub(crate) const ONE: Args = Args::ONE;
    pub(crate) const TWO: Args = Args::TWO;
    pub(crate) const FLAG: Args = Args::FLAG;
    pub(crate) const ONE_MORE: Args = Args::ONE_MORE;
    pub(crate) const ONE_OR_TWO: Args = Args::ONE_OR_TWO;
    pub(crate) const ONE_TO_THREE: Args = Args::range(1, 3);
    pub(crate) const ONE_TO_FOUR: Args = Args::range(1, 4);
}

/// `*_bind`.
#[derive(Debug)]
pub(crate) enum Bind {
    /// An address.
    Fixed(Address),
    /// One that each request makes.
    Made(Value),
}

/// `*_store`.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    Off,
    /// In the file that the path of the request leads to.
    ByPath,
    /// In this file.
    At(Arc<Value>),
}

/// `address`, `address:port`, or `[address]:port`: an address of this machine.
pub(crate) fn local_address(text: &str) -> Option<Address> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Address::Inet(address));
    }
    let inner = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let ip = inner.unwrap_or(text).parse::<IpAddr>().ok()?;
    Some(Address::Inet(SocketAddr::new(ip, 0)))
}

pub(crate) fn bind(
    registry: &mut Registry,
    directive: &Directive,
) -> Result<Option<Arc<Bind>>, Diagnostic> {
    let word = &directive.args[0];
    if let Some(flag) = directive.args.get(1) {
        let label = match flag.text.as_str() {
            "transparent" => {
                "other people's addresses need rights of the network's administrator, which workers \
                 give up"
            }
            _ => "expected nothing here",
        };
        return Err(invalid_parameter(flag, label));
    }
    if word.text == "off" {
        return Ok(None);
    }
    let bind = match word.text.contains('$') {
        true => Bind::Made(Value::of(word, registry)?),
        false => {
            let address = local_address(&word.text).ok_or_else(|| {
                let message = format!("invalid address \"{}\"", word.text);
                Diagnostic::new(word.span, message)
                    .label("expected an address of this machine, or off")
            })?;
            Bind::Fixed(address)
        }
    };
    Ok(Some(Arc::new(bind)))
}

pub(crate) fn limit_rate(
    registry: &mut Registry,
    directive: &Directive,
) -> Result<Option<Arc<Value>>, Diagnostic> {
    let word = &directive.args[0];
    if !word.text.contains('$') {
        revolve_conf::value::size_of(word, &directive.name.text)?;
    }
    Ok(Some(Arc::new(Value::of(word, registry)?)))
}

pub(crate) fn stored(shared: &mut Shared, directive: &Directive) -> Result<Store, Diagnostic> {
    let word = &directive.args[0];
    Ok(match word.text.as_str() {
        "off" => Store::Off,
        "on" => Store::ByPath,
        _ => Store::At(Arc::new(Value::of(word, &mut shared.registry)?)),
    })
}

/// `user:rw group:rw all:r` as the mode of a file.
pub(crate) fn store_access(directive: &Directive) -> Result<u32, Diagnostic> {
    let says_user = directive
        .args
        .iter()
        .any(|word| word.text.starts_with("user:"));
    let mut mode = if says_user { 0 } else { 0o600 };
    for word in &directive.args {
        let (who, what) = word.text.split_once(':').unwrap_or_default();
        let shift = match who {
            "user" => Some(6),
            "group" => Some(3),
            "all" => Some(0),
            _ => None,
        };
        let bits = match what {
            "rw" => Some(0o6),
            "r" => Some(0o4),
            _ => None,
        };
        let (Some(shift), Some(bits)) = (shift, bits) else {
            let message = format!("invalid value \"{}\"", word.text);
            return Err(Diagnostic::new(word.span, message)
                .label("expected user:, group: or all:, and r or rw"));
        };
        mode |= bits << shift;
    }
    Ok(mode)
}

pub(crate) fn add_name(
    list: &mut Option<Arc<Vec<String>>>,
    words: &[Word],
) -> Result<(), Diagnostic> {
    let list = list.get_or_insert_with(Arc::default);
    let list = Arc::get_mut(list).expect("nobody shares a level's names while it is read");
    list.extend(words.iter().map(|word| word.text.to_ascii_lowercase()));
    Ok(())
}

pub(crate) fn next_upstream(
    slot: &mut Option<u32>,
    directive: &Directive,
) -> Result<(), Diagnostic> {
    let mut bits = 0;
    for word in &directive.args {
        bits |= choice(word, next::NAMES)?;
    }
    set_once(slot, bits, directive)
}
