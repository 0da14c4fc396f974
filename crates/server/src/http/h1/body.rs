//! Request bodies that nobody wants: read past, so that the next request is found.

use std::time::Duration;

use revolve_http::Framing;
use revolve_http::h1::{ChunkedDecoder, Decoded};
use revolve_reactor::{Buffer, Stream};

use crate::http::modules::keepalive::KeepaliveSettings;
use crate::http::request::Request;
use crate::log::Level;

/// How much of a body is behind us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// All of it, or there was none.
    Whole,
    /// Some is still to come.
    Partly,
    /// It is not sound, and is to be refused with this status.
    Invalid(u16),
    /// It was refused: nothing behind it can be found.
    Broken,
}

/// What of a body is still to be read.
#[derive(Debug, Default)]
pub(crate) enum BodyLeft {
    /// Nothing.
    #[default]
    None,
    /// So many bytes.
    Bytes(u64),
    /// Chunks.
    Chunks(Box<ChunkedDecoder>),
}

impl BodyLeft {
    pub(crate) fn of(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => BodyLeft::None,
            Framing::Length(length) => BodyLeft::Bytes(length),
            Framing::Chunked => BodyLeft::Chunks(Box::new(ChunkedDecoder::new())),
        }
    }

    /// Takes what belongs to the body from the front of `input`.
    fn take(&mut self, input: &mut Buffer) -> Drained {
        match self {
            BodyLeft::None => Drained::Whole,
            BodyLeft::Bytes(left) => {
                let taken = (input.len() as u64).min(*left);
                input.advance(taken as usize);
                *left -= taken;
                if *left > 0 {
                    return Drained::Partly;
                }
                *self = BodyLeft::None;
                Drained::Whole
            }
            BodyLeft::Chunks(decoder) => loop {
                match decoder.decode(input) {
                    Ok(Decoded::Data { consumed, .. }) => input.advance(consumed),
                    Ok(Decoded::NeedMore { consumed }) => {
                        input.advance(consumed);
                        return Drained::Partly;
                    }
                    Ok(Decoded::Done { consumed }) => {
                        input.advance(consumed);
                        *self = BodyLeft::None;
                        return Drained::Whole;
                    }
                    Err(error) => return Drained::Invalid(error.status()),
                }
            },
        }
    }
}

/// Drops what of the body has come in already.
pub(crate) fn drain_buffered(request: &mut Request, input: &mut Buffer) -> Drained {
    request.body_left = BodyLeft::of(request.framing());
    if matches!(request.body_left, BodyLeft::None) {
        return Drained::Whole;
    }
    take(request, input)
}

fn take(request: &mut Request, input: &mut Buffer) -> Drained {
    let before = input.len();
    let drained = request.body_left.take(input);
    request.length += (before - input.len()) as u64;
    if matches!(drained, Drained::Invalid(_)) {
        request.log(
            Level::Error,
            format_args!("client sent invalid chunked body"),
        );
        request.keep_alive = false;
    }
    drained
}

/// Reads past the rest of the body, within `lingering_time`; false where it does not come.
pub(crate) async fn drain(request: &mut Request, input: &mut Buffer) -> bool {
    let settings = &request.settings().keepalive;
    let pause = Duration::from_millis(settings.lingering_timeout_ms);
    let end = revolve_reactor::now() + Duration::from_millis(settings.lingering_time_ms);
    loop {
        let deadline = end.min(revolve_reactor::now() + pause);
        match request.connection.stream.recv().deadline(deadline).await {
            Ok(received) if !received.is_empty() => *input = received,
            _ => return false,
        }
        match take(request, input) {
            Drained::Whole => return true,
            Drained::Partly if revolve_reactor::now() < end => {}
            _ => return false,
        }
    }
}

/// Says that nothing more will be sent and reads what the client still sends, until it closes,
/// pauses for `lingering_timeout`, or `lingering_time` has passed.
pub(crate) async fn linger(stream: &Stream, settings: &KeepaliveSettings) {
    if stream.shutdown_write().is_err() {
        return;
    }
    let end = revolve_reactor::now() + Duration::from_millis(settings.lingering_time_ms);
    loop {
        let pause = Duration::from_millis(settings.lingering_timeout_ms);
        let deadline = end.min(revolve_reactor::now() + pause);
        match stream.recv().deadline(deadline).await {
            Ok(received) if !received.is_empty() && revolve_reactor::now() < end => {}
            _ => return,
        }
    }
}
