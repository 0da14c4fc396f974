//! What is wrong with a configuration, and how it is shown.

use std::fmt;
use std::fmt::Write;
use std::num::NonZeroU32;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use annotate_snippets::{AnnotationKind, Group, Level as Severity, Renderer, Snippet};

use crate::lexer::{Lexer, Token};
use crate::shown::{Shown, ShownLine, is_printable};
use crate::span::{FileId, Sources, Span};

/// How bad a [`Diagnostic`] is, named as in nginx's logs.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// The configuration cannot be used.
    Emerg,
    /// The configuration can be used, and probably does not do what was meant.
    Warn,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Emerg => "emerg",
            Level::Warn => "warn",
        })
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub level: Level,
    /// What is wrong, in nginx's words and without the place: `unknown directive "x"`.
    pub message: String,
    /// The offending words; `None` where no file is to blame.
    pub span: Option<Span>,
    /// What stands under the offending words: mostly what was expected there.
    pub label: Option<String>,
    /// What to do about it: ``did you mean `proxy_pass`?``
    pub help: Option<String>,
    /// Other places that explain the error, each with what it has to do with it.
    pub notes: Vec<(Span, String)>,
    /// Whether a `;` forgotten at a line's end, so that the next line was read as arguments, may
    /// be the cause.
    may_lack_semicolon: bool,
    /// Where a `;` was most likely forgotten: an offset in the file of `span`.
    semicolon_at: Option<NonZeroU32>,
}

impl Diagnostic {
    /// An error at `span`, which may be `None`.
    pub fn new(span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Diagnostic {
            level: Level::Emerg,
            message: message.into(),
            span: span.into(),
            label: None,
            help: None,
            notes: Vec::new(),
            may_lack_semicolon: false,
            semicolon_at: None,
        }
    }

    /// Says something under the offending words.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Shows another place.
    pub fn note(mut self, span: Span, text: impl Into<String>) -> Self {
        self.notes.push((span, text.into()));
        self
    }

    /// Makes it a warning.
    pub fn warn(mut self) -> Self {
        self.level = Level::Warn;
        self
    }

    /// Lets the rendering ask whether a `;` is missing at the end of a line, if the offending
    /// words stand on more than one.
    pub fn may_lack_semicolon(mut self) -> Self {
        self.may_lack_semicolon = true;
        self
    }

    /// Says that a `;` was most likely forgotten after a word of the same file that ends its line.
    pub fn lacks_semicolon_after(mut self, span: Span) -> Self {
        self.semicolon_at = NonZeroU32::new(span.end);
        self
    }

    /// The message with its place, on one line and without program or level, as nginx's error log
    /// has it: `unknown directive "x" in /etc/nginx/nginx.conf:12`.
    pub fn headline(&self, sources: &Sources) -> String {
        let mut line = shown(&self.message);
        if let Some(span) = self.span {
            line.push_str(" in ");
            line.push_str(&sources.place(span));
        }
        line
    }

    /// Where it stands among others: errors before warnings, then in the order of the files' text.
    fn rank(&self) -> (bool, Place) {
        (self.level == Level::Warn, place(self.span))
    }

    /// The help to be shown: the one given, or that a `;` is missing.
    fn help_to_show(&self, sources: &Sources) -> Option<String> {
        if let (Some(span), Some(end)) = (self.span, self.semicolon_at) {
            let end = end.get();
            return Some(semicolon_help(Span { end, ..span }, sources));
        }
        let span = self
            .span
            .filter(|_| self.may_lack_semicolon && self.help.is_none());
        span.and_then(|span| missing_semicolon(span, sources))
            .or_else(|| self.help.as_deref().map(shown))
    }

    fn snippets(&self, span: Span, sources: &Sources) -> Vec<Part> {
        let mut parts = vec![Part::new(span.file)];
        let label = self.label.as_deref().map(shown);
        parts[0].marks.push((AnnotationKind::Primary, span, label));
        for (span, text) in &self.notes {
            let mark = (AnnotationKind::Context, *span, Some(shown(text)));
            match parts.iter_mut().find(|part| part.is_near(*span, sources)) {
                Some(part) => part.marks.push(mark),
                None => {
                    let mut part = Part::new(span.file);
                    part.marks.push(mark);
                    parts.push(part);
                }
            }
        }
        parts.retain(|part| !sources.text(part.file).is_empty());
        parts
    }
}

/// The most bytes of a message, a label or a help that are shown.
const TEXT_BYTES_MAX: usize = 2000;

/// The most bytes of a file's text in one snippet: what a person can read, and what costs the renderer
/// little.
const SNIPPET_BYTES_MAX: usize = 4000;

/// Text that may hold words of a file, as it may be shown, cut to a bound.
fn shown(text: &str) -> String {
    match text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)) {
        Some(start) if start.len() < text.len() => {
            format!("{}...", ShownLine(start.as_bytes()))
        }
        _ => ShownLine(text.as_bytes()).to_string(),
    }
}

