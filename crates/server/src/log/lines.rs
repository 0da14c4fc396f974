//! Lines that wait to be written, whole and in order.

/// Lines, one behind the other, and where each ends.
///
/// What was written is let go of from the front, also in the middle of a line. Memory is kept, so
/// that a steady state allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// How much of `bytes` has been written, and how many of `ends` lie in it.
    written_bytes: usize,
    written_lines: usize,
    /// Whether the first line that is left was written in part.
    is_cut: bool,
}

impl Lines {
    /// Adds a line, which `body` appends to the bytes.
    pub(crate) fn append(&mut self, body: impl FnOnce(&mut Vec<u8>)) {
        // Whatever a panic left of a line that never came to its end.
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
        body(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Whether nothing is left to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.written_lines == self.ends.len()
    }

    /// Bytes that are left to be written.
    pub(crate) fn len_bytes(&self) -> usize {
        self.bytes.len() - self.written_bytes
    }

    /// As many whole lines as `bytes_max` allows, or one that is longer, or what is left of one,
    /// with those behind it.
    pub(crate) fn chunk(&self, bytes_max: usize) -> &[u8] {
        let left = &self.ends[self.written_lines..];
        let fitting = left.partition_point(|end| end - self.written_bytes <= bytes_max);
        match left.get(fitting.saturating_sub(1)) {
            Some(end) => &self.bytes[self.written_bytes..*end],
            None => &[],
        }
    }

    /// How many lines a chunk of so many bytes has.
    pub(crate) fn count_in(&self, chunk_bytes: usize) -> u64 {
        let left = &self.ends[self.written_lines..];
        let end = self.written_bytes + chunk_bytes;
        left.partition_point(|line_end| *line_end <= end) as u64
    }

    /// Whether the first line was written in part.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Lets go of so many bytes, which were written.
    pub(crate) fn advance(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.written_bytes += bytes;
        let left = &self.ends[self.written_lines..];
        self.written_lines += left.partition_point(|end| *end <= self.written_bytes);
        let last = self
            .written_lines
            .checked_sub(1)
            .map(|last| self.ends[last]);
        self.is_cut = last != Some(self.written_bytes);
        if self.is_empty() {
            self.clear();
        } else if self.written_bytes > self.bytes.len() / 2 {
            self.compact();
        }
    }

    /// Makes room for so many bytes of lines, where there are none.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        if self.bytes.is_empty() && self.bytes.capacity() < bytes {
            self.bytes.reserve(bytes);
            self.ends.reserve(bytes / size_of::<usize>());
        }
    }

    /// Moves so many bytes, which are whole lines, behind those of another.
    pub(crate) fn hand_over(&mut self, bytes: usize, to: &mut Lines) {
        debug_assert!(!self.is_cut, "the rest of a line is no line");
        if bytes == self.bytes.len() && to.bytes.is_empty() {
            // As ever where the reader is quick: nothing is copied, and the memory goes round.
            return std::mem::swap(self, to);
        }
        let count = self.count_in(bytes) as usize;
        let ends = &self.ends[self.written_lines..self.written_lines + count];
        let begin = self.written_bytes;
        let end = to.bytes.len();
        to.ends.extend(ends.iter().map(|at| at - begin + end));
        to.bytes
            .extend_from_slice(&self.bytes[begin..begin + bytes]);
        self.advance(bytes);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        (self.written_bytes, self.written_lines, self.is_cut) = (0, 0, false);
    }

    /// Moves what is left to the front.
    fn compact(&mut self) {
        self.bytes.drain(..self.written_bytes);
        self.ends.drain(..self.written_lines);
        let moved_bytes = std::mem::take(&mut self.written_bytes);
        for end in &mut self.ends {
            *end -= moved_bytes;
        }
        self.written_lines = 0;
    }

    /// Gives up the newest lines until `bytes_max` are left, and says how many those were. A line
    /// that was written in part stays: nobody shall find half of one.
    pub(crate) fn shorten(&mut self, bytes_max: usize) -> u64 {
        let kept_min = self.written_lines + usize::from(self.is_cut);
        let left = &self.ends[self.written_lines..];
        let fitting = left.partition_point(|end| end - self.written_bytes <= bytes_max);
        let kept = kept_min.max(self.written_lines + fitting);
        let lost = self.ends.len() - kept;
        self.ends.truncate(kept);
        match self.ends.last() {
            Some(end) if !self.is_empty() => self.bytes.truncate(*end),
            _ => self.clear(),
        }
        lost as u64
    }

    /// Gives memory back that more than usual took, where nothing is left.
    pub(crate) fn shrink(&mut self, bytes_kept: usize) {
        if self.is_empty() {
            self.bytes.shrink_to(bytes_kept);
            self.ends.shrink_to(bytes_kept / size_of::<usize>());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Lines {
        let mut lines = Lines::default();
        for text in texts {
            lines.append(|out| out.extend_from_slice(text.as_bytes()));
        }
        lines
    }

    #[test]
    fn chunks_are_whole_lines() {
        let mut lines = lines(&["aa\n", "b\n", "cccc\n", "\n"]);
        assert_eq!(lines.chunk(4), b"aa\n");
        assert_eq!(lines.chunk(5), b"aa\nb\n");
        assert_eq!(lines.count_in(5), 2);
        assert_eq!(lines.chunk(1), b"aa\n");
        lines.advance(3);
        assert_eq!(lines.chunk(4), b"b\n");
        lines.advance(2);
        assert_eq!(lines.chunk(1), b"cccc\n");
        assert_eq!(lines.chunk(usize::MAX), b"cccc\n\n");
        assert!(!lines.is_cut);
        lines.advance(2);
        assert!(lines.is_cut);
        assert_eq!(lines.chunk(3), b"cc\n");
        lines.advance(3);
        assert!(!lines.is_cut && !lines.is_empty());
        lines.advance(1);
        assert!(lines.is_empty());
        assert_eq!(lines.chunk(9), b"");
    }

    #[test]
    fn lines_go_from_hand_to_hand() {
        let (mut from, mut to) = (lines(&["aa\n", "b\n", "cccc\n"]), Lines::default());
        from.hand_over(3, &mut to);
        from.append(|out| out.extend_from_slice(b"d\n"));
        from.hand_over(7, &mut to);
        assert_eq!(to.chunk(5), b"aa\nb\n");
        to.advance(4);
        from.hand_over(2, &mut to);
        assert!(from.is_empty());
        assert_eq!(to.chunk(1), b"\n");
        assert_eq!(to.count_in(8), 3);
        assert_eq!(to.chunk(99), b"\ncccc\nd\n");
        let mut third = Lines::default();
        to.advance(1);
        to.hand_over(7, &mut third);
        assert_eq!(third.chunk(6), b"cccc\n");
        assert_eq!(third.chunk(99), b"cccc\nd\n");
    }

    #[test]
    fn a_line_whose_making_panics_is_no_line() {
        let mut lines = lines(&["aa\n"]);
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lines.append(|out| {
                out.extend_from_slice(b"half");
                panic!("on purpose");
            });
        }));
        assert!(panic.is_err());
        lines.append(|out| out.extend_from_slice(b"bb\n"));
        assert_eq!(lines.chunk(99), b"aa\nbb\n");
    }

    #[test]
    fn what_is_given_up_is_counted_and_a_begun_line_stays() {
        let mut all = lines(&["aa\n", "bb\n", "cc\n"]);
        assert_eq!(all.shorten(6), 1);
        assert_eq!(all.chunk(99), b"aa\nbb\n");
        assert_eq!(all.shorten(0), 2);
        assert!(all.is_empty());
        let mut begun = lines(&["aa\n", "bb\n", "cc\n"]);
        begun.advance(4);
        assert_eq!(begun.shorten(0), 1);
        assert_eq!(begun.chunk(99), b"b\n");
        begun.append(|out| out.extend_from_slice(b"dd\n"));
        begun.advance(2);
        assert_eq!(begun.chunk(99), b"dd\n");
        assert_eq!(begun.len_bytes(), 3);
    }
}
