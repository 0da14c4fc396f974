//! The state of one connection's TLS, without a socket: records in, bytes out, and the other way round.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use revolve_reactor::{Buffer, Chunk};
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    AppDataRecord, ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};

/// Bytes that a record is longer than what it carries, at most, with what may go before it.
/// Source: RFC 8446, 5.2.
pub(crate) const RECORD_OVERHEAD_MAX: usize = 5 + 256;

/// Bytes that a record carries at most. Source: RFC 8446, 5.1.
pub(crate) const RECORD_BYTES_MAX: usize = 16384;

/// A server's session.
pub(crate) struct Session {
    connection: UnbufferedServerConnection,
    /// What was received of records and handshake messages that are not complete.
    held: Vec<u8>,
    /// What was opened and nobody has taken.
    opened: VecDeque<Buffer>,
    /// Handshake messages, alerts and the rest of records that are to leave before anything else.
    pub(crate) outgoing: Vec<u8>,
    /// Whether the peer has said that it sends no more.
    is_ended: bool,
    is_established: bool,
    /// What came before the handshake was complete, and may have been sent before.
    early_bytes: usize,
    failure: Option<rustls::Error>,
}

impl Session {
    /// # Errors
    ///
    /// A configuration that contradicts itself.
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            held: Vec::new(),
            opened: VecDeque::new(),
            outgoing: Vec::new(),
            is_ended: false,
            is_established: false,
            early_bytes: 0,
            failure: None,
        })
    }

    pub(crate) fn connection(&self) -> &UnbufferedServerConnection {
        &self.connection
    }

    /// Whether the handshake is complete.
    pub(crate) fn is_established(&self) -> bool {
        self.is_established
    }

    /// Whether the peer has said that it sends no more.
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended
    }

    pub(crate) fn failure(&self) -> Option<&rustls::Error> {
        self.failure.as_ref()
    }

    /// Whether something that was opened came as early data.
    pub(crate) fn early_bytes(&self) -> usize {
        self.early_bytes
    }

    /// The next bytes that the peer has sent.
    pub(crate) fn take_opened(&mut self) -> Option<Buffer> {
        self.opened.pop_front()
    }

    /// Takes what was received. What is wrong with it is the [`failure`](Self::failure).
    pub(crate) fn receive(&mut self, received: &mut [u8]) {
        if self.failure.is_some() || self.is_ended {
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
        if used < held.len() && !self.is_ended {
            held.drain(..used);
            self.held = held;
        }
    }

    fn hold(&mut self, rest: &[u8]) {
        if !rest.is_empty() && !self.is_ended {
            self.held = rest.to_vec();
        }
    }

    /// Goes on as far as these bytes allow, and says how many are behind it.
    fn process(&mut self, bytes: &mut [u8]) -> usize {
        let mut used = 0;
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut bytes[used..]);
            let mut discard = discard;
            let mut goes_on = true;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        discard += record.discard;
                        keep(&mut self.opened, &record);
                    }
                }
                Ok(ConnectionState::ReadEarlyData(mut early)) => {
                    while let Some(Ok(record)) = early.next_record() {
                        discard += record.discard;
                        self.early_bytes += record.payload.len();
                        keep(&mut self.opened, &record);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut self.outgoing, |out| data.encode(out));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.is_ended = true,
                Ok(_) => goes_on = false,
                Err(error) => {
                    self.failure = Some(error);
                    self.take_alert();
                    return bytes.len();
                }
            }
            used = (used + discard).min(bytes.len());
            if !goes_on {
                self.is_established |= !self.connection.is_handshaking();
                return used;
            }
        }
    }

    /// After a failure: what the peer is told of it.
    fn take_alert(&mut self) {
        while let UnbufferedStatus {
            state: Ok(ConnectionState::EncodeTlsData(mut data)),
            ..
        } = self.connection.process_tls_records(&mut [])
        {
            append(&mut self.outgoing, |out| data.encode(out));
        }
    }

    /// Seals bytes as one record, or as several where they do not fit in one.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` where nothing can be sent any more; a key that has been used for as long as it may.
    pub(crate) fn seal(&mut self, bytes: &[u8]) -> io::Result<Chunk> {
        let mut sealed = Buffer::with_room(bytes.len() + RECORD_OVERHEAD_MAX);
        let result = self.write(|traffic| {
            let room = match traffic.encrypt(bytes, sealed.spare_mut()) {
                Ok(len) => {
                    sealed.extend(len);
                    return Ok(None);
                }
                Err(EncryptError::InsufficientSize(error)) => error.required_size,
                Err(error) => return Err(io::Error::other(error)),
            };
            let mut large = vec![0; room];
            let len = traffic.encrypt(bytes, &mut large);
            large.truncate(len.map_err(io::Error::other)?);
            Ok(Some(large))
        })?;
        Ok(match result {
            Some(large) => Chunk::Bytes(large.into()),
            None => Chunk::Buffer(sealed),
        })
    }

    /// Says to the peer that nothing more will be sent: it is among the [`outgoing`](Self::outgoing) then.
    pub(crate) fn close(&mut self) {
        let mut alert = [0; RECORD_OVERHEAD_MAX];
        let result = self.write(|traffic| {
            traffic
                .queue_close_notify(&mut alert)
                .map_err(io::Error::other)
        });
        if let Ok(len) = result {
            self.outgoing.extend_from_slice(&alert[..len]);
        }
    }

    /// Has `write` write, behind what rustls itself wants to say.
    fn write<T>(
        &mut self,
        write: impl FnOnce(&mut WriteTraffic<'_, rustls::server::ServerConnectionData>) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.failure.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        loop {
            // What is held is not complete, so that nothing of it is used up.
            let UnbufferedStatus { state, .. } =
                self.connection.process_tls_records(&mut self.held);
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => return write(&mut traffic),
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut self.outgoing, |out| data.encode(out));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                _ => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
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
