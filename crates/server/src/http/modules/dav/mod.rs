//! Files that clients put, copy, move and delete (WebDAV's methods for that, RFC 4918).
//!
//! ```nginx
//! location /files/ {
//!     root /srv;
//!     client_body_temp_path /srv/.incoming;
//!     client_max_body_size  0;
//!     dav_methods           PUT DELETE MKCOL COPY MOVE;
//!     create_full_put_path  on;
//!     dav_access            group:rw all:r;
//!     limit_except GET { auth_basic files; auth_basic_user_file users; }
//! }
//! ```
//!
//! A body that is put lies in a temporary file and is renamed into its place: whoever reads sees the old
//! file or the new one. What the disk is asked for is done by the threads of a pool.

mod place;
mod target;
mod tree;
mod work;

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};
use revolve_http::{Framing, HeaderId, Method};

use crate::config::scope::{HTTP, LOCATION, SERVER, set_once};
use crate::config::setting::settings;
use crate::config::thread_pool::{DEFAULT, DiskThreads};
use crate::http::modules::core::map_path;
use crate::http::modules::static_files::escape_path;
use crate::http::modules::{Module, Settings, disable_symlinks, disk, passing};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::request_body::{self, RequestBody};
use crate::http::scope::{DirectiveRow, Scope, row, slot};
use crate::log::{Level, Shown};

use place::Bounds;
use work::{Done, Work};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_dav_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Content, applies, handle)],
    ..Module::EMPTY
};

settings! {
    /// What clients may do to files.
    pub struct DavSettings / RawDav {
        inherit {
            /// `dav_methods`, default off.
            methods: Methods = Methods::default(),
            /// `create_full_put_path`, default off.
            create_full_put_path: bool = false,
            /// `dav_access`, default the owner's alone.
            mode: u32 = 0o600,
            /// `min_delete_depth`, default 0.
            min_delete_depth: u64 = 0,
            /// The threads that do it, where no `aio` names others.
            threads: Option<Arc<DiskThreads>> = None,
        }
        own {}
    }
}

/// Which of the methods are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Methods {
    put: bool,
    delete: bool,
    mkcol: bool,
    copy: bool,
    r#move: bool,
}

