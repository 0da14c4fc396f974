//! The body of a request: read as it comes by whoever wants it, or left aside.

use std::future::poll_fn;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use revolve_http::{Framing, Trailers};

use crate::http::h1;
use crate::http::modules::client::InFileOnly;
use crate::http::modules::disk;
use crate::http::request::Request;
use crate::http::sink::Stream;
use crate::http::temp_file::TempFile;
use crate::log::Level;

/// How much of a body that lies in a file is read at a time.
const READ_BYTES_MAX: u64 = 64 * 1024;

/// How much threads write at a time.
const GATHERED_BYTES: usize = 64 * 1024;

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The status to answer with, if there is still somebody to be answered.
    pub(crate) status: u16,
    /// What the error log says.
    pub(crate) message: &'static str,
}

/// Whether the client is told to send its body (`Expect: 100-continue`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Expectation {
    /// Nobody has decided.
    #[default]
    Open,
    /// It is to be told before the answer.
    Due,
    /// An error was met: the client need not send its body then, as in nginx.
    Refused,
}

/// The body of a request.
#[derive(Default)]
pub(crate) enum RequestBody {
    /// There is none.
    #[default]
    None,
    /// It comes on a connection that speaks HTTP/1.
    H1(Rc<h1::Input>),
    /// It comes on a stream of a connection that carries many.
    Stream(Rc<dyn Stream>),
    /// All of it was read.
    Kept(Kept),
    /// It comes on a stream of the carrier of tests.
    #[cfg(test)]
    Toy(Rc<crate::http::toy::Stream>),
}

/// A body of which all was read. Copies read it from its beginning, each for itself.
#[derive(Clone)]
pub(crate) struct Kept {
    all: Rc<Whole>,
    /// What was given.
    given: u64,
}

/// The bytes of a body.
pub(crate) struct Whole {
    /// Those that lie in memory: all, or none.
    pub(crate) memory: Bytes,
    pub(crate) file: Option<TempFile>,
    pub(crate) len: u64,
    /// Fields behind it.
    pub(crate) trailers: Option<Trailers>,
}

impl Kept {
    /// The same body from its beginning.
    pub(crate) fn rewound(&self) -> Kept {
        Kept {
            all: self.all.clone(),
            given: 0,
        }
    }

    pub(crate) fn whole(&self) -> &Whole {
        &self.all
    }

    fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        let left = self.all.len - self.given;
        if left == 0 {
            return None;
        }
        let bytes = match &self.all.file {
            None => self.all.memory.slice(self.given as usize..),
            Some(temp) => {
                let mut memory = vec![0; left.min(READ_BYTES_MAX) as usize];
                match temp.file.read_at(&mut memory, self.given) {
                    Ok(read) if read > 0 => memory.truncate(read),
                    _ => return Some(Err(CUT_SHORT)),
                }
                Bytes::from(memory)
            }
        };
        self.given += bytes.len() as u64;
        Some(Ok(bytes))
    }
}

const CUT_SHORT: Fault = Fault {
    status: 500,
    message: "the file of a request's body was cut short",
};

impl RequestBody {
    /// Another holder of the same body.
    pub(crate) fn share(&self) -> RequestBody {
        match self {
            RequestBody::None => RequestBody::None,
            RequestBody::H1(input) => RequestBody::H1(input.clone()),
            RequestBody::Stream(stream) => RequestBody::Stream(stream.clone()),
            RequestBody::Kept(kept) => RequestBody::Kept(kept.clone()),
            #[cfg(test)]
            RequestBody::Toy(stream) => RequestBody::Toy(stream.clone()),
        }
    }

