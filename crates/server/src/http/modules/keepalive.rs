//! How long connections live, and how they end.
//!
//! ```nginx
//! keepalive_timeout 75s 60s;   # and tell the client 60
//! keepalive_requests 1000;
//! lingering_close on;
//! ```

use revolve_conf::directive::Args;
use revolve_conf::value::{time_ms_of, time_s_of};
use revolve_conf::{Diagnostic, Directive};
use revolve_http::{HeaderId, Method};

use crate::config::scope::{HTTP, LOCATION, SERVER, choice, set_once};
use crate::config::setting::settings;
use crate::http::modules::Module;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, slot};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

/// `lingering_close`: when bytes that the client still sends are read before the close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lingering {
    /// Never.
    Off,
    /// Where the client may still be sending.
    On,
    /// On every close.
    Always,
}

impl Lingering {
    /// Whether nothing is read before a close.
    pub(crate) fn is_off(self) -> bool {
        self == Lingering::Off
    }
}

/// `keepalive_disable`: browsers that keep-alive is not given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Disable {
    /// No browser; it takes nothing away from those that are named beside it.
    pub none: bool,
    /// Old versions of MSIE, once they sent a POST.
    pub msie6: bool,
    /// Safari and browsers like it, on macOS.
    pub safari: bool,
}

settings! {
    /// How long connections live, and how they end.
    pub struct KeepaliveSettings / RawKeepalive {
        inherit {
            /// `keepalive_timeout`, milliseconds, default 75 s; 0 closes after each response.
            timeout_ms: u64 = 75_000,
            /// `keepalive_min_timeout`, milliseconds, default 0: for so long an idle connection is not
            /// closed to make way for others, or because the worker ends.
            min_timeout_ms: u64 = 0,
            /// The second value of `keepalive_timeout`, which is told to the client, in seconds. It is
            /// inherited even where the first one is set anew.
            header_s: Option<u64> = None,
            /// `keepalive_requests`, default 1000 a connection.
            requests_max: u64 = 1000,
            /// `keepalive_time`, milliseconds, default 1 h: how long a connection may live.
            time_ms: u64 = 3_600_000,
            /// `keepalive_disable`, default msie6.
            disable: Disable = Disable { none: false, msie6: true, safari: false },
            /// `lingering_close`, default on.
            lingering: Lingering = Lingering::On,
            /// `lingering_time`, milliseconds, default 30 s in all.
            lingering_time_ms: u64 = 30_000,
            /// `lingering_timeout`, milliseconds, default 5 s between two reads.
            lingering_timeout_ms: u64 = 5_000,
            /// `reset_timedout_connection`, default off.
            reset_timed_out: bool = false,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "keepalive_timeout",
        contexts: ANY,
        args: Args::ONE_OR_TWO,
        set: timeout,
    },
    DirectiveRow {
        name: "keepalive_min_timeout",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(time_ms keepalive.min_timeout_ms),
    },
    DirectiveRow {
        name: "keepalive_requests",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(number keepalive.requests_max),
    },
    DirectiveRow {
        name: "keepalive_time",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(time_ms keepalive.time_ms),
    },
    DirectiveRow {
        name: "keepalive_disable",
        contexts: ANY,
        args: Args::ONE_OR_TWO,
        set: disable,
    },
    DirectiveRow {
        name: "lingering_close",
        contexts: ANY,
        args: Args::ONE,
        set: lingering,
    },
    DirectiveRow {
        name: "lingering_time",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(time_ms keepalive.lingering_time_ms),
    },
    DirectiveRow {
        name: "lingering_timeout",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(time_ms keepalive.lingering_timeout_ms),
    },
    DirectiveRow {
        name: "reset_timedout_connection",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag keepalive.reset_timed_out),
    },
];

fn timeout(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let name = &directive.name.text;
    let timeout_ms = time_ms_of(&directive.args[0], name)?;
    let settings = &mut scope.level.settings.keepalive;
    set_once(&mut settings.timeout_ms, timeout_ms, directive)?;
    if let Some(word) = directive.args.get(1) {
        let seconds = time_s_of(word, name)?;
        settings.header_s = Some((seconds > 0).then_some(seconds));
    }
    Ok(())
}

fn disable(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let disable = &mut scope.level.settings.keepalive.disable;
    let disable = disable.get_or_insert_default();
    for word in &directive.args {
        let choices = [
            ("none", &mut disable.none),
            ("msie6", &mut disable.msie6),
            ("safari", &mut disable.safari),
        ];
        let named = choice(word, choices)?;
        if std::mem::replace(named, true) {
            let message = format!("duplicate value \"{}\"", word.text);
            let warning = Diagnostic::new(word.span, message).label("named before");
            scope.shared.diagnostics.push(warning.warn());
        }
    }
    Ok(())
}

fn lingering(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let choices = [
        ("off", Lingering::Off),
        ("on", Lingering::On),
        ("always", Lingering::Always),
    ];
    let value = choice(&directive.args[0], choices)?;
    set_once(
        &mut scope.level.settings.keepalive.lingering,
        value,
        directive,
    )
}

/// Whether the connection outlives this request: what its client was told, and before that, what it
/// will be told.
///
/// Source: nginx's `ngx_http_update_location_config` and `ngx_http_handler`.
pub(crate) fn keeps(request: &Request) -> bool {
    if let Some(told) = request.response.keep_alive {
        return told;
    }
    let settings = &request.settings().keepalive;
    request.current.head_done
        && request.head().keep_alive.is_on()
        && request.head().method != Method::Connect
        && !request.current.must_close
        && settings.timeout_ms != 0
        && request.current.sequence < settings.requests_max
        && request.connection.age_ms() <= settings.time_ms
        && !is_disabled(request, settings.disable)
        && !request.connection.state.must_close(&request.connection)
}

/// nginx's two tests of old browsers (`ngx_http_process_user_agent`).
#[inline]
fn is_disabled(request: &Request, disable: Disable) -> bool {
    let is_post = request.head().method == Method::Post;
    if !(disable.safari || disable.msie6 && is_post) {
        return false;
    }
    let Some(agent) = request.known(HeaderId::UserAgent) else {
        return false;
    };
    let has = |needle: &[u8]| memchr::memmem::find(agent, needle).is_some();
    if disable.msie6
        && is_post
        && let Some(at) = memchr::memmem::find(agent, b"MSIE ")
        && !has(b"Opera")
    {
        let version = &agent[at + 5..];
        let old = version.get(1) == Some(&b'.') && matches!(version[0], b'4' | b'5' | b'6');
        if old && !(version[0] == b'6' && has(b"SV1")) {
            return true;
        }
    }
    disable.safari
        && has(b"Mac OS X")
        && has(b"Safari/")
        && !has(b"Chrome/")
        && !has(b"Opera")
        && !has(b"Gecko/")
}
