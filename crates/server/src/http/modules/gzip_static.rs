//! `gzip_static`: files that were compressed before, by another program.
//!
//! ```nginx
//! gzip_static on;              # /a.css is answered with a.css.gz, if that is there
//! gzip_static always;          # whatever the client takes
//! ```

use revolve_conf::directive::Args;
use revolve_http::Method;
use rustix::io::Errno;

use crate::config::scope::{HTTP, LOCATION, SERVER, choice, set_once};
use crate::config::setting::settings;
use crate::file_cache::Found;
use crate::http::modules::core::map_path;
use crate::http::modules::disable_symlinks;
use crate::http::modules::gzip_accept::{accepts, note_variation};
use crate::http::modules::static_files::{open_failed, serve};
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::DirectiveRow;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_gzip_static_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Content, applies, handle)],
    ..Module::EMPTY
};

/// Who gets what was compressed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GzipStatic {
    /// Nobody.
    Off,
    /// Clients that take it.
    On,
    /// All.
    Always,
}

settings! {
    /// Files that were compressed before.
    pub struct GzipStaticSettings / RawGzipStatic {
        inherit {
            /// `gzip_static`, default off.
            who: GzipStatic = GzipStatic::Off,
        }
        own {}
    }
}

const DIRECTIVES: &[DirectiveRow] = &[DirectiveRow {
    name: "gzip_static",
    contexts: HTTP | SERVER | LOCATION,
    args: Args::ONE,
    set: |scope, directive| {
        let choices = [
            ("off", GzipStatic::Off),
            ("on", GzipStatic::On),
            ("always", GzipStatic::Always),
        ];
        let value = choice(&directive.args[0], choices)?;
        set_once(&mut scope.level.settings.gzip_static.who, value, directive)
    },
}];

fn applies(settings: &Settings) -> bool {
    settings.gzip_static.who != GzipStatic::Off
}

/// Content phase: answers with the compressed form of the path's file.
///
/// Source: nginx's `ngx_http_gzip_static_handler`.
fn handle(request: &mut Request) -> Outcome {
    if !matches!(request.current.method, Method::Get | Method::Head) || request.path.ends_with(b"/")
    {
        return Outcome::Next;
    }
    let is_always = request.settings().gzip_static.who == GzipStatic::Always;
    let is_taken = is_always || accepts(request);
    if !is_taken && !request.settings().gzip_accept.vary {
        return Outcome::Next;
    }
    let mut path = std::mem::take(&mut request.file_path);
    path.clear();
    map_path(request, &request.path, &mut path);
    path.extend_from_slice(b".gz");
    let found = disable_symlinks::lookup(request, &path);
    let outcome = match found {
        Found::Missing(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => Outcome::Next,
        Found::Missing(error) => {
            let status = open_failed(request, &path, error);
            match error {
                // Neither file nor folder.
                Errno::INVAL => Outcome::Finish(status),
                _ => Outcome::Next,
            }
        }
        Found::Directory => {
            if !is_always {
                note_variation(request);
            }
            Outcome::Next
        }
        Found::File(file) => {
            if !is_always {
                note_variation(request);
            }
            if is_taken {
                request.state.core.root_seen = !request.current.error_page_used;
                let outcome = serve(request, file);
                if matches!(outcome, Outcome::Respond) {
                    let response = &mut request.response;
                    response.ranges_allowed = false;
                    response
                        .headers
                        .push_line(b"Content-Encoding: gzip\r\n", b"Content-Encoding".len());
                }
                outcome
            } else {
                Outcome::Next
            }
        }
    };
    request.file_path = path;
    outcome
}

#[cfg(test)]
mod tests {
    use crate::http::testing::TestSite;

    #[test]
    fn what_was_compressed_before_is_sent_to_those_who_take_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), "plain").unwrap();
        std::fs::write(folder.path().join("a.txt.gz"), "packed").unwrap();
        let mut site = TestSite::new(&format!(
            "root {}; gzip_static on; gzip_vary on;
             location /always/ {{ gzip_static always; alias {0}/; }}",
            folder.path().display()
        ));
        let mut ask = |path: &str, line: &str| {
            let (answer, _, request) = site.exchange(&format!("GET {path} HTTP/1.1{line}"));
            (
                String::from_utf8(answer).unwrap(),
                request.response.varies_by_encoding,
            )
        };
        let accept = "\r\nAccept-Encoding: gzip";
        assert_eq!(ask("/a.txt", ""), ("200\nplain".into(), true));
        assert_eq!(ask("/a.txt", accept), ("200\npacked".into(), true));
        assert_eq!(ask("/always/a.txt", ""), ("200\npacked".into(), false));
        assert!(ask("/b.txt", accept).0.starts_with("404\n"));
    }
}
