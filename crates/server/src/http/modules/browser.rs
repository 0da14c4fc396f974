//! Whether a browser is one of today's, by what it says of itself.
//!
//! ```nginx
//! modern_browser  gecko 1.0.0;
//! modern_browser  unlisted;
//! ancient_browser Links Lynx netscape4;
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};
use revolve_http::HeaderId;

use crate::config::scope::{HTTP, LOCATION, SERVER};
use crate::config::setting::settings;
use crate::http::modules::Module;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope};
use crate::http::variables::Builtin;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_browser_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    ..Module::EMPTY
};

/// How a kind of browser is known.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    /// What stands before its mark at least.
    before: &'static str,
    mark: &'static str,
    /// How far behind the beginning of the mark the version stands.
    version_at: usize,
}

/// In the order in which they are looked for: Opera says that it is others too.
///
/// Source: nginx's `ngx_http_modern_browser_masks`.
const KINDS: [Kind; 5] = [
    Kind {
        name: "opera",
        before: "",
        mark: "Opera",
        version_at: "Opera ".len(),
    },
    Kind {
        name: "msie",
        before: "Mozilla/4.0 (compatible; ",
        mark: "MSIE ",
        version_at: "MSIE ".len(),
    },
    Kind {
        name: "gecko",
        before: "Mozilla/5.0 (",
        mark: "rv:",
        version_at: "rv:".len(),
    },
    Kind {
        name: "safari",
        before: "Mozilla/5.0 (",
        mark: "Safari/",
        version_at: "Safari/".len(),
    },
    Kind {
        name: "konqueror",
        before: "Mozilla/5.0 (compatible; ",
        mark: "Konqueror/",
        version_at: "Konqueror/".len(),
    },
];

/// The browsers that are modern.
#[derive(Debug, Clone, Default)]
pub(crate) struct Modern {
    /// By their places in [`KINDS`], with their least version.
    kinds: Vec<(usize, u64)>,
    /// `unlisted`: so are those that are in no list.
    unlisted: bool,
}

/// The browsers that are not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ancient {
    marks: Vec<Box<[u8]>>,
    netscape4: bool,
}

