//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

pub(crate) const USAGE: &str = "\
usage: message_server [options] [ADDRESS]

ADDRESS is IP:PORT, 127.0.0.1:7100 where it is left out; port 0 lets the system choose.

  --loops N             sub-reactors, each on a thread of its own (2)
  --threads N           threads of the pool that handlers run on (2)
  --connections N       connections at most; one more is told so and closed (10000)
  --queue-bytes N       bytes that may wait for one client (262144). Above half of it messages of
                        others are left out, and said to be lost; at all of it the client is kicked
  --stall-ms N          how long a client may take nothing of what waits for it (10000)
  --pipeline N          requests of one client that are under way at a time (8)
  --heartbeat-ms N      silence after which a client is pinged; after twice that it is kicked (15000)
  --login-ms N          how long a client may take to log in (10000)
  --flood-messages N    messages of one client in a window, at most (200): those beyond are refused,
  --flood-window-ms N   the client is warned, and kicked in the third window with a flood (1000)
  --archive DIR         keeps what is said in each room in DIR/ROOM.log, for the history
  --mask WORD           replaces WORD by asterisks in all texts; may be given several times
  --drain-ms N          how long a graceful stop may take (5000)
  --quiet               no statistics: only where it listens, and errors
  --help                this text

INT and TERM stop gracefully: everybody is told, and what was accepted is done and sent. A second
signal stops at once.
";

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) address: SocketAddr,
    pub(crate) loops: usize,
    pub(crate) threads: usize,
    pub(crate) connections_max: usize,
    pub(crate) queue_bytes_max: u64,
    pub(crate) stall_max: Duration,
    pub(crate) pipeline_max: usize,
    pub(crate) heartbeat: Duration,
    pub(crate) login_max: Duration,
    pub(crate) flood_messages_max: u32,
    pub(crate) flood_window: Duration,
    pub(crate) archive: Option<PathBuf>,
    pub(crate) mask: Vec<String>,
    pub(crate) drain_max: Duration,
    pub(crate) quiet: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            address: ([127, 0, 0, 1], 7100).into(),
            loops: 2,
            threads: 2,
            connections_max: 10_000,
            queue_bytes_max: 256 * 1024,
            stall_max: Duration::from_secs(10),
            pipeline_max: 8,
            heartbeat: Duration::from_secs(15),
            login_max: Duration::from_secs(10),
            flood_messages_max: 200,
            flood_window: Duration::from_secs(1),
            archive: None,
            mask: Vec::new(),
            drain_max: Duration::from_secs(5),
            quiet: false,
        }
    }
}

impl Options {
    /// Reads the command line; `None` when help was asked for.
    pub(crate) fn parse(mut parser: Parser) -> Result<Option<Options>, lexopt::Error> {
        let mut options = Options::default();
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
                Arg::Long("quiet") => options.quiet = true,
                Arg::Long("loops") => options.loops = number(&mut parser, "--loops")?,
                Arg::Long("threads") => options.threads = number(&mut parser, "--threads")?,
                Arg::Long("connections") => {
                    options.connections_max = number(&mut parser, "--connections")?;
                }
                Arg::Long("queue-bytes") => {
                    options.queue_bytes_max = number(&mut parser, "--queue-bytes")?;
                }
                Arg::Long("stall-ms") => options.stall_max = ms(&mut parser, "--stall-ms")?,
                Arg::Long("pipeline") => options.pipeline_max = number(&mut parser, "--pipeline")?,
                Arg::Long("heartbeat-ms") => options.heartbeat = ms(&mut parser, "--heartbeat-ms")?,
                Arg::Long("login-ms") => options.login_max = ms(&mut parser, "--login-ms")?,
                Arg::Long("flood-messages") => {
                    options.flood_messages_max = number(&mut parser, "--flood-messages")?;
                }
                Arg::Long("flood-window-ms") => {
                    options.flood_window = ms(&mut parser, "--flood-window-ms")?;
                }
                Arg::Long("archive") => options.archive = Some(parser.value()?.into()),
                Arg::Long("mask") => options.mask.push(parser.value()?.string()?),
                Arg::Long("drain-ms") => options.drain_max = ms(&mut parser, "--drain-ms")?,
                Arg::Value(address) => {
                    let address = address.string()?;
                    let parsed = address.parse();
                    options.address =
                        parsed.map_err(|_| format!("`{address}` is no IP:PORT to listen on"))?;
                }
                other => return Err(other.unexpected()),
            }
        }
        options.mask.retain(|word| !word.is_empty());
        Ok(Some(options))
    }
}

/// A number greater than zero.
fn number<T: FromStr + Default + PartialEq>(
    parser: &mut Parser,
    option: &str,
) -> Result<T, lexopt::Error> {
    let text = parser.value()?.string()?;
    match text.parse() {
        Ok(number) if number != T::default() => Ok(number),
        _ => Err(format!("{option} needs a number greater than zero, not `{text}`").into()),
    }
}

fn ms(parser: &mut Parser, option: &str) -> Result<Duration, lexopt::Error> {
    number(parser, option).map(Duration::from_millis)
}
