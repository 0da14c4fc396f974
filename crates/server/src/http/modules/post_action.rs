//! What a request goes on with once its answer has left.
//!
//! ```nginx
//! location /download/ {
//!     post_action @done;
//! }
//! location @done {
//!     proxy_pass http://127.0.0.1:8080/done?file=$uri&bytes=$body_bytes_sent&all=$request_completion;
//! }
//! ```
//!
//! It is the same request: its variables tell what was sent, and its line in the log is that of the place
//! where it ends. Nobody gets what answers there; on HTTP/1 the client's next request waits for it.

use std::sync::Arc;

use revolve_conf::directive::Args;

use crate::config::scope::{HTTP, IF_LOCATION, LOCATION, SERVER, set_once};
use crate::config::setting::settings;
use crate::http::modules::Module;
use crate::http::phase::{self, Outcome, Walked};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, row};
use crate::http::{serve, subrequest};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

settings! {
    /// `post_action`.
    pub struct PostActionSettings / RawPostAction {
        inherit {
            /// The path, or the named location with its `@`; empty for none.
            target: Arc<str> = Arc::from(""),
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION | IF_LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[row(ANY, "post_action", Args::ONE, |scope, d| {
    let target = Arc::from(d.args[0].text.as_str());
    set_once(&mut scope.level.settings.post_action.target, target, d)
})];

/// Whether a request whose answer has left goes on; one that was closed without a word does not.
#[inline]
pub(crate) fn is_due(request: &Request) -> bool {
    !request.settings().post_action.target.is_empty() && request.response.status != 444
}

/// Goes on with a request whose answer has left, or never will. Where that leads may go on in turn; internal
/// redirects bound that.
///
/// Source: nginx's `ngx_http_post_action`.
pub(crate) async fn run(request: &mut Request) {
    let (sent_bytes, head_bytes) = (request.response.sent_bytes, request.response.head_bytes);
    while is_due(request) && request.current.redirects_left > 0 {
        request.response.drop_body();
        let target = Arc::clone(&request.settings().post_action.target);
        let outcome = match target.strip_prefix('@') {
            Some(name) => Outcome::Named(name.to_owned()),
            None => Outcome::Redirect(target.as_bytes().to_vec(), Some(Vec::new())),
        };
        let walked = match phase::settle(request, outcome) {
            Walked::Await(later) => serve::answer(request, later).await,
            other => other,
        };
        if let (Walked::Response, Some(unwanted)) = (walked, request.response.source.take()) {
            // A connection to an upstream may serve again once its answer was read.
            subrequest::drain(unwanted).await;
        }
    }
    request.response.drop_body();
    (request.response.sent_bytes, request.response.head_bytes) = (sent_bytes, head_bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::TestSite;

    #[test]
    fn a_request_goes_on_and_comes_to_an_end() {
        let mut site = TestSite::new(
            "location /named { post_action @at; return 200 hello; }
             location /uri { post_action /b; return 404; }
             location /ring { post_action /ring; return 200 x; }
             location /lost { post_action @lost; return 200 x; }
             location @at { return 204; }
             location /b { internal; return 202 later; }",
        );
        for (path, at, status, error) in [
            ("/named", "/named", 204, 0),
            ("/uri", "/b", 202, 404),
            ("/ring", "/ring", 200, 0),
            ("/lost", "/lost", 500, 500),
        ] {
            let (answer, _, mut request) = site.exchange(&format!("GET {path} HTTP/1.1"));
            let answer = String::from_utf8(answer).unwrap();
            assert!(is_due(&request), "{answer}");
            site.block_on(async |_| run(&mut request).await);
            let response = &request.response;
            assert_eq!(
                (response.status, response.error_status),
                (status, error),
                "{path}"
            );
            assert_eq!(request.path, at.as_bytes());
            assert!(response.body.is_empty() && response.source.is_none());
        }
    }
}
