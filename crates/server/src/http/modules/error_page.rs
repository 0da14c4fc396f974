//! Answers to errors: `error_page`, and the built-in pages.
//!
//! ```nginx
//! error_page 404 /404.html;
//! error_page 502 503 =200 @maintenance;
//! error_page 403 https://example.org/forbidden;
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive, Word};
use revolve_http::{HeaderId, Method};

use crate::config::scope::{HTTP, IF_LOCATION, LOCATION, SERVER};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::body::Piece;
use crate::http::modules::Module;
use crate::http::modules::core::signature;
use crate::http::modules::try_files::split_args;
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::scope::{DirectiveRow, Scope, slot};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

/// One row of `error_page`.
#[derive(Debug)]
pub(crate) struct ErrorPage {
    status: u16,
    /// `None`: the status stays. `Some(0)`, written `=`: the one that answers decides.
    overwrite: Option<u16>,
    target: Target,
}

#[derive(Debug, Clone)]
enum Target {
    /// A path of this server, or a URL to send the client to: told apart when evaluated.
    Uri(Value),
    Named(String),
}

settings! {
    /// Answers to errors.
    pub struct ErrorPageSettings / RawErrorPage {
        inherit {
            /// `error_page`; a level that has one inherits none.
            pages: Arc<Vec<ErrorPage>> = Arc::new(Vec::new()),
            /// `recursive_error_pages`, default off.
            recursive: bool = false,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "error_page",
        contexts: ANY | IF_LOCATION,
        args: Args::TWO_MORE,
        set: error_page,
    },
    DirectiveRow {
        name: "recursive_error_pages",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag error_page.recursive),
    },
];

fn error_page(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let (uri, mut codes) = directive
        .args
        .split_last()
        .expect("the table asks for two arguments");
    let mut overwrite = None;
    if let Some((last, rest)) = codes.split_last()
        && let Some(code) = last.text.strip_prefix('=')
    {
        overwrite = Some(match code {
            "" => 0,
            code => code.parse::<u16>().map_err(|_| {
                Diagnostic::new(last.span, format!("invalid value \"{}\"", last.text))
                    .label("expected a status like =200")
            })?,
        });
        if rest.is_empty() {
            let message = format!("invalid value \"{}\"", last.text);
            return Err(Diagnostic::new(last.span, message)
                .label("expected the statuses that this is for before it"));
        }
        codes = rest;
    }
    let target = match uri.text.strip_prefix('@') {
        Some(name) => Target::Named(name.to_owned()),
        None => Target::Uri(Value::of(uri, &mut scope.shared.registry)?),
    };
    for word in codes {
        let status = status(word)?;
        let page = ErrorPage {
            status,
            overwrite,
            target: target.clone(),
        };
        let pages = scope
            .level
            .settings
            .error_page
            .pages
            .get_or_insert_with(Arc::default);
        Arc::get_mut(pages)
            .expect("nobody shares a level's pages while it is read")
            .push(page);
    }
    Ok(())
}

/// A status that may have a page; 499 is for clients that have gone.
fn status(word: &Word) -> Result<u16, Diagnostic> {
    let number = revolve_conf::value::number(&word.text);
    let message = match number {
        Some(status @ 300..=599) if status != 499 => return Ok(status as u16),
        None | Some(499) => format!("invalid value \"{}\"", word.text),
        Some(_) => format!("value \"{}\" must be between 300 and 599", word.text),
    };
    Err(Diagnostic::new(word.span, message)
        .label("expected a status that is an error or a redirect"))
}

/// Answers with a status: by the level's error page where it has one, else by the built-in one.
///
/// Source: nginx's `ngx_http_finalize_request` and `ngx_http_special_response_handler`.
pub(crate) fn finish(request: &mut Request, status: u16) -> Outcome {
    if matches!(status, 408 | 444 | 499) {
        // Nobody waits for an answer to these.
        request.response.status = status;
        return Outcome::Close;
    }
    close_after(request, status);
    request.response.content_type.clear();
    let settings = &request.settings().error_page;
    let recursive = settings.recursive;
    if !request.current.error_page_used {
        let pages = settings.pages.clone();
        if let Some(page) = pages.iter().find(|page| page.status == status) {
            request.current.error_page_used = !recursive;
            return send_to(request, page, status);
        }
    }
    finish_plainly(request, status)
}

