//! Leave by a subrequest: what it is answered with decides.
//!
//! ```nginx
//! location /private/ {
//!     auth_request /auth;                                # 2xx gives leave, 401 and 403 refuse
//!     auth_request_set $user $sent_http_x_user;          # from the answer
//! }
//! location = /auth { internal; return 204; }
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, LOCATION, SERVER, set_once};
use crate::config::setting::settings;
use crate::config::variable::{SlotId, Value};
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope};
use crate::http::subrequest::{Options, Subrequest, subrequest};
use crate::http::variables::{Definitions, Evaluate};
use crate::log::Level;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_auth_request_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Access, applies, handle)],
    ..Module::EMPTY
};

/// One `auth_request_set`.
#[derive(Debug)]
pub(crate) struct SetVariable {
    slot: SlotId,
    value: Value,
}

/// What such a variable is until it is set.
#[derive(Debug)]
struct Unset;

impl Evaluate for Unset {
    fn evaluate(&self, _: &Request, _: &mut Vec<u8>) -> bool {
        false
    }
}

settings! {
    /// Leave by a subrequest.
    pub struct AuthRequestSettings / RawAuthRequest {
        inherit {
            /// `auth_request`: the path that is asked for, default off.
            path: Option<Arc<[u8]>> = None,
            /// `auth_request_set`; a level that has one inherits none.
            variables: Arc<Vec<SetVariable>> = Arc::default(),
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "auth_request",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, d| {
            let path = match d.args[0].text.as_str() {
                "off" => None,
                path => Some(path.as_bytes().into()),
            };
            set_once(&mut scope.level.settings.auth_request.path, path, d)
        },
    },
    DirectiveRow {
        name: "auth_request_set",
        contexts: ANY,
        args: Args::TWO,
        set: auth_request_set,
    },
];

/// Variables of ours that nginx lets be set, and this does not.
const OURS: [&str; 2] = ["args", "limit_rate"];

fn auth_request_set(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let name = Definitions::name(word)?;
    if OURS.contains(&name) {
        let message = format!("\"auth_request_set\" cannot set \"${name}\"");
        return Err(Diagnostic::new(word.span, message)
            .label("expected a variable of your own: the request's has its value already"));
    }
    let value = Value::of(&directive.args[1], &mut scope.shared.registry)?;
    let slot = scope
        .definitions
        .insert_weak(name, Unset, &mut scope.shared.registry);
    let variables = &mut scope.level.settings.auth_request.variables;
    let variables = variables.get_or_insert_with(Arc::default);
    Arc::get_mut(variables)
        .expect("nobody shares a level's variables while it is read")
        .push(SetVariable { slot, value });
    Ok(())
}

/// Whether the level has anything to do with this.
pub(crate) fn applies(settings: &Settings) -> bool {
    settings.auth_request.path.is_some()
}

/// Access phase: asks, and waits for the answer.
pub(crate) fn handle(_: &mut Request) -> Outcome {
    Outcome::Await(|request| Box::pin(ask(request)))
}

/// Source: nginx's `ngx_http_auth_request_handler`.
async fn ask(request: &mut Request) -> Outcome {
    let Some(path) = request.settings().auth_request.path.clone() else {
        return Outcome::Next;
    };
    let options = Options {
        header_only: true,
        ..Options::default()
    };
    let Ok(child) = subrequest(request, path.to_vec(), Vec::new(), options) else {
        return Outcome::Finish(500);
    };
    let Ok(child) = Subrequest::head_of(child).await else {
        return Outcome::Close;
    };
    // At once, so that they are there behind internal redirects, too.
    for variable in request.settings().auth_request.variables.iter() {
        let value = variable.value.evaluate(&*child);
        request.state.core_variables.set(variable.slot, &value);
    }
    match child.response.status {
        403 => Outcome::Finish(403),
        401 => {
            for (name, value) in child.response.headers.iter() {
                if name.eq_ignore_ascii_case(b"WWW-Authenticate") {
                    request.response.headers.push(b"WWW-Authenticate", value);
                }
            }
            Outcome::Finish(401)
        }
        200..=299 => Outcome::Allow,
        status => {
            request.log(
                Level::Error,
                format_args!("auth request unexpected status: {status}"),
            );
            Outcome::Finish(500)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http::testing::TestSite;

    #[test]
    fn the_answer_decides() {
        let mut site = TestSite::new(
            "location /yes { auth_request /204; try_files /none /said; }
             location /created { auth_request /201; try_files /none /said; }
             location /no { auth_request /403; }
             location /who { auth_request /401; }
             location /moved { auth_request /301; }
             location /lost { auth_request /404; }
             location /paged { auth_request /paged404; try_files /none /said; }
             location /any { satisfy any; deny all; auth_request /204; try_files /none /said; }
             location /all { deny all; auth_request /204; }
             location /shut { auth_request /444; }
             location = /said { return 200 in; }
             location = /204 { internal; return 204; }
             location = /201 { return 201 x; }
             location = /403 { return 403; }
             location = /401 { return 401; }
             location = /301 { return 301 /x; }
             location = /404 { return 404; }
             location = /444 { return 444; }
             location = /paged404 { error_page 404 =200 /said; return 404; }",
        );
        for (path, expected) in [
            ("/yes", "200\nin"),
            ("/created", "200\nin"),
            ("/paged", "200\nin"),
            ("/any", "200\nin"),
            ("/no", "403\n<html>"),
            ("/who", "401\n<html>"),
            ("/moved", "500\n<html>"),
            ("/lost", "500\n<html>"),
            ("/all", "403\n<html>"),
            ("/shut", ""),
            // No client asks for it itself.
            ("/204", "404\n<html>"),
        ] {
            let answer = site.ask(&format!("GET {path} HTTP/1.1")).0;
            assert!(answer.starts_with(expected), "{path}: {answer}");
            assert_eq!(answer.is_empty(), expected.is_empty(), "{path}");
        }
    }

    #[test]
    fn variables_are_set_from_the_answer_whatever_it_is() {
        let mut site = TestSite::new(
            "location /a { auth_request /auth; auth_request_set $what $status-$sent_http_content_type-$uri;
                 error_page 403 = @no; try_files /none /said; }
             location @no { return 200 no:$what; }
             location = /said { return 200 yes:$what; }
             location = /auth { default_type text/x; if_modified_since off; return 204; }
             location /b { auth_request /refuse; auth_request_set $what $status; error_page 403 = @no; }
             location = /refuse { return 403; }
             location /c { return 200 c:$what; }",
        );
        assert_eq!(site.ask("GET /a HTTP/1.1").0, "200\nyes:204--/auth");
        assert_eq!(site.ask("GET /b HTTP/1.1").0, "200\nno:403");
        assert_eq!(site.ask("GET /c HTTP/1.1").0, "200\nc:");
    }

    #[test]
    fn one_that_asks_for_itself_ends() {
        // No access handler is asked of a subrequest.
        let mut site = TestSite::new(
            "location /a { auth_request /a; try_files /none /said; }
             location = /said { auth_request /said; return 200 in; }",
        );
        assert_eq!(site.ask("GET /a HTTP/1.1").0, "200\nin");
    }
}
