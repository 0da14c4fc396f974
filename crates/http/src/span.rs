//! Places in the bytes of a head.

/// A range of bytes within the head that was parsed, as offsets from its first byte.
///
/// The empty span stands for what is absent as well as for what is empty; where the two differ,
/// there is an `Option` around it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// The offset of the first byte.
    pub start: u32,
    /// The offset past the last byte; never below `start`.
    pub end: u32,
}

impl Span {
    /// A span of two offsets. Heads are far below 4 GiB: parsers read no further.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && u32::try_from(end).is_ok());
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes that the span stands for.
    ///
    /// # Panics
    ///
    /// When `bytes` is not the head that the span came from and is shorter.
    #[must_use]
    pub fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    /// The span without the spaces and tabs at both ends (RFC 9110, section 5.5).
    pub(crate) fn trimmed(self, bytes: &[u8]) -> Self {
        let text = self.of(bytes);
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let Some(first) = text.iter().position(|byte| !blank(byte)) else {
            return Self {
                start: self.end,
                end: self.end,
            };
        };
        let behind = text.iter().rev().take_while(|byte| blank(byte)).count();
        Self {
            start: self.start + first as u32,
            end: self.end - behind as u32,
        }
    }

    /// How many bytes the span has.
    #[must_use]
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether the span has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}
