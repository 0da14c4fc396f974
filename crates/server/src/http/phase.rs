//! The phases of a request, and the walk through them.

use std::time::Duration;

use crate::http::location::{self, LocationId};
use crate::http::modules::{self, error_page, keepalive};
use crate::http::request::Request;
use crate::log::{Level, Shown};

/// The phases in their order.
///
/// The walk itself looks up the location; the handlers of `FindLocation` judge what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The head has been read.
    PostRead,
    /// Rewriting by the server's own level.
    ServerRewrite,
    /// The location is looked up.
    FindLocation,
    /// Rewriting by the location's level.
    Rewrite,
    /// Whether the client may now, whoever it is (`limit_req`, `limit_conn`).
    PreAccess,
    /// Last changes before content (`try_files`).
    PreContent,
    /// Who answers.
    Content,
}

/// What a handler says to the walk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Not mine; ask the next.
    Next,
    /// The response is filled.
    Respond,
    /// Answer with this status and its page.
    Finish(u16),
    /// Start again with another path; `None` keeps the arguments.
    Redirect(Vec<u8>, Option<Vec<u8>>),
    /// Start again in a named location of the server, given by its name without `@`.
    Named(String),
    /// Close the connection without a word (`return 444`).
    Close,
    /// Ask again after so long; the handlers of `PreAccess` alone say this, and not twice of one
    /// request.
    Wait(Duration),
}

/// A module's part in a phase.
pub(crate) type Handler = fn(&mut Request) -> Outcome;

impl Phase {
    const COUNT: usize = Phase::Content as usize + 1;
}

/// The handlers of a level in the order of their phases: known when the configuration is built, so
/// that nobody is asked in vain.
#[derive(Debug)]
pub(crate) struct Steps {
    handlers: Box<[Handler]>,
    /// Where the handlers of each phase begin.
    begins: [usize; Phase::COUNT],
}

impl Steps {
    /// Takes handlers that stand in the order of their phases.
    pub(crate) fn new(steps: impl Iterator<Item = (Phase, Handler)>) -> Self {
        let (phases, handlers): (Vec<Phase>, Vec<Handler>) = steps.unzip();
        let mut begins = [handlers.len(); Phase::COUNT];
        for (place, phase) in phases.iter().enumerate().rev() {
            begins[..=*phase as usize].fill(place);
        }
        Self {
            handlers: handlers.into(),
            begins,
        }
    }

    /// The handlers of a phase and of those after it.
    fn from(&self, phase: Phase) -> &[Handler] {
        &self.handlers[self.begins[phase as usize]..]
    }

    /// The handlers of a phase and of those after it, up to the end.
    fn between(&self, phase: Phase, end: Phase) -> &[Handler] {
        &self.handlers[self.begins[phase as usize]..self.begins[end as usize]]
    }
}

/// How the walk ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    /// The response is ready for the filters.
    Response,
    /// The connection is closed without a word.
    Close,
    /// Nobody has answered yet: [`resume`] after so long.
    Wait(Duration),
}

/// Leads a request through the phases until something answers.
pub(crate) fn walk(request: &mut Request) -> Walked {
    match run(request, Phase::PostRead) {
        Outcome::Respond => Walked::Response,
        other => settle(request, other),
    }
}

/// Goes on with a request that had to wait.
pub(crate) fn resume(request: &mut Request) -> Walked {
    let outcome = run(request, Phase::PreAccess);
    settle(request, outcome)
}

/// Answers a request whose head or body is not sound, whatever was to be answered before.
pub(crate) fn refuse(request: &mut Request, status: u16) -> Walked {
    request.response.reset();
    request.keep_alive = false;
    settle(request, Outcome::Finish(status))
}

/// Follows redirects and error pages until there is a response.
///
/// Each redirect is counted and each error page is chosen once, so this ends.
pub(crate) fn settle(request: &mut Request, mut outcome: Outcome) -> Walked {
    loop {
        outcome = match outcome {
            Outcome::Respond => return Walked::Response,
            Outcome::Close => return Walked::Close,
            Outcome::Wait(time) => return Walked::Wait(time),
            Outcome::Finish(status) => error_page::finish(request, status),
            Outcome::Redirect(path, args) => redirect(request, path, args),
            Outcome::Named(name) => redirect_named(request, &name),
            Outcome::Next => unreachable!("`run` ends with an answer"),
        };
    }
}

