//! `rewrite`: another path and other arguments, or a redirect.

use revolve_conf::{Diagnostic, Directive, Word};

use crate::config::variable::Value;
use crate::http::modules::rewrite::escape;
use crate::http::modules::rewrite::script::{Engine, Failed, Matcher};
use crate::http::request::Request;
use crate::http::scope::Scope;
use crate::log::{Level, Shown};

/// A `rewrite`.
#[derive(Debug)]
pub(super) struct Rewrite {
    pub(super) matcher: Matcher,
    replacement: Replacement,
    /// Whether the arguments of the request are kept; a `?` at the end says that they are not.
    keeps_args: bool,
    then: Then,
}

#[derive(Debug)]
enum Replacement {
    /// A path, and the arguments that stand behind its `?`, if it has one.
    Path(Value, Option<Value>),
    /// Where the client is sent, and whether arguments stand there.
    Url {
        url: Value,
        has_args: bool,
        status: u16,
    },
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The next instruction.
    Next,
    /// `last`: the location is looked up anew.
    Last,
    /// `break`: the location stays.
    Break,
}

/// What a `rewrite` has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Its pattern does not match.
    Unchanged,
    /// The path is another.
    Changed,
    /// It is, and the script ends: the location is looked up.
    Last,
    /// It is, and the script ends: the location stays.
    Break,
    /// The request is answered with this status.
    Finish(u16),
}

impl Rewrite {
    pub(super) fn read(scope: &mut Scope, directive: &Directive) -> Result<Self, Diagnostic> {
        let (pattern, word) = (&directive.args[0], &directive.args[1]);
        if word.text.is_empty() {
            return Err(
                Diagnostic::new(word.span, "empty replacement").label("expected a path or a URL")
            );
        }
        let matcher = Matcher::read(scope, pattern, false)?;
        let (text, keeps_args) = match word.text.strip_suffix('?') {
            Some(text) => (text, false),
            None => (word.text.as_str(), true),
        };
        let is_url = ["http://", "https://", "$scheme"];
        let is_url = is_url.iter().any(|start| text.starts_with(start));
        let (status, then) = match directive.args.get(2) {
            None => (is_url.then_some(302), Then::Next),
            Some(flag) => match flag.text.as_str() {
                "last" => (is_url.then_some(302), Then::Last),
                "break" => (is_url.then_some(302), Then::Break),
                "redirect" => (Some(302), Then::Next),
                "permanent" => (Some(301), Then::Next),
                _ => {
                    let message = format!("invalid parameter \"{}\"", flag.text);
                    return Err(Diagnostic::new(flag.span, message)
                        .label("expected last, break, redirect or permanent"));
                }
            },
        };
        let replacement = match status {
            Some(status) => Replacement::Url {
                url: Value::compile(text, word, &mut scope.shared.registry)?,
                has_args: text.contains('?'),
                status,
            },
            None => path(scope, text, word)?,
        };
        Ok(Self {
            matcher,
            replacement,
            keeps_args,
            then,
        })
    }

    /// Does what it says where its pattern matches.
    pub(super) fn apply(&self, engine: &mut Engine, request: &mut Request) -> Step {
        self.try_apply(engine, request).unwrap_or(Step::Finish(500))
    }

    fn try_apply(&self, engine: &mut Engine, request: &mut Request) -> Result<Step, Failed> {
        if !self.matcher.matches(engine, &request.path, request)? {
            return Ok(Step::Unchanged);
        }
        request.current.internal = true;
        request.current.uri_changed = true;
        match &self.replacement {
            Replacement::Path(path, args) => {
                engine.quotes = false;
                self.replace(engine, path, args.as_ref(), request)
            }
            Replacement::Url {
                url,
                has_args,
                status,
            } => {
                self.redirect(engine, url, *has_args, request)?;
                Ok(Step::Finish(*status))
            }
        }
    }

    fn replace(
        &self,
        engine: &Engine,
        path: &Value,
        args: Option<&Value>,
        request: &mut Request,
    ) -> Result<Step, Failed> {
        let mut new = request.take_spare();
        escape::append(path, false, request, &mut new)?;
        if let Some(args) = args {
            let mut new_args = request.state.core_variables.take_spare();
            escape::append(args, true, request, &mut new_args)?;
            if self.keeps_args && !request.args.is_empty() {
                new_args.push(b'&');
                new_args.extend_from_slice(&request.args);
            }
            let replaced = std::mem::replace(&mut request.args, new_args);
            request.state.core_variables.give_spare(replaced);
            request.current.args_given = true;
        } else if !self.keeps_args {
            request.current.args_given |= !request.args.is_empty();
            request.args.clear();
        }
        let replaced = std::mem::replace(&mut request.path, new);
        request.give_spare(replaced);
        if engine.logs {
            let (path, args) = (Shown(&request.path), Shown(&request.args));
            let message = format_args!("rewritten data: \"{path}\", args: \"{args}\"");
            request.log(Level::Notice, message);
        }
        if request.path.is_empty() {
            request.log(
                Level::Error,
                format_args!("the rewritten URI has a zero length"),
            );
            return Ok(Step::Finish(500));
        }
        Ok(match self.then {
            Then::Next => Step::Changed,
            Then::Last => Step::Last,
            Then::Break => Step::Break,
        })
    }

    fn redirect(
        &self,
        engine: &Engine,
        url: &Value,
        has_args: bool,
        request: &mut Request,
    ) -> Result<(), Failed> {
        let mut location = std::mem::take(&mut request.response.location);
        location.clear();
        escape::append(url, true, request, &mut location)?;
        escape::unescape_redirect(&mut location);
        if self.keeps_args && !request.args.is_empty() {
            location.push(if has_args { b'&' } else { b'?' });
            location.extend_from_slice(&request.args);
        }
        if engine.logs {
            let shown = Shown(&location);
            request.log(
                Level::Notice,
                format_args!("rewritten redirect: \"{shown}\""),
            );
        }
        request.response.location = location;
        request.response.has_location = true;
        request.response.location_place = request.response.headers.count();
        Ok(())
    }
}

/// Reads a path; what stands behind its first `?` are arguments.
fn path(scope: &mut Scope, text: &str, word: &Word) -> Result<Replacement, Diagnostic> {
    let registry = &mut scope.shared.registry;
    let (path, args) = match text.split_once('?') {
        Some((path, args)) => (path, Some(args)),
        None => (text, None),
    };
    let path = Value::compile(path, word, registry)?;
    let args = args.map(|args| Value::compile(args, word, registry));
    Ok(Replacement::Path(path, args.transpose()?))
}