/// Marked places of one file that lie near each other.
struct Part {
    file: FileId,
    marks: Vec<(AnnotationKind, Span, Option<String>)>,
}

impl Part {
    fn new(file: FileId) -> Self {
        Part {
            file,
            marks: Vec::new(),
        }
    }

    /// Whether a place may be shown together with those marked.
    fn is_near(&self, span: Span, sources: &Sources) -> bool {
        let (first, last) = self.lines(sources);
        let source = sources.get(self.file);
        let line = source.line_at(span.start);
        let (start, end) = source.lines(line.min(first), line.max(last));
        span.file == self.file && end - start <= SNIPPET_BYTES_MAX
    }

    /// The first line that holds a mark, and the last.
    fn lines(&self, sources: &Sources) -> (u32, u32) {
        let source = sources.get(self.file);
        let lines = self.marks.iter().map(|(_, span, _)| {
            let last = span.end.max(span.start + 1) - 1;
            (source.line_at(span.start), source.line_at(last))
        });
        lines
            .reduce(|(first, last), other| (first.min(other.0), last.max(other.1)))
            .unwrap_or((1, 1))
    }

    /// The offsets of the text to be shown: the lines that hold the marks, or where those are long,
    /// what lies around the first mark.
    fn range(&self, sources: &Sources) -> Range<usize> {
        let source = sources.get(self.file);
        let (first, last) = self.lines(sources);
        let (start, end) = source.lines(first, last);
        if end - start <= SNIPPET_BYTES_MAX {
            return start..end;
        }
        let marked = self.marks.iter().map(|(_, span, _)| span.start as usize);
        let marked = marked.min().unwrap_or(start);
        let text = source.text();
        let from = text.ceil_char_boundary(marked.saturating_sub(SNIPPET_BYTES_MAX / 2).max(start));
        let to = text.floor_char_boundary((from + SNIPPET_BYTES_MAX).min(end));
        from..to
    }

    fn snippet(&self, sources: &Sources) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
        let source = sources.get(self.file);
        let Range { start, end } = self.range(sources);
        let path = if source.is_command_line() {
            "command line".into()
        } else {
            Shown(source.path().as_os_str().as_bytes()).to_string()
        };
        let inside = |offset: u32| (offset as usize).clamp(start, end) - start;
        let marks = self.marks.iter().map(|(kind, span, label)| {
            let range: Range<usize> = inside(span.start)..inside(span.end);
            let label = label.as_deref().map(std::borrow::Cow::Borrowed);
            kind.span(range).label(label)
        });
        Snippet::source(masked(&source.text()[start..end]))
            .line_start(source.line_at(start as u32) as usize)
            .path(path)
            .annotations(marks)
    }
}

/// Text of a file with `?` for each byte of what must not be shown, so that offsets stay.
fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => out.push(character),
            _ if is_printable(character) => out.push(character),
            _ => out.extend(std::iter::repeat_n('?', character.len_utf8())),
        }
    }
    out
}

/// Asks whether a `;` is missing where `span` ends.
fn semicolon_help(span: Span, sources: &Sources) -> String {
    let line = sources.line(Span {
        start: span.end,
        ..span
    });
    format!("is a `;` missing at the end of line {line}?")
}

/// Where the words under `span` run over a line's end, asks whether the directive ends there.
fn missing_semicolon(span: Span, sources: &Sources) -> Option<String> {
    let words = sources.slice(span);
    let mut lexer = Lexer::new(words, span.file);
    let mut last_end = None;
    while let Token::Word(word) = lexer.next() {
        let start = word.span.start as usize;
        if let Some(end) = last_end
            && words[end..start].contains('\n')
        {
            let end = span.start + end as u32;
            return Some(semicolon_help(Span { end, ..span }, sources));
        }
        last_end = Some(word.span.end as usize);
    }
    None
}

/// The most diagnostics that are kept of one configuration. Who wrote it mends the first ones first,
/// and a log that takes all of a large file's is of no use to anybody.
pub const DIAGNOSTICS_SHOWN_MAX: usize = 30;

/// Where a diagnostic stands in the files' text; nowhere comes first.
type Place = Option<(FileId, u32, u32)>;

fn place(span: Option<Span>) -> Place {
    span.map(|span| (span.file, span.start, span.end))
}

/// What is wrong with a configuration.
///
/// The first [`DIAGNOSTICS_SHOWN_MAX`] are kept, errors before warnings and each in the order of the
/// files' text; the others are counted, so that memory and time are bounded whatever a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    kept: Vec<Diagnostic>,
    more_errors: usize,
    more_warnings: usize,
}