/// Runs the phases from `first` on.
fn run(request: &mut Request, first: Phase) -> Outcome {
    let site = request.site.share();
    let mut first = first;
    if first <= Phase::FindLocation {
        let steps = &site.locations[request.location as usize].steps;
        match ask(request, steps.between(first, Phase::FindLocation)) {
            Outcome::Next => {}
            other => return other,
        }
        if !find_location(request) {
            return Outcome::Finish(500);
        }
        first = Phase::FindLocation;
    }
    let steps = &site.locations[request.location as usize].steps;
    match ask(request, steps.from(first)) {
        Outcome::Next => nothing_answered(request),
        other => other,
    }
}

#[inline]
fn ask(request: &mut Request, handlers: &[Handler]) -> Outcome {
    for handler in handlers {
        match handler(request) {
            Outcome::Next => {}
            other => return other,
        }
    }
    Outcome::Next
}

/// The answer says whether it is known.
fn find_location(request: &mut Request) -> bool {
    let start = request.server().location;
    let (locations, groups) = (&request.site.locations, &mut request.groups);
    let (found, captured) = match location::find(locations, start, &request.path, groups) {
        Ok(found) => found,
        Err(given_up) => {
            let pattern = &request.site.locations[given_up as usize].name;
            let path = Shown(&request.path);
            request.log(
                Level::Alert,
                format_args!("regular expression given up on \"{path}\" using \"{pattern}\""),
            );
            return false;
        }
    };
    request.location = found;
    if let Some(id) = captured.filter(|_| !request.groups.is_empty()) {
        request.groups_subject.clear();
        request.groups_subject.extend_from_slice(&request.path);
        set_group_slots(request, id);
    }
    keepalive::decide(request);
    true
}

fn set_group_slots(request: &mut Request, id: LocationId) {
    let site = request.site.share();
    let slots = &site.locations[id as usize].group_slots;
    if !slots.is_empty() {
        request.set_slots(slots);
    }
}

/// No content handler took the request: a folder may not be listed, or nothing is there.
fn nothing_answered(request: &mut Request) -> Outcome {
    if request.path.ends_with(b"/") {
        let mut path = std::mem::take(&mut request.file_path);
        path.clear();
        let uri = request.path.clone();
        modules::core::map_path(request, &uri, &mut path);
        let shown = Shown(&path);
        request.log(
            Level::Error,
            format_args!("directory index of \"{shown}\" is forbidden"),
        );
        request.file_path = path;
        return Outcome::Finish(403);
    }
    request.log(Level::Error, format_args!("no handler found"));
    Outcome::Finish(404)
}

fn redirect(request: &mut Request, path: Vec<u8>, args: Option<Vec<u8>>) -> Outcome {
    if request.redirects_left == 0 {
        let shown = Shown(&path);
        request.log(
            Level::Error,
            format_args!(
                "rewrite or internal redirection cycle while internally redirecting to \"{shown}\""
            ),
        );
        return error_page::finish_plainly(request, 500);
    }
    request.redirects_left -= 1;
    let replaced = std::mem::replace(&mut request.path, path);
    request.give_spare(replaced);
    if let Some(args) = args {
        request.args = args;
    }
    request.internal = true;
    request.state.core.path_behind_alias = false;
    request.location = request.server().location;
    run(request, Phase::ServerRewrite)
}

fn redirect_named(request: &mut Request, name: &str) -> Outcome {
    if request.redirects_left == 0 {
        request.log(
            Level::Error,
            format_args!(
                "rewrite or internal redirection cycle while redirect to named location \"@{name}\""
            ),
        );
        return error_page::finish_plainly(request, 500);
    }
    request.redirects_left -= 1;
    match request.server().named.get(name) {
        Some(id) => {
            request.location = *id;
            request.internal = true;
            keepalive::decide(request);
            run(request, Phase::Rewrite)
        }
        None => {
            request.log(
                Level::Error,
                format_args!("could not find named location \"@{name}\""),
            );
            error_page::finish(request, 500)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_without_a_handler_begin_where_the_next_does() {
        let handler: Handler = |_| Outcome::Next;
        let phases = [Phase::FindLocation, Phase::FindLocation, Phase::Content];
        let steps = Steps::new(phases.into_iter().map(|phase| (phase, handler)));
        assert_eq!(steps.from(Phase::PostRead).len(), 3);
        assert_eq!(steps.from(Phase::FindLocation).len(), 3);
        assert_eq!(steps.from(Phase::Rewrite).len(), 1);
        assert_eq!(steps.from(Phase::Content).len(), 1);
        let between = |first, end| steps.between(first, end).len();
        assert_eq!(between(Phase::ServerRewrite, Phase::FindLocation), 0);
        assert_eq!(between(Phase::FindLocation, Phase::Rewrite), 2);
        assert_eq!(between(Phase::Rewrite, Phase::Content), 0);
        let none = Steps::new(std::iter::empty());
        assert_eq!(none.from(Phase::PostRead).len(), 0);
    }
}
