//! `stub_status`: how many connections and requests there are, over all workers.
//!
//! ```nginx
//! location = /basic_status { stub_status; }
//! ```
//!
//! ```text
//! Active connections: 291
//! server accepts handled requests
//!  16630948 16630948 31070465
//! Reading: 6 Writing: 179 Waiting: 106
//! ```
//!
//! With `stub_status json;`, which is our own, the same in JSON.

use std::io::Write as _;

use revolve_conf::directive::Args;
use revolve_http::Method;

use crate::config::scope::{LOCATION, SERVER};
use crate::config::setting::settings;
use crate::http::body::Piece;
use crate::http::modules::Module;
use crate::http::modules::Settings;
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::DirectiveRow;
use crate::http::variables::Builtin;
use crate::zones::Totals;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_stub_status_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    handlers: &[(Phase::Content, applies, handle)],
    ..Module::EMPTY
};

settings! {
    /// `stub_status`.
    pub struct StubStatusSettings / RawStubStatus {
        inherit {}
        own {}
        handler {
            /// In which form the level answers with the numbers, if it does.
            form: Option<Form> = None,
        }
    }
}

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// nginx's.
    Text,
    /// An object.
    Json,
}

const DIRECTIVES: &[DirectiveRow] = &[DirectiveRow {
    name: "stub_status",
    contexts: SERVER | LOCATION,
    // Before nginx 1.7.5 an argument, of no meaning, was required.
    args: Args::range(0, 1),
    set: |scope, d| {
        let form = match d.args.first() {
            Some(word) if word.text == "json" => Form::Json,
            _ => Form::Text,
        };
        scope.level.settings.stub_status.form = Some(Some(form));
        Ok(())
    },
}];

const fn variable(name: &'static str, get: fn(&Request, &mut Vec<u8>) -> bool) -> Builtin {
    Builtin { name, get }
}

/// The module's variables.
const VARIABLES: &[Builtin] = &[
    variable("connections_active", |request, out| {
        write!(out, "{}", totals(request).active).is_ok()
    }),
    variable("connections_reading", |request, out| {
        write!(out, "{}", totals(request).reading).is_ok()
    }),
    variable("connections_writing", |request, out| {
        write!(out, "{}", totals(request).writing).is_ok()
    }),
    variable("connections_waiting", |request, out| {
        write!(out, "{}", totals(request).waiting).is_ok()
    }),
];

fn totals(request: &Request) -> Totals {
    Totals::of(&request.site.zones, &request.connection.is_busy)
}

/// Whether the level has anything to do with this.
pub(crate) fn applies(settings: &Settings) -> bool {
    settings.stub_status.form.is_some()
}

/// Answers with the numbers, in nginx's form.
///
/// Source: nginx's `ngx_http_stub_status_handler`.
pub(crate) fn handle(request: &mut Request) -> Outcome {
    if !matches!(request.current.method, Method::Get | Method::Head) {
        return Outcome::Finish(405);
    }
    let Totals {
        accepts,
        handled,
        requests,
        active,
        reading,
        writing,
        waiting,
    } = totals(request);
    if let Err(status) = request.discard_body() {
        return Outcome::Finish(status);
    }
    let form = request.settings().stub_status.form;
    let response = &mut request.response;
    response.clear_content();
    response.status = 200;
    let written = if form == Some(Form::Json) {
        response.content_type.set_text(b"application/json");
        writeln!(
            response.text,
            "{{\"active\":{active},\"accepts\":{accepts},\"handled\":{handled},\"requests\":{requests},\
             \"reading\":{reading},\"writing\":{writing},\"waiting\":{waiting}}}"
        )
    } else {
        response.content_type.set_text(b"text/plain");
        write!(
            response.text,
            "Active connections: {active} \nserver accepts handled requests\n \
             {accepts} {handled} {requests} \nReading: {reading} Writing: {writing} Waiting: {waiting} \n"
        )
    };
    written.expect("memory takes all bytes");
    let end = response.text.len();
    response.body.push(Piece::Text { start: 0, end });
    response.set_length(end as u64);
    Outcome::Respond
}

#[cfg(test)]
mod tests {
    use crate::http::testing::TestSite;

    #[test]
    fn the_numbers_have_two_forms() {
        let mut site = TestSite::new(
            "location /text { stub_status; } location /on { stub_status on; }
             location /json { stub_status json; }",
        );
        for path in ["/text", "/on"] {
            let text = site.ask(&format!("GET {path} HTTP/1.1")).0;
            assert!(text.starts_with("200\nActive connections: "), "{text}");
        }
        let json = site.ask("GET /json HTTP/1.1").0;
        assert!(json.starts_with("200\n{\"active\":"), "{json}");
        assert!(
            json.ends_with("}\n") && json.contains(",\"waiting\":"),
            "{json}"
        );
    }
}
