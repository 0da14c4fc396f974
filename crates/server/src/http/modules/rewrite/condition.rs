//! What an `if` asks.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use revolve_conf::{Diagnostic, Directive, Word};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use crate::config::variable::{Subject as _, Value, VariableId};
use crate::file_cache::Found;
use crate::http::modules::core::without_slash;
use crate::http::modules::rewrite::script::{Engine, Failed, Matcher};
use crate::http::request::Request;
use crate::http::scope::Scope;
use crate::log::{Level, Shown, errno_text};

/// A condition, with how its words stand in the file.
#[derive(Debug)]
pub(super) enum Condition {
    /// `$x`: it has a value, and that is not `0`.
    Set(VariableId),
    /// `$x = y`, and `$x != y` where `holds` is false.
    Equal {
        variable: VariableId,
        value: Value,
        holds: bool,
    },
    /// `$x ~ y` and `$x ~* y`, and with `!` where `holds` is false.
    Match {
        variable: VariableId,
        matcher: Matcher,
        holds: bool,
    },
    /// `-f x` and the like, and with `!` where `holds` is false.
    File {
        path: Value,
        kind: FileKind,
        holds: bool,
    },
}

/// What is to be at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// `-f`
    File,
    /// `-d`
    Folder,
    /// `-e`
    Either,
    /// `-x`
    Executable,
}

const EXPECTED: &str =
    "expected ($variable), ($variable = text), ($variable ~ pattern) or (-f path)";

impl Condition {
    /// Reads the words between `if` and its block.
    pub(super) fn read(scope: &mut Scope, directive: &Directive) -> Result<Self, Diagnostic> {
        let words = without_brackets(&directive.args)?;
        let invalid = |word: &Word| invalid(word).label(EXPECTED);
        let (first, rest) = match words.as_slice() {
            [] => return Err(invalid(&directive.args[0])),
            [first, rest @ ..] => (first, rest),
        };
        if let Some(name) = first.text.strip_prefix('$').filter(|name| !name.is_empty()) {
            let variable = scope.shared.registry.variable(name, first.span);
            return match rest {
                [] => Ok(Condition::Set(variable)),
                [operator, operand] => compare(scope, variable, operator, operand),
                _ => Err(invalid(first)),
            };
        }
        let (holds, operator) = match first.text.strip_prefix('!') {
            Some(rest) => (false, rest),
            None => (true, first.text.as_str()),
        };
        let kind = match operator {
            "-f" => FileKind::File,
            "-d" => FileKind::Folder,
            "-e" => FileKind::Either,
            "-x" => FileKind::Executable,
            _ => return Err(invalid(first)),
        };
        match rest {
            [path] => Ok(Condition::File {
                path: Value::of(path, &mut scope.shared.registry)?,
                kind,
                holds,
            }),
            _ => Err(invalid(first)),
        }
    }

    /// The pattern in it.
    pub(super) fn matcher_mut(&mut self) -> Option<&mut Matcher> {
        match self {
            Condition::Match { matcher, .. } => Some(matcher),
            _ => None,
        }
    }

    /// Whether it holds.
    ///
    /// Errors: a pattern was given up, or a text is too long.
    pub(super) fn is_met(&self, engine: &Engine, request: &Request) -> Result<bool, Failed> {
        let mut text = request.state.core_variables.take_spare();
        let is_met = match self {
            Condition::Set(variable) => {
                request.append_variable(*variable, &mut text);
                !matches!(text.as_slice(), b"" | b"0")
            }
            Condition::Equal {
                variable,
                value,
                holds,
            } => {
                request.append_variable(*variable, &mut text);
                let end = text.len();
                engine.append(value, request, &mut text)?;
                let (left, right) = text.split_at(end);
                (left == right) == *holds
            }
            Condition::Match {
                variable,
                matcher,
                holds,
            } => {
                request.append_variable(*variable, &mut text);
                matcher.matches(engine, &text, request)? == *holds
            }
            Condition::File { path, kind, holds } => {
                engine.append(path, request, &mut text)?;
                kind.is_at(&text, request) == *holds
            }
        };
        request.state.core_variables.give_spare(text);
        Ok(is_met)
    }
}

fn invalid(word: &Word) -> Diagnostic {
    Diagnostic::new(word.span, format!("invalid condition \"{}\"", word.text))
}

/// The words without the brackets around them, which may stand alone.
fn without_brackets(words: &[Word]) -> Result<Vec<Word>, Diagnostic> {
    let mut words = words.to_vec();
    let label = "expected the condition in brackets";
    if let Some(first) = words.first_mut() {
        match first.text.strip_prefix('(') {
            Some(rest) => first.text = rest.to_owned(),
            None => return Err(invalid(first).label(label)),
        }
        if first.text.is_empty() {
            words.remove(0);
        }
    }
    if let Some(last) = words.last_mut() {
        match last.text.strip_suffix(')') {
            Some(rest) => last.text = rest.to_owned(),
            None => return Err(invalid(last).label(label)),
        }
        if last.text.is_empty() {
            words.pop();
        }
    }
    Ok(words)
}

fn compare(
    scope: &mut Scope,
    variable: VariableId,
    operator: &Word,
    operand: &Word,
) -> Result<Condition, Diagnostic> {
    let (holds, compares) = match operator.text.strip_prefix('!') {
        Some(rest) => (false, rest),
        None => (true, operator.text.as_str()),
    };
    let ignores_case = match compares {
        "=" => {
            let value = Value::of(operand, &mut scope.shared.registry)?;
            return Ok(Condition::Equal {
                variable,
                value,
                holds,
            });
        }
        "~" => false,
        "~*" => true,
        _ => {
            let message = format!("unexpected \"{}\" in condition", operator.text);
            return Err(
                Diagnostic::new(operator.span, message).label("expected =, !=, ~, ~*, !~ or !~*")
            );
        }
    };
    Ok(Condition::Match {
        variable,
        matcher: Matcher::read(scope, operand, ignores_case)?,
        holds,
    })
}

impl FileKind {
    /// Whether this is at a path.
    fn is_at(self, path: &[u8], request: &Request) -> bool {
        let trimmed = without_slash(path);
        // The cache knows whole paths alone.
        let found = (self != FileKind::Executable && path.starts_with(b"/"))
            .then(|| request.connection.state.files.lookup(trimmed));
        match found {
            Some(Found::File(_)) => self != FileKind::Folder && trimmed.len() == path.len(),
            Some(Found::Directory) => self != FileKind::File,
            Some(Found::Missing(
                Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::XDEV,
            )) => false,
            // What may not be read may still be there.
            Some(Found::Missing(_)) | None => self.is_on_disk(path, request),
        }
    }

    fn is_on_disk(self, path: &[u8], request: &Request) -> bool {
        let stat = match rustix::fs::stat(OsStr::from_bytes(path)) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => return false,
            Err(error) => {
                let (path, reason) = (Shown(path), errno_text(error));
                let message = format_args!("stat() \"{path}\" failed ({reason})");
                request.log(Level::Crit, message);
                return false;
            }
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        match self {
            FileKind::File => kind == FileType::RegularFile,
            FileKind::Folder => kind == FileType::Directory,
            FileKind::Either => matches!(kind, FileType::RegularFile | FileType::Directory),
            FileKind::Executable => Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR),
        }
    }
}
