//! Places in configuration text, and the texts themselves.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::shown::Shown;

/// One of the texts that a configuration was read from; an index into [`Sources`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// A stretch of one file, in byte offsets: `start` is inside it, `end` is not.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// Offset of the first byte.
    pub start: u32,
    /// Offset of the byte after the last.
    pub end: u32,
}

impl Span {
    /// The stretch from the start of `self` to the end of `last`, which must lie in the same file
    /// (as the words of one directive always do).
    pub fn to(self, last: Span) -> Span {
        debug_assert_eq!(self.file, last.file);
        Span {
            file: self.file,
            start: self.start,
            end: last.end.max(self.start),
        }
    }
}

/// One text that was read: a file, or the text of the `-g` option.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    is_command_line: bool,
    /// The text with every byte that is not part of valid UTF-8 replaced by `?`, so that byte
    /// offsets are those of the file.
    text: Arc<str>,
    /// The bytes as read, kept only where they differ from `text`.
    bytes: Option<Vec<u8>>,
    /// Offset of the first byte of each line.
    line_starts: Vec<u32>,
}

impl Source {
    fn new(path: PathBuf, is_command_line: bool, bytes: Vec<u8>) -> Source {
        let (text, bytes) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let bytes = error.into_bytes();
                (masked(&bytes), Some(bytes))
            }
        };
        let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let line_starts = std::iter::once(0)
            .chain(newlines.map(|(offset, _)| offset as u32 + 1))
            .collect();
        Source {
            path,
            is_command_line,
            text: text.into(),
            bytes,
            line_starts,
        }
    }

    /// The file's path as it was opened; empty for the command line.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is the text of the `-g` option rather than a file.
    pub fn is_command_line(&self) -> bool {
        self.is_command_line
    }

    /// The text; a byte that is not part of valid UTF-8 stands as `?`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text, to be held while further texts are added.
    pub(crate) fn shared_text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The bytes exactly as they were read.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(self.text.as_bytes())
    }

    /// The line, counted from 1, that holds the byte at `offset`.
    pub(crate) fn line_at(&self, offset: u32) -> u32 {
        self.line_starts.partition_point(|&start| start <= offset) as u32
    }

    /// Byte offsets of the start of line `first` and of the end of line `last` (both counted from
    /// 1), the last line's newline left out.
    pub(crate) fn lines(&self, first: u32, last: u32) -> (usize, usize) {
        let start = self
            .line_starts
            .get(first as usize - 1)
            .copied()
            .unwrap_or(0) as usize;
        let end = match self.line_starts.get(last as usize) {
            Some(&next) => next as usize - 1,
            None => self.text.len(),
        };
        (start, end)
    }
}

/// `bytes` as text of the same length in bytes, with `?` for each that is not UTF-8.
fn masked(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

/// All texts that a configuration was read from, in the order in which they were opened.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    list: Vec<Source>,
}

impl Sources {
    /// Adds the bytes of the file at `path`. They must be shorter than 4 GiB.
    pub fn add(&mut self, path: impl Into<PathBuf>, bytes: Vec<u8>) -> FileId {
        self.push(Source::new(path.into(), false, bytes))
    }

    /// Adds the text of the `-g` option.
    pub fn add_command_line(&mut self, text: &str) -> FileId {
        self.push(Source::new(PathBuf::new(), true, text.as_bytes().to_vec()))
    }

    fn push(&mut self, source: Source) -> FileId {
        assert!(
            u32::try_from(source.text.len()).is_ok(),
            "offsets are 32 bits"
        );
        self.list.push(source);
        FileId(self.list.len() as u32 - 1)
    }

    /// One text. Panics if the id is of another `Sources`.
    pub fn get(&self, file: FileId) -> &Source {
        &self.list[file.0 as usize]
    }

    /// The line, counted from 1, on which `span` starts.
    pub fn line(&self, span: Span) -> u32 {
        self.get(span.file).line_at(span.start)
    }

    /// The path of a file; empty for the command line.
    pub fn path(&self, file: FileId) -> &Path {
        self.get(file).path()
    }

    /// The text of a file, as [`Source::text`] gives it.
    pub fn text(&self, file: FileId) -> &str {
        self.get(file).text()
    }

    /// The file with this path, where it was read.
    pub fn find(&self, path: &Path) -> Option<FileId> {
        let is_it = |source: &Source| !source.is_command_line && source.path == path;
        self.list
            .iter()
            .position(is_it)
            .map(|index| FileId(index as u32))
    }

    /// The text under `span`.
    pub fn slice(&self, span: Span) -> &str {
        self.text(span.file)
            .get(span.start as usize..span.end as usize)
            .unwrap_or("")
    }

    /// Where `span` starts, in the words that end nginx's messages: `/etc/nginx/nginx.conf:12`,
    /// or `command line`.
    pub fn place(&self, span: Span) -> String {
        let source = self.get(span.file);
        if source.is_command_line {
            "command line".to_owned()
        } else {
            let path = Shown(source.path.as_os_str().as_bytes());
            format!("{path}:{}", self.line(span))
        }
    }

    /// All texts, in the order in which they were opened.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, &Source)> {
        self.list
            .iter()
            .enumerate()
            .map(|(index, source)| (FileId(index as u32), source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one_and_the_end_is_on_the_last() {
        let mut sources = Sources::default();
        let file = sources.add("/x", b"ab\ncd\n".to_vec());
        let line = |start| {
            sources.line(Span {
                file,
                start,
                end: start,
            })
        };
        assert_eq!(
            [line(0), line(2), line(3), line(5), line(6)],
            [1, 1, 2, 2, 3]
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_keep_their_offsets() {
        let mut sources = Sources::default();
        let bytes = b"# caf\xe9 \xff\xfe\nuser x;".to_vec();
        let file = sources.add("/x", bytes.clone());
        assert_eq!(sources.text(file), "# caf? ??\nuser x;");
        assert_eq!(sources.get(file).bytes(), bytes);
        assert_eq!(
            sources.slice(Span {
                file,
                start: 10,
                end: 14
            }),
            "user"
        );
    }

    #[test]
    fn places_read_like_those_of_nginx() {
        let mut sources = Sources::default();
        let file = sources.add("/etc/x.conf", b"a;\nb;".to_vec());
        let globals = sources.add_command_line("c;");
        assert_eq!(
            sources.place(Span {
                file,
                start: 3,
                end: 4
            }),
            "/etc/x.conf:2"
        );
        assert_eq!(
            sources.place(Span {
                file: globals,
                start: 0,
                end: 1
            }),
            "command line"
        );
        assert_eq!(sources.find(Path::new("/etc/x.conf")), Some(file));
        assert_eq!(sources.find(Path::new("")), None);
    }
}
