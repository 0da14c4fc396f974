//! Where content lies and how locations behave.
//!
//! ```nginx
//! root /srv/site;
//! location /pictures/ { alias /srv/pictures/; }
//! location /private/ { internal; }
//! server_tokens off;
//! ```

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, IF_LOCATION, LOCATION, SERVER, choice, set_once};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::modules::{Module, RequestState};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, LocationMatch, Scope, slot};
use crate::log::Level;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    handlers: &[
        (Phase::FindLocation, |it| it.core.internal, internal),
        (
            Phase::PreContent,
            |it| it.core.root.alias.is_some(),
            refuse_lost_alias,
        ),
    ],
    ..Module::EMPTY
};

/// The folder that paths are looked up in.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    /// The folder, without a slash at its end unless it is an alias.
    pub path: Value,
    /// What it takes the place of, if it is an `alias`.
    pub alias: Option<Alias>,
}

/// What an `alias` takes the place of. A location within takes it over as it is, whatever that
/// location's own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alias {
    /// So many bytes of the request's path: the name of its location.
    Prefix(usize),
    /// The whole path, in a location that is a regular expression; but what `try_files` has found
    /// comes behind it.
    Whole,
}

/// What is kept of a request.
#[derive(Default)]
pub(crate) struct CoreState {
    /// `try_files` has found the request's path, and what it names lies behind the `alias` of a location
    /// that is a regular expression.
    pub(crate) path_behind_alias: bool,
    /// The path was rewritten and its location not looked up (`rewrite ... break`), so that it need not
    /// begin with what an `alias` takes the place of.
    pub(crate) location_kept: bool,
    /// Something was found below the request's root, which then need not be looked for.
    pub(crate) root_seen: bool,
}

impl RequestState for CoreState {}

/// How much of the server's name and version is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tokens {
    /// `revolve/0.1.0`
    Version,
    /// `revolve`
    Name,
}

/// `satisfy`: whether all access modules must agree, or one is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Satisfy {
    /// All of them.
    All,
    /// Any of them.
    Any,
}

settings! {
    /// Where content lies and how locations behave.
    pub struct CoreSettings / RawCore {
        inherit {
            /// `root` or `alias`; default the folder `html` in the prefix.
            root: Root = Root { path: Value::literal("html"), alias: None },
            /// `internal`, default off.
            internal: bool = false,
            /// `satisfy`, default all.
            satisfy: Satisfy = Satisfy::All,
            /// `auth_delay`, milliseconds, default 0: how long a client that did not say who it is waits
            /// for its 401.
            auth_delay_ms: u64 = 0,
            /// `server_tokens`, default on.
            server_tokens: Tokens = Tokens::Version,
            /// `absolute_redirect`, default on.
            absolute_redirect: bool = true,
            /// `port_in_redirect`, default on.
            port_in_redirect: bool = true,
            /// `server_name_in_redirect`, default off.
            server_name_in_redirect: bool = false,
            /// `log_not_found`, default on.
            log_not_found: bool = true,
            /// `log_subrequest`, default off.
            log_subrequest: bool = false,
            /// `subrequest_output_buffer_size`, bytes, default 4k: what of a subrequest's answer is kept
            /// where all of it is wanted.
            subrequest_bytes_max: u64 = 4096,
            /// `msie_padding`, default on.
            msie_padding: bool = true,
            /// `msie_refresh`, default off.
            msie_refresh: bool = false,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "root",
        contexts: ANY | IF_LOCATION,
        args: Args::ONE,
        set: root,
    },
    DirectiveRow {
        name: "alias",
        contexts: LOCATION,
        args: Args::ONE,
        set: root,
    },
    DirectiveRow {
        name: "internal",
        contexts: LOCATION,
        args: Args::NONE,
        set: |scope, d| set_once(&mut scope.level.settings.core.internal, true, d),
    },
    DirectiveRow {
        name: "satisfy",
        contexts: ANY,
        args: Args::ONE,
        set: satisfy,
    },
    DirectiveRow {
        name: "auth_delay",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(time_ms core.auth_delay_ms),
    },
    DirectiveRow {
        name: "server_tokens",
        contexts: ANY,
        args: Args::ONE,
        set: server_tokens,
    },
    DirectiveRow {
        name: "absolute_redirect",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag core.absolute_redirect),
    },
    DirectiveRow {
        name: "port_in_redirect",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag core.port_in_redirect),
    },
    DirectiveRow {
        name: "server_name_in_redirect",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag core.server_name_in_redirect),
    },
    DirectiveRow {
        name: "log_not_found",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag core.log_not_found),
    },
    DirectiveRow {
        name: "log_subrequest",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag core.log_subrequest),
    },
    DirectiveRow {
        name: "subrequest_output_buffer_size",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(size core.subrequest_bytes_max),
    },
    DirectiveRow {
        name: "msie_padding",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag core.msie_padding),
    },
    DirectiveRow {
        name: "msie_refresh",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag core.msie_refresh),
    },
];

