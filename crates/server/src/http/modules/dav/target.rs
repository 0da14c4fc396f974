//! What the headers of a request say of what is to be done.

use revolve_http::HeaderId;

use super::{Refused, refuse};
use crate::http::modules::core::Alias;
use crate::http::modules::ssi;
use crate::http::request::Request;
use crate::log::{Level, Shown};

/// How deep what is asked for goes (RFC 4918, section 10.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The header is not there.
    Unsaid,
    Zero,
    One,
    Infinity,
    /// It was logged.
    Invalid,
}

/// `Depth`.
pub(super) fn depth(request: &Request) -> Depth {
    match request.known(HeaderId::Depth) {
        None => Depth::Unsaid,
        Some(b"0") => Depth::Zero,
        Some(b"1") => Depth::One,
        Some(b"infinity") => Depth::Infinity,
        Some(other) => {
            let other = Shown(other);
            request.log(
                Level::Error,
                format_args!("client sent invalid \"Depth\" header: \"{other}\""),
            );
            Depth::Invalid
        }
    }
}

/// Where a COPY or MOVE leads.
pub(super) struct Target {
    /// The path of the site.
    pub(super) path: Vec<u8>,
    /// `Destination` as it was sent, for the log.
    pub(super) header: String,
    pub(super) overwrite: bool,
}

/// Reads `Destination`, `Depth` and `Overwrite`.
///
/// Errors: the status to answer with, where what is wrong was logged.
///
/// Source: nginx's `ngx_http_dav_copy_move_handler`.
pub(super) fn read(request: &Request) -> Result<Target, Refused> {
    let Some(header) = request.known(HeaderId::Destination) else {
        return Err(refuse(
            request,
            400,
            "client sent no \"Destination\" header",
        ));
    };
    let shown = Shown(header).to_string();
    let path = path_of(request, header, &shown)?;
    if request.path.ends_with(b"/") != header.ends_with(b"/") {
        let uri = Shown(&request.path);
        let message = format!(
            "both URI \"{uri}\" and \"Destination\" URI \"{shown}\" should be either collections or \
             non-collections"
        );
        return Err(refuse(request, 409, &message));
    }
    if let Some(Alias::Prefix(bytes)) = request.settings().core.root.alias
        && path.get(..bytes) != request.path.get(..bytes)
    {
        let message = format!(
            "\"Destination\" URI \"{shown}\" must be within location prefix when using \"alias\""
        );
        return Err(refuse(request, 400, &message));
    }
    check_depth(request)?;
    Ok(Target {
        path,
        overwrite: overwrite(request)?,
        header: shown,
    })
}

/// The path of a `Destination`, which may be a URL of this very host.
fn path_of(request: &Request, header: &[u8], shown: &str) -> Result<Vec<u8>, Refused> {
    let invalid = || {
        let message = format!("client sent invalid \"Destination\" header: \"{shown}\"");
        refuse(request, 400, &message)
    };
    let path = match header.first() {
        Some(b'/') => header,
        _ => behind_host(request, header, shown)?.ok_or_else(invalid)?,
    };
    let (path, _) = ssi::safe_target(request, path.to_vec()).ok_or_else(invalid)?;
    match path.first() {
        Some(b'/') => Ok(path),
        _ => Err(invalid()),
    }
}

/// What stands behind scheme and host; `None` where that is no URL.
fn behind_host<'a>(
    request: &Request,
    header: &'a [u8],
    shown: &str,
) -> Result<Option<&'a [u8]>, Refused> {
    let mut host = Vec::new();
    if !request.append_host(&mut host) {
        return Err(refuse(request, 400, "client sent no \"Host\" header"));
    }
    let scheme: &[u8] = match request.connection.is_secure() {
        true => b"https://",
        false => b"http://",
    };
    let Some(rest) = header.strip_prefix(scheme) else {
        return Ok(None);
    };
    let Some(rest) = rest.strip_prefix(host.as_slice()) else {
        let message = format!(
            "\"Destination\" URI \"{shown}\" is handled by different repository than the source URI"
        );
        return Err(refuse(request, 400, &message));
    };
    Ok(memchr::memchr(b'/', rest).map(|at| &rest[at..]))
}

fn check_depth(request: &Request) -> Result<(), Refused> {
    let is_copy = request.current.method == revolve_http::Method::Copy;
    match depth(request) {
        Depth::Unsaid | Depth::Infinity => Ok(()),
        Depth::Zero if is_copy => Ok(()),
        _ if is_copy => Err(refuse(
            request,
            400,
            "\"Depth\" header must be 0 or infinity",
        )),
        _ => Err(refuse(request, 400, "\"Depth\" header must be infinity")),
    }
}

fn overwrite(request: &Request) -> Result<bool, Refused> {
    match request.known(HeaderId::Overwrite) {
        None | Some(b"T" | b"t") => Ok(true),
        Some(b"F" | b"f") => Ok(false),
        Some(other) => {
            let other = Shown(other);
            let message = format!("client sent invalid \"Overwrite\" header: \"{other}\"");
            Err(refuse(request, 400, &message))
        }
    }
}
