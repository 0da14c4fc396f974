//! The state of one connection's TLS, without a socket: records in, bytes out, and the other way round.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use revolve_reactor::{Buffer, Chunk};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    AppDataRecord, ConnectionState, EncodeError, EncryptError, ReadEarlyData, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{ClientConfig, CommonState, ServerConfig};

use crate::schemes;

/// Bytes that a record is longer than what it carries, at most, with what may go before it.
/// Source: RFC 8446, 5.2.
pub(crate) const RECORD_OVERHEAD_MAX: usize = 5 + 256;

/// Bytes that a record carries at most. Source: RFC 8446, 5.1.
pub(crate) const RECORD_BYTES_MAX: usize = 16384;

/// Which side of the connection this is.
enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// One side's session.
pub(crate) struct Session {
    side: Side,
    /// What was received of records and handshake messages that are not complete.
    held: Vec<u8>,
    io: Flow,
    is_established: bool,
    /// What was signed with in the handshake, by us and by the peer.
    schemes: (Option<u16>, Option<u16>),
}

/// What goes in and out.
#[derive(Default)]
struct Flow {
    /// What was opened and nobody has taken.
    opened: VecDeque<Buffer>,
    /// Handshake messages, alerts and the rest of records that are to leave before anything else.
    outgoing: Vec<u8>,
    /// Whether the peer has said that it sends no more.
    is_ended: bool,
    /// What came before the handshake was complete, and may have been sent before.
    early_bytes: usize,
    failure: Option<rustls::Error>,
}

/// How far one step has led.
struct Step {
    discard: usize,
    goes_on: bool,
}

impl Session {
    /// A server's session.
    ///
    /// # Errors
    ///
    /// A configuration that contradicts itself.
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Self::new(Side::Server(connection)))
    }

    /// A client's session with the server of a name. What it says first is to leave.
    ///
    /// # Errors
    ///
    /// A configuration that contradicts itself.
    pub(crate) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        let connection = UnbufferedClientConnection::new(config, name)?;
        let mut session = Self::new(Side::Client(connection));
        session.process(&mut []);
        Ok(session)
    }

    fn new(side: Side) -> Self {
        Self {
            side,
            held: Vec::new(),
            io: Flow::default(),
            is_established: false,
            schemes: (None, None),
        }
    }

    /// The signature schemes of the handshake: our own, and the peer's.
    pub(crate) fn schemes(&self) -> (Option<u16>, Option<u16>) {
        self.schemes
    }

    /// Takes what was received. What is wrong with it is the [`failure`](Self::failure).
    pub(crate) fn receive(&mut self, received: &mut [u8]) {
        if self.is_established {
            return self.take(received);
        }
        // What others have left behind is none of ours.
        let _ = schemes::take();
        self.take(received);
        let (own, peer) = schemes::take();
        self.schemes.0 = own.or(self.schemes.0);
        self.schemes.1 = peer.or(self.schemes.1);
    }

    pub(crate) fn common(&self) -> &CommonState {
        match &self.side {
            Side::Server(connection) => connection,
            Side::Client(connection) => connection,
        }
    }

    pub(crate) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.io.outgoing
    }

    pub(crate) fn has_outgoing(&self) -> bool {
        !self.io.outgoing.is_empty()
    }

    /// Whether the handshake is complete.
    pub(crate) fn is_established(&self) -> bool {
        self.is_established
    }

    /// Whether the peer has said that it sends no more.
    pub(crate) fn is_ended(&self) -> bool {
        self.io.is_ended
    }

    pub(crate) fn failure(&self) -> Option<&rustls::Error> {
        self.io.failure.as_ref()
    }

    /// Whether something that was opened came as early data.
    pub(crate) fn early_bytes(&self) -> usize {
        self.io.early_bytes
    }

    /// The next bytes that the peer has sent.
    pub(crate) fn take_opened(&mut self) -> Option<Buffer> {
        self.io.opened.pop_front()
    }

    fn take(&mut self, received: &mut [u8]) {
        if self.io.failure.is_some() || self.io.is_ended {
            return;
        }
        // Records that came whole are opened where they lie.
        if self.held.is_empty() {
            let used = self.process(received);
            self.hold(&received[used..]);
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(received);
        let used = self.process(&mut held);
        if used < held.len() && !self.io.is_ended {
            held.drain(..used);
            self.held = held;
        }
    }

    fn hold(&mut self, rest: &[u8]) {
        if !rest.is_empty() && !self.io.is_ended {
            self.held = rest.to_vec();
        }
    }

    /// Goes on as far as these bytes allow, and says how many are behind it.
    fn process(&mut self, bytes: &mut [u8]) -> usize {
        let mut used = 0;
        loop {
            let step = self.step(&mut bytes[used..]);
            used = (used + step.discard).min(bytes.len());
            if self.io.failure.is_some() {
                self.take_alert();
                return bytes.len();
            }
            if !step.goes_on {
                self.is_established |= !self.common().is_handshaking();
                return used;
            }
        }
    }

    fn step(&mut self, bytes: &mut [u8]) -> Step {
        match &mut self.side {
            Side::Server(connection) => {
                let status = connection.process_tls_records(bytes);
                self.io.take(status, |early, io| {
                    let mut discard = 0;
                    while let Some(Ok(record)) = early.next_record() {
                        discard += record.discard;
                        io.early_bytes += record.payload.len();
                        keep(&mut io.opened, &record);
                    }
                    discard
                })
            }
            // A server sends no early data.
            Side::Client(connection) => {
                let status = connection.process_tls_records(bytes);
                self.io.take(status, |_, _| 0)
            }
        }
    }

    /// After a failure: what the peer is told of it.
    fn take_alert(&mut self) {
        let before = self.io.failure.take();
        while self.step(&mut []).goes_on {}
        self.io.failure = before;
    }

    /// Seals bytes as one record, or as several where they do not fit in one.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` where nothing can be sent any more; a key that has been used for as long as it may.
    pub(crate) fn seal(&mut self, bytes: &[u8]) -> io::Result<Chunk> {
        self.write(Sealing(bytes))
    }

    /// Says to the peer that nothing more will be sent: it is among the [`outgoing`](Self::outgoing) then.
    pub(crate) fn close(&mut self) {
        if let Ok(alert) = self.write(Closing) {
            self.io.outgoing.extend_from_slice(&alert);
        }
    }

    /// Has `write` write, behind what rustls itself wants to say.
    fn write<W: Write>(&mut self, write: W) -> io::Result<W::Written> {
        if self.io.failure.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // What is held is not complete, so that nothing of it is used up.
        let (io, held) = (&mut self.io, &mut self.held);
        match &mut self.side {
            Side::Server(connection) => loop {
                let state = connection.process_tls_records(held).state;
                if let Some(mut traffic) = io.before_writing(state)? {
                    return write.write(&mut traffic);
                }
            },
            Side::Client(connection) => loop {
                let state = connection.process_tls_records(held).state;
                if let Some(mut traffic) = io.before_writing(state)? {
                    return write.write(&mut traffic);
                }
            },
        }
    }
}

