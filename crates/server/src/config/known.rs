//! Names that nginx, its commercial edition or a module of somebody else's knows and Revolve does not
//! have: refused, with the reason, and with advice that does no harm.

use std::collections::HashMap;
use std::sync::LazyLock;

use revolve_conf::directive::suggest;
use revolve_conf::{Diagnostic, Directive, Span, Word};

/// Every directive of nginx 1.31 with its module, `module<TAB>directive` a line.
const NGINX_DIRECTIVES: &str = include_str!("nginx_directives.tsv");

static NGINX_MODULES: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| by_name(NGINX_DIRECTIVES));

/// The modules of nginx's that are not to be built, `module<TAB>why<TAB>what to do instead` a line. What is of
/// `mail` goes for all modules whose names begin with that.
const NOT_BUILT: &str = include_str!("not_built.tsv");

/// Directives that nginx itself does not have, with who has them; a `*` stands for any text.
const OTHER_DIRECTIVES: &str = include_str!("other_directives.tsv");

/// The variables of nginx and others, with their modules; one that ends in `_` stands for all that
/// begin with it.
const VARIABLES: &str = include_str!("nginx_variables.tsv");

/// Directives that keep clients out: without them, everybody comes in.
const GUARDS: &[&str] = &[
    "allow",
    "deny",
    "auth_*",
    "satisfy",
    "limit_except",
    "if",
    "secure_link*",
    "valid_referers",
    "disable_symlinks",
    "ssl_verify_*",
    "ssl_client_certificate",
    "ssl_trusted_certificate",
    "ssl_crl",
    "ssl_ocsp*",
    "ssl_reject_handshake",
    "set_real_ip_from",
    "real_ip_*",
    "access_by_lua*",
    "js_access",
    "modsecurity*",
    "app_protect_*",
    "testcookie*",
    "SecRulesEnabled",
    "oidc_provider",
];

/// Directives that answer in place of the files: without them, the files themselves are sent.
const HANDLERS: &[&str] = &[
    "*_pass",
    "rewrite",
    "rewrite_by_lua*",
    "content_by_lua*",
    "js_content",
    "perl",
    "passenger_*",
    "echo",
    "api",
    "status",
];

/// What to do about a line that Revolve cannot obey.
const REMOVE: &str = "remove the line or put # before it: Revolve ignores no directive in silence";
const KEEP_OUT: &str = "it may keep clients out: where the line is only removed, they are let in. \
     Let nginx serve what it protects, or refuse everybody there with `return 403;`";
const KEEP_AWAY: &str = "it answers in place of the files: where the line is only removed, they are \
     sent as they are, source code too. Remove the whole location, or refuse with `return 403;`";

/// The diagnostic for a directive that no table holds.
///
/// `ours` are the names of all tables.
pub(crate) fn unknown(
    directive: &Directive,
    ours: impl Iterator<Item = &'static str>,
) -> Diagnostic {
    let name = directive.name.text.as_str();
    let diagnostic = revolve_conf::directive::unknown(directive, std::iter::empty());
    if let Some(label) = lacking(name) {
        return diagnostic.label(label).help(advice_for(name));
    }
    let diagnostic = diagnostic.label("neither Revolve nor nginx has this directive");
    let ours: Vec<&'static str> = ours.collect();
    let all = ours.iter().copied().chain(names(NGINX_DIRECTIVES));
    match suggest(name, all) {
        Some(meant) => diagnostic.help(match lacking(meant) {
            Some(lacking) if !ours.contains(&meant) => {
                format!("did you mean `{meant}`? {lacking}")
            }
            _ => format!("did you mean `{meant}`?"),
        }),
        None => diagnostic,
    }
}

/// The diagnostic for a variable that nothing defines.
///
/// `ours` are the names of those that there are.
pub(crate) fn unknown_variable(
    name: &str,
    span: Option<Span>,
    ours: impl Iterator<Item = &'static str>,
) -> Diagnostic {
    let diagnostic = Diagnostic::new(span, format!("unknown \"{name}\" variable"));
    if let Some(module) = variable_module(name) {
        if let Some((why, instead)) = not_built(module) {
            let label = format!("{module} has it; Revolve does not have that module: {why}");
            return diagnostic.label(label).help(instead);
        }
        return diagnostic.label(format!("{module} has it; Revolve does not have it yet"));
    }
    let diagnostic = diagnostic.label("used here");
    let theirs = names(VARIABLES).filter(|name| !name.ends_with('_'));
    match suggest(name, ours.chain(theirs)) {
        Some(meant) => diagnostic.help(format!("did you mean `${meant}`?")),
        None => diagnostic,
    }
}

/// Adds to what is wrong with a directive that a `;` may be missing, where a line of its arguments
/// begins with the name of another directive.
pub(crate) fn missing_semicolon(directive: &Directive, diagnostic: Diagnostic) -> Diagnostic {
    let is_name = |text: &str| NGINX_MODULES.contains_key(text);
    let begins = |word: &Word| word.begins_line && !word.quoted && is_name(&word.text);
    match directive.args.iter().position(begins) {
        Some(0) => diagnostic.lacks_semicolon_after(directive.name.span),
        Some(at) => diagnostic.lacks_semicolon_after(directive.args[at - 1].span),
        None => diagnostic,
    }
}

/// Directives of nginx that are not to be had, and why.
const REASONS: &[(&str, &str)] = &[
    (
        "ssl_ech_file",
        "nginx has it; servers cannot have Encrypted Client Hello here, because rustls has it for clients alone",
    ),
    (
        "ssl_engine",
        "nginx has it; engines are OpenSSL's, and there is none here: keys lie in files",
    ),
];

