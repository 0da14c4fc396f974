//! Tokens into directives, with `include` expanded in place.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str;

use crate::diagnostic::{Diagnostic, Diagnostics, os_error_text};
use crate::directive::{Directive, wrong_count};
use crate::files::Files;
use crate::glob::is_pattern;
use crate::lexer::{Lexer, Token};
use crate::shown::Shown;
use crate::span::{FileId, Sources, Span};
use crate::word::Word;

/// How deep blocks may lie in blocks, and how deep files may include files. nginx's own contexts
/// never lie deeper than a few levels; the bound keeps our stack safe from a hostile file.
const DEPTH_MAX: usize = 100;

/// How much text may be parsed in all, counting a file each time that it is included. The bound
/// stops files that include each other twice and twice again.
const TEXT_BYTES_MAX: usize = 256 << 20;

/// A parsed configuration.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// The directives outside of any block: those of the `-g` option first.
    pub directives: Vec<Directive>,
    /// All texts that were read.
    pub sources: Sources,
}

/// Parses the configuration file `main`, after the directives in `globals`, the text of nginx's
/// `-g` option.
///
/// `include` is expanded wherever it stands, relative to the folder of `main`. After an error
/// parsing goes on where that makes sense, so the document may hold directives even when the
/// diagnostics have errors; they are in the order of the text.
pub fn parse(main: &Path, globals: Option<&str>, files: &mut dyn Files) -> (Document, Diagnostics) {
    let mut parser = Parser {
        files,
        sources: Sources::default(),
        diagnostics: Diagnostics::new(),
        folder: main.parent().map(Path::to_owned).unwrap_or_default(),
        open: Vec::new(),
        depth: 0,
        text_bytes: 0,
    };
    let mut directives = Vec::new();
    if let Some(globals) = globals {
        let file = parser.sources.add_command_line(globals);
        parser.text(file, &mut directives);
    }
    parser.file(main, None, &mut directives);
    let Parser {
        sources,
        mut diagnostics,
        ..
    } = parser;
    diagnostics.sort();
    (
        Document {
            directives,
            sources,
        },
        diagnostics,
    )
}

struct Parser<'a> {
    files: &'a mut dyn Files,
    sources: Sources,
    diagnostics: Diagnostics,
    /// What relative paths are relative to.
    folder: PathBuf,
    /// The files being parsed, each included by the one before it.
    open: Vec<FileId>,
    /// How many blocks are open, over all files being parsed.
    depth: usize,
    /// How much text has been parsed.
    text_bytes: usize,
}

