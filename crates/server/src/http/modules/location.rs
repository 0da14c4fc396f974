//! The block `location`.
//!
//! ```nginx
//! location = /exact { }
//! location ^~ /no-regex/ { }
//! location ~* \.(png|jpe?g)$ { }
//! location / { location /nested/ { } }
//! location @named { }
//! location /dav/ { limit_except GET { deny all; } }
//! ```

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::{Diagnostic, Directive, Word};
use revolve_http::Method;

use crate::config::regex::Patterns;
use crate::config::scope::{LIMIT_EXCEPT, LOCATION, SERVER};
use crate::http::location::Methods;
use crate::http::modules::Module;
use crate::http::scope::{Block, DirectiveRow, LocationMatch, Scope};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "location",
        contexts: SERVER | LOCATION,
        args: Args::ONE_OR_TWO_BLOCK,
        set: location,
    },
    DirectiveRow {
        name: "limit_except",
        contexts: LOCATION,
        args: Args::ONE_MORE_BLOCK,
        set: limit_except,
    },
];

/// What `limit_except` may name.
///
/// Source: nginx's `ngx_methods_names`.
const METHODS: [(&str, Method); 14] = [
    ("GET", Method::Get),
    ("HEAD", Method::Head),
    ("POST", Method::Post),
    ("PUT", Method::Put),
    ("DELETE", Method::Delete),
    ("MKCOL", Method::Mkcol),
    ("COPY", Method::Copy),
    ("MOVE", Method::Move),
    ("OPTIONS", Method::Options),
    ("PROPFIND", Method::Propfind),
    ("PROPPATCH", Method::Proppatch),
    ("LOCK", Method::Lock),
    ("UNLOCK", Method::Unlock),
    ("PATCH", Method::Patch),
];

fn limit_except(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    if scope.level.limit_except.is_some() {
        return Err(duplicate(directive));
    }
    let mut methods = Methods::default();
    for word in &directive.args {
        let mut known = METHODS.iter();
        let known = known.find(|(name, _)| word.text.eq_ignore_ascii_case(name));
        let (_, method) = known.ok_or_else(|| {
            let message = format!("invalid method \"{}\"", word.text);
            let names = METHODS.map(|(name, _)| name).join(", ");
            Diagnostic::new(word.span, message).label(format!("expected one of {names}"))
        })?;
        methods.insert(*method);
    }
    // Who may GET may HEAD.
    if methods.contains(Method::Get) {
        methods.insert(Method::Head);
    }
    let matching = scope.level.matching.clone();
    let level = Block::new(LIMIT_EXCEPT, matching, Some(directive.span));
    let level = scope.nested(level, directive.block.as_deref().unwrap_or_default());
    scope.level.limit_except = Some((methods, Box::new(level)));
    Ok(())
}

fn location(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let matching = matching(&mut scope.shared.patterns, directive)?;
    check_nesting(&scope.level, &matching, directive)?;
    if let LocationMatch::Regex(pattern) = &matching {
        let _ = scope.shared.registry.define_groups(pattern);
    }
    let level = Block::new(LOCATION, matching, Some(directive.span));
    let block = directive.block.as_deref().unwrap_or_default();
    let level = scope.nested(level, block);
    if let Some(warning) = leaves_alias(&level.matching, directive, block) {
        scope.shared.diagnostics.push(warning);
    }
    scope.level.children.push(level);
    Ok(())
}

/// Warns where a path such as `/c../x` leads out of the folder of an `alias`, as it does in nginx: what
/// follows `/c` is put behind the slash that ends the folder.
fn leaves_alias(
    matching: &LocationMatch,
    directive: &Directive,
    block: &[Directive],
) -> Option<Diagnostic> {
    let LocationMatch::Prefix { path, .. } = matching else {
        return None;
    };
    let alias = block
        .iter()
        .find(|it| it.name.text == "alias")?
        .args
        .first()?;
    if path.ends_with('/') || !alias.text.ends_with('/') {
        return None;
    }
    let folder = &alias.text;
    let message = format!("location \"{path}\" leads out of the folder of its alias");
    let help = format!(
        "a request for {path}../x gets {folder}../x: write `location {path}/`, with a slash at its \
         end as the alias has"
    );
    let name = directive
        .args
        .last()
        .map_or(directive.span, |word| word.span);
    let warning = Diagnostic::new(alias.span, message)
        .label("this ends with a slash")
        .note(name, "and this does not");
    Some(warning.help(help).warn())
}

/// Reads `= x`, `=x`, `^~ x`, `~ x`, `~* x`, `@x` and `x`.
fn matching(patterns: &mut Patterns, directive: &Directive) -> Result<LocationMatch, Diagnostic> {
    if let [modifier, word] = directive.args.as_slice() {
        return with_modifier(patterns, &modifier.text, &word.text, word).ok_or_else(|| {
            Diagnostic::new(
                modifier.span,
                format!("invalid location modifier \"{}\"", modifier.text),
            )
            .label("expected =, ^~, ~ or ~*")
        })?;
    }
    let word = &directive.args[0];
    for modifier in ["=", "^~", "~*", "~"] {
        if let Some(rest) = word.text.strip_prefix(modifier) {
            return with_modifier(patterns, modifier, rest, word)
                .expect("the modifier is one of the list");
        }
    }
    if let Some(name) = word.text.strip_prefix('@') {
        return Ok(LocationMatch::Named(name.to_owned()));
    }
    Ok(LocationMatch::Prefix {
        path: word.text.clone(),
        regex_follows: true,
    })
}

fn with_modifier(
    patterns: &mut Patterns,
    modifier: &str,
    text: &str,
    word: &Word,
) -> Option<Result<LocationMatch, Diagnostic>> {
    let mut pattern = |ignore_case| {
        let pattern = patterns.compile(word, text, ignore_case);
        pattern.map(LocationMatch::Regex)
    };
    Some(match modifier {
        "=" => Ok(LocationMatch::Exact(text.to_owned())),
        "^~" => Ok(LocationMatch::Prefix {
            path: text.to_owned(),
            regex_follows: false,
        }),
        "~" => pattern(false),
        "~*" => pattern(true),
        _ => return None,
    })
}

fn check_nesting(
    outer: &Block,
    inner: &LocationMatch,
    directive: &Directive,
) -> Result<(), Diagnostic> {
    let span = directive
        .args
        .last()
        .map_or(directive.span, |word| word.span);
    let (inner_name, outer_name) = (inner.name(), outer.matching.name());
    let (message, label) = match (&outer.matching, inner) {
        (LocationMatch::Server, _) => return Ok(()),
        (LocationMatch::Exact(_), _) => (
            format!(
                "location \"{inner_name}\" cannot be inside the exact location \"{outer_name}\""
            ),
            "one path alone leads there, nothing can be below it",
        ),
        (LocationMatch::Named(_), _) => (
            format!(
                "location \"{inner_name}\" cannot be inside the named location \"{outer_name}\""
            ),
            "a named location is not found by path",
        ),
        (_, LocationMatch::Named(_)) => (
            format!("named location \"{inner_name}\" can be on the server level only"),
            "move it out of the other location",
        ),
        (
            LocationMatch::Prefix { path, .. },
            LocationMatch::Exact(_) | LocationMatch::Prefix { .. },
        ) if !inner_name.starts_with(path.as_str()) => (
            format!("location \"{inner_name}\" is outside location \"{outer_name}\""),
            "expected a path that begins with that of the location around it",
        ),
        _ => return Ok(()),
    };
    Err(Diagnostic::new(span, message).label(label))
}
