//! Header lines, as they are written.

use revolve_http::Trailers;
use revolve_http::h1::writer;

/// Header lines in the order in which they were added, as they go out, in one piece of memory.
#[derive(Debug, Default)]
pub(crate) struct HeaderList {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

/// Where a line `Name: value CRLF` lies.
#[derive(Debug, Clone, Copy)]
struct Line {
    start: u32,
    name_end: u32,
    end: u32,
}

impl HeaderList {
    /// Adds a line. Line breaks and NUL in the value become spaces: what a variable holds must
    /// not end the line.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        writer::header(&mut self.bytes, name, value);
        self.note(start, name.len());
    }

    /// Adds a line that was made before, `Name: value CRLF`, by the length of its name.
    pub(crate) fn push_line(&mut self, line: &[u8], name_len: usize) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(line);
        self.note(start, name_len);
    }

    /// Adds the fields behind a body that may be passed on.
    pub(crate) fn push_trailers(&mut self, trailers: &Trailers) {
        let bytes = trailers.bytes();
        for line in trailers.lines() {
            self.push(line.name.of(bytes), line.value.of(bytes));
        }
    }

    fn note(&mut self, start: usize, name_len: usize) {
        let (start, end) = (start as u32, self.bytes.len() as u32);
        self.lines.push(Line {
            start,
            name_end: start + name_len as u32,
            end,
        });
    }

    /// All lines as they go out.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// So many lines as they go out, and the rest.
    pub(crate) fn split_at(&self, lines: usize) -> (&[u8], &[u8]) {
        let end = self.lines.get(lines).map(|line| line.start as usize);
        self.bytes.split_at(end.unwrap_or(self.bytes.len()))
    }

    /// How many lines there are.
    pub(crate) fn count(&self) -> usize {
        self.lines.len()
    }

    /// Name and value of each line.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| {
            let name = &self.bytes[line.start as usize..line.name_end as usize];
            (
                name,
                &self.bytes[line.name_end as usize + 2..line.end as usize - 2],
            )
        })
    }

    /// Drops every line of this name, in whatever case.
    pub(crate) fn remove(&mut self, name: &[u8]) {
        let Self { bytes, lines } = self;
        let mut removed = 0;
        lines.retain_mut(|line| {
            line.start -= removed;
            line.name_end -= removed;
            line.end -= removed;
            let own = &bytes[line.start as usize..line.name_end as usize];
            let is_kept = !own.eq_ignore_ascii_case(name);
            if !is_kept {
                bytes.drain(line.start as usize..line.end as usize);
                removed += line.end - line.start;
            }
            is_kept
        });
    }

    /// Puts this value where the first line of this name stands, or at the end; an empty value only
    /// drops the lines that there are.
    pub(crate) fn replace(&mut self, name: &[u8], value: &[u8]) {
        let mut replaced = Self::default();
        let mut done = value.is_empty();
        for (known, old) in self.iter() {
            if !known.eq_ignore_ascii_case(name) {
                replaced.push(known, old);
            } else if !done {
                replaced.push(name, value);
                done = true;
            }
        }
        if !done {
            replaced.push(name, value);
        }
        *self = replaced;
    }

    /// Makes the first value of this name that is a strong entity tag a weak one; one that is no tag is
    /// dropped.
    pub(crate) fn weaken(&mut self, name: &[u8]) {
        let Self { bytes, lines } = self;
        let is_it = |line: &&mut Line| {
            let own = &bytes[line.start as usize..line.name_end as usize];
            own == name || own.eq_ignore_ascii_case(name)
        };
        let Some(line) = lines.iter_mut().find(is_it) else {
            return;
        };
        let value_at = line.name_end as usize + b": ".len();
        match &bytes[value_at..] {
            [b'W', b'/', ..] => return,
            [b'"', ..] => {}
            _ => return self.remove(name),
        }
        bytes.splice(value_at..value_at, *b"W/");
        let start = line.start;
        line.end += 2;
        for after in lines.iter_mut().filter(|it| it.start > start) {
            after.start += 2;
            after.name_end += 2;
            after.end += 2;
        }
    }

    /// The first value of this name.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Whether there is no line.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Drops every line.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
    }
}
