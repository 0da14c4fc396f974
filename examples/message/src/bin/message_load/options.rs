//! The command line.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

pub(crate) const USAGE: &str = "\
usage: message_load [options] [ADDRESS]

ADDRESS is that of the server, 127.0.0.1:7100 where it is left out.

  --clients N     clients that talk (100)
  --rooms N       rooms that they are in, one each (10)
  --interval-ms N between two messages of one client (1000)
  --bytes N       bytes of a message's text, from 24 to 4000 (64)
  --seconds S     how long (10)
  --flood N       more clients, which send without a pause and read nothing of what is answered;
                  kicked, they come again
  --slow N        more clients, which join a room and then read nothing
  --vanish N      more clients, which come, say something and are gone without a word, again
                  and again
  --help          this text

Prints how much was said and heard, and how long it took from saying to hearing.
";

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) address: SocketAddr,
    pub(crate) clients: u32,
    pub(crate) rooms: u32,
    pub(crate) interval: Duration,
    pub(crate) text_bytes: usize,
    pub(crate) length: Duration,
    pub(crate) flood: u32,
    pub(crate) slow: u32,
    pub(crate) vanish: u32,
}

impl Options {
    /// Reads the command line; `None` when help was asked for.
    pub(crate) fn parse(mut parser: Parser) -> Result<Option<Options>, lexopt::Error> {
        let mut options = Options {
            address: ([127, 0, 0, 1], 7100).into(),
            clients: 100,
            rooms: 10,
            interval: Duration::from_secs(1),
            text_bytes: 64,
            length: Duration::from_secs(10),
            flood: 0,
            slow: 0,
            vanish: 0,
        };
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
                Arg::Long("clients") => options.clients = number(&mut parser, "--clients")?,
                Arg::Long("rooms") => options.rooms = number::<u32>(&mut parser, "--rooms")?.max(1),
                Arg::Long("interval-ms") => {
                    let ms: u64 = number(&mut parser, "--interval-ms")?;
                    options.interval = Duration::from_millis(ms.max(1));
                }
                Arg::Long("bytes") => {
                    options.text_bytes = number::<usize>(&mut parser, "--bytes")?.clamp(24, 4000);
                }
                Arg::Long("seconds") => {
                    let seconds = number(&mut parser, "--seconds")?;
                    let length = Duration::try_from_secs_f64(seconds);
                    options.length = length.map_err(|error| format!("--seconds: {error}"))?;
                }
                Arg::Long("flood") => options.flood = number(&mut parser, "--flood")?,
                Arg::Long("slow") => options.slow = number(&mut parser, "--slow")?,
                Arg::Long("vanish") => options.vanish = number(&mut parser, "--vanish")?,
                Arg::Value(address) => {
                    let address = address.string()?;
                    let parsed = address.parse();
                    options.address = parsed.map_err(|_| format!("`{address}` is no IP:PORT"))?;
                }
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(options))
    }
}

fn number<T: FromStr>(parser: &mut Parser, option: &str) -> Result<T, lexopt::Error> {
    let text = parser.value()?.string()?;
    let number = text.parse();
    number.map_err(|_| format!("{option} needs a number, not `{text}`").into())
}
