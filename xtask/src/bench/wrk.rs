//! The load: wrk, one thread, on the load's CPU.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::process::{self, LOAD_CPU};
use super::tools;

/// What one run of wrk found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    pub(super) requests: u64,
    pub(super) requests_per_s: f64,
    pub(super) p99_us: f64,
}

/// What is asked for.
pub(super) struct Ask {
    pub(super) url: String,
    /// Header lines beside its own.
    pub(super) lines: &'static [&'static str],
    /// A script in Lua that makes something else of the request.
    pub(super) script: Option<PathBuf>,
}

/// Sends the request over `connections` kept connections for `seconds`.
///
/// # Errors
///
/// wrk cannot be run, connections failed, or something else than 2xx was answered: such a run
/// measures nothing.
pub(super) fn run(ask: &Ask, connections: usize, seconds: u64) -> Result<Load, String> {
    let program = tools::find("wrk").ok_or("wrk is missing")?;
    let mut command = Command::new(program);
    command
        .args(["-t1", "--latency"])
        .args([format!("-c{connections}"), format!("-d{seconds}s")])
        .args(ask.lines.iter().flat_map(|line| ["-H", *line]))
        .arg(&ask.url)
        .stdin(Stdio::null());
    if let Some(script) = &ask.script {
        command.arg("-s").arg(script);
    }
    let output = process::on_cpu(LOAD_CPU, || command.output())?
        .map_err(|error| format!("wrk cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("wrk failed with {}: {text}{said}", output.status));
    }
    parse(&text)
}

fn parse(text: &str) -> Result<Load, String> {
    for bad in ["Socket errors:", "Non-2xx or 3xx responses:"] {
        if let Some(line) = text.lines().find(|line| line.contains(bad)) {
            return Err(format!("the load failed: {}", line.trim()));
        }
    }
    let word_before = |mark: &str| {
        let line = text.lines().find(|line| line.contains(mark))?;
        line.split_whitespace().next()
    };
    let word_after = |mark: &str| {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(mark))?;
        line.split_whitespace().nth(1)
    };
    let requests = word_before("requests in").and_then(|word| word.parse().ok());
    let requests_per_s = word_after("Requests/sec:").and_then(|word| word.parse().ok());
    let p99_us = word_after("99%").and_then(microseconds);
    match (requests, requests_per_s, p99_us) {
        (Some(0), ..) => Err("the load got no answer at all".into()),
        (Some(requests), Some(requests_per_s), Some(p99_us)) => Ok(Load {
            requests,
            requests_per_s,
            p99_us,
        }),
        _ => Err(format!("wrk's report cannot be read:\n{text}")),
    }
}

/// wrk's `1.23ms`, `456.00us`, `1.50s`, `1.10m` in microseconds.
fn microseconds(word: &str) -> Option<f64> {
    let (number, scale) = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 60e6)]
        .into_iter()
        .find_map(|(unit, scale)| Some((word.strip_suffix(unit)?, scale)))?;
    Some(number.parse::<f64>().ok()? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
Running 2s test @ http://127.0.0.1:18200/1k.html
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   551.25us   79.64us   2.67ms   90.64%
    Req/Sec   116.23k     5.03k  122.17k    90.00%
  Latency Distribution
     50%  538.00us
     75%  560.00us
     90%  603.00us
     99%    1.25ms
  231421 requests in 2.00s, 278.53MB read
Requests/sec: 115675.27
Transfer/sec:    139.22MB
";

    #[test]
    fn the_report_is_read() {
        let load = parse(REPORT).unwrap();
        assert_eq!(
            load,
            Load {
                requests: 231_421,
                requests_per_s: 115_675.27,
                p99_us: 1250.0
            }
        );
    }

    #[test]
    fn failures_are_errors() {
        let errors = format!("{REPORT}  Socket errors: connect 0, read 3, write 0, timeout 0\n");
        assert!(parse(&errors).unwrap_err().contains("read 3"));
        let statuses = format!("{REPORT}  Non-2xx or 3xx responses: 12\n");
        assert!(parse(&statuses).unwrap_err().contains("12"));
        assert!(parse("").is_err());
        assert!(parse(&REPORT.replace("231421", "0")).is_err());
    }

    #[test]
    fn units_are_read() {
        assert_eq!(microseconds("456.00us"), Some(456.0));
        assert_eq!(microseconds("1.50s"), Some(1_500_000.0));
        assert_eq!(microseconds("1.00m"), Some(60_000_000.0));
        assert_eq!(microseconds("1.00h"), None);
    }
}