/// Whether the level has a page for a status, and none was chosen yet.
pub(crate) fn is_chosen(request: &Request, status: u16) -> bool {
    let pages = &request.settings().error_page.pages;
    !request.current.error_page_used && pages.iter().any(|page| page.status == status)
}

/// Statuses of nginx's own that are shown as another.
fn shown_status(status: u16) -> u16 {
    match status {
        494..=497 => 400,
        status => status,
    }
}

/// After these the connection cannot be trusted to be in step.
fn close_after(request: &mut Request, status: u16) {
    if matches!(status, 400 | 413 | 414 | 495..=497 | 500 | 501) {
        request.current.must_close = true;
    }
}

fn send_to(request: &mut Request, page: &ErrorPage, status: u16) -> Outcome {
    if !matches!(page.overwrite, Some(0 | 200)) {
        request.refuse_continue();
    }
    request.response.error_status = page.overwrite.unwrap_or_else(|| shown_status(status));
    request.response.clear_content();
    let value = match &page.target {
        Target::Named(name) => return Outcome::Named(name.clone()),
        Target::Uri(value) => value,
    };
    let mut uri = request.take_spare();
    value.append(request, &mut uri);
    if uri.first() == Some(&b'/') {
        if request.current.method != Method::Head {
            request.current.method = Method::Get;
        }
        let (path, args) = split_args(request, uri);
        return Outcome::Redirect(path, Some(args));
    }
    let redirect = |status: &u16| matches!(status, 301 | 302 | 303 | 307 | 308);
    let status = page.overwrite.filter(redirect).unwrap_or(302);
    let replaced = std::mem::replace(&mut request.response.location, uri);
    request.response.has_location = true;
    request.give_spare(replaced);
    if request.settings().core.msie_refresh && is_msie(request) {
        return refresh(request);
    }
    finish_plainly(request, status)
}

