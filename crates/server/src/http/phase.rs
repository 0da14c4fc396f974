//! The phases of a request, and the walk through them.

use std::pin::Pin;
use std::time::Duration;

use crate::http::location::{self, LocationId};
use crate::http::modules::core::Satisfy;
use crate::http::modules::{self, error_page};
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
    /// Whether this client may (`satisfy` says what comes of several answers).
    Access,
    /// Last changes before content (`try_files`).
    PreContent,
    /// Who answers.
    Content,
    /// The answer has left: what is to be written or counted of it. What these say is not looked at.
    Log,
}

/// What a handler says to the walk.
#[derive(Debug)]
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
    /// The client may, says a handler of the access phase; another one may say otherwise.
    Allow,
    /// The path was changed: look for its location.
    FindLocation,
    /// The settings of an `if` block hold from here on, which is the request's location now.
    Entered,
    /// The rest of this handler may wait.
    Await(Later),
}

/// A future that stays on its loop.
pub(crate) type LocalBoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The part of a handler that waits. A function and not a future, so that it borrows nothing until the
/// walk calls it.
pub(crate) type Later = for<'r> fn(&'r mut Request) -> LocalBoxFuture<'r, Outcome>;

/// A module's part in a phase.
pub(crate) type Handler = fn(&mut Request) -> Outcome;

impl Phase {
    const COUNT: usize = Phase::Log as usize + 1;
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

    /// The place of the first handler of a phase, or of those after it.
    fn begin(&self, phase: Phase) -> usize {
        self.begins[phase as usize]
    }

    /// Whether the handler of that place is of a phase.
    fn is_in(&self, phase: Phase, place: usize) -> bool {
        let end = self.begins.get(phase as usize + 1);
        place >= self.begin(phase) && place < end.copied().unwrap_or(self.handlers.len())
    }

    /// The handlers of the log phase.
    fn log(&self) -> &[Handler] {
        &self.handlers[self.begin(Phase::Log)..]
    }
}

/// How the walk ended.
#[derive(Debug)]
pub(crate) enum Walked {
    /// The response is ready for the filters.
    Response,
    /// The connection is closed without a word.
    Close,
    /// A handler waits; [`go_on`] with what it says.
    Await(Later),
}

/// Leads a request through the phases until something answers. The place that it has reached is kept in
/// the request.
#[inline]
pub(crate) fn walk(request: &mut Request) -> Walked {
    match run(request) {
        Outcome::Respond => Walked::Response,
        other => settle(request, other),
    }
}

/// Leads a subrequest through the phases from its beginning, which is behind those for its client.
pub(crate) fn walk_subrequest(request: &mut Request) -> Walked {
    if request.current.keeps_place {
        begin_at(request, Phase::Content);
        return walk(request);
    }
    request.current.location = request.server().location;
    begin_at(request, Phase::ServerRewrite);
    walk(request)
}

/// Answers `OPTIONS *`, which asks about the server and about nothing that it has (RFC 9110, section
/// 9.3.7): no location is looked up, and no body is sent.
pub(crate) fn answer_for_server(request: &mut Request) -> Walked {
    request.response.status = 200;
    request
        .response
        .headers
        .push(b"Allow", b"GET, HEAD, OPTIONS");
    request.response.set_length(0);
    Walked::Response
}

/// Goes on with a request whose handler had to wait.
pub(crate) fn go_on(request: &mut Request, outcome: Outcome) -> Walked {
    match judge(request, outcome) {
        Outcome::Next => walk(request),
        other => settle(request, other),
    }
}

/// Answers a request whose head is not sound, whatever was to be answered before.
pub(crate) fn refuse(request: &mut Request, status: u16) -> Walked {
    request.response.reset();
    request.current.must_close = true;
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
            Outcome::Await(later) => return Walked::Await(later),
            Outcome::Finish(status) => error_page::finish(request, status),
            Outcome::Redirect(path, args) => redirect(request, path, args),
            Outcome::Named(name) => redirect_named(request, &name),
            Outcome::FindLocation => find_again(request),
            Outcome::Entered => {
                begin_at(request, Phase::PreAccess);
                run(request)
            }
            Outcome::Next | Outcome::Allow => run(request),
        };
    }
}