/// What is written by either side.
trait Write {
    type Written;

    fn write<D>(self, traffic: &mut WriteTraffic<'_, D>) -> io::Result<Self::Written>;
}

struct Sealing<'a>(&'a [u8]);

impl Write for Sealing<'_> {
    type Written = Chunk;

    fn write<D>(self, traffic: &mut WriteTraffic<'_, D>) -> io::Result<Chunk> {
        let bytes = self.0;
        let mut sealed = Buffer::with_room(bytes.len() + RECORD_OVERHEAD_MAX);
        let room = match traffic.encrypt(bytes, sealed.spare_mut()) {
            Ok(len) => {
                sealed.extend(len);
                return Ok(Chunk::Buffer(sealed));
            }
            Err(EncryptError::InsufficientSize(error)) => error.required_size,
            Err(error) => return Err(io::Error::other(error)),
        };
        let mut large = vec![0; room];
        let len = traffic.encrypt(bytes, &mut large);
        large.truncate(len.map_err(io::Error::other)?);
        Ok(Chunk::Bytes(large.into()))
    }
}

struct Closing;

impl Write for Closing {
    type Written = Vec<u8>;

    fn write<D>(self, traffic: &mut WriteTraffic<'_, D>) -> io::Result<Vec<u8>> {
        let mut alert = vec![0; RECORD_OVERHEAD_MAX];
        let len = traffic.queue_close_notify(&mut alert);
        alert.truncate(len.map_err(io::Error::other)?);
        Ok(alert)
    }
}

impl Flow {
    /// Takes what one step has come to.
    fn take<D>(
        &mut self,
        status: UnbufferedStatus<'_, '_, D>,
        early: impl FnOnce(&mut ReadEarlyData<'_, '_, D>, &mut Flow) -> usize,
    ) -> Step {
        let UnbufferedStatus { mut discard, state } = status;
        let mut goes_on = true;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    discard += record.discard;
                    keep(&mut self.opened, &record);
                }
            }
            Ok(ConnectionState::ReadEarlyData(mut data)) => discard += early(&mut data, self),
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append(&mut self.outgoing, |out| data.encode(out));
            }
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => self.is_ended = true,
            Ok(_) => goes_on = false,
            Err(error) => {
                self.failure = Some(error);
                goes_on = false;
            }
        }
        Step { discard, goes_on }
    }

    /// Takes what rustls wants to say first; there is something to write by then, or nothing is to be
    /// written any more.
    fn before_writing<'c, D>(
        &mut self,
        state: Result<ConnectionState<'c, '_, D>, rustls::Error>,
    ) -> io::Result<Option<WriteTraffic<'c, D>>> {
        match state {
            Ok(ConnectionState::WriteTraffic(traffic)) => return Ok(Some(traffic)),
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append(&mut self.outgoing, |out| data.encode(out));
            }
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            _ => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(None)
    }
}

/// Appends what `encode` writes; it is asked for the room that it wants first.
fn append(out: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let Err(EncodeError::InsufficientSize(error)) = encode(&mut []) else {
        return;
    };
    let before = out.len();
    out.resize(before + error.required_size, 0);
    let written = encode(&mut out[before..]).unwrap_or(0);
    out.truncate(before + written);
}

/// Keeps the bytes of a record, behind those of the record before where there is room.
fn keep(opened: &mut VecDeque<Buffer>, record: &AppDataRecord<'_>) {
    let mut rest = record.payload;
    if let Some(last) = opened.back_mut() {
        rest = &rest[last.fill(rest)..];
    }
    while !rest.is_empty() {
        let mut buffer = Buffer::with_room(rest.len());
        rest = &rest[buffer.fill(rest)..];
        opened.push_back(buffer);
    }
}
