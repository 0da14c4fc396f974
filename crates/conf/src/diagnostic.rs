//! What is wrong with a configuration, and how it is shown.

use std::fmt;
use std::fmt::Write;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level as Severity, Renderer, Snippet};

use crate::lexer::{Lexer, Token};
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

    /// The message with its place, on one line and without program or level, as nginx's error log
    /// has it: `unknown directive "x" in /etc/nginx/nginx.conf:12`.
    pub fn headline(&self, sources: &Sources) -> String {
        let mut line = String::new();
        for character in self.message.chars() {
            if character.is_control() {
                line.extend(character.escape_default());
            } else {
                line.push(character);
            }
        }
        if let Some(span) = self.span {
            line.push_str(" in ");
            line.push_str(&sources.place(span));
        }
        line
    }

    /// The help to be shown: the one given, or that a `;` is missing.
    fn help_to_show(&self, sources: &Sources) -> Option<String> {
        let span = self
            .span
            .filter(|_| self.may_lack_semicolon && self.help.is_none());
        span.and_then(|span| missing_semicolon(span, sources))
            .or_else(|| self.help.clone())
    }

    fn snippets<'a>(&'a self, span: Span, sources: &'a Sources) -> Vec<Part<'a>> {
        let mut parts = vec![Part::new(span.file)];
        parts[0]
            .marks
            .push((AnnotationKind::Primary, span, self.label.as_deref()));
        for (span, text) in &self.notes {
            let mark = (AnnotationKind::Context, *span, Some(text.as_str()));
            match parts.iter_mut().find(|part| part.file == span.file) {
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

/// The marked places of one file.
struct Part<'a> {
    file: FileId,
    marks: Vec<(AnnotationKind, Span, Option<&'a str>)>,
}

impl<'a> Part<'a> {
    fn new(file: FileId) -> Self {
        Part {
            file,
            marks: Vec::new(),
        }
    }

    /// The lines that hold the marks, and no more: the renderer's cost grows with the text.
    fn snippet(&self, sources: &'a Sources) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let source = sources.get(self.file);
        let lines = |span: &Span| {
            let last = span.end.max(span.start + 1) - 1;
            (source.line_at(span.start), source.line_at(last))
        };
        let first = self
            .marks
            .iter()
            .map(|(_, span, _)| lines(span).0)
            .min()
            .unwrap_or(1);
        let last = self
            .marks
            .iter()
            .map(|(_, span, _)| lines(span).1)
            .max()
            .unwrap_or(1);
        let (start, end) = source.lines(first, last);
        let text = &source.text()[start..end];
        let path = if source.is_command_line() {
            "command line".into()
        } else {
            source.path().to_string_lossy()
        };
        let inside = |offset: u32| (offset as usize).clamp(start, end) - start;
        let marks = self.marks.iter().map(|(kind, span, label)| {
            let range: Range<usize> = inside(span.start)..inside(span.end);
            kind.span(range)
                .label(label.map(std::borrow::Cow::Borrowed))
        });
        Snippet::source(text)
            .line_start(first as usize)
            .path(path)
            .annotations(marks)
    }
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
            let line = sources.line(Span {
                start: end,
                end,
                ..span
            });
            return Some(format!("is a `;` missing at the end of line {line}?"));
        }
        last_end = Some(word.span.end as usize);
    }
    None
}

/// All that is wrong with a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Whether one of them is more than a warning.
    pub fn has_errors(&self) -> bool {
        self.0
            .iter()
            .any(|diagnostic| diagnostic.level == Level::Emerg)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One after the other, in the order of pushing, or of the files after [`Diagnostics::sort`].
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Puts them in the order of the files' text, those without a place first, and drops
    /// repetitions (a file that is included twice has each of its errors twice).
    pub fn sort(&mut self) {
        self.0
            .sort_by_key(|it| it.span.map(|span| (span.file, span.start, span.end)));
        self.0.dedup();
    }

    /// All of them in the order of the files' text, as text ending with a newline.
    ///
    /// Each begins with a line in nginx's form, which tools read:
    /// `revolve: [emerg] unknown directive "x" in /etc/nginx/nginx.conf:12`, where `program` is
    /// the name before the colon. The offending lines follow, underlined, and the help. `color`
    /// adds terminal escapes, and is for terminals alone.
    pub fn render(&self, sources: &Sources, program: &str, color: bool) -> String {
        let mut sorted = self.clone();
        sorted.sort();
        let mut out = String::new();
        for diagnostic in &sorted.0 {
            render_one(diagnostic, sources, program, color, &mut out);
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

impl Extend<Diagnostic> for Diagnostics {
    fn extend<T: IntoIterator<Item = Diagnostic>>(&mut self, iter: T) {
        self.0.extend(iter);
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
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
