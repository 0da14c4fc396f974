//! What the master and its workers say to each other, as bytes and descriptors.
//!
//! Both sides are the same executable, so the form has no versions: numbers are little-endian,
//! strings stand behind their length.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use revolve_conf::Snapshot;
use revolve_server::{SocketId, ZoneLabel};

/// A question to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The number that the answer carries.
    pub(crate) number: u64,
    /// What it is about.
    pub(crate) subject: Subject,
}

/// What a worker is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Its loops, with so many connections of each.
    Loops(usize),
    /// The groups of servers behind it; what the words of an operator say of one is done before.
    Upstreams(Option<String>),
}

/// One message. `F` is a descriptor: borrowed where it is sent, owned where it is received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<F> {
    /// To a worker: take this configuration.
    Configure(Box<Bundle<F>>),
    /// To a worker: write to these log files from now on.
    Reopen(Vec<(PathBuf, F)>),
    /// To a worker: finish what is at hand, then exit. Connections that idle go to the workers of a new
    /// binary, where there are some.
    Drain(Option<F>),
    /// To a worker: exit.
    Stop,
    /// To a worker: say what you do.
    Ask(Question),
    /// To the master: the answer to the question of this number, as JSON.
    Answer(u64, String),
    /// To the master: the configuration of this generation is in force.
    Ready(u64),
    /// To the master: the configuration of this generation could not be taken, and why.
    Failed(u64, String),
}

/// All that a worker needs to serve a configuration: every file that was read for it, and the
/// descriptors that it takes privilege to open.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bundle<F> {
    /// Counts the configurations of one master, from 1.
    pub(crate) generation: u64,
    /// The configuration file.
    pub(crate) config: PathBuf,
    /// The folder of relative paths.
    pub(crate) prefix: PathBuf,
    /// The error log where the configuration names none.
    pub(crate) error_log: PathBuf,
    /// The access log where the configuration names none.
    pub(crate) access_log: Option<PathBuf>,
    /// The text of `-g`.
    pub(crate) globals: Option<String>,
    /// Whether the worker changes to the configured user.
    pub(crate) changes_user: bool,
    /// Every file that the configuration read.
    pub(crate) snapshot: Snapshot,
    /// Listening sockets.
    pub(crate) listeners: Vec<(SocketId, F)>,
    /// Open log files.
    pub(crate) logs: Vec<(PathBuf, F)>,
    /// State that all workers share.
    pub(crate) zones: Vec<(ZoneLabel, F)>,
    /// How connections are dealt to the other workers, where there are any.
    pub(crate) dealing: Option<Dealing<F>>,
    /// Where the workers of the master before send connections that idle.
    pub(crate) inherited: Option<F>,
}

/// The sockets over which workers send each other connections.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dealing<F> {
    /// The worker's own place.
    pub(crate) own: u64,
    /// The master's process id, which tells its workers from those of another.
    pub(crate) group: u64,
    /// Where each receives, by its place: the worker's own is among them, and of another it takes what that
    /// leaves lying.
    pub(crate) inboxes: Vec<F>,
    /// Where it sends, by the place of whom it sends to.
    pub(crate) others: Vec<F>,
}

/// Bytes that are no message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct DecodeError;

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message between master and worker is malformed")
    }
}

impl std::error::Error for DecodeError {}

const CONFIGURE: u8 = 1;
const REOPEN: u8 = 2;
const DRAIN: u8 = 3;
const STOP: u8 = 4;
const READY: u8 = 5;
const FAILED: u8 = 6;
const ASK: u8 = 7;
const ANSWER: u8 = 8;
/// What a question is about.
const LOOPS: u8 = 1;
const UPSTREAMS: u8 = 2;