fn root(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let alias = directive.name.text == "alias";
    if let Some(other) = &scope.level.settings.core.root {
        if other.alias.is_some() == alias {
            return Err(duplicate(directive));
        }
        let (name, other) = if alias {
            ("alias", "root")
        } else {
            ("root", "alias")
        };
        let message = format!(
            "\"{name}\" directive is duplicate, \"{other}\" directive was specified earlier"
        );
        return Err(Diagnostic::new(directive.name.span, message)
            .label("a location has a root or an alias, not both"));
    }
    let replaced = match &scope.level.matching {
        LocationMatch::Named(_) if alias => {
            let message = "the \"alias\" directive cannot be used inside the named location";
            return Err(Diagnostic::new(directive.name.span, message)
                .label("a named location has no path that could be replaced"));
        }
        LocationMatch::Prefix { path, .. } | LocationMatch::Exact(path) => {
            Alias::Prefix(path.len())
        }
        _ => Alias::Whole,
    };
    let word = &directive.args[0];
    if word.text.contains("$document_root") || word.text.contains("${document_root}") {
        let message = format!(
            "the $document_root variable cannot be used in the \"{}\" directive",
            directive.name.text
        );
        return Err(Diagnostic::new(word.span, message).label("it is what is being set here"));
    }
    if word.text.contains("$realpath_root") || word.text.contains("${realpath_root}") {
        let message = format!(
            "the $realpath_root variable cannot be used in the \"{}\" directive",
            directive.name.text
        );
        return Err(Diagnostic::new(word.span, message).label("it is what is being set here"));
    }
    let text = if word.text.starts_with('$') {
        word.text.clone()
    } else {
        scope
            .shared
            .full_path(&word.text)
            .to_string_lossy()
            .into_owned()
    };
    let text = if alias {
        text.as_str()
    } else {
        text.strip_suffix('/').unwrap_or(&text)
    };
    let path = Value::compile(text, word, &mut scope.shared.registry)?;
    scope.level.settings.core.root = Some(Root {
        path,
        alias: alias.then_some(replaced),
    });
    Ok(())
}

fn satisfy(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let choices = [("all", Satisfy::All), ("any", Satisfy::Any)];
    let value = choice(&directive.args[0], choices)?;
    set_once(&mut scope.level.settings.core.satisfy, value, directive)
}

fn server_tokens(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let choices = [
        ("off", Tokens::Name),
        ("on", Tokens::Version),
        ("build", Tokens::Version),
    ];
    let value = choice(&directive.args[0], choices)?;
    set_once(
        &mut scope.level.settings.core.server_tokens,
        value,
        directive,
    )
}

/// The `Server` line and the foot of error pages.
pub(crate) fn signature(tokens: Tokens) -> &'static str {
    match tokens {
        Tokens::Version => crate::version::SERVER_VERSION,
        Tokens::Name => crate::version::SERVER_NAME,
    }
}

