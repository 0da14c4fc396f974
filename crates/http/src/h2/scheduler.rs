//! Who sends next (RFC 9218).
//!
//! Eight urgencies, the most urgent first. Within one, streams of which the client can use a part take
//! turns (`i`); the others go one after the other, in the order in which they were asked for. Where both
//! kinds are waiting, those that go one after the other are first, as a part of them is of no use.

use std::collections::VecDeque;

/// How urgent a stream is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Priority {
    /// From 0, the most urgent, to 7.
    pub urgency: u8,
    /// Whether a part of it is of use.
    pub incremental: bool,
}

impl Default for Priority {
    /// What a client means that says nothing.
    fn default() -> Self {
        Self {
            urgency: 3,
            incremental: false,
        }
    }
}

impl Priority {
    /// What a field `priority` says, on top of what held before. What is not understood is left aside
    /// (RFC 9218, section 4).
    #[must_use]
    pub fn read(mut self, value: &[u8]) -> Self {
        for member in value.split(|byte| *byte == b',') {
            let member = member.split(|byte| *byte == b';').next();
            match member.unwrap_or_default().trim_ascii() {
                [b'u', b'=', urgency @ b'0'..=b'7'] => self.urgency = urgency - b'0',
                b"i" | b"i=?1" => self.incremental = true,
                b"i=?0" => self.incremental = false,
                _ => {}
            }
        }
        self
    }
}

/// The streams of one urgency.
#[derive(Default, Debug)]
struct Level {
    /// By their numbers.
    in_order: VecDeque<u32>,
    in_turns: VecDeque<u32>,
}

/// The streams that have something to send and may.
#[derive(Default, Debug)]
pub(super) struct Scheduler {
    levels: [Level; 8],
    /// A bit for each level that has a stream.
    waiting: u8,
}

impl Scheduler {
    /// Adds a stream, which is not there.
    pub(super) fn add(&mut self, stream: u32, priority: Priority) {
        let level = &mut self.levels[usize::from(priority.urgency & 7)];
        self.waiting |= 1 << (priority.urgency & 7);
        if priority.incremental {
            return level.in_turns.push_back(stream);
        }
        let place = level.in_order.partition_point(|other| *other < stream);
        level.in_order.insert(place, stream);
    }

    /// Removes a stream, if it is there.
    pub(super) fn remove(&mut self, stream: u32, priority: Priority) {
        let urgency = usize::from(priority.urgency & 7);
        let level = &mut self.levels[urgency];
        let streams = match priority.incremental {
            true => &mut level.in_turns,
            false => &mut level.in_order,
        };
        if let Some(place) = streams.iter().position(|other| *other == stream) {
            streams.remove(place);
        }
        self.note(urgency);
    }

    /// Who is next.
    pub(super) fn first(&self) -> Option<u32> {
        if self.waiting == 0 {
            return None;
        }
        let level = &self.levels[self.waiting.trailing_zeros() as usize];
        level.in_order.front().or(level.in_turns.front()).copied()
    }

    /// The first has had its turn, and has more.
    pub(super) fn rotate(&mut self, priority: Priority) {
        let level = &mut self.levels[usize::from(priority.urgency & 7)];
        if priority.incremental
            && let Some(stream) = level.in_turns.pop_front()
        {
            level.in_turns.push_back(stream);
        }
    }

    fn note(&mut self, urgency: usize) {
        let level = &self.levels[urgency];
        if level.in_order.is_empty() && level.in_turns.is_empty() {
            self.waiting &= !(1 << urgency);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priority(text: &str) -> Priority {
        Priority::default().read(text.as_bytes())
    }

    #[test]
    fn fields_are_read_as_far_as_they_are_understood() {
        let of = |urgency, incremental| Priority {
            urgency,
            incremental,
        };
        let cases = [
            ("", of(3, false)),
            ("u=1", of(1, false)),
            ("u=5, i", of(5, true)),
            ("i=?0,u=0", of(0, false)),
            ("i;x=1 , u=7;y", of(7, true)),
            ("u=8, u=-1, u=1.5, x", of(3, false)),
            ("u=2,,, i=?1", of(2, true)),
        ];
        for (text, expected) in cases {
            assert_eq!(priority(text), expected, "{text}");
        }
        assert_eq!(of(5, true).read(b"u=1"), of(1, true));
    }

    #[test]
    fn the_most_urgent_go_first_in_order_or_in_turns() {
        let mut scheduler = Scheduler::default();
        let streams = [
            (9, "u=1, i"),
            (7, "u=1, i"),
            (5, "u=1"),
            (3, "u=1"),
            (1, "u=7"),
            (11, "u=0"),
        ];
        for (stream, text) in streams {
            scheduler.add(stream, priority(text));
        }
        let of = |stream| streams.iter().find(|(other, _)| *other == stream);
        let mut order = Vec::new();
        // Each has three parts.
        let mut parts = std::collections::HashMap::new();
        while let Some(stream) = scheduler.first() {
            order.push(stream);
            let priority = priority(of(stream).unwrap().1);
            let sent: &mut u32 = parts.entry(stream).or_default();
            *sent += 1;
            match *sent {
                3 => scheduler.remove(stream, priority),
                _ => scheduler.rotate(priority),
            }
        }
        assert_eq!(
            order,
            [11, 11, 11, 3, 3, 3, 5, 5, 5, 9, 7, 9, 7, 9, 7, 1, 1, 1]
        );
        scheduler.remove(1, priority("u=7"));
        assert_eq!(scheduler.first(), None);
    }
}