/// Runs the handlers of the log phase: the answer has left, or will not.
#[inline]
pub(crate) fn log(request: &mut Request) {
    if request.location().steps.log().is_empty() {
        return;
    }
    let site = request.site.share();
    for handler in site.locations[request.current.location as usize]
        .steps
        .log()
    {
        handler(request);
    }
}

/// Runs the phases from the place on that the request has reached.
fn run(request: &mut Request) -> Outcome {
    let site = request.site.share();
    'level: loop {
        let steps = &site.locations[request.current.location as usize].steps;
        let end = match request.current.is_located {
            true => steps.begin(Phase::Log),
            false => steps.begin(Phase::FindLocation),
        };
        while request.current.step < end {
            if request.current.access_refused != 0
                && request.current.step >= steps.begin(Phase::PreContent)
            {
                return refuse_access(request);
            }
            if request.current.is_subrequest && steps.is_in(Phase::Access, request.current.step) {
                // Whoever asked for it has been let in, or is about to be.
                request.current.step = steps.begin(Phase::PreContent);
                continue;
            }
            let handler = steps.handlers[request.current.step];
            request.current.step += 1;
            match handler(request) {
                Outcome::Next => {}
                // It is the same in every phase.
                Outcome::Respond => return Outcome::Respond,
                outcome => match judge(request, outcome) {
                    Outcome::Next => {}
                    Outcome::Entered => {
                        begin_at(request, Phase::PreAccess);
                        continue 'level;
                    }
                    other => return other,
                },
            }
        }
        if request.current.access_refused != 0 {
            return refuse_access(request);
        }
        if request.current.is_located {
            return nothing_answered(request);
        }
        if !find_location(request) {
            return Outcome::Finish(500);
        }
        begin_at(request, Phase::FindLocation);
    }
}

/// Nobody gave leave, and one has refused.
fn refuse_access(request: &mut Request) -> Outcome {
    let status = std::mem::take(&mut request.current.access_refused);
    if status == 403 {
        request.log(Level::Error, format_args!("access forbidden by rule"));
    }
    refuse_later(request, status)
}

/// Refuses a client; one that did not say who it is as late as `auth_delay` wants, so that it learns
/// little from how long that takes, and guesses slowly.
fn refuse_later(request: &mut Request, status: u16) -> Outcome {
    let is_delayed = std::mem::replace(&mut request.current.refusal_delayed, true);
    let is_unknown = matches!(status, 401 | 407);
    if !is_unknown || is_delayed || request.settings().core.auth_delay_ms == 0 {
        return Outcome::Finish(status);
    }
    request.log(Level::Info, format_args!("delaying unauthorized request"));
    request.current.access_refused = status;
    Outcome::Await(|request| {
        let delay = Duration::from_millis(request.settings().core.auth_delay_ms);
        Box::pin(async move {
            revolve_reactor::sleep(delay).await;
            Outcome::Finish(std::mem::take(&mut request.current.access_refused))
        })
    })
}

/// Has the walk go on at a phase of the location that was found.
fn begin_at(request: &mut Request, phase: Phase) {
    request.current.is_located = phase >= Phase::FindLocation;
    request.current.step = request.location().steps.begin(phase);
}

