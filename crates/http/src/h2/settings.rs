//! Settings (RFC 9113, section 6.5; RFC 8441, section 3; RFC 9218, section 2.1).

use super::error::ConnectionError;
use super::frame;

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
const NO_RFC7540_PRIORITIES: u16 = 0x9;

/// The window of a stream, where nobody says otherwise, and of a connection when it begins.
pub(super) const WINDOW_BYTES: u32 = 65535;

/// The largest window.
pub(super) const WINDOW_BYTES_MAX: u32 = 0x7fff_ffff;

/// What one side has said that it takes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Settings {
    pub(super) header_table_bytes: u32,
    /// Streams at once that the other side may begin.
    pub(super) streams_max: u32,
    pub(super) window_bytes: u32,
    pub(super) frame_bytes_max: u32,
    pub(super) takes_connect_protocol: bool,
    /// Whether it leaves aside, or does not send, the priorities of RFC 7540.
    pub(super) no_old_priorities: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_table_bytes: 4096,
            streams_max: u32::MAX,
            window_bytes: WINDOW_BYTES,
            frame_bytes_max: frame::PAYLOAD_BYTES_MAX as u32,
            takes_connect_protocol: false,
            no_old_priorities: false,
        }
    }
}

impl Settings {
    /// Takes what a frame says.
    pub(super) fn apply(&mut self, payload: &[u8]) -> Result<(), ConnectionError> {
        let (settings, []) = payload.as_chunks::<6>() else {
            return Err(ConnectionError::size("sent SETTINGS of a wrong length"));
        };
        for setting in settings {
            let [a, b, value @ ..] = *setting;
            let value = u32::from_be_bytes(value);
            let is_flag = value <= 1;
            match u16::from_be_bytes([a, b]) {
                HEADER_TABLE_SIZE => self.header_table_bytes = value,
                ENABLE_PUSH if is_flag => {}
                MAX_CONCURRENT_STREAMS => self.streams_max = value,
                INITIAL_WINDOW_SIZE if value > WINDOW_BYTES_MAX => {
                    let reason = "sent SETTINGS with too large a window";
                    return Err(ConnectionError::flow(reason));
                }
                INITIAL_WINDOW_SIZE => self.window_bytes = value,
                MAX_FRAME_SIZE if (16384..1 << 24).contains(&value) => {
                    self.frame_bytes_max = value;
                }
                ENABLE_CONNECT_PROTOCOL if is_flag => self.takes_connect_protocol = value == 1,
                NO_RFC7540_PRIORITIES if is_flag => self.no_old_priorities = value == 1,
                ENABLE_PUSH | MAX_FRAME_SIZE | ENABLE_CONNECT_PROTOCOL | NO_RFC7540_PRIORITIES => {
                    return Err(ConnectionError::protocol(
                        "sent SETTINGS with a wrong value",
                    ));
                }
                // What is not known is left aside.
                _ => {}
            }
        }
        Ok(())
    }
}

/// Appends the settings of a server.
pub(super) fn write_of_server(
    streams_max: u32,
    window_bytes: u32,
    fields_bytes_max: u32,
    out: &mut Vec<u8>,
) {
    write(
        &[
            (MAX_CONCURRENT_STREAMS, streams_max),
            (INITIAL_WINDOW_SIZE, window_bytes),
            (MAX_HEADER_LIST_SIZE, fields_bytes_max),
            (ENABLE_CONNECT_PROTOCOL, 1),
            (NO_RFC7540_PRIORITIES, 1),
        ],
        out,
    );
}

/// Appends the settings of a client.
pub(super) fn write_of_client(window_bytes: u32, fields_bytes_max: u32, out: &mut Vec<u8>) {
    write(
        &[
            (ENABLE_PUSH, 0),
            (INITIAL_WINDOW_SIZE, window_bytes),
            (MAX_HEADER_LIST_SIZE, fields_bytes_max),
            (NO_RFC7540_PRIORITIES, 1),
        ],
        out,
    );
}

fn write(settings: &[(u16, u32)], out: &mut Vec<u8>) {
    let payload: Vec<u8> = settings
        .iter()
        .flat_map(|(id, value)| {
            let [a, b] = id.to_be_bytes();
            let [c, d, e, f] = value.to_be_bytes();
            [a, b, c, d, e, f]
        })
        .collect();
    frame::write(frame::SETTINGS, 0, 0, &payload, out);
}
