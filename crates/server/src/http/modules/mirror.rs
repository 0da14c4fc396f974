//! Copies of requests, whose answers nobody looks at.
//!
//! ```nginx
//! location / {
//!     mirror /mirror;
//!     mirror /another;
//!     mirror_request_body off;
//! }
//! location = /mirror { internal; return 204; }
//! ```

use std::sync::Arc;

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, LOCATION, SERVER};
use crate::config::setting::settings;
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::request_body::{self, RequestBody};
use crate::http::scope::{DirectiveRow, Scope, slot};
use crate::http::subrequest::{Options, Subrequest, subrequest};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_mirror_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::PreContent, applies, handle)],
    ..Module::EMPTY
};

settings! {
    /// Copies of requests.
    pub struct MirrorSettings / RawMirror {
        inherit {
            /// `mirror`: the paths that are asked for; a level that has one inherits none.
            paths: Arc<Vec<Vec<u8>>> = Arc::default(),
            /// `mirror_request_body`, default on: the body is read before.
            request_body: bool = true,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "mirror",
        contexts: ANY,
        args: Args::ONE,
        set: mirror,
    },
    DirectiveRow {
        name: "mirror_request_body",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag mirror.request_body),
    },
];

fn mirror(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let paths = &mut scope.level.settings.mirror.paths;
    let text = directive.args[0].text.as_bytes();
    match paths {
        None if text == b"off" => {
            *paths = Some(Arc::default());
            return Ok(());
        }
        Some(_) if text == b"off" => return Err(duplicate(directive)),
        // `off` stands above.
        Some(paths) if paths.is_empty() => return Err(duplicate(directive)),
        _ => {}
    }
    Arc::get_mut(paths.get_or_insert_with(Arc::default))
        .expect("nobody shares a level's paths while it is read")
        .push(text.to_vec());
    Ok(())
}

/// Whether the level has anything to do with this.
pub(crate) fn applies(settings: &Settings) -> bool {
    !settings.mirror.paths.is_empty()
}

/// Before content: begins the copies, and goes on. Nothing waits for them.
///
/// Source: nginx's `ngx_http_mirror_handler_internal`.
pub(crate) fn handle(request: &mut Request) -> Outcome {
    if request.current.is_subrequest {
        return Outcome::Next;
    }
    let has_body = !matches!(request.body, RequestBody::None);
    if has_body && request.settings().mirror.request_body {
        return Outcome::Await(|request| Box::pin(read_and_begin(request)));
    }
    begin(request)
}

async fn read_and_begin(request: &mut Request) -> Outcome {
    match request_body::read_whole(request).await {
        Ok(()) => begin(request),
        Err(status) => Outcome::Finish(status),
    }
}

fn begin(request: &mut Request) -> Outcome {
    let paths = Arc::clone(&request.settings().mirror.paths);
    let options = Options {
        header_only: true,
        keeps_method: true,
        ..Options::default()
    };
    for path in paths.iter() {
        let args = request.args.clone();
        let Ok(mut child) = subrequest(request, path.clone(), args, options) else {
            return Outcome::Finish(500);
        };
        if let RequestBody::Kept(kept) = &request.body
            && request.settings().mirror.request_body
        {
            child.body = RequestBody::Kept(kept.rewound());
        }
        revolve_reactor::spawn(async {
            // Whatever it is answered with, its client has an answer of its own.
            let _ = Subrequest::head_of(child).await;
        });
    }
    Outcome::Next
}

#[cfg(test)]
mod tests {
    use crate::http::testing::TestSite;

    #[test]
    fn copies_change_nothing_for_the_client() {
        let mut site = TestSite::new(
            "location /a { mirror /copy; mirror /none; mirror /a; error_page 404 =200 /said; }
             location = /said { mirror off; return 200 said; }
             location = /copy { return 444; }",
        );
        assert_eq!(site.ask("GET /a HTTP/1.1").0, "200\nsaid");
        assert_eq!(site.ask("HEAD /a HTTP/1.1").0, "200\n");
    }
}