/// Who has a directive that Revolve lacks, in words; `None` for a name that nobody has.
fn lacking(name: &str) -> Option<String> {
    if let Some((_, reason)) = REASONS.iter().find(|(known, _)| *known == name) {
        return Some((*reason).to_owned());
    }
    if let Some(module) = NGINX_MODULES.get(name) {
        if let Some((why, _)) = not_built(module) {
            return Some(format!(
                "nginx has it in {module}; Revolve does not have that module: {why}"
            ));
        }
        return Some(format!(
            "nginx has it in {module}; Revolve does not have it yet"
        ));
    }
    let mut others = OTHER_DIRECTIVES
        .lines()
        .filter_map(|line| line.split_once('\t'));
    let (origin, _) = others.find(|(_, pattern)| matches(pattern, name))?;
    Some(format!("it is of {origin}; Revolve does not have it"))
}

/// Why a module of nginx's is not to be built, and what to do instead.
fn not_built(module: &str) -> Option<(&'static str, &'static str)> {
    let module = match module.starts_with("mail_") {
        true => "mail",
        false => module,
    };
    NOT_BUILT.lines().find_map(|line| {
        let mut cells = line.split('\t');
        let is_it = cells.next() == Some(module);
        cells.next().zip(cells.next()).filter(|_| is_it)
    })
}

/// What to do about a line with this directive.
fn advice_for(name: &str) -> String {
    let module = NGINX_MODULES.get(name).copied();
    let general = advice(name);
    match module.and_then(not_built) {
        Some((_, instead)) if general == REMOVE => instead.to_owned(),
        Some((_, instead)) => format!("{instead}. And note that {general}"),
        None => general.to_owned(),
    }
}

fn advice(name: &str) -> &'static str {
    let is_among = |list: &[&str]| list.iter().any(|pattern| matches(pattern, name));
    if is_among(GUARDS) {
        KEEP_OUT
    } else if is_among(HANDLERS) {
        KEEP_AWAY
    } else {
        REMOVE
    }
}

fn variable_module(name: &str) -> Option<&'static str> {
    let is_it = |known: &str| name == known || (known.ends_with('_') && name.starts_with(known));
    let mut lines = VARIABLES.lines().filter_map(|line| line.split_once('\t'));
    lines
        .find(|(_, known)| is_it(known))
        .map(|(module, _)| module)
}

/// Whether a name is one of a pattern with at most one `*`, at its beginning or its end.
fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end),
        (_, Some(start)) => name.starts_with(start),
        _ => name == pattern,
    }
}

/// The names of a table of `module<TAB>name` lines.
fn names(table: &'static str) -> impl Iterator<Item = &'static str> {
    let lines = table.lines().filter_map(|line| line.split_once('\t'));
    lines.map(|(_, name)| name)
}

/// The table by name.
fn by_name(table: &'static str) -> HashMap<&'static str, &'static str> {
    let lines = table.lines().filter_map(|line| line.split_once('\t'));
    lines.map(|(module, name)| (name, module)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_known() {
        for (name, who) in [
            ("proxy_ssl_protocols", "http_proxy_module"),
            ("gzip", "http_gzip_filter_module"),
            ("status_zone", "NGINX Plus"),
            ("keyval", "NGINX Plus"),
            ("api", "NGINX Plus"),
            ("js_import", "njs"),
            ("brotli", "brotli"),
            ("brotli_comp_level", "brotli"),
            ("content_by_lua_block", "lua"),
            ("lua_package_path", "lua"),
            ("more_set_headers", "headers-more"),
            ("rtmp", "rtmp"),
        ] {
            let said = lacking(name).unwrap_or_default();
            assert!(said.contains(who), "{name}: {said}");
        }
        assert_eq!(lacking("nonsense"), None);
    }

    #[test]
    fn what_is_not_to_be_built_has_its_reason() {
        for line in NOT_BUILT.lines() {
            let cells: Vec<&str> = line.split('\t').collect();
            let [module, why, instead] = cells[..] else {
                panic!("{line}");
            };
            let is_known = NGINX_MODULES.values().any(|known| *known == module);
            assert!(is_known && !why.is_empty() && !instead.is_empty(), "{line}");
        }
        for (name, why, instead) in [
            ("image_filter", "holds up", "image server"),
            ("perl", "interpreter", "And note that it answers"),
            ("pop3_auth", "web server", "Dovecot"),
            ("kqueue_events", "Linux", "io_uring"),
        ] {
            assert!(lacking(name).unwrap().contains(why), "{name}");
            assert!(advice_for(name).contains(instead), "{name}");
        }
    }

    #[test]
    fn names_of_nginx_are_not_of_others() {
        for name in names(NGINX_DIRECTIVES) {
            let mut others = names(OTHER_DIRECTIVES);
            assert_eq!(
                others.find(|pattern| matches(pattern, name)),
                None,
                "{name}"
            );
        }
    }

    #[test]
    fn who_follows_the_advice_publishes_nothing() {
        for name in [
            "allow",
            "deny",
            "auth_basic",
            "auth_basic_user_file",
            "auth_request",
            "auth_jwt",
            "satisfy",
            "limit_except",
            "if",
            "secure_link",
            "valid_referers",
            "ssl_verify_client",
            "modsecurity",
            "access_by_lua_block",
        ] {
            assert_eq!(advice(name), KEEP_OUT, "{name}");
        }
        for name in [
            "fastcgi_pass",
            "proxy_pass",
            "rewrite",
            "content_by_lua_block",
            "js_content",
        ] {
            assert_eq!(advice(name), KEEP_AWAY, "{name}");
        }
        for name in [
            "gzip",
            "proxy_read_timeout",
            "brotli",
            "proxy_ssl_protocols",
        ] {
            assert_eq!(advice(name), REMOVE, "{name}");
        }
    }
}
