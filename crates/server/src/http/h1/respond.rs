//! From a response to bytes: header filters, head, body.

use revolve_http::Version;
use revolve_reactor::Chunk;

use super::output::Output;
use crate::file_cache::{Content, FileEntry};
use crate::http::modules;
use crate::http::phase::{self, Outcome, Walked};
use crate::http::request::Request;
use crate::http::response::{HeadContext, Piece, write_head};

/// Pieces up to this size are copied beside the head, so that one plain `send` takes both.
const COPY_BYTES_MAX: u64 = 4096;

/// Passes the response through the header filters and puts it into the output.
pub(super) fn respond(request: &mut Request, output: &mut Output) {
    if request.continue_wanted && request.head().expect_continue {
        let line = b"HTTP/1.1 100 Continue\r\n\r\n";
        output.write(line);
        request.response.sent_bytes += line.len() as u64;
    }
    filter(request);
    if request.connection.state.must_close(&request.connection) {
        request.keep_alive = false;
    }
    let head_only = finish_response(request);
    if request.version() >= Version::HTTP_10 {
        let settings = request.settings();
        let keep_alive_header_s = settings.keepalive.header_s;
        let clock = request.site.logs.clock();
        let preambles = &request.http_loop.preambles;
        let head_bytes = preambles.with(clock, settings.core.server_tokens, |preamble| {
            let context = HeadContext {
                preamble,
                keep_alive: request.keep_alive,
                keep_alive_header_s,
            };
            output.write_by(|out| write_head(&request.response, &context, out))
        });
        request.response.head_bytes = head_bytes;
        request.response.sent_bytes += head_bytes;
    }
    if !head_only {
        write_body(request, output);
    }
}

/// A filter may refuse the response (412, 416): the page that takes its place passes the same
/// filters, which leave an error alone.
fn filter(request: &mut Request) {
    let Some(status) = pass_filters(request, true) else {
        return;
    };
    let mut walked = phase::settle(request, Outcome::Finish(status));
    // The answer was ready already: what takes its place is not delayed.
    while let Walked::Wait(_) = walked {
        walked = phase::resume(request);
    }
    pass_filters(request, false);
}

/// The answer is the status of a filter that refuses the response, where any may.
#[inline]
fn pass_filters(request: &mut Request, may_refuse: bool) -> Option<u16> {
    // Once and before the filters: one of them may make a 304 of it.
    if request.response.error_status != 0 {
        request.response.status = request.response.error_status;
    }
    let site = request.site.share();
    for filter in &site.locations[request.location as usize].header_filters {
        if let Outcome::Finish(status) = filter(request)
            && may_refuse
        {
            return Some(status);
        }
    }
    None
}

/// Applies what holds whatever the content is; the answer says whether the body stays behind.
fn finish_response(request: &mut Request) -> bool {
    modules::core::complete_location(request);
    let response = &mut request.response;
    if !matches!(response.status, 200 | 206 | 304) {
        response.last_modified = None;
    }
    match response.status {
        204 => {
            response.content_type.clear();
            response.content_length = None;
            response.body.clear();
            true
        }
        304 => true,
        _ => {
            // Every content there is lies before us whole.
            if response.content_length.is_none() {
                response.set_length(response.body_bytes());
            }
            request.is_head()
        }
    }
}

fn write_body(request: &mut Request, output: &mut Output) {
    let response = &mut request.response;
    for piece in &response.body {
        response.sent_bytes += piece.len();
        match piece {
            Piece::Text { start, end } => output.write(&response.text[*start..*end]),
            Piece::File { file, start, len } => write_file(file, *start, *len, output),
        }
    }
    response.body.clear();
}

fn write_file(file: &FileEntry, start: u64, len: u64, output: &mut Output) {
    match &file.content {
        Content::Bytes(bytes) => {
            let part = start as usize..(start + len) as usize;
            if len <= COPY_BYTES_MAX {
                output.write(&bytes[part]);
            } else {
                output.push(Chunk::Bytes(bytes.slice(part)));
            }
        }
        Content::Descriptor(file) => output.push(Chunk::File {
            file: file.clone(),
            offset: start,
            len,
        }),
    }
}