    /// Whether nothing more of it will come.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            RequestBody::None | RequestBody::Kept(_) => true,
            RequestBody::H1(input) => input.is_whole(),
            RequestBody::Stream(stream) => stream.has_whole_body(),
            #[cfg(test)]
            RequestBody::Toy(stream) => stream.has_whole_body(),
        }
    }

    /// Fields behind it, once it has been read to its end.
    pub(crate) fn trailers(&self) -> Option<Trailers> {
        match self {
            RequestBody::None => None,
            RequestBody::H1(input) => input.trailers(),
            RequestBody::Stream(stream) => stream.body_trailers(),
            RequestBody::Kept(kept) => kept.all.trailers.clone(),
            #[cfg(test)]
            RequestBody::Toy(_) => None,
        }
    }

    /// Whether it comes from its client while it is read, so that it can be read but once.
    pub(crate) fn is_streamed(&self) -> bool {
        matches!(self, RequestBody::H1(_) | RequestBody::Stream(_))
    }

    /// Whoever reads it is bound by the settings of the place where the request stands.
    pub(crate) fn set_limits(&self, request: &Request) {
        match self {
            RequestBody::H1(input) => input.set_limits(request),
            RequestBody::Stream(stream) => stream.set_body_limits(request),
            _ => {}
        }
    }

    /// The next bytes of it; `None` at the end. The client is told to send them, if it waits for that.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        match self {
            RequestBody::None => Poll::Ready(None),
            RequestBody::H1(input) => input.poll_next(cx),
            RequestBody::Stream(stream) => stream.poll_body(cx),
            RequestBody::Kept(kept) => Poll::Ready(kept.next()),
            #[cfg(test)]
            RequestBody::Toy(stream) => stream.poll_body(cx),
        }
    }
}

impl Request {
    /// An error was met: the client need not send its body, unless it is to be told to already.
    pub(crate) fn refuse_continue(&mut self) {
        if self.current.expectation == Expectation::Open {
            self.current.expectation = Expectation::Refused;
        }
    }

    /// A content answers that does not want the body: what has come of it is dropped, and the client
    /// may send the rest.
    ///
    /// Errors: the status to answer with instead, where what has come is not sound.
    #[inline]
    pub(crate) fn discard_body(&mut self) -> Result<(), u16> {
        if self.current.expectation == Expectation::Open {
            self.current.expectation = Expectation::Due;
        }
        match &self.body {
            RequestBody::None | RequestBody::Kept(_) => Ok(()),
            #[cfg(test)]
            RequestBody::Toy(_) => Ok(()),
            RequestBody::Stream(stream) => {
                stream.discard_body();
                Ok(())
            }
            RequestBody::H1(input) => {
                let input = input.clone();
                input.discard(self)
            }
        }
    }
}

/// Reads all of a request's body: into memory up to `client_body_buffer_size`, else into a file below
/// `client_body_temp_path`. A request without a body has none afterwards either.
///
/// Errors: the status to answer with; what is wrong was logged.
pub(crate) async fn read_whole(request: &mut Request) -> Result<(), u16> {
    read(request, false).await
}

/// Reads all of a request's body into a file, however small it is; one that has no byte, too. A body that was
/// read before is written there.
///
/// Errors: as of [`read_whole`].
pub(crate) async fn read_into_file(request: &mut Request) -> Result<(), u16> {
    let has_none = matches!(request.body, RequestBody::None);
    if has_none && request.framing() != Framing::Length(0) {
        return Ok(());
    }
    match &request.body {
        RequestBody::Kept(kept) if kept.all.file.is_none() => {
            let memory = kept.all.memory.clone();
            keep_in_file(request, &memory)
        }
        RequestBody::None => keep_in_file(request, b""),
        _ => read(request, true).await,
    }
}

/// Has a body that lies in memory lie in a file.
fn keep_in_file(request: &mut Request, memory: &[u8]) -> Result<(), u16> {
    let mut file = new_file(request, false)?;
    append(request, &mut file, memory)?;
    let all = Rc::new(Whole {
        memory: Bytes::new(),
        file: Some(file),
        len: memory.len() as u64,
        trailers: request.body.trailers(),
    });
    request.body = RequestBody::Kept(Kept { all, given: 0 });
    Ok(())
}

