//! Versions of the protocol.

use std::cmp::Ordering;

/// The version of a request. Minor versions above 1 are kept and otherwise treated as HTTP/1.1.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Version {
    /// 1 or 2, or 0 for HTTP/0.9.
    pub major: u16,
    /// 9 for HTTP/0.9, otherwise at most 999.
    pub minor: u16,
}

impl Version {
    /// A request line without a version: no head, and a response that is a body and nothing else.
    pub const HTTP_09: Self = Self { major: 0, minor: 9 };
    /// HTTP/1.0.
    pub const HTTP_10: Self = Self { major: 1, minor: 0 };
    /// HTTP/1.1.
    pub const HTTP_11: Self = Self { major: 1, minor: 1 };
    /// HTTP/2.
    pub const HTTP_2: Self = Self { major: 2, minor: 0 };

    fn number(self) -> u32 {
        u32::from(self.major) << 16 | u32::from(self.minor)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number())
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
