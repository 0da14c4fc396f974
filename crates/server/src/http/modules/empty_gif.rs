//! A picture of one transparent point.
//!
//! ```nginx
//! location = /_.gif { empty_gif; }
//! ```

use revolve_conf::directive::Args;
use revolve_http::Method;
use revolve_http::h1::lines::LastModified;

use crate::config::scope::LOCATION;
use crate::config::setting::settings;
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::DirectiveRow;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_empty_gif_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Content, applies, handle)],
    ..Module::EMPTY
};

settings! {
    /// `empty_gif`.
    pub struct EmptyGifSettings / RawEmptyGif {
        inherit {}
        own {}
        handler {
            /// Whether the level answers with the picture.
            enabled: bool = false,
        }
    }
}

const DIRECTIVES: &[DirectiveRow] = &[DirectiveRow {
    name: "empty_gif",
    contexts: LOCATION,
    args: Args::NONE,
    set: |scope, _| {
        scope.level.settings.empty_gif.enabled = Some(true);
        Ok(())
    },
}];

/// One point, whose colour is the transparent one of two.
const PICTURE: &[u8; 43] =
    b"GIF89a\x01\0\x01\0\x80\x01\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\x01\0,\
    \0\0\0\0\x01\0\x01\0\0\x02\x02L\x01\0;";

/// nginx's: Mon, 28 Sep 1970 06:00:00 GMT.
const MODIFIED_S: i64 = 23_349_600;

fn applies(settings: &Settings) -> bool {
    settings.empty_gif.enabled
}

/// Content phase: answers with the picture.
fn handle(request: &mut Request) -> Outcome {
    if !matches!(request.current.method, Method::Get | Method::Head) {
        return Outcome::Finish(405);
    }
    if let Err(status) = request.discard_body() {
        return Outcome::Finish(status);
    }
    let response = &mut request.response;
    response.clear_content();
    response.status = 200;
    response.content_type.set_text(b"image/gif");
    response.last_modified = Some(LastModified::new(MODIFIED_S));
    response.push_text(PICTURE);
    response.set_length(PICTURE.len() as u64);
    Outcome::Respond
}
