//! Error codes, and why a connection or a stream ends (RFC 9113, sections 5.4 and 7).

use std::fmt;

/// An error code, as frames carry it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// All is well.
    pub const NO_ERROR: Self = Self(0x0);
    /// The peer did what it may not.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// Our own fault.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// More was sent than a window allows, or a window was opened too far.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// Settings were not acknowledged.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame for a stream that its sender had ended.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame of a size that it may not have.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The request was not looked at: it may be sent again.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// Nobody wants the stream any more.
    pub const CANCEL: Self = Self(0x8);
    /// A header block that cannot be read.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// What a CONNECT led to has failed.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// The peer asks for more work than it may.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// TLS is not as it must be.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// HTTP/1.1 is to be used.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        match NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "code {}", self.0),
        }
    }
}

/// Why a connection ends: what the peer did, or did too often. Nothing more is read of it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ConnectionError {
    /// What GOAWAY tells it.
    pub code: ErrorCode,
    /// What the log says of it, behind `client`.
    pub reason: &'static str,
}

impl ConnectionError {
    pub(super) const fn new(code: ErrorCode, reason: &'static str) -> Self {
        Self { code, reason }
    }

    pub(super) const fn protocol(reason: &'static str) -> Self {
        Self::new(ErrorCode::PROTOCOL_ERROR, reason)
    }

    pub(super) const fn size(reason: &'static str) -> Self {
        Self::new(ErrorCode::FRAME_SIZE_ERROR, reason)
    }

    pub(super) const fn flow(reason: &'static str) -> Self {
        Self::new(ErrorCode::FLOW_CONTROL_ERROR, reason)
    }

    pub(super) const fn flood(reason: &'static str) -> Self {
        Self::new(ErrorCode::ENHANCE_YOUR_CALM, reason)
    }

    /// Whether the peer has asked for more than it may, and has broken no rule beside.
    #[must_use]
    pub fn is_flood(&self) -> bool {
        self.code == ErrorCode::ENHANCE_YOUR_CALM
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.code)
    }
}

impl std::error::Error for ConnectionError {}

/// Why a stream ends before its time, and its connection goes on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct StreamError {
    /// What RST_STREAM tells the peer.
    pub code: ErrorCode,
    /// What the log says of it, behind `client`.
    pub reason: &'static str,
}

impl StreamError {
    pub(super) const fn new(code: ErrorCode, reason: &'static str) -> Self {
        Self { code, reason }
    }

    pub(super) const fn protocol(reason: &'static str) -> Self {
        Self::new(ErrorCode::PROTOCOL_ERROR, reason)
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.code)
    }
}

impl std::error::Error for StreamError {}
