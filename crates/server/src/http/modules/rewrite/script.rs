//! The script of a level: what its directives say, one after the other.

use revolve_conf::{Diagnostic, Word};

use crate::config::regex::{GivenUp, Pattern};
use crate::config::variable::{GroupSlots, SlotId, Value};
use crate::http::location::LocationId;
use crate::http::modules::output;
use crate::http::modules::rewrite::answer::Return;
use crate::http::modules::rewrite::condition::Condition;
use crate::http::modules::rewrite::escape;
use crate::http::modules::rewrite::replace::{Rewrite, Step};
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::scope::Scope;
use crate::log::{Level, Shown};

/// What a level's directives say, in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Script(Vec<Instruction>);

#[derive(Debug)]
pub(super) enum Instruction {
    Rewrite(Box<Rewrite>),
    If(Box<If>),
    Set(Target, Value),
    Break,
    Return(Box<Return>),
}

/// An `if`: the instructions within follow it.
#[derive(Debug)]
pub(super) struct If {
    condition: Condition,
    /// How many of those there are.
    len: usize,
    block: Block,
}

/// Whose settings hold once a condition is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    /// In a server: the server's.
    Server,
    /// In a location: its own, which have no number yet.
    Unnumbered,
    /// In a location: its own.
    Level(LocationId),
}

/// What a `set` sets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Slot(SlotId),
    Args,
    LimitRate,
}

/// A pattern, and the variables that its groups set.
#[derive(Debug)]
pub(super) struct Matcher {
    pub(super) pattern: Pattern,
    slots: GroupSlots,
}

/// A script cannot go on, which the error log tells: the answer is 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed;

impl From<GivenUp> for Failed {
    fn from(_: GivenUp) -> Self {
        Failed
    }
}

/// What is known while a script runs.
#[derive(Debug)]
pub(super) struct Engine {
    /// Whether groups are escaped as arguments. nginx does so until a path has been rewritten.
    pub(super) quotes: bool,
    /// `rewrite_log`.
    pub(super) logs: bool,
}

impl Script {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, instruction: Instruction) {
        self.0.push(instruction);
    }

    /// Appends an `if` and what stands in it.
    pub(super) fn push_if(&mut self, condition: Condition, within: Script, is_location: bool) {
        let block = if is_location {
            Block::Unnumbered
        } else {
            Block::Server
        };
        self.0.push(Instruction::If(Box::new(If {
            condition,
            len: within.0.len(),
            block,
        })));
        self.0.extend(within.0);
    }

    /// Tells the blocks of the level, in the order of the file, where their settings are; and the
    /// patterns whether `$1` to `$9` stand anywhere.
    pub(crate) fn link(&mut self, blocks: Vec<LocationId>, uses_numbers: bool) {
        let mut blocks = blocks.into_iter();
        for instruction in &mut self.0 {
            let matcher = match instruction {
                Instruction::Rewrite(rewrite) => Some(&mut rewrite.matcher),
                Instruction::If(it) => {
                    if it.block == Block::Unnumbered {
                        let id = blocks.next().expect("each `if` of a location has a level");
                        it.block = Block::Level(id);
                    }
                    it.condition.matcher_mut()
                }
                _ => None,
            };
            if let Some(matcher) = matcher {
                matcher.pattern.note_numbers(uses_numbers);
            }
        }
    }
}

impl Matcher {
    pub(super) fn read(
        scope: &mut Scope,
        word: &Word,
        ignores_case: bool,
    ) -> Result<Self, Diagnostic> {
        let patterns = &mut scope.shared.patterns;
        let pattern = patterns.compile(word, &word.text, ignores_case)?;
        let slots = scope.shared.registry.define_groups(&pattern);
        Ok(Self { pattern, slots })
    }

    /// Whether the pattern matches. If it does not, there is no `$1` any more.
    pub(super) fn matches(
        &self,
        engine: &Engine,
        subject: &[u8],
        request: &Request,
    ) -> Result<bool, Failed> {
        let is_met = request.matches(&self.pattern, &self.slots, subject)?;
        if !is_met {
            request.state.core_variables.clear_captures();
        }
        if engine.logs {
            let verb = if is_met { "matches" } else { "does not match" };
            let (pattern, subject) = (&self.pattern, Shown(subject));
            request.log(
                Level::Notice,
                format_args!("\"{pattern}\" {verb} \"{subject}\""),
            );
        }
        Ok(is_met)
    }
}

impl Engine {
    pub(super) fn append(
        &self,
        value: &Value,
        request: &Request,
        out: &mut Vec<u8>,
    ) -> Result<(), Failed> {
        escape::append(value, self.quotes, request, out)
    }
}

/// Runs the script of the level that the request is at.
///
/// There is no way back in a script, and [`Outcome::FindLocation`] is counted, so this ends.
pub(super) fn run(request: &mut Request) -> Outcome {
    let site = request.site.share();
    let level = &site.locations[request.current.location as usize];
    let settings = &level.settings.rewrite;
    let mut engine = Engine {
        quotes: true,
        logs: settings.log,
    };
    let mut is_entered = false;
    let mut is_changed = false;
    let mut at = 0;
    while let Some(instruction) = settings.script.0.get(at) {
        at += 1;
        match instruction {
            Instruction::Rewrite(rewrite) => match rewrite.apply(&mut engine, request) {
                Step::Unchanged => {}
                Step::Changed => is_changed = true,
                Step::Last => {
                    is_changed = true;
                    break;
                }
                Step::Break => {
                    request.state.core.location_kept = true;
                    is_changed = false;
                    break;
                }
                Step::Finish(status) => return Outcome::Finish(status),
            },
            Instruction::If(it) => match (it.condition.is_met(&engine, request), it.block) {
                (Ok(true), Block::Level(id)) => {
                    request.current.location = id;
                    is_entered = true;
                }
                (Ok(true), _) => {}
                (Ok(false), _) => at += it.len,
                (Err(Failed), _) => return Outcome::Finish(500),
            },
            Instruction::Set(target, value) => {
                if let Err(Failed) = set(*target, value, &engine, request) {
                    return Outcome::Finish(500);
                }
            }
            Instruction::Break => {
                request.state.core.location_kept |= is_changed;
                is_changed = false;
                break;
            }
            Instruction::Return(answer) => return answer.give(request),
        }
    }
    match request.current.is_located {
        // The location is looked up next, whatever has happened.
        false => Outcome::Next,
        true if is_changed => Outcome::FindLocation,
        true if is_entered => Outcome::Entered,
        true => Outcome::Next,
    }
}

fn set(
    target: Target,
    value: &Value,
    engine: &Engine,
    request: &mut Request,
) -> Result<(), Failed> {
    let mut text = request.state.core_variables.take_spare();
    engine.append(value, request, &mut text)?;
    match target {
        Target::Slot(slot) => request.state.core_variables.set(slot, &text),
        Target::Args => {
            request.current.args_given = true;
            request.current.uri_changed = true;
            std::mem::swap(&mut request.args, &mut text);
        }
        Target::LimitRate => output::set_rate(request, &text),
    }
    request.state.core_variables.give_spare(text);
    Ok(())
}