impl Parser<'_> {
    fn error(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Parses the file at `path`, which the directive at `included` names.
    fn file(&mut self, path: &Path, included: Option<Span>, out: &mut Vec<Directive>) {
        let file = match self.sources.find(path) {
            Some(file) => file,
            None => match self.files.read(path) {
                Ok(bytes) if bytes.len() > TEXT_BYTES_MAX => return self.too_much(included),
                Ok(bytes) => self.sources.add(path, bytes),
                Err(error) => return self.unreadable(path, &error, included),
            },
        };
        if self.open.contains(&file) {
            let message = format!("\"{}\" includes itself", shown_path(path));
            return self.error(Diagnostic::new(included, message).label("already being read"));
        }
        if self.open.len() == DEPTH_MAX {
            let message = format!("files include each other more than {DEPTH_MAX} deep");
            return self.error(Diagnostic::new(included, message));
        }
        self.text_bytes += self.sources.text(file).len();
        if self.text_bytes > TEXT_BYTES_MAX {
            return self.too_much(included);
        }
        self.open.push(file);
        self.text(file, out);
        self.open.pop();
    }

    fn too_much(&mut self, included: Option<Span>) {
        let mebibytes = TEXT_BYTES_MAX >> 20;
        let message = format!("the configuration is larger than {mebibytes} MiB");
        self.error(Diagnostic::new(included, message));
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error, included: Option<Span>) {
        let call = if error.kind() == io::ErrorKind::IsADirectory {
            "pread"
        } else {
            "open"
        };
        let reason = os_error_text(error);
        let message = format!("{call}() \"{}\" failed {reason}", shown_path(path));
        self.error(Diagnostic::new(included, message));
    }

    fn text(&mut self, file: FileId, out: &mut Vec<Directive>) {
        let text = self.sources.get(file).shared_text();
        let lexer = Lexer::new(&text, file);
        let is_command_line = self.sources.get(file).is_command_line();
        let root = Frame {
            head: None,
            block: std::mem::take(out),
        };
        let mut reader = TextParser {
            parser: self,
            lexer,
            is_command_line,
            words: Vec::new(),
            stack: vec![root],
        };
        reader.run();
        *out = reader.stack.remove(0).block;
    }

    /// Expands `include`.
    fn include(&mut self, directive: &Directive, out: &mut Vec<Directive>) {
        let [argument] = directive.args.as_slice() else {
            let found = directive.args.len();
            let label = format!("expected 1 argument, found {found}");
            return self.error(wrong_count(directive).label(label));
        };
        // As in nginx the name is joined to the folder, and then looked at for wildcards.
        let path = self.folder.join(&argument.text);
        if !is_pattern(path.as_os_str().as_bytes()) {
            return self.file(&path, Some(argument.span), out);
        }
        let pattern = OsString::from(path.clone()).into_string();
        let Ok(pattern) = pattern else {
            let message = format!("the path \"{}\" is not UTF-8", shown_path(&path));
            return self.error(Diagnostic::new(argument.span, message));
        };
        match self.files.glob(&pattern) {
            Ok(paths) => {
                for path in paths {
                    self.file(&path, Some(argument.span), out);
                }
            }
            Err(error) => {
                let reason = os_error_text(&error);
                let message = format!("glob() \"{pattern}\" failed {reason}");
                self.error(Diagnostic::new(argument.span, message));
            }
        }
    }
}

fn shown_path(path: &Path) -> Shown<'_> {
    Shown(path.as_os_str().as_bytes())
}

/// A block that is being read.
struct Frame {
    /// The directive that opened it; `None` for the file itself, and for braces without a name.
    head: Option<Directive>,
    block: Vec<Directive>,
}

/// Reads one text. Blocks lie on a stack of its own, so that depth costs no call stack.
struct TextParser<'p, 'f, 't> {
    parser: &'p mut Parser<'f>,
    lexer: Lexer<'t>,
    is_command_line: bool,
    /// The words of the directive being read.
    words: Vec<Word>,
    /// The open blocks; the first is the file itself.
    stack: Vec<Frame>,
}

