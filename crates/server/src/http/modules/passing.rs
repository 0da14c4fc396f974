//! What all protocols have in common by which requests are passed on; no module by itself.

use std::sync::Arc;

use revolve_conf::{Diagnostic, Directive, Word};

use crate::config::scope::{choice, set_once};
use crate::config::setting::settings;
use crate::http::modules::Settings;
use crate::http::modules::cgi::Param;
use crate::http::modules::proxy::Pass;
use crate::http::request::Request;

/// What is spoken with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Protocol {
    #[default]
    Http,
    FastCgi,
    Uwsgi,
    Scgi,
    Memcached,
}

impl Protocol {
    /// What its directives begin with.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Http => "proxy",
            Protocol::FastCgi => "fastcgi",
            Protocol::Uwsgi => "uwsgi",
            Protocol::Scgi => "scgi",
            Protocol::Memcached => "memcached",
        }
    }

    /// What a URL of it begins with, as the error log shows it.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Protocol::Http => "http://",
            Protocol::FastCgi => "fastcgi://",
            Protocol::Uwsgi => "uwsgi://",
            Protocol::Scgi => "scgi://",
            Protocol::Memcached => "memcached://",
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
            Protocol::FastCgi => &settings.fastcgi_passing,
            Protocol::Uwsgi => &settings.uwsgi_passing,
            Protocol::Scgi => &settings.scgi_passing,
            Protocol::Memcached => &settings.memcached_passing,
        }
    }

    /// Where they are passed to.
    pub(crate) fn pass(self, settings: &Settings) -> Option<&Pass> {
        match self {
            Protocol::Http => settings.proxy.pass.as_deref(),
            Protocol::FastCgi => settings.fastcgi_cgi.pass.as_deref(),
            Protocol::Uwsgi => settings.uwsgi_cgi.pass.as_deref(),
            Protocol::Scgi => settings.scgi_cgi.pass.as_deref(),
            Protocol::Memcached => settings.memcached.pass.as_deref(),
        }
    }

    /// What an application behind it is told of a request, where it speaks CGI's language.
    pub(crate) fn params(self, settings: &Settings) -> &[Param] {
        match self {
            Protocol::FastCgi => &settings.fastcgi_cgi.params,
            Protocol::Uwsgi => &settings.uwsgi_cgi.params,
            Protocol::Scgi => &settings.scgi_cgi.params,
            Protocol::Http | Protocol::Memcached => &[],
        }
    }
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
        }
        own {}
    }
}

/// The directives that set these, of one protocol, behind those that it has alone.
macro_rules! rows {
    ($protocol:literal, $group:ident, [$($own:expr),* $(,)?]) => {
        $crate::http::modules::passing::rows!(@all $group, [$($own,)*], [
            (concat!($protocol, "_connect_timeout"), ONE, slot!(time_ms $group.connect_timeout_ms)),
            (concat!($protocol, "_send_timeout"), ONE, slot!(time_ms $group.send_timeout_ms)),
            (concat!($protocol, "_read_timeout"), ONE, slot!(time_ms $group.read_timeout_ms)),
            (concat!($protocol, "_request_buffering"), FLAG, slot!(flag $group.request_buffering)),
            (concat!($protocol, "_pass_request_headers"), FLAG, slot!(flag $group.pass_request_headers)),
            (concat!($protocol, "_pass_request_body"), FLAG, slot!(flag $group.pass_request_body)),
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
            // Nothing is read ahead further than the socket does.
            (concat!($protocol, "_buffering"), FLAG, checked_once),
            (concat!($protocol, "_buffers"), TWO, checked_once),
            (concat!($protocol, "_busy_buffers_size"), ONE, checked_once),
            (concat!($protocol, "_max_temp_file_size"), ONE, checked_once),
            (concat!($protocol, "_temp_file_write_size"), ONE, checked_once),
            (concat!($protocol, "_temp_path"), ONE_TO_FOUR, checked_once),
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
    pub(crate) const ONE_TO_FOUR: Args = Args::range(1, 4);
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