settings! {
    /// Whether a browser is one of today's.
    pub struct BrowserSettings / RawBrowser {
        inherit {
            /// `modern_browser`; a level that has one inherits none.
            modern: Arc<Modern> = Arc::default(),
            /// `ancient_browser`; a level that has one inherits none.
            ancient: Arc<Ancient> = Arc::default(),
            /// `modern_browser_value`, default 1.
            modern_value: Arc<str> = "1".into(),
            /// `ancient_browser_value`, default 1.
            ancient_value: Arc<str> = "1".into(),
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "modern_browser",
        contexts: ANY,
        args: Args::ONE_OR_TWO,
        set: modern,
    },
    DirectiveRow {
        name: "ancient_browser",
        contexts: ANY,
        args: Args::ONE_MORE,
        set: ancient,
    },
    // Of two in one level the last one holds, as in nginx.
    DirectiveRow {
        name: "modern_browser_value",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, directive| {
            let value = directive.args[0].text.as_str().into();
            scope.level.settings.browser.modern_value = Some(value);
            Ok(())
        },
    },
    DirectiveRow {
        name: "ancient_browser_value",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, directive| {
            let value = directive.args[0].text.as_str().into();
            scope.level.settings.browser.ancient_value = Some(value);
            Ok(())
        },
    },
];

fn modern(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let browsers = scope.level.settings.browser.modern.get_or_insert_default();
    let browsers = Arc::get_mut(browsers).expect("nobody shares a level's while it is read");
    let name = &directive.args[0];
    let kind = KINDS.iter().position(|kind| kind.name == name.text);
    match (directive.args.get(1), kind) {
        (None, _) if name.text == "unlisted" => browsers.unlisted = true,
        (Some(version), Some(kind)) => {
            let (number, rest) = version_of(version.text.as_bytes());
            if !rest.is_empty() {
                let message = format!("invalid browser version \"{}\"", version.text);
                return Err(Diagnostic::new(version.span, message)
                    .label("expected numbers with dots between them: 5.5"));
            }
            browsers.kinds.push((kind, number));
        }
        _ => {
            let message = format!("unknown browser name \"{}\"", name.text);
            let label =
                "expected opera, msie, gecko, safari or konqueror with a version, or unlisted";
            return Err(Diagnostic::new(name.span, message).label(label));
        }
    }
    browsers.kinds.sort_by_key(|(kind, _)| *kind);
    Ok(())
}

fn ancient(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let browsers = scope.level.settings.browser.ancient.get_or_insert_default();
    let browsers = Arc::get_mut(browsers).expect("nobody shares a level's while it is read");
    for word in &directive.args {
        match word.text.as_str() {
            "netscape4" => browsers.netscape4 = true,
            mark => browsers.marks.push(mark.as_bytes().into()),
        }
    }
    Ok(())
}

/// A version at the beginning of a text as a number that grows with it, and what stands behind it.
fn version_of(text: &[u8]) -> (u64, &[u8]) {
    let (mut version, mut part, mut scale) = (0_u64, 0_u64, 1_000_000);
    let is_version = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let end = text.iter().position(|byte| !is_version(byte));
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    for byte in digits {
        if *byte == b'.' {
            version = version.saturating_add(part.saturating_mul(scale));
            (part, scale) = (0, scale / 100);
        } else {
            let digit = u64::from(byte - b'0');
            part = part.saturating_mul(10).saturating_add(digit);
        }
    }
    (version.saturating_add(part.saturating_mul(scale)), rest)
}

/// The module's variables.
const VARIABLES: &[Builtin] = &[
    Builtin {
        name: "modern_browser",
        get: |request, out| {
            if is_modern(request) {
                out.extend_from_slice(request.settings().browser.modern_value.as_bytes());
            }
            true
        },
    },
    Builtin {
        name: "ancient_browser",
        get: |request, out| {
            if !is_modern(request) {
                out.extend_from_slice(request.settings().browser.ancient_value.as_bytes());
            }
            true
        },
    },
    Builtin {
        name: "msie",
        get: |request, out| {
            if user_agent(request).is_some_and(is_msie) {
                out.push(b'1');
            }
            true
        },
    },
];

fn user_agent(request: &Request) -> Option<&[u8]> {
    let is_known = request.current.head_done;
    is_known.then(|| request.known(HeaderId::UserAgent))?
}

/// Source: nginx's `ngx_http_process_user_agent`.
fn is_msie(agent: &[u8]) -> bool {
    let is_msie = memchr::memmem::find(agent, b"MSIE ").is_some_and(|at| at + 7 < agent.len());
    is_msie && memchr::memmem::find(agent, b"Opera").is_none()
}

/// Source: nginx's `ngx_http_browser`.
fn is_modern(request: &Request) -> bool {
    let settings = &request.settings().browser;
    let Some(agent) = user_agent(request) else {
        return settings.modern.unlisted;
    };
    for (kind, least) in &settings.modern.kinds {
        let kind = &KINDS[*kind];
        let rest = agent.get(kind.before.len()..).unwrap_or_default();
        let found = memchr::memmem::find(rest, kind.mark.as_bytes());
        let version = found.and_then(|at| rest.get(at + kind.version_at..));
        if let Some(version) = version.filter(|version| !version.is_empty()) {
            return version_of(version).0 >= *least;
        }
    }
    let is_ancient = (settings.ancient.netscape4 && is_netscape4(agent))
        || settings
            .ancient
            .marks
            .iter()
            .any(|mark| memchr::memmem::find(agent, mark).is_some());
    !is_ancient && settings.modern.unlisted
}

fn is_netscape4(agent: &[u8]) -> bool {
    agent.len() > "Mozilla/4.72 ".len()
        && agent.starts_with(b"Mozilla/")
        && matches!(agent[8], b'1'..=b'4')
}