impl TextParser<'_, '_, '_> {
    fn run(&mut self) {
        loop {
            match self.lexer.next() {
                Token::Word(word) => self.word(word),
                Token::Semicolon(span) => self.semicolon(span),
                Token::Open(span) => self.open(span),
                Token::Close(span) => self.close(span),
                Token::Unexpected(found, span) => {
                    let message = format!("unexpected \"{found}\"");
                    let label = "expected white space or `;` after the closing quote";
                    self.parser
                        .error(Diagnostic::new(span, message).label(label));
                }
                Token::End(span) => return self.end(span),
            }
        }
    }

    fn word(&mut self, word: Word) {
        let (start, end) = (word.span.start as usize, word.span.end as usize);
        let bytes = &self.parser.sources.get(word.span.file).bytes()[start..end];
        if let Err(error) = str::from_utf8(bytes) {
            let wrong = bytes[error.valid_up_to()];
            let message = format!("byte 0x{wrong:02x} is not UTF-8");
            let help = "save the file as UTF-8; only comments may hold other bytes";
            self.parser
                .error(Diagnostic::new(word.span, message).help(help));
        }
        self.words.push(word);
    }

    /// The directive that the words make up; `None` if there are none.
    fn take_directive(&mut self) -> Option<Directive> {
        let mut words = self.words.drain(..);
        let name = words.next()?;
        // As many as there are: a file of a million lines has a million such lists.
        let args: Vec<Word> = words.collect();
        let span = args
            .last()
            .map_or(name.span, |last| name.span.to(last.span));
        Some(Directive {
            name,
            args,
            block: None,
            span,
        })
    }

    fn semicolon(&mut self, span: Span) {
        match self.take_directive() {
            Some(directive) => self.push(directive),
            None => self.unexpected(';', span, "expected a directive before this"),
        }
    }

    fn open(&mut self, span: Span) {
        let head = self.take_directive();
        if self.is_command_line {
            let message = "block directives are not supported in -g option";
            self.parser.error(Diagnostic::new(span, message));
        } else if let Some(head) = &head
            && head.name.text == "include"
        {
            let message = "directive \"include\" is not terminated by \";\"";
            let diagnostic = Diagnostic::new(head.span, message).may_lack_semicolon();
            self.parser
                .error(diagnostic.label("expected \";\" after this, found a block"));
        } else if head.is_none() {
            self.unexpected('{', span, "expected a directive before this");
        }
        if self.parser.depth == DEPTH_MAX {
            let message = format!("blocks lie more than {DEPTH_MAX} deep");
            self.parser.error(Diagnostic::new(span, message));
            return self.skip_block();
        }
        self.parser.depth += 1;
        self.stack.push(Frame {
            head,
            block: Vec::new(),
        });
    }

    /// Passes over a block, which is open already, and all blocks in it.
    fn skip_block(&mut self) {
        let mut depth = 1usize;
        while depth > 0 {
            match self.lexer.next() {
                Token::Open(_) => depth += 1,
                Token::Close(_) => depth -= 1,
                Token::End(_) => return,
                Token::Word(_) | Token::Semicolon(_) | Token::Unexpected(..) => {}
            }
        }
    }

    fn close(&mut self, span: Span) {
        if let Some(directive) = self.take_directive() {
            let help = format!("is a `;` missing after `{}`?", self.slice(directive.span));
            let message = "unexpected \"}\"";
            let diagnostic = Diagnostic::new(span, message).label("expected `;` before this");
            self.parser.error(diagnostic.help(help));
            self.push(directive);
        }
        if self.stack.len() == 1 {
            return self.unexpected('}', span, "no block is open here");
        }
        self.close_block();
    }

    fn close_block(&mut self) {
        self.parser.depth -= 1;
        if let Some(Frame {
            head: Some(mut directive),
            block,
        }) = self.stack.pop()
            && directive.name.text != "include"
        {
            directive.block = Some(block);
            self.push(directive);
        }
    }

    fn end(&mut self, span: Span) {
        let innermost = self
            .stack
            .last()
            .and_then(|frame| frame.head.as_ref())
            .map(|it| it.span);
        let is_open = self.stack.len() > 1;
        let expecting = match self.take_directive() {
            Some(_) if self.is_command_line => Some("parameter, expecting \";\""),
            Some(_) => Some("file, expecting \";\" or \"}\""),
            None if is_open => Some("file, expecting \"}\""),
            None => None,
        };
        if let Some(expecting) = expecting {
            let message = format!("unexpected end of {expecting}");
            let mut diagnostic = Diagnostic::new(span, message);
            if let Some(quote) = self.lexer.unclosed_quote {
                diagnostic = diagnostic.note(quote, "this quote is never closed");
            }
            if let Some(block) = innermost {
                diagnostic = diagnostic.note(block, "this block is never closed");
            }
            self.parser.error(diagnostic);
        }
        while self.stack.len() > 1 {
            self.close_block();
        }
    }

    fn unexpected(&mut self, found: char, span: Span, label: &str) {
        let message = format!("unexpected \"{found}\"");
        self.parser
            .error(Diagnostic::new(span, message).label(label));
    }

    /// The start of the text under `span`, on one line.
    fn slice(&self, span: Span) -> String {
        const CHARACTERS_MAX: usize = 40;
        let text = self
            .parser
            .sources
            .slice(span)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        match text.char_indices().nth(CHARACTERS_MAX) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }

    fn push(&mut self, directive: Directive) {
        let frame = self
            .stack
            .last_mut()
            .expect("the file itself is never popped");
        if directive.name.text == "include" && directive.block.is_none() {
            self.parser.include(&directive, &mut frame.block);
        } else {
            frame.block.push(directive);
        }
    }
}