impl Methods {
    fn has(self, method: Method) -> bool {
        match method {
            Method::Put => self.put,
            Method::Delete => self.delete,
            Method::Mkcol => self.mkcol,
            Method::Copy => self.copy,
            Method::Move => self.r#move,
            _ => false,
        }
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    row(ANY, "dav_methods", Args::ONE_MORE, methods),
    row(
        ANY,
        "create_full_put_path",
        Args::FLAG,
        slot!(flag dav.create_full_put_path),
    ),
    row(
        ANY,
        "min_delete_depth",
        Args::ONE,
        slot!(number dav.min_delete_depth),
    ),
    row(ANY, "dav_access", Args::range(1, 3), |scope, d| {
        set_once(
            &mut scope.level.settings.dav.mode,
            passing::store_access(d)?,
            d,
        )
    }),
];

fn methods(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let mut methods = Methods::default();
    for word in &directive.args {
        let allowed = match word.text.to_ascii_lowercase().as_str() {
            "off" => continue,
            "put" => &mut methods.put,
            "delete" => &mut methods.delete,
            "mkcol" => &mut methods.mkcol,
            "copy" => &mut methods.copy,
            "move" => &mut methods.r#move,
            _ => {
                let message = format!("invalid value \"{}\"", word.text);
                return Err(Diagnostic::new(word.span, message)
                    .label("expected off, PUT, DELETE, MKCOL, COPY or MOVE"));
            }
        };
        if *allowed {
            let message = format!("duplicate value \"{}\"", word.text);
            scope
                .shared
                .diagnostics
                .push(Diagnostic::new(word.span, message).warn());
        }
        *allowed = true;
    }
    let settings = &mut scope.level.settings.dav;
    settings.threads = Some(scope.shared.thread_pools.get(DEFAULT));
    set_once(&mut settings.methods, methods, directive)
}

fn applies(settings: &Settings) -> bool {
    settings.dav.methods != Methods::default()
}

/// What is wrong with a request: its status, when it was logged.
type Refused = u16;

fn refuse(request: &Request, status: u16, message: &str) -> Refused {
    request.log(Level::Error, format_args!("{message}"));
    status
}

/// Content phase: does what the method says.
///
/// Source: nginx's `ngx_http_dav_handler`.
fn handle(request: &mut Request) -> Outcome {
    let method = request.current.method;
    if !request.settings().dav.methods.has(method) {
        return Outcome::Next;
    }
    let checked = match method {
        Method::Put => check_put(request),
        Method::Delete => check_delete(request),
        Method::Mkcol => check_mkcol(request),
        _ => has_no_body(request, "COPY and MOVE with body are unsupported"),
    };
    match checked {
        Err(status) => Outcome::Finish(status),
        Ok(()) => Outcome::Await(|request| Box::pin(go_on(request))),
    }
}

fn has_no_body(request: &Request, message: &str) -> Result<(), Refused> {
    match request.framing() {
        Framing::None | Framing::Length(0) => Ok(()),
        _ => Err(refuse(request, 415, message)),
    }
}

fn check_put(request: &Request) -> Result<(), Refused> {
    if request.path.ends_with(b"/") {
        return Err(refuse(request, 409, "cannot PUT to a collection"));
    }
    if request.known(HeaderId::ContentRange).is_some() {
        return Err(refuse(request, 501, "PUT with range is unsupported"));
    }
    Ok(())
}

fn check_delete(request: &Request) -> Result<(), Refused> {
    has_no_body(request, "DELETE with body is unsupported")?;
    let least = request.settings().dav.min_delete_depth;
    let mut depth = 0;
    for (at, byte) in request.path.iter().enumerate() {
        if *byte == b'/' {
            depth += 1;
            if depth >= least && at + 1 < request.path.len() {
                return Ok(());
            }
        }
    }
    if least == 0 {
        return Ok(());
    }
    let message = format!("insufficient URI depth:{depth} to DELETE");
    Err(refuse(request, 409, &message))
}

fn check_mkcol(request: &Request) -> Result<(), Refused> {
    has_no_body(request, "MKCOL with body is unsupported")?;
    match request.path.ends_with(b"/") {
        true => Ok(()),
        false => Err(refuse(request, 409, "MKCOL can create a collection only")),
    }
}

/// Reads the body, where there is one to be put, has a thread do the work, and answers.
async fn go_on(request: &mut Request) -> Outcome {
    match work(request).await {
        Err(status) => Outcome::Finish(status),
        Ok(work) => {
            let makes = matches!(work, Work::Put { .. } | Work::MakeFolder { .. });
            let is_put = matches!(work, Work::Put { .. });
            let done = match run(request, work).await {
                Ok(done) => done,
                Err(status) => return Outcome::Finish(status),
            };
            for (level, line) in &done.lines {
                request.log(*level, format_args!("{line}"));
            }
            answer(request, done.status, makes, is_put)
        }
    }
}

/// What is to be done.
async fn work(request: &mut Request) -> Result<Work, Refused> {
    let mut path = Vec::new();
    map_path(request, &request.path, &mut path);
    let bounds = Bounds::new(
        disable_symlinks::guard(request),
        request.connection.state.files.within(),
    );
    let mode = request.settings().dav.mode;
    Ok(match request.current.method {
        Method::Put => {
            let body = body_in_file(request).await?;
            let date = request.known(HeaderId::Date);
            Work::Put {
                modified_s: date.and_then(revolve_http::date::parse),
                makes_folders: request.settings().dav.create_full_put_path,
                path,
                body,
                mode,
                bounds,
            }
        }
        Method::Delete => Work::Delete {
            depth: target::depth(request),
            path,
            bounds,
        },
        Method::Mkcol => Work::MakeFolder { path, mode, bounds },
        method => {
            let found = target::read(request)?;
            let mut to = Vec::new();
            map_path(request, &found.path, &mut to);
            Work::Transfer(work::Transfer {
                moves: method == Method::Move,
                uri: Shown(&request.path).to_string(),
                destination: found.header,
                overwrite: found.overwrite,
                from: path,
                to,
                mode,
                bounds,
            })
        }
    })
}

/// The file that holds the body to be put.
async fn body_in_file(request: &mut Request) -> Result<work::Body, Refused> {
    request_body::read_into_file(request).await?;
    let kept = match &request.body {
        RequestBody::Kept(kept) => kept.whole(),
        _ => return Err(refuse(request, 500, "PUT request body must be in a file")),
    };
    let Some(file) = &kept.file else {
        return Err(refuse(request, 500, "PUT request body must be in a file"));
    };
    let opened = file.file.try_clone().map_err(|error| {
        let reason = crate::log::error_text(&error);
        refuse(request, 500, &format!("dup() failed ({reason})"))
    })?;
    Ok(work::Body {
        file: opened,
        path: file.path.clone(),
    })
}

async fn run(request: &Request, work: Work) -> Result<Done, Refused> {
    let settings = request.settings();
    let threads = disk::threads(settings).or(settings.dav.threads.as_ref());
    let threads = threads.expect("whoever allows a method has threads");
    let done = disk::run(request, threads, move || work.run()).await;
    // What a client has read the answer of is so, for its next request too, which may have come already.
    request.connection.state.files.note_change();
    done.ok_or(500)
}

fn answer(request: &mut Request, status: u16, makes: bool, is_put: bool) -> Outcome {
    if status == 201 && makes {
        let mut location = std::mem::take(&mut request.response.location);
        location.clear();
        escape_path(&request.path, &mut location);
        request.response.location = location;
        request.response.has_location = true;
    }
    if is_put && matches!(status, 201 | 204) {
        request.response.status = status;
        request.response.set_length(0);
        return Outcome::Respond;
    }
    Outcome::Finish(status)
}