/// Access phase: an `internal` location does not answer to the outside.
pub(crate) fn internal(request: &mut Request) -> Outcome {
    if !request.current.internal {
        return Outcome::Finish(404);
    }
    Outcome::Next
}

/// Pre-content phase: refuses a path that was rewritten to something that the `alias` is not for.
fn refuse_lost_alias(request: &mut Request) -> Outcome {
    match is_alias_lost(request) {
        true => Outcome::Finish(500),
        false => Outcome::Next,
    }
}

/// Whether no file belongs to the request's path, which the error log tells then.
pub(crate) fn is_alias_lost(request: &Request) -> bool {
    let is_lost = request.state.core.location_kept && request.settings().core.root.alias.is_some();
    if is_lost {
        let name = &request.location().name;
        let message =
            format_args!("\"alias\" cannot be used in location \"{name}\" where URI was rewritten");
        request.log(Level::Alert, message);
    }
    is_lost
}

/// Appends the folder of `root` or `alias`.
pub(crate) fn append_root(request: &Request, out: &mut Vec<u8>) {
    let root = &request.settings().core.root;
    if let Some(literal) = root.path.as_literal() {
        return out.extend_from_slice(literal);
    }
    let start = out.len();
    root.path.append(request, out);
    if out.get(start) != Some(&b'/') {
        let prefix = request.site.base.prefix.as_os_str().as_encoded_bytes();
        let tail = out.split_off(start);
        out.extend_from_slice(prefix);
        if !prefix.ends_with(b"/") {
            out.push(b'/');
        }
        out.extend_from_slice(&tail);
    }
}

/// Appends the file name of the request's path, `root` or `alias` applied.
pub(crate) fn map_path(request: &Request, path: &[u8], out: &mut Vec<u8>) {
    append_root(request, out);
    let root = &request.settings().core.root;
    let replaced_bytes = match root.alias {
        None => 0,
        Some(Alias::Prefix(bytes)) => bytes,
        Some(Alias::Whole) if request.state.core.path_behind_alias => 0,
        Some(Alias::Whole) => return,
    };
    out.extend_from_slice(path.get(replaced_bytes..).unwrap_or_default());
}

/// A folder's name without the slash at its end, as the system is asked for it.
pub(crate) fn without_slash(folder: &[u8]) -> &[u8] {
    match folder.strip_suffix(b"/") {
        Some(rest) if !rest.is_empty() => rest,
        _ => folder,
    }
}

/// Makes a path in `Location` a URL, as `absolute_redirect` and its companions say.
pub(crate) fn complete_location(request: &mut Request) {
    use std::io::Write as _;
    if !request.response.has_location
        || request.response.location.first() != Some(&b'/')
        || !request.settings().core.absolute_redirect
    {
        return;
    }
    let mut url = request.take_spare();
    let (scheme, port): (&[u8], u16) = match request.connection.is_secure() {
        true => (b"https://", 443),
        false => (b"http://", 80),
    };
    url.extend_from_slice(scheme);
    let settings = &request.settings().core;
    let local = request.connection.local();
    if settings.server_name_in_redirect {
        url.extend_from_slice(request.server().primary_name.as_bytes());
    } else if request.append_host(&mut url) {
        // The host is there now.
    } else if let Some(revolve_reactor::Address::Inet(address)) = local {
        let _ = match address {
            std::net::SocketAddr::V4(address) => write!(url, "{}", address.ip()),
            std::net::SocketAddr::V6(address) => write!(url, "[{}]", address.ip()),
        };
    }
    if settings.port_in_redirect
        && let Some(revolve_reactor::Address::Inet(address)) = local
        && address.port() != port
    {
        let _ = write!(url, ":{}", address.port());
    }
    url.extend_from_slice(&request.response.location);
    let replaced = std::mem::replace(&mut request.response.location, url);
    request.give_spare(replaced);
    request.response.location_completed = true;
}