/// What a handler's word comes to in its phase. In the access phase `satisfy any` lets one handler's
/// leave stand for all, and a refusal stand only where nobody gave leave.
///
/// Source: nginx's `ngx_http_core_access_phase` and `ngx_http_core_post_access_phase`.
fn judge(request: &mut Request, outcome: Outcome) -> Outcome {
    let steps = &request.location().steps;
    let (begin, end) = (steps.begin(Phase::Access), steps.begin(Phase::PreContent));
    let step = request.current.step;
    let is_access = request.current.is_located && step > begin && step <= end;
    if !is_access {
        return match outcome {
            Outcome::Allow => Outcome::Next,
            other => other,
        };
    }
    let is_any = request.settings().core.satisfy == Satisfy::Any;
    match outcome {
        Outcome::Allow if is_any => {
            request.current.access_refused = 0;
            // A refusal before takes its question to the client with it.
            request.response.headers.remove(b"WWW-Authenticate");
            request.response.headers.remove(b"Proxy-Authenticate");
            request.current.step = end;
            Outcome::Next
        }
        Outcome::Allow => Outcome::Next,
        Outcome::Finish(status @ (401 | 403 | 407)) if is_any => {
            if !matches!(request.current.access_refused, 401 | 407) {
                request.current.access_refused = status;
            }
            Outcome::Next
        }
        Outcome::Finish(status @ (401 | 407)) => refuse_later(request, status),
        other => other,
    }
}

/// Looks for the location anew, as often as nginx does.
fn find_again(request: &mut Request) -> Outcome {
    if request.current.redirects_left == 0 {
        let shown = Shown(&request.path);
        request.log(
            Level::Error,
            format_args!("rewrite or internal redirection cycle while processing \"{shown}\""),
        );
        return error_page::finish_plainly(request, 500);
    }
    request.current.redirects_left -= 1;
    request.current.location = request.server().location;
    request.current.is_located = false;
    request.current.step = request.location().steps.begin(Phase::FindLocation);
    run(request)
}

/// Has a location answer, or what holds for other methods than its `limit_except` names.
#[inline]
fn enter(request: &mut Request, id: LocationId) {
    request.current.location = id;
    if let Some((methods, others)) = request.location().limit_except
        && !methods.contains(request.current.method)
    {
        request.current.location = others;
    }
}

/// The answer says whether it is known.
fn find_location(request: &mut Request) -> bool {
    let start = request.server().location;
    let (locations, captures) = (
        &request.site.locations,
        request.state.core_variables.captures_mut(),
    );
    let found = location::find(locations, start, &request.path, &mut captures.groups);
    let (found, captured) = match found {
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
    enter(request, found);
    let captures = request.state.core_variables.captures_mut();
    if let Some(id) = captured.filter(|_| !captures.groups.is_empty()) {
        captures.subject.clear();
        captures.subject.extend_from_slice(&request.path);
        let slots = &request.site.locations[id as usize].group_slots;
        request.state.core_variables.set_slots(slots);
    }
    true
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
    if request.current.redirects_left == 0 {
        let shown = Shown(&path);
        request.log(
            Level::Error,
            format_args!(
                "rewrite or internal redirection cycle while internally redirecting to \"{shown}\""
            ),
        );
        return error_page::finish_plainly(request, 500);
    }
    request.current.redirects_left -= 1;
    let replaced = std::mem::replace(&mut request.path, path);
    request.give_spare(replaced);
    if let Some(args) = args {
        request.args = args;
    }
    request.current.internal = true;
    request.current.uri_changed = true;
    request.state.core.path_behind_alias = false;
    request.state.core.location_kept = false;
    request.current.location = request.server().location;
    begin_at(request, Phase::ServerRewrite);
    run(request)
}

fn redirect_named(request: &mut Request, name: &str) -> Outcome {
    if request.current.redirects_left == 0 {
        request.log(
            Level::Error,
            format_args!(
                "rewrite or internal redirection cycle while redirect to named location \"@{name}\""
            ),
        );
        return error_page::finish_plainly(request, 500);
    }
    request.current.redirects_left -= 1;
    match request.server().named.get(name) {
        Some(id) => {
            let id = *id;
            enter(request, id);
            request.current.internal = true;
            begin_at(request, Phase::Rewrite);
            run(request)
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
        let phases = [
            (Phase::PostRead, 0),
            (Phase::FindLocation, 0),
            (Phase::Rewrite, 2),
            (Phase::Content, 2),
            (Phase::Log, 3),
        ];
        for (phase, begin) in phases {
            assert_eq!(steps.begin(phase), begin, "{phase:?}");
        }
        let none = Steps::new(std::iter::empty());
        assert_eq!(none.begin(Phase::PostRead), 0);
        assert!(none.log().is_empty());
    }
}