impl<F> Message<F> {
    /// The message as bytes, and the descriptors that go with it.
    pub(crate) fn encode(self) -> (Vec<u8>, Vec<F>) {
        let mut out = Writer::new(Vec::new());
        match self {
            Message::Configure(bundle) => {
                out.byte(CONFIGURE);
                out.bundle(*bundle);
            }
            Message::Reopen(logs) => {
                out.byte(REOPEN);
                out.logs(logs);
            }
            Message::Drain(handoff) => {
                out.byte(DRAIN);
                out.optional_fd(handoff);
            }
            Message::Stop => out.byte(STOP),
            Message::Ask(question) => {
                out.byte(ASK);
                out.number(question.number);
                match question.subject {
                    Subject::Loops(max) => {
                        out.byte(LOOPS);
                        out.number(max as u64);
                    }
                    Subject::Upstreams(words) => {
                        out.byte(UPSTREAMS);
                        out.string(words.unwrap_or_default().as_bytes());
                    }
                }
            }
            Message::Answer(number, answer) => {
                out.byte(ANSWER);
                out.number(number);
                out.string(answer.as_bytes());
            }
            Message::Ready(generation) => {
                out.byte(READY);
                out.number(generation);
            }
            Message::Failed(generation, reason) => {
                out.byte(FAILED);
                out.number(generation);
                out.string(reason.as_bytes());
            }
        }
        out.finish()
    }

    /// The message that [`Message::encode`] made these of.
    pub(crate) fn decode(bytes: &[u8], fds: Vec<F>) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes, fds);
        let message = match from.byte()? {
            CONFIGURE => Message::Configure(Box::new(from.bundle()?)),
            REOPEN => Message::Reopen(from.logs()?),
            DRAIN => Message::Drain(from.optional_fd()?),
            STOP => Message::Stop,
            ASK => Message::Ask(Question {
                number: from.number()?,
                subject: match from.byte()? {
                    LOOPS => {
                        Subject::Loops(usize::try_from(from.number()?).map_err(|_| DecodeError)?)
                    }
                    UPSTREAMS => {
                        Subject::Upstreams(Some(from.text()?).filter(|words| !words.is_empty()))
                    }
                    _ => return Err(DecodeError),
                },
            }),
            ANSWER => Message::Answer(from.number()?, from.text()?),
            READY => Message::Ready(from.number()?),
            FAILED => Message::Failed(from.number()?, from.text()?),
            _ => return Err(DecodeError),
        };
        if from.rest.is_empty() && from.fds.next().is_none() {
            Ok(message)
        } else {
            Err(DecodeError)
        }
    }
}

/// Writes values, one behind the other.
pub(crate) struct Writer<F> {
    bytes: Vec<u8>,
    fds: Vec<F>,
}

impl<F> Writer<F> {
    /// Writes behind these bytes.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let fds = Vec::new();
        Writer { bytes, fds }
    }

    /// All that was written.
    pub(crate) fn finish(self) -> (Vec<u8>, Vec<F>) {
        (self.bytes, self.fds)
    }

    pub(crate) fn fd(&mut self, fd: F) {
        self.fds.push(fd);
    }

    fn optional_fd(&mut self, fd: Option<F>) {
        self.byte(u8::from(fd.is_some()));
        self.fds.extend(fd);
    }

    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn string(&mut self, string: &[u8]) {
        self.number(string.len() as u64);
        self.bytes.extend_from_slice(string);
    }

    pub(crate) fn path(&mut self, path: &std::path::Path) {
        self.string(path.as_os_str().as_bytes());
    }

    fn optional(&mut self, string: Option<&[u8]>) {
        self.byte(u8::from(string.is_some()));
        if let Some(string) = string {
            self.string(string);
        }
    }

    fn logs(&mut self, logs: Vec<(PathBuf, F)>) {
        self.number(logs.len() as u64);
        for (path, fd) in logs {
            self.path(&path);
            self.fd(fd);
        }
    }

    fn bundle(&mut self, bundle: Bundle<F>) {
        self.number(bundle.generation);
        for path in [&bundle.config, &bundle.prefix, &bundle.error_log] {
            self.path(path);
        }
        self.optional(
            bundle
                .access_log
                .as_ref()
                .map(|path| path.as_os_str().as_bytes()),
        );
        self.optional(bundle.globals.as_deref().map(str::as_bytes));
        self.byte(u8::from(bundle.changes_user));
        self.string(&bundle.snapshot.encode());
        self.number(bundle.listeners.len() as u64);
        for (socket, fd) in bundle.listeners {
            let mut name = Vec::new();
            socket.encode(&mut name);
            self.string(&name);
            self.fd(fd);
        }
        self.logs(bundle.logs);
        self.number(bundle.zones.len() as u64);
        for (label, fd) in bundle.zones {
            self.string(&label.encode());
            self.fds.push(fd);
        }
        self.byte(u8::from(bundle.dealing.is_some()));
        if let Some(dealing) = bundle.dealing {
            self.number(dealing.own);
            self.number(dealing.group);
            self.number(dealing.others.len() as u64);
            self.fds.extend(dealing.inboxes);
            self.fds.extend(dealing.others);
        }
        self.optional_fd(bundle.inherited);
    }
}

