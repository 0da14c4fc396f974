//! The loads: `openssl s_time` for handshakes, wrk for requests on kept connections.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::bench::process::{self, LOAD_CPU};
use crate::bench::{tools, wrk};

/// What a load has done.
#[derive(Debug, PartialEq)]
pub(super) struct Done {
    pub(super) count: u64,
    pub(super) per_s: f64,
}

/// Connects one after the other, for a file each where one is named; `how` is `-new` or `-reuse`.
pub(super) fn handshakes(
    (port, path): (u16, Option<&str>),
    how: &str,
    seconds: u64,
) -> Result<Done, String> {
    let program = tools::find("openssl").ok_or("openssl is missing")?;
    let mut command = Command::new(program);
    command
        .args(["s_time", how])
        .args(path.iter().flat_map(|path| ["-www", *path]))
        .arg("-connect")
        .arg(format!("127.0.0.1:{port}"))
        .args(["-time", &seconds.to_string()])
        .stdin(Stdio::null());
    let output = process::on_cpu(LOAD_CPU, || command.output())?
        .map_err(|error| format!("openssl cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("the report of openssl cannot be read:\n{text}{said}")
    })
}

/// The line about real time: `1234 connections in 3 real seconds, 1280 bytes read per connection`.
fn parse(text: &str) -> Option<Done> {
    let line = text.lines().rfind(|line| line.contains(" real seconds"))?;
    let mut words = line.split_whitespace();
    let count = words.next()?.parse().ok().filter(|count| *count > 0)?;
    let seconds: f64 = words.nth(2)?.parse().ok()?;
    Some(Done {
        count,
        per_s: count as f64 / seconds.max(1.0),
    })
}

/// Asks over kept connections.
pub(super) fn requests(
    (port, path): (u16, &str),
    connections: usize,
    seconds: u64,
) -> Result<Done, String> {
    let ask = wrk::Ask {
        url: format!("https://127.0.0.1:{port}{path}"),
        lines: &[],
        script: None,
    };
    let load = wrk::run(&ask, connections, seconds)?;
    Ok(Done {
        count: load.requests,
        per_s: load.requests_per_s,
    })
}

/// A load that has connected and asked, and then stands still; it ends when dropped.
pub(super) struct Stopped(Child);

impl Stopped {
    pub(super) fn start((port, path): (u16, &str), connections: usize) -> Result<Self, String> {
        let program = tools::find("wrk").ok_or("wrk is missing")?;
        let mut command = Command::new(program);
        command
            .args(["-t1", "-d120s", &format!("-c{connections}")])
            .arg(format!("https://127.0.0.1:{port}{path}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = process::on_cpu(LOAD_CPU, || command.spawn())?;
        let stopped = Self(child.map_err(|error| format!("wrk cannot be run: {error}"))?);
        // All have shaken hands by then, a thousand a second at the slowest.
        std::thread::sleep(Duration::from_secs(2 + connections as u64 / 1000));
        process::signal(stopped.0.id(), Signal::STOP);
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_read() {
        let text = "Collecting connection statistics for 2 seconds\n***\n\n\n\
            1500 connections in 0.70s; 2142.86 connections/user sec, bytes read 1883000\n\
            1500 connections in 3 real seconds, 1255 bytes read per connection\n";
        let expected = Done {
            count: 1500,
            per_s: 500.0,
        };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse(&text.replace("1500", "0")), None);
        assert_eq!(parse("ERROR\n"), None);
    }
}