/// Answers a browser that is to be sent elsewhere with a page that sends it there.
///
/// Source: nginx's `ngx_http_send_refresh`.
fn refresh(request: &mut Request) -> Outcome {
    let response = &mut request.response;
    response.clear_content();
    (response.status, response.error_status) = (200, 200);
    response.content_type.set_text(b"text/html");
    let mut page = b"<html><head><meta http-equiv=\"Refresh\" content=\"0; URL=".to_vec();
    for byte in &response.location {
        match byte {
            0..=b' ' | b'"' | b'\'' | 0x7f.. => {
                page.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
            byte => page.push(*byte),
        }
    }
    page.extend_from_slice(b"\"></head><body></body></html>\r\n");
    response.has_location = false;
    response.set_length(page.len() as u64);
    response.push_text(&page);
    Outcome::Respond
}

/// Whether the client is Internet Explorer, as nginx tells (`ngx_http_process_user_agent`).
fn is_msie(request: &Request) -> bool {
    let agent = match request.current.head_done {
        true => request.known(HeaderId::UserAgent).unwrap_or_default(),
        false => b"",
    };
    let find = |needle: &[u8]| memchr::memmem::find(agent, needle);
    find(b"MSIE ").is_some_and(|at| at + 7 < agent.len()) && find(b"Opera").is_none()
}

/// Answers with the built-in page. An error that is met on the way to an error page takes the
/// place of the first, whatever status that page was to have.
pub(crate) fn finish_plainly(request: &mut Request, status: u16) -> Outcome {
    close_after(request, status);
    request.refuse_continue();
    let padded = status >= 400 && wants_padding(request);
    let signature = signature(request.settings().core.server_tokens);
    let response = &mut request.response;
    response.clear_content();
    response.status = shown_status(status);
    response.error_status = response.status;
    match page_title(status) {
        Some(title) => write_page(response, title, signature, padded),
        None => response.set_length(0),
    }
    Outcome::Respond
}

fn write_page(response: &mut Response, title: Title, signature: &str, padded: bool) {
    let (code, title, heading, detail) = match title {
        Title::Status(status) => ("", status, status, None),
        Title::BadRequest(kind) => ("400 ", kind, "400 Bad Request", Some(kind)),
    };
    response.content_type.set_text(b"text/html");
    let body = &mut response.text;
    for part in [
        "<html>\r\n<head><title>",
        code,
        title,
        "</title></head>\r\n<body>\r\n<center><h1>",
        heading,
        "</h1></center>\r\n",
    ] {
        body.extend_from_slice(part.as_bytes());
    }
    if let Some(detail) = detail {
        for part in ["<center>", detail, "</center>\r\n"] {
            body.extend_from_slice(part.as_bytes());
        }
    }
    let foot = "</center>\r\n</body>\r\n</html>\r\n";
    for part in ["<hr><center>", signature, foot] {
        body.extend_from_slice(part.as_bytes());
    }
    if padded {
        for _ in 0..6 {
            body.extend_from_slice(
                b"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n",
            );
        }
    }
    let end = body.len();
    response.body.clear();
    response.body.push(Piece::Text { start: 0, end });
    response.set_length(end as u64);
}

fn wants_padding(request: &Request) -> bool {
    if !request.settings().core.msie_padding || !request.current.head_done {
        return false;
    }
    let Some(agent) = request.known(HeaderId::UserAgent) else {
        return false;
    };
    let find = |needle: &[u8]| memchr::memmem::find(agent, needle);
    if find(b"Opera").is_some() {
        return false;
    }
    match find(b"MSIE ") {
        Some(at) if at + 7 < agent.len() => true,
        _ => find(b"Gecko/").is_none() && find(b"Chrome/").is_some(),
    }
}

/// What a page says.
#[derive(Clone, Copy)]
enum Title {
    Status(&'static str),
    /// A bad request of a kind that has a status of nginx's own.
    BadRequest(&'static str),
}

/// The titles of nginx's pages; a status without one gets an empty body.
fn page_title(status: u16) -> Option<Title> {
    Some(Title::Status(match status {
        301 => "301 Moved Permanently",
        302 => "302 Found",
        303 => "303 See Other",
        307 => "307 Temporary Redirect",
        308 => "308 Permanent Redirect",
        400 => "400 Bad Request",
        401 => "401 Authorization Required",
        402 => "402 Payment Required",
        403 => "403 Forbidden",
        404 => "404 Not Found",
        405 => "405 Not Allowed",
        406 => "406 Not Acceptable",
        407 => "407 Proxy Authentication Required",
        408 => "408 Request Time-out",
        409 => "409 Conflict",
        410 => "410 Gone",
        411 => "411 Length Required",
        412 => "412 Precondition Failed",
        413 => "413 Request Entity Too Large",
        414 => "414 Request-URI Too Large",
        415 => "415 Unsupported Media Type",
        416 => "416 Requested Range Not Satisfiable",
        421 => "421 Misdirected Request",
        429 => "429 Too Many Requests",
        494 => return Some(Title::BadRequest("Request Header Or Cookie Too Large")),
        495 => return Some(Title::BadRequest("The SSL certificate error")),
        496 => return Some(Title::BadRequest("No required SSL certificate was sent")),
        497 => {
            return Some(Title::BadRequest(
                "The plain HTTP request was sent to HTTPS port",
            ));
        }
        // nginx has no words for it, and shows this.
        498 => "404 Not Found",
        500 => "500 Internal Server Error",
        501 => "501 Not Implemented",
        502 => "502 Bad Gateway",
        503 => "503 Service Temporarily Unavailable",
        504 => "504 Gateway Time-out",
        505 => "505 HTTP Version Not Supported",
        507 => "507 Insufficient Storage",
        _ => return None,
    }))
}