/// Reads what a [`Writer`] wrote, in the same order.
pub(crate) struct Reader<'a, F> {
    rest: &'a [u8],
    fds: std::vec::IntoIter<F>,
}

impl<'a, F> Reader<'a, F> {
    pub(crate) fn new(bytes: &'a [u8], fds: Vec<F>) -> Self {
        Reader {
            rest: bytes,
            fds: fds.into_iter(),
        }
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.rest.split_first().ok_or(DecodeError)?;
        self.rest = rest;
        Ok(byte)
    }

    fn optional_fd(&mut self) -> Result<Option<F>, DecodeError> {
        self.flag()?.then(|| self.fd()).transpose()
    }

    fn flag(&mut self) -> Result<bool, DecodeError> {
        Ok(self.byte()? != 0)
    }

    pub(crate) fn number(&mut self) -> Result<u64, DecodeError> {
        let (number, rest) = self.rest.split_first_chunk().ok_or(DecodeError)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*number))
    }

    pub(crate) fn string(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.number()?).map_err(|_| DecodeError)?;
        let (string, rest) = self.rest.split_at_checked(length).ok_or(DecodeError)?;
        self.rest = rest;
        Ok(string)
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        String::from_utf8(self.string()?.to_vec()).map_err(|_| DecodeError)
    }

    fn path(&mut self) -> Result<PathBuf, DecodeError> {
        Ok(PathBuf::from(OsStr::from_bytes(self.string()?)))
    }

    pub(crate) fn fd(&mut self) -> Result<F, DecodeError> {
        self.fds.next().ok_or(DecodeError)
    }

    fn logs(&mut self) -> Result<Vec<(PathBuf, F)>, DecodeError> {
        (0..self.number()?)
            .map(|_| Ok((self.path()?, self.fd()?)))
            .collect()
    }

    fn listener(&mut self) -> Result<(SocketId, F), DecodeError> {
        let socket = SocketId::decode(self.string()?).ok_or(DecodeError)?;
        Ok((socket, self.fd()?))
    }

    fn bundle(&mut self) -> Result<Bundle<F>, DecodeError> {
        let generation = self.number()?;
        let (config, prefix, error_log) = (self.path()?, self.path()?, self.path()?);
        let access_log = if self.flag()? {
            Some(self.path()?)
        } else {
            None
        };
        let globals = if self.flag()? {
            Some(self.text()?)
        } else {
            None
        };
        let changes_user = self.flag()?;
        let snapshot = Snapshot::decode(self.string()?).map_err(|_| DecodeError)?;
        let count = self.number()?;
        let listeners = (0..count)
            .map(|_| self.listener())
            .collect::<Result<_, _>>()?;
        Ok(Bundle {
            generation,
            config,
            prefix,
            error_log,
            access_log,
            globals,
            changes_user,
            snapshot,
            listeners,
            logs: self.logs()?,
            zones: self.zones()?,
            dealing: if self.flag()? {
                Some(self.dealing()?)
            } else {
                None
            },
            inherited: if self.flag()? { Some(self.fd()?) } else { None },
        })
    }

    fn zones(&mut self) -> Result<Vec<(ZoneLabel, F)>, DecodeError> {
        (0..self.number()?)
            .map(|_| {
                let label = ZoneLabel::decode(self.string()?).ok_or(DecodeError)?;
                Ok((label, self.fd()?))
            })
            .collect()
    }

    fn dealing(&mut self) -> Result<Dealing<F>, DecodeError> {
        let (own, group, count) = (self.number()?, self.number()?, self.number()?);
        Ok(Dealing {
            own,
            group,
            inboxes: (0..count).map(|_| self.fd()).collect::<Result<_, _>>()?,
            others: (0..count).map(|_| self.fd()).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use revolve_reactor::Address;

    fn bundle() -> Bundle<u32> {
        let mut snapshot = Snapshot::default();
        snapshot.insert_file("/etc/x.conf", b"events {}\xff".to_vec());
        snapshot.insert_glob("/etc/*", vec!["/etc/x.conf".into()]);
        Bundle {
            generation: 7,
            config: "/etc/x.conf".into(),
            prefix: "/srv".into(),
            error_log: "stderr".into(),
            access_log: Some("/a".into()),
            globals: Some(String::new()),
            changes_user: true,
            snapshot,
            listeners: vec![
                (
                    SocketId::stream(Address::Inet("127.0.0.1:80".parse().unwrap())),
                    10,
                ),
                (
                    SocketId::stream(Address::Inet("[::1]:80".parse().unwrap())),
                    11,
                ),
                (SocketId::stream(Address::Unix("/run/x".into())), 12),
            ],
            logs: vec![("/var/log/a".into(), 13), ("/var/log/b".into(), 14)],
            zones: vec![(
                ZoneLabel {
                    kind: "limit_conn_zone".into(),
                    name: "one".into(),
                    bytes: 1 << 20,
                    layout: 8,
                    key: "$uri".into(),
                },
                15,
            )],
            dealing: Some(Dealing {
                own: 1,
                group: 2,
                inboxes: vec![16, 20],
                others: vec![17, 18],
            }),
            inherited: Some(19),
        }
    }

    fn messages() -> Vec<Message<u32>> {
        vec![
            Message::Configure(Box::new(bundle())),
            Message::Configure(Box::new(Bundle {
                globals: None,
                access_log: None,
                changes_user: false,
                dealing: None,
                inherited: None,
                ..bundle()
            })),
            Message::Reopen(vec![("/a".into(), 1)]),
            Message::Drain(None),
            Message::Drain(Some(5)),
            Message::Stop,
            Message::Ask(Question {
                number: 3,
                subject: Subject::Loops(100),
            }),
            Message::Ask(Question {
                number: 4,
                subject: Subject::Upstreams(None),
            }),
            Message::Ask(Question {
                number: 5,
                subject: Subject::Upstreams(Some("upstream a server b down".into())),
            }),
            Message::Answer(3, "{}".into()),
            Message::Ready(u64::MAX),
            Message::Failed(2, "no".into()),
        ]
    }

    #[test]
    fn every_message_survives() {
        for (message, again) in messages().into_iter().zip(messages()) {
            let (bytes, fds) = message.encode();
            assert_eq!(Message::decode(&bytes, fds), Ok(again));
        }
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_refused() {
        for message in messages() {
            let (bytes, fds) = message.encode();
            for end in 0..bytes.len() {
                assert_eq!(
                    Message::decode(&bytes[..end], fds.clone()),
                    Err(DecodeError)
                );
            }
            let longer = [&bytes[..], b"x"].concat();
            assert_eq!(Message::decode(&longer, fds.clone()), Err(DecodeError));
            let more = [&fds[..], &[99]].concat();
            assert_eq!(Message::decode(&bytes, more), Err(DecodeError));
            if let [_, fewer @ ..] = fds.as_slice() {
                assert_eq!(Message::decode(&bytes, fewer.to_vec()), Err(DecodeError));
            }
        }
        assert_eq!(Message::<u32>::decode(&[99], vec![]), Err(DecodeError));
    }
}
