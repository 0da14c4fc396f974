//! A server of HTTP/2 behind the server under test, whose frames a test writes one by one.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::Sender;

use httlib_hpack::Decoder;

use super::http2::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
    frame,
};
use super::upstream::Upstream;

/// What a client has sent.
#[derive(Debug)]
pub(crate) enum Got {
    /// A head, or trailers.
    Head {
        stream: u32,
        fields: Vec<(String, String)>,
        is_last: bool,
    },
    Data {
        stream: u32,
        bytes: Vec<u8>,
        is_last: bool,
    },
    Reset {
        code: u32,
    },
}

/// A whole request.
pub(crate) struct Asked {
    pub(crate) stream: u32,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// A field's value; empty where there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The fields as lines.
    pub(crate) fn lines(&self) -> String {
        let lines = self.fields.iter();
        let lines = lines.map(|(name, value)| format!("{name}: {value}\n"));
        lines.collect()
    }
}

/// The server's side of a connection.
pub(crate) struct Peer {
    wire: TcpStream,
    decoder: Decoder<'static>,
    /// Whether windows are opened again as bodies come.
    pub(crate) takes: bool,
    /// What the client's windows take: of the connection (0) and of each stream.
    windows: HashMap<u32, i64>,
    /// What they take at first.
    window: i64,
    /// Bodies that wait for them.
    bodies: VecDeque<(u32, Vec<u8>, bool)>,
}

/// Serves each connection by `serve`, which begins when the client's preface has come.
pub(crate) fn start(
    settings: &'static [(u16, u32)],
    serve: impl Fn(Peer, &Sender<String>) + Send + Sync + Clone + 'static,
) -> Upstream {
    Upstream::start(move |asked, seen| {
        let mut wire = asked.into_stream();
        let mut preface = [0; PREFACE.len()];
        if wire.read_exact(&mut preface).is_err() || preface != PREFACE {
            return;
        }
        let _ = wire.set_nodelay(true);
        let mut peer = Peer {
            wire,
            decoder: Decoder::default(),
            takes: true,
            windows: [(0, 65535)].into(),
            window: 65535,
            bodies: VecDeque::new(),
        };
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        peer.frame(SETTINGS, 0, 0, &settings);
        serve(peer, seen);
    })
}

impl Peer {
    /// Sends bytes, if the other side still takes them.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // It may have closed, which a test may want.
        let _ = self.wire.write_all(bytes);
    }

    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send(&frame(kind, flags, stream, payload));
    }

    pub(crate) fn head(&mut self, stream: u32, fields: &[(&str, &str)], flags: u8) {
        self.frame(HEADERS, flags | END_HEADERS, stream, &block(fields));
    }

    pub(crate) fn data(&mut self, stream: u32, bytes: &[u8], flags: u8) {
        self.frame(DATA, flags, stream, bytes);
    }

    /// Sends a part of a body, as the windows take it.
    pub(crate) fn body(&mut self, stream: u32, bytes: Vec<u8>, is_last: bool) {
        self.bodies.push_back((stream, bytes, is_last));
        self.pump();
    }

    fn pump(&mut self) {
        while let Some((stream, mut bytes, is_last)) = self.bodies.pop_front() {
            let own = *self.windows.entry(stream).or_insert(self.window);
            let room = own.min(self.windows[&0]).clamp(0, 16384) as usize;
            if room == 0 && !bytes.is_empty() {
                return self.bodies.push_front((stream, bytes, is_last));
            }
            let rest = bytes.split_off(room.min(bytes.len()));
            for id in [0, stream] {
                *self.windows.get_mut(&id).expect("a window") -= bytes.len() as i64;
            }
            let end = u8::from(is_last && rest.is_empty());
            self.data(stream, &bytes, end);
            if !rest.is_empty() {
                self.bodies.push_front((stream, rest, is_last));
            }
        }
    }

    fn open(&mut self, stream: u32, bytes: i64) {
        *self.windows.entry(stream).or_insert(self.window) += bytes;
        self.pump();
    }

    /// Answers with 200 and this body.
    pub(crate) fn answer(&mut self, stream: u32, body: &str) {
        let len = body.len().to_string();
        self.head(stream, &[(":status", "200"), ("content-length", &len)], 0);
        self.data(stream, body.as_bytes(), END_STREAM);
    }

    /// What comes next; nothing at the connection's end.
    pub(crate) fn next(&mut self) -> Option<Got> {
        loop {
            let mut head = [0; 9];
            self.wire.read_exact(&mut head).ok()?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let stream = u32::from_be_bytes(stream);
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.wire.read_exact(&mut payload).ok()?;
            let is_last = flags & END_STREAM != 0;
            match kind {
                HEADERS => {
                    assert!(flags & END_HEADERS != 0, "a head in one frame");
                    let mut fields = Vec::new();
                    let decoded = self.decoder.decode(&mut payload, &mut fields);
                    decoded.expect("a header block");
                    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                    let fields = fields.into_iter();
                    let fields = fields.map(|(name, value, _)| (text(name), text(value)));
                    return Some(Got::Head {
                        stream,
                        fields: fields.collect(),
                        is_last,
                    });
                }
                DATA => {
                    if self.takes && !payload.is_empty() {
                        let len = (payload.len() as u32).to_be_bytes();
                        self.frame(WINDOW_UPDATE, 0, 0, &len);
                        if !is_last {
                            self.frame(WINDOW_UPDATE, 0, stream, &len);
                        }
                    }
                    let bytes = payload;
                    return Some(Got::Data {
                        stream,
                        bytes,
                        is_last,
                    });
                }
                RST_STREAM => {
                    let code = u32::from_be_bytes(payload[..4].try_into().expect("four bytes"));
                    return Some(Got::Reset { code });
                }
                SETTINGS if flags & 1 == 0 => {
                    for setting in payload.chunks_exact(6).filter(|it| it[1] == 4) {
                        let window = setting[2..].try_into().expect("four bytes");
                        self.window = i64::from(u32::from_be_bytes(window));
                    }
                    self.frame(SETTINGS, 1, 0, &[]);
                }
                WINDOW_UPDATE => {
                    let bytes = u32::from_be_bytes(payload[..4].try_into().expect("four bytes"));
                    self.open(stream, i64::from(bytes));
                }
                _ => {}
            }
        }
    }

    /// The next whole request, of a client that sends one at a time.
    pub(crate) fn request(&mut self) -> Option<Asked> {
        let mut asked: Option<Asked> = None;
        loop {
            let is_whole = match (self.next()?, &mut asked) {
                (Got::Data { bytes, is_last, .. }, Some(asked)) => {
                    asked.body.extend_from_slice(&bytes);
                    is_last
                }
                (
                    Got::Head {
                        fields, is_last, ..
                    },
                    Some(asked),
                ) => {
                    asked.fields.extend(fields);
                    is_last
                }
                (
                    Got::Head {
                        stream,
                        fields,
                        is_last,
                    },
                    None,
                ) => {
                    let body = Vec::new();
                    asked = Some(Asked {
                        stream,
                        fields,
                        body,
                    });
                    is_last
                }
                // It is not wanted any more.
                (Got::Reset { .. }, asked) => {
                    *asked = None;
                    false
                }
                _ => false,
            };
            if is_whole {
                return asked;
            }
        }
    }

    /// Waits until the other side closes; what it sends before is dropped.
    pub(crate) fn wait_closed(&mut self) {
        while self.next().is_some() {}
    }
}
