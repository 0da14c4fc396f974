//! The head of a response as HTTP/2 writes it.

use revolve_http::h2::{Connection as Machine, HeadWriter};

use crate::http::request::Request;
use crate::http::response::Response;

/// Heads that are kept as they were written.
const KEPT: usize = 8;

/// Longer ones are not kept.
const KEPT_BYTES_MAX: usize = 1024;

/// A head that said the same when it was written last.
#[derive(Default)]
struct Written {
    /// What it says.
    says: Vec<u8>,
    /// How that was written, when the encoder was of this generation.
    bytes: Vec<u8>,
    generation: u64,
}

/// What the heads of one connection have in common: the time, made once a second, and heads that are
/// written again and again, as those of cached files.
#[derive(Default)]
pub(super) struct Heads {
    unix_s: i64,
    date: [u8; 29],
    written: [Written; KEPT],
    /// Memory for what the next one says.
    says: Vec<u8>,
}

/// Writes the head of a response in nginx's order; the answer is how many bytes it takes.
pub(super) fn write<T>(
    machine: &mut Machine<T>,
    heads: &mut Heads,
    id: u32,
    request: &Request,
    is_last: bool,
) -> usize {
    let settings = request.settings();
    machine.set_chunk_bytes(id, settings.http2.chunk_bytes as usize);
    let response = &request.response;
    if !response.headers.is_empty()
        && let Some(priority) = response.headers.get(b"priority")
    {
        machine.prioritize(id, priority);
    }
    let Some(mut head) = machine.head(id, is_last) else {
        return 0;
    };
    let signature = request.signature().as_bytes();
    let unix_s = request.site.logs.clock().unix_s();
    if heads.unix_s != unix_s {
        heads.unix_s = unix_s;
        revolve_http::date::format_imf(unix_s, &mut heads.date);
    }
    gather(response, signature, &heads.date, &mut heads.says);
    let slot = slot_of(response);
    let known = &mut heads.written[slot];
    let generation = head.generation();
    // Where the table's size is said first, what follows is another.
    let is_plain = head.written().is_empty();
    if is_plain && known.generation == generation && known.says == heads.says {
        head.repeat(&known.bytes);
        return head.finish();
    }
    write_fields(&mut head, response, signature, &heads.date);
    if is_plain && head.is_settled() && heads.says.len() <= KEPT_BYTES_MAX {
        known.generation = generation;
        known.bytes.clear();
        known.bytes.extend_from_slice(head.written());
        std::mem::swap(&mut known.says, &mut heads.says);
    }
    head.finish()
}

/// Where a head is looked for.
fn slot_of(response: &Response) -> usize {
    let length = response.content_length.map_or(0, |length| length.bytes);
    let modified = response.last_modified.map_or(0, |modified| modified.unix_s);
    (length ^ length >> 7 ^ modified as u64 ^ modified as u64 >> 5) as usize % KEPT
}

/// All that a head is made of, so that two that say the same are found out by one comparison.
fn gather(response: &Response, signature: &[u8], date: &[u8], says: &mut Vec<u8>) {
    says.clear();
    says.extend_from_slice(&response.status.to_be_bytes());
    says.extend_from_slice(date);
    says.extend_from_slice(signature);
    says.extend_from_slice(response.content_type.line());
    if let Some(length) = &response.content_length {
        says.extend_from_slice(length.line());
    }
    if let Some(modified) = &response.last_modified
        && !response.last_modified_is_replaced()
    {
        says.extend_from_slice(modified.line());
    }
    if response.has_location {
        says.extend_from_slice(b"Location: ");
        says.extend_from_slice(&response.location);
        says.extend_from_slice(b"\r\n");
    }
    if response.varies_by_encoding {
        says.extend_from_slice(VARY.0);
        says.extend_from_slice(VARY.1);
    }
    says.extend_from_slice(response.headers.as_bytes());
}

const VARY: (&[u8], &[u8]) = (b"vary", b"Accept-Encoding");

fn write_fields(head: &mut HeadWriter<'_>, response: &Response, signature: &[u8], date: &[u8]) {
    // A switch of protocols is a success of the CONNECT that asked for it (RFC 8441, section 5).
    let is_switch = response.status == 101;
    head.status(match is_switch {
        true => 200,
        false => response.status,
    });
    head.field(b"server", signature);
    head.field(b"date", date);
    if !response.content_type.is_empty() {
        head.field(b"content-type", response.content_type.text());
    }
    if let Some(length) = &response.content_length {
        head.field(b"content-length", length.text());
    }
    if let Some(modified) = &response.last_modified
        && !response.last_modified_is_replaced()
    {
        head.field(b"last-modified", modified.text());
    }
    if response.has_location {
        head.field(b"location", &response.location);
    }
    if response.varies_by_encoding {
        head.field(VARY.0, VARY.1);
    }
    for (name, value) in response.headers.iter() {
        if !is_switch || !is_of_switch(name) {
            head.field(name, value);
        }
    }
}

/// Whether a field is of HTTP/1's way to switch protocols alone.
fn is_of_switch(name: &[u8]) -> bool {
    let names: [&[u8]; 3] = [b"upgrade", b"connection", b"sec-websocket-accept"];
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}