impl Diagnostics {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one. One that is there already (a file that is included twice has each of its errors
    /// twice) is not added again.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.kept.contains(&diagnostic) {
            return;
        }
        if self.kept.len() < DIAGNOSTICS_SHOWN_MAX {
            return self.kept.push(diagnostic);
        }
        let last = self.kept.iter_mut().max_by_key(|it| it.rank());
        let left_out = match last {
            Some(last) if diagnostic.rank() < last.rank() => std::mem::replace(last, diagnostic),
            _ => diagnostic,
        };
        match left_out.level {
            Level::Emerg => self.more_errors += 1,
            Level::Warn => self.more_warnings += 1,
        }
    }

    /// Adds all of `others`, the counted ones too.
    pub fn append(&mut self, others: Diagnostics) {
        self.more_errors += others.more_errors;
        self.more_warnings += others.more_warnings;
        for diagnostic in others.kept {
            self.push(diagnostic);
        }
    }

    /// Whether an error at `span` would be kept; where not, it need not say more than that it is one.
    pub fn keeps_error_at(&self, span: Span) -> bool {
        let rank = (false, place(Some(span)));
        self.kept.len() < DIAGNOSTICS_SHOWN_MAX || self.kept.iter().any(|it| rank < it.rank())
    }

    /// Whether one of them is more than a warning.
    pub fn has_errors(&self) -> bool {
        self.more_errors > 0 || self.kept.iter().any(|it| it.level == Level::Emerg)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are, the counted ones included.
    pub fn len(&self) -> usize {
        self.kept.len() + self.more_errors + self.more_warnings
    }

    /// Those that are kept, one after the other, in the order of pushing, or of the files after
    /// [`Diagnostics::sort`].
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.kept.iter()
    }

    /// How many more there are than those that are kept, in words; `None` where all are.
    pub fn more(&self) -> Option<String> {
        let count = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 more {what}")),
            _ => Some(format!("{count} more {what}s")),
        };
        let errors = count(self.more_errors, "error");
        let warnings = count(self.more_warnings, "warning");
        let counts: Vec<String> = errors.into_iter().chain(warnings).collect();
        (!counts.is_empty()).then(|| format!("{} not shown", counts.join(" and ")))
    }

    /// Puts them in the order of the files' text, those without a place first.
    pub fn sort(&mut self) {
        self.kept.sort_by_key(|it| place(it.span));
    }

    /// Those that are kept in the order of the files' text, and how many more there are, as text ending
    /// with a newline.
    ///
    /// Each begins with a line in nginx's form, which tools read:
    /// `revolve: [emerg] unknown directive "x" in /etc/nginx/nginx.conf:12`, where `program` is
    /// the name before the colon. The offending lines follow, underlined, and the help. `color`
    /// adds terminal escapes, and is for terminals alone.
    pub fn render(&self, sources: &Sources, program: &str, color: bool) -> String {
        let mut sorted = self.clone();
        sorted.sort();
        let mut out = String::new();
        for diagnostic in &sorted.kept {
            render_one(diagnostic, sources, program, color, &mut out);
        }
        if let Some(more) = self.more() {
            let level = if self.more_errors > 0 {
                Level::Emerg
            } else {
                Level::Warn
            };
            let _ = writeln!(out, "{program}: [{level}] {more}");
        }
        out
    }
}

fn render_one(it: &Diagnostic, sources: &Sources, program: &str, color: bool, out: &mut String) {
    let (severity, style) = match it.level {
        Level::Emerg => (Severity::ERROR, "\x1b[1;91m"),
        Level::Warn => (Severity::WARNING, "\x1b[1;33m"),
    };
    let (style, reset) = if color { (style, "\x1b[0m") } else { ("", "") };
    // Writing to a string cannot fail.
    let headline = it.headline(sources);
    let _ = writeln!(out, "{program}: {style}[{}]{reset} {headline}", it.level);
    let help = it.help_to_show(sources);
    let parts = it
        .span
        .map(|span| it.snippets(span, sources))
        .unwrap_or_default();
    if parts.is_empty() {
        if let Some(help) = help {
            let _ = writeln!(out, "  = help: {help}");
        }
        return;
    }
    let snippets = parts.iter().map(|part| part.snippet(sources));
    let mut group = Group::with_level(severity).elements(snippets);
    if let Some(help) = &help {
        group = group.element(Severity::HELP.message(help.as_str()));
    }
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    out.push_str(&renderer.render(&[group]));
    out.push('\n');
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.kept.iter()
    }
}

/// A system call's error in nginx's form: `2: No such file or directory`.
pub fn error_text(error: &std::io::Error) -> String {
    let words = error.to_string();
    match error.raw_os_error() {
        Some(code) => {
            let suffix = format!(" (os error {code})");
            format!("{code}: {}", words.strip_suffix(&suffix).unwrap_or(&words))
        }
        None => words,
    }
}

/// The same in the parentheses that end nginx's messages: `(2: No such file or directory)`.
pub fn os_error_text(error: &std::io::Error) -> String {
    format!("({})", error_text(error))
}
