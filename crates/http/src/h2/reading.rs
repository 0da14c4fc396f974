//! How far the reading of a connection is.

use super::frame::{FrameHead, HEAD_BYTES};
use super::stream::Side;

/// Where the reading stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    /// So many bytes of the preface have come.
    Preface(usize),
    /// What stands before a payload.
    Head,
    /// A payload that has not come as a whole.
    Payload(FrameHead),
    /// The length of the padding of a DATA frame.
    Padding(FrameHead),
    Data(Data),
    /// So many bytes that nobody wants.
    Skip(usize),
}

/// A DATA frame that is being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data {
    pub(super) stream: u32,
    pub(super) left: usize,
    pub(super) padding: usize,
    pub(super) is_last: bool,
}

/// A header block that has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) is_last: bool,
    pub(super) frames: u32,
}

#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) stage: Stage,
    pub(super) head: [u8; HEAD_BYTES],
    pub(super) head_len: usize,
    /// What has come of a payload.
    pub(super) payload: Vec<u8>,
    pub(super) block: Option<Block>,
    pub(super) block_bytes: Vec<u8>,
    /// What the frames of the last header block carried.
    pub(super) head_bytes: usize,
    /// How many frames have begun, but those that continue a header block.
    pub(super) frames: u64,
    /// Whether the first settings have come, which come before anything else.
    pub(super) has_settings: bool,
}

impl Receiving {
    pub(super) fn new(side: Side) -> Self {
        Self {
            stage: match side {
                Side::Server => Stage::Preface(0),
                Side::Client => Stage::Head,
            },
            head: [0; HEAD_BYTES],
            head_len: 0,
            payload: Vec::new(),
            block: None,
            block_bytes: Vec::new(),
            head_bytes: 0,
            frames: 0,
            has_settings: false,
        }
    }

    pub(super) fn is_amid_frame(&self) -> bool {
        let is_of_body = matches!(
            self.stage,
            Stage::Data(_) | Stage::Padding(_) | Stage::Skip(_)
        );
        let is_between = matches!(self.stage, Stage::Head) && self.head_len == 0;
        self.block.is_some() || !is_of_body && !is_between
    }
}
