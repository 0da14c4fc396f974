//! Copies of requests, without their bodies, whose answers nobody looks at.
//!
//! ```nginx
//! location / {
//!     mirror /mirror;
//!     mirror /another;
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
use crate::http::scope::{DirectiveRow, Scope};
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
    let paths = Arc::clone(&request.settings().mirror.paths);
    let options = Options {
        header_only: true,
        keeps_method: true,
    };
    for path in paths.iter() {
        let args = request.args.clone();
        let Ok(child) = subrequest(request, path.clone(), args, options) else {
            return Outcome::Finish(500);
        };
        revolve_reactor::spawn(async {
            // Whatever it is answered with, its client has an answer of its own.
            let _ = Subrequest::head_of(child).await;
        });
    }
    Outcome::Next
}