async fn read(request: &mut Request, into_file: bool) -> Result<(), u16> {
    match &request.body {
        RequestBody::None | RequestBody::Kept(_) => return Ok(()),
        body => body.set_limits(request),
    }
    let mut body = request.body.share();
    let client = &request.settings().client;
    let buffer_bytes = client.body_buffer_bytes as usize;
    let mut file = match client.body_in_file_only {
        InFileOnly::Off if !into_file => None,
        _ => Some(new_file(request, !into_file)?),
    };
    let by_threads = disk::writes_by_threads(request.settings()).is_some();
    let mut memory = BytesMut::new();
    let mut len = 0;
    while let Some(next) = poll_fn(|cx| body.poll_next(cx)).await {
        let bytes = next.map_err(|fault| refuse(request, fault))?;
        len += bytes.len() as u64;
        if file.is_none() && memory.len() + bytes.len() > buffer_bytes {
            file = Some(new_file(request, true)?);
        }
        memory.extend_from_slice(&bytes);
        // What threads write is gathered, so that they are not asked for every packet.
        if let Some(file) = &mut file
            && (!by_threads || memory.len() >= GATHERED_BYTES)
        {
            write(request, file, &mut memory).await?;
        }
    }
    if let Some(file) = &mut file {
        write(request, file, &mut memory).await?;
    }
    let all = Whole {
        memory: memory.freeze(),
        file,
        len,
        trailers: body.trailers(),
    };
    let all = Rc::new(all);
    request.body = RequestBody::Kept(Kept { all, given: 0 });
    Ok(())
}

fn refuse(request: &mut Request, fault: Fault) -> u16 {
    let Fault { status, message } = fault;
    let level = match status {
        413 => Level::Error,
        _ => Level::Info,
    };
    request.log(level, format_args!("{message}"));
    request.current.must_close = true;
    request.current.body_refused = true;
    status
}

fn new_file(request: &Request, is_told: bool) -> Result<TempFile, u16> {
    let client = &request.settings().client;
    match client.new_body_file(&request.site.base.prefix) {
        Ok(file) if !is_told => Ok(file),
        Ok(file) => {
            let name = file.path.display();
            request.log(
                Level::Warn,
                format_args!("a client request body is buffered to a temporary file {name}"),
            );
            Ok(file)
        }
        Err((folder, error)) => {
            let (folder, reason) = (folder.display(), crate::log::error_text(&error));
            request.log(
                Level::Crit,
                format_args!(
                    "a temporary file below \"{folder}\" cannot be made ({reason}); \
                     client_body_temp_path names the folder"
                ),
            );
            Err(500)
        }
    }
}

/// Writes what was gathered and empties it; on a thread, where `aio threads` and `aio_write` say so.
async fn write(request: &Request, temp: &mut TempFile, memory: &mut BytesMut) -> Result<(), u16> {
    let bytes = memory.split().freeze();
    if bytes.is_empty() {
        return Ok(());
    }
    let Some(threads) = disk::writes_by_threads(request.settings()) else {
        return append(request, temp, &bytes);
    };
    let file = temp
        .file
        .try_clone()
        .map_err(|error| not_written(request, temp, &error))?;
    let written = disk::run(request, threads, move || {
        io::Write::write_all(&mut &file, &bytes)
    });
    let written = written.await.ok_or(500_u16)?;
    written.map_err(|error| not_written(request, temp, &error))
}

fn append(request: &Request, temp: &mut TempFile, bytes: &[u8]) -> Result<(), u16> {
    let written = io::Write::write_all(&mut temp.file, bytes);
    written.map_err(|error| not_written(request, temp, &error))
}

fn not_written(request: &Request, temp: &TempFile, error: &io::Error) -> u16 {
    let (name, reason) = (temp.path.display(), crate::log::error_text(error));
    request.log(
        Level::Crit,
        format_args!("write() to \"{name}\" failed ({reason})"),
    );
    500
}
