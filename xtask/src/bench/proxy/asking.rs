//! How proxies are started and asked, whatever is measured.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use super::cases::Case;
use crate::bench::http;
use crate::bench::servers::{Server, Setup};
use crate::bench::wrk::Ask;

/// Connections of the load, where none are asked for.
pub(super) const CONNECTIONS: usize = 64;

/// What wrk is told; a body needs a script of its own.
pub(super) fn ask(case: &Case, server: &Server, script: &Option<PathBuf>) -> Ask {
    Ask {
        url: format!("http://{}{}", server.address(), case.path),
        lines: case.lines(),
        script: script.clone(),
    }
}

pub(super) fn script(case: &Case) -> Result<Option<PathBuf>, String> {
    if case.sent_bytes == 0 {
        return Ok(None);
    }
    let name = format!("revolve-bench-{}-{}.lua", std::process::id(), case.name);
    let path = std::env::temp_dir().join(name);
    let text = format!(
        "wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", {})\n",
        case.sent_bytes
    );
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Some(path))
}

pub(super) fn setup<'a>(case: &Case, connections: usize) -> Setup<'a> {
    Setup {
        // Both sides.
        connections_max: connections * 2,
        proxy: Some(case.upstreams),
        ..Setup::default()
    }
}

/// Asks once, and checks that the answer is the upstream's; gives its bytes, head and all.
pub(super) fn probe(case: &Case, server: &Server) -> Result<usize, String> {
    let say = |what: &str| format!("{} of {}: {what}", case.name, server.kind.name());
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(server.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(&case.request())?;
        let mut answer = Vec::new();
        let mut part = [0; 64 * 1024];
        loop {
            let read = stream.read(&mut part)?;
            answer.extend_from_slice(&part[..read]);
            let head = http::head_bytes(&answer);
            if read == 0 || head.is_some_and(|head| answer.len() >= head + case.answer_bytes) {
                return Ok(answer);
            }
        }
    };
    let answer = ask().map_err(|error| say(&error.to_string()))?;
    let head = http::head_bytes(&answer).ok_or_else(|| say("no head came"))?;
    if !answer.starts_with(b"HTTP/1.1 200") || answer.len() != head + case.answer_bytes {
        let line = answer
            .split(|byte| *byte == b'\r')
            .next()
            .unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        return Err(say(&format!(
            "{line}, {} bytes of body",
            answer.len() - head
        )));
    }
    Ok(answer.len())
}
