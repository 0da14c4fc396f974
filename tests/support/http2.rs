//! A raw client of HTTP/2: it sends any frames, and gathers what comes.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use httlib_hpack::Decoder;

use super::wait::PATIENCE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const PRIORITY_UPDATE: u8 = 16;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What has come on a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The heads, interim ones first; trailers are the last.
    pub(crate) heads: Vec<Vec<(String, String)>>,
    pub(crate) body: Vec<u8>,
    /// Whether the server has ended it.
    pub(crate) is_ended: bool,
    /// The code of its reset.
    pub(crate) reset: Option<u32>,
}

impl Answer {
    /// The status; 0 where none has come.
    pub(crate) fn status(&self) -> u16 {
        self.header(":status")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    /// The first value of a field in any head but interim ones.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let is_final =
            |head: &&Vec<(String, String)>| !head[0].1.starts_with('1') || head[0].0 != ":status";
        let mut fields = self.heads.iter().filter(is_final).flatten();
        fields
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// A connection.
pub(crate) struct Http2 {
    wire: Box<dyn Wire>,
    decoder: Decoder<'static>,
    next_stream: u32,
    /// Whether windows are opened again as bodies come.
    pub(crate) takes: bool,
    /// Streams in the order in which bytes of their bodies have come, each once in a row.
    pub(crate) order: Vec<u32>,
    pub(crate) answers: HashMap<u32, Answer>,
    /// The last stream and the code of a GOAWAY.
    pub(crate) goaway: Option<(u32, u32)>,
    pub(crate) is_closed: bool,
    pub(crate) pongs: u32,
}

impl Http2 {
    /// Connects to a port of the loopback address, and says what begins HTTP/2.
    #[track_caller]
    pub(crate) fn connect(port: u16) -> Http2 {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Http2::over(stream, &[])
    }

    /// The same over something that is connected, with these settings.
    pub(crate) fn over(wire: impl Read + Write + 'static, settings: &[(u16, u32)]) -> Http2 {
        let mut client = Http2 {
            wire: Box::new(wire),
            decoder: Decoder::default(),
            next_stream: 1,
            takes: true,
            order: Vec::new(),
            answers: HashMap::new(),
            goaway: None,
            is_closed: false,
            pongs: 0,
        };
        let mut begin = PREFACE.to_vec();
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        begin.extend(frame(SETTINGS, 0, 0, &settings));
        client.send(&begin);
        client
    }

    /// Sends bytes, if the server still takes them.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // A server that sends us away may have closed already, which a test may want.
        let _ = self.wire.write_all(bytes).and_then(|()| self.wire.flush());
    }

    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send(&frame(kind, flags, stream, payload));
    }

    /// Begins a stream with these fields; `flags` may have END_STREAM.
    pub(crate) fn begin(&mut self, fields: &[(&str, &str)], flags: u8) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.frame(HEADERS, flags | END_HEADERS, stream, &block(fields));
        stream
    }

    /// Asks for a path.
    pub(crate) fn ask(&mut self, path: &str) -> u32 {
        self.begin(&get(path), END_STREAM)
    }

    /// Asks for a path, and waits for the answer.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        let stream = self.ask(path);
        self.answer(stream)
    }

    /// Sends a body, and waits for the answer.
    #[track_caller]
    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> Answer {
        let mut fields = get(path).to_vec();
        fields[0].1 = "POST";
        let len = body.len().to_string();
        fields.push(("content-length", &len));
        let stream = self.begin(&fields, 0);
        self.body(stream, body);
        self.answer(stream)
    }

    /// Sends a body in frames, as one that trusts that the windows are open.
    pub(crate) fn body(&mut self, stream: u32, body: &[u8]) {
        let mut pieces = body.chunks(16384).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() {
                END_STREAM
            } else {
                0
            };
            self.frame(DATA, flags, stream, piece);
        }
    }

    /// Reads until a stream has ended.
    #[track_caller]
    pub(crate) fn answer(&mut self, stream: u32) -> Answer {
        loop {
            if let Some(answer) = self.answers.get(&stream)
                && (answer.is_ended || answer.reset.is_some())
            {
                return answer.clone();
            }
            if let Err(error) = self.read() {
                panic!(
                    "no answer on {stream}: {error}; {:?} {:?}",
                    self.goaway, self.answers
                );
            }
        }
    }

    /// Reads until the server has sent us away and closed; the code is the answer.
    #[track_caller]
    pub(crate) fn sent_away(&mut self) -> u32 {
        while !self.is_closed {
            if let Err(error) = self.read() {
                assert!(self.is_closed, "{error}; {:?}", self.goaway);
            }
        }
        self.goaway.expect("it says why").1
    }

    /// Reads one frame.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        let read = self.read_frame();
        if let Err(error) = &read {
            let is_late = matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            );
            self.is_closed = !is_late;
        }
        let (kind, flags, stream, payload) = read?;
        match kind {
            HEADERS => self.note_head(stream, flags, payload)?,
            DATA => {
                if self.takes && !payload.is_empty() {
                    let len = (payload.len() as u32).to_be_bytes();
                    self.frame(WINDOW_UPDATE, 0, 0, &len);
                    if flags & END_STREAM == 0 {
                        self.frame(WINDOW_UPDATE, 0, stream, &len);
                    }
                }
                if self.order.last() != Some(&stream) {
                    self.order.push(stream);
                }
                let answer = self.answers.entry(stream).or_default();
                answer.body.extend_from_slice(&payload);
                answer.is_ended |= flags & END_STREAM != 0;
            }
            RST_STREAM => {
                self.answers.entry(stream).or_default().reset = Some(number(&payload));
            }
            SETTINGS if flags & 1 == 0 => self.frame(SETTINGS, 1, 0, &[]),
            PING => self.pongs += 1,
            GOAWAY => self.goaway = Some((number(&payload), number(&payload[4..]))),
            _ => {}
        }
        Ok(())
    }

    fn note_head(&mut self, stream: u32, flags: u8, payload: Vec<u8>) -> io::Result<()> {
        let mut block = payload;
        let mut is_whole = flags & END_HEADERS != 0;
        while !is_whole {
            let (_, flags, _, more) = self.read_frame()?;
            block.extend_from_slice(&more);
            is_whole = flags & END_HEADERS != 0;
        }
        let mut fields = Vec::new();
        let decoded = self.decoder.decode(&mut block, &mut fields);
        decoded.map_err(|error| io::Error::other(format!("{error:?}")))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let fields = fields
            .into_iter()
            .map(|(name, value, _)| (text(name), text(value)));
        let answer = self.answers.entry(stream).or_default();
        answer.heads.push(fields.collect());
        answer.is_ended |= flags & END_STREAM != 0;
        Ok(())
    }

    fn read_frame(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.wire.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.wire.read_exact(&mut payload)?;
        Ok((kind, flags, u32::from_be_bytes(stream), payload))
    }
}

fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().expect("four bytes"))
}

/// The fields that ask for a path.
pub(crate) fn get(path: &str) -> [(&str, &str); 4] {
    [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
    ]
}

/// Fields as literals, which nobody keeps.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let len = text.len();
            match len < 127 {
                true => block.push(len as u8),
                false => {
                    block.push(127);
                    let mut rest = len - 127;
                    while rest >= 128 {
                        block.push(rest as u8 | 128);
                        rest >>= 7;
                    }
                    block.push(rest as u8);
                }
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
