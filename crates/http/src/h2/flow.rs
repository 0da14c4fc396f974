//! Windows (RFC 9113, section 5.2).

use super::settings::WINDOW_BYTES_MAX;

/// How many bytes one side may still send. A change of settings may leave it below zero.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Window(i64);

/// The window would be larger than any may be.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct TooLarge;

impl Window {
    pub(super) fn new(bytes: u32) -> Self {
        Self(i64::from(bytes))
    }

    /// Bytes that may be sent.
    pub(super) fn bytes(self) -> u64 {
        self.0.max(0) as u64
    }

    /// Opens it by so many bytes; or closes it, by a change of settings.
    pub(super) fn open(&mut self, bytes: i64) -> Result<(), TooLarge> {
        let opened = self.0 + bytes;
        if opened > i64::from(WINDOW_BYTES_MAX) {
            return Err(TooLarge);
        }
        self.0 = opened;
        Ok(())
    }

    /// Counts bytes that were sent; false where they are more than it allowed.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        self.0 -= bytes as i64;
        self.0 >= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        let mut window = Window::new(10);
        assert!(window.take(10) && window.bytes() == 0);
        assert_eq!(window.open(i64::from(WINDOW_BYTES_MAX)), Ok(()));
        assert_eq!(window.open(1), Err(TooLarge));
        assert_eq!(window.open(-i64::from(WINDOW_BYTES_MAX) - 5), Ok(()));
        assert_eq!(window.bytes(), 0);
        assert_eq!(window.open(6), Ok(()));
        assert_eq!(window.bytes(), 1);
        assert!(!window.take(2));
    }
}
