//! Text before and after an answer, from subrequests.
//!
//! ```nginx
//! location / {
//!     add_before_body /head.html;
//!     add_after_body  /foot.html;
//!     addition_types  text/html text/plain;
//! }
//! ```

use std::sync::Arc;
use std::task::{Context, Poll};

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, LOCATION, SERVER, set_once};
use crate::config::setting::settings;
use crate::http::body::{Broken, Outgoing, Piece, Source};
use crate::http::modules::media_types::{MediaTypes, types_slot};
use crate::http::modules::{Module, Settings};
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope};
use crate::http::subrequest::{Options, Refused, Subrequest, subrequest};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_addition_module",
    directives: DIRECTIVES,
    header_filters: &[(applies, filter)],
    ..Module::EMPTY
};

settings! {
    /// Text before and after an answer.
    pub struct AdditionSettings / RawAddition {
        inherit {
            /// `add_before_body`: the path that is asked for, default none.
            before: Arc<[u8]> = Arc::default(),
            /// `add_after_body`: the path that is asked for, default none.
            after: Arc<[u8]> = Arc::default(),
            /// `addition_types`, default `text/html`.
            types: Arc<MediaTypes> = MediaTypes::of(&["text/html"]),
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "add_before_body",
        contexts: ANY,
        args: Args::ONE,
        set: path,
    },
    DirectiveRow {
        name: "add_after_body",
        contexts: ANY,
        args: Args::ONE,
        set: path,
    },
    DirectiveRow {
        name: "addition_types",
        contexts: ANY,
        args: Args::ONE_MORE,
        set: types_slot!(addition.types),
    },
];

fn path(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let settings = &mut scope.level.settings.addition;
    let slot = match directive.name.text.as_str() {
        "add_before_body" => &mut settings.before,
        _ => &mut settings.after,
    };
    set_once(slot, directive.args[0].text.as_bytes().into(), directive)
}

/// Whether the level has anything to do with this.
pub(crate) fn applies(settings: &Settings) -> bool {
    !settings.addition.before.is_empty() || !settings.addition.after.is_empty()
}

/// Header filter: puts the body between its additions.
///
/// Source: nginx's `ngx_http_addition_header_filter`.
pub(crate) fn filter(request: &mut Request) -> Outcome {
    let settings = &request.settings().addition;
    if request.response.status != 200
        || request.current.is_subrequest
        || !settings.types.has(&request.response.content_type)
    {
        return Outcome::Next;
    }
    let begin = |path: &[u8]| {
        let child = subrequest(request, path.to_vec(), Vec::new(), Options::default());
        Some(child.map(Subrequest::begin)).filter(|_| !path.is_empty())
    };
    let (before, after) = (begin(&settings.before), begin(&settings.after));
    request.response.clear_length();
    request.response.weaken_etag();
    let body = Outgoing::new(request);
    request.response.source = Some(Box::new(Added {
        before,
        body: Some(body),
        after,
    }));
    Outcome::Next
}

type Part = Option<Result<Subrequest, Refused>>;

/// A body between its additions: one is served when the one before has ended.
struct Added {
    before: Part,
    body: Option<Outgoing>,
    after: Part,
}

impl Source for Added {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        loop {
            let next = match (&mut self.before, &mut self.body, &mut self.after) {
                (Some(Ok(part)), _, _) | (None, None, Some(Ok(part))) => part.poll_next(cx),
                (None, Some(body), _) => body.poll_next(cx),
                (None, None, None) => return Poll::Ready(None),
                _ => Poll::Ready(Some(Err(Broken { reason: None }))),
            };
            match next {
                Poll::Ready(None) if self.before.take().is_some() => {}
                Poll::Ready(None) if self.body.take().is_some() => {}
                Poll::Ready(None) => self.after = None,
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http::testing::TestSite;

    #[test]
    fn a_body_stands_between_its_additions() {
        let mut site = TestSite::new(
            "default_type text/html; add_header ETag '\"x\"';
             location /both { add_before_body /h; add_after_body /f; try_files /none /said?x; }
             location /before { add_before_body /h; return 200 x; }
             location /after { add_after_body /f; return 200 x; }
             location /nested { add_before_body /both; add_after_body /lost; return 200 x; }
             location /other { add_before_body /h; add_after_body /f; default_type text/x; return 200 x; }
             location /any { addition_types *; add_before_body /h; default_type text/x; return 200 x; }
             location /error { add_before_body /h; return 404; }
             location = /said { add_before_body /h; add_after_body /f; return 200 $args; }
             location = /h { return 200 [$uri$args]; }
             location = /f { return 200 ($uri); }
             location = /lost { return 404; }",
        );
        for (path, expected) in [
            ("/both", "200\n[/h]x(/f)"),
            ("/before", "200\n[/h]x"),
            ("/after", "200\nx(/f)"),
            ("/nested", "200\nxx<html>"),
            ("/other", "200\nx"),
            ("/any", "200\n[/h]x"),
            ("/error", "404\n<html>"),
        ] {
            let answer = site.ask(&format!("GET {path} HTTP/1.1")).0;
            assert!(answer.starts_with(expected), "{path}: {answer}");
        }
        assert_eq!(site.ask("HEAD /both HTTP/1.1").0, "200\n");
    }
}
