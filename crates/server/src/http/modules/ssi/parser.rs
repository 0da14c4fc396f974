//! Finds the commands in a page, in whatever pieces the page comes.
//!
//! Source: nginx's `ngx_http_ssi_parse`.

use bytes::{Buf, Bytes};

use crate::log::Shown;

/// How a command begins.
const PREFIX: &[u8] = b"<!--#";

/// The longest name of a command or of a parameter.
const NAME_BYTES_MAX: usize = 32;

/// The most parameters of a command that are kept; whoever takes it allows fewer.
pub(super) const PARAMETERS_MAX: usize = 16;

/// A command.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) name: Vec<u8>,
    /// Names and values, the values without their quotes and with their backslashes. One more than
    /// [`PARAMETERS_MAX`] at most.
    pub(super) parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Command {
    /// The command as it may have been written.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = [PREFIX, &self.name].concat();
        for (name, value) in &self.parameters {
            for part in [b" ", &name[..], b"=\"", value, b"\""] {
                text.extend_from_slice(part);
            }
        }
        text.extend_from_slice(b" -->");
        text
    }
}

/// What is found next in a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Text that is no command.
    Text(Bytes),
    Command(Command),
    /// A command that is not sound, which has ended; what the error log is to say.
    Error(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes of [`PREFIX`] have been seen.
    Text(usize),
    BeforeCommand,
    Command,
    BeforeParameter,
    Parameter,
    BeforeEqual,
    BeforeValue,
    /// Which quote ends it, and whether a backslash was seen.
    Value(u8, bool),
    AfterValue,
    /// So many of the dashes of `-->` have been seen.
    Ending(usize),
    /// The same of a command that is not sound.
    Error(usize),
}

/// The parser. What it holds is one command.
pub(super) struct Parser {
    state: State,
    command: Command,
    error: Option<String>,
    value_bytes_max: usize,
}

impl Parser {
    /// `value_bytes_max`: the longest value of a parameter.
    pub(super) fn new(value_bytes_max: usize) -> Self {
        Self {
            state: State::Text(0),
            command: Command::default(),
            error: None,
            value_bytes_max,
        }
    }

    /// Takes bytes off `input` up to what is found next; `None` where all were taken and more are needed.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Option<Event> {
        while !input.is_empty() {
            if let State::Text(matched) = self.state {
                match self.text(input, matched) {
                    Some(text) => return Some(Event::Text(text)),
                    None => continue,
                }
            }
            let byte = input[0];
            input.advance(1);
            if let Some(event) = self.command(byte) {
                self.state = State::Text(0);
                return Some(event);
            }
        }
        None
    }

    /// The page has ended; what is left of it is text after all.
    pub(super) fn end(&mut self) -> Option<Event> {
        match std::mem::replace(&mut self.state, State::Text(0)) {
            State::Text(0) => None,
            State::Text(matched) => Some(Event::Text(Bytes::from_static(&PREFIX[..matched]))),
            _ => self.error.take().map(Event::Error),
        }
    }

    /// Takes text; `None` where a beginning of a command was taken instead.
    fn text(&mut self, input: &mut Bytes, matched: usize) -> Option<Bytes> {
        if matched == 0 {
            let len = memchr::memchr(PREFIX[0], input).unwrap_or(input.len());
            if len > 0 {
                return Some(input.split_to(len));
            }
        }
        if input[0] == PREFIX[matched] {
            input.advance(1);
            self.state = match matched + 1 {
                len if len == PREFIX.len() => {
                    self.command = Command::default();
                    self.error = None;
                    State::BeforeCommand
                }
                len => State::Text(len),
            };
            return None;
        }
        // What began like a command is text, and none of it but the first byte begins another.
        self.state = State::Text(0);
        Some(Bytes::from_static(&PREFIX[..matched]))
    }

    /// Takes a byte of a command; an event where that ends it.
    fn command(&mut self, byte: u8) -> Option<Event> {
        let is_space = matches!(byte, b' ' | b'\r' | b'\n' | b'\t');
        match self.state {
            State::Text(_) => unreachable!("text is no command"),
            State::BeforeCommand if is_space => {}
            State::BeforeCommand => {
                self.command.name.push(byte);
                self.state = State::Command;
            }
            State::Command if is_space => self.state = State::BeforeParameter,
            State::Command | State::BeforeParameter | State::AfterValue if byte == b'-' => {
                self.state = State::Ending(1);
            }
            State::Command => {
                if self.command.name.len() == NAME_BYTES_MAX {
                    let name = Shown(&self.command.name);
                    let shown = [byte];
                    let byte = Shown(&shown);
                    return self.fail(
                        format!("the \"{name}{byte}...\" SSI command is too long"),
                        0,
                    );
                }
                self.command.name.push(byte);
            }
            State::BeforeParameter if is_space => {}
            State::BeforeParameter => {
                // Those past the limit take the place of one, so that no page grows a list.
                self.command.parameters.truncate(PARAMETERS_MAX);
                self.command.parameters.push((vec![byte], Vec::new()));
                self.state = State::Parameter;
            }
            State::Parameter | State::BeforeEqual | State::BeforeValue | State::Value(..) => {
                return self.parameter(byte, is_space);
            }
            State::AfterValue if is_space => self.state = State::BeforeParameter,
            State::AfterValue => {
                let (name, value) = self.last();
                let what = format!(
                    "after \"{}\" value of \"{}\" parameter",
                    Shown(value),
                    Shown(name)
                );
                return self.unexpected(byte, &what, 0);
            }
            State::Ending(1) if byte == b'-' => self.state = State::Ending(2),
            State::Ending(2) if byte == b'>' => {
                return Some(Event::Command(std::mem::take(&mut self.command)));
            }
            State::Ending(_) => {
                let (shown, name) = ([byte], Shown(&self.command.name));
                let byte = Shown(&shown);
                return self.fail(
                    format!("unexpected \"{byte}\" symbol in \"{name}\" SSI command"),
                    0,
                );
            }
            State::Error(2) if byte == b'>' => return self.error.take().map(Event::Error),
            State::Error(dashes) => {
                self.state = State::Error(match byte {
                    b'-' if dashes < 2 => dashes + 1,
                    _ => 0,
                });
            }
        }
        None
    }

    /// Takes a byte of a parameter.
    fn parameter(&mut self, byte: u8, is_space: bool) -> Option<Event> {
        let value_bytes_max = self.value_bytes_max;
        let command = Shown(&self.command.name).to_string();
        let Some((name, value)) = self.command.parameters.last_mut() else {
            unreachable!("a parameter has begun");
        };
        match (self.state, byte) {
            (State::Parameter, _) if is_space => self.state = State::BeforeEqual,
            (State::BeforeEqual | State::BeforeValue, _) if is_space => {}
            (State::Parameter | State::BeforeEqual, b'=') => self.state = State::BeforeValue,
            (State::Parameter, b'-') => {
                name.push(byte);
                let name = Shown(name);
                let error = format!("invalid \"{name}\" parameter in \"{command}\" SSI command");
                return self.fail(error, 1);
            }
            (State::Parameter, _) if name.len() < NAME_BYTES_MAX => name.push(byte),
            (State::Parameter, _) => {
                let (shown, name) = ([byte], Shown(name));
                let byte = Shown(&shown);
                let error =
                    format!("too long \"{name}{byte}...\" parameter in \"{command}\" SSI command");
                return self.fail(error, 0);
            }
            (State::BeforeValue, b'"' | b'\'') => self.state = State::Value(byte, false),
            (State::Value(quote, false), _) if byte == quote => self.state = State::AfterValue,
            (State::Value(quote, is_quoted), _) if value.len() < value_bytes_max => {
                value.push(byte);
                self.state = State::Value(quote, byte == b'\\' && !is_quoted);
            }
            (State::Value(..), _) => {
                let (shown, name, value) = ([byte], Shown(name), Shown(value));
                let byte = Shown(&shown);
                let error = format!(
                    "too long \"{value}{byte}...\" value of \"{name}\" parameter in \"{command}\" \
                     SSI command"
                );
                return self.fail(error, 0);
            }
            (state, _) => {
                let place = match state {
                    State::BeforeEqual => "after",
                    _ => "before value of",
                };
                let what = format!("{place} \"{}\" parameter", Shown(name));
                return self.unexpected(byte, &what, usize::from(byte == b'-'));
            }
        }
        None
    }

    fn last(&self) -> (&[u8], &[u8]) {
        let last = self.command.parameters.last();
        last.map_or((b"", b""), |(name, value)| (name, value))
    }

    fn unexpected(&mut self, byte: u8, what: &str, dashes: usize) -> Option<Event> {
        let (shown, name) = ([byte], Shown(&self.command.name));
        let byte = Shown(&shown);
        self.fail(
            format!("unexpected \"{byte}\" symbol {what} in \"{name}\" SSI command"),
            dashes,
        )
    }

    /// The command is not sound: all up to its end is left out.
    fn fail(&mut self, error: String, dashes: usize) -> Option<Event> {
        self.error = Some(error);
        self.state = State::Error(dashes);
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The events of a page in these pieces, neighbouring texts joined.
    fn events(pieces: &[&[u8]]) -> Vec<Event> {
        let mut parser = Parser::new(20);
        let mut found: Vec<Event> = Vec::new();
        let mut take = |event| match (found.last_mut(), event) {
            (Some(Event::Text(before)), Event::Text(text)) => {
                *before = [before.as_ref(), text.as_ref()].concat().into();
            }
            (_, event) => found.push(event),
        };
        for piece in pieces {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(event) = parser.next(&mut input) {
                take(event);
            }
            assert!(input.is_empty());
        }
        if let Some(event) = parser.end() {
            take(event);
        }
        found
    }

    #[test]
    fn commands_are_found_among_text() {
        let shown = |page: &str| {
            let shown = events(&[page.as_bytes()])
                .into_iter()
                .map(|event| match event {
                    Event::Text(text) => String::from_utf8_lossy(&text).into_owned(),
                    Event::Command(command) => String::from_utf8(command.text()).unwrap(),
                    Event::Error(error) => format!("!{error}"),
                });
            shown.collect::<Vec<_>>().join("|")
        };
        for (page, expected) in [
            ("a<!--#echo var=\"x\" -->b", "a|<!--#echo var=\"x\" -->|b"),
            ("<!--# echo\n var = 'x'-->", "<!--#echo var=\"x\" -->"),
            ("<!--#else-->", "<!--#else -->"),
            ("<<!-<!--<!--#else -->", "<<!-<!--|<!--#else -->"),
            ("<!-- # --> <!", "<!-- # --> <!"),
            ("<!--#set a='\\'' -->", "<!--#set a=\"\\'\" -->"),
            ("x<!--#set a='b", "x"),
            (
                "<!--#set a=b -->y",
                "!unexpected \"b\" symbol before value of \"a\" parameter in \"set\" SSI command|y",
            ),
            (
                "<!--#set a- -->y",
                "!invalid \"a-\" parameter in \"set\" SSI command|y",
            ),
            (
                "<!--#set a b -->y",
                "!unexpected \"b\" symbol after \"a\" parameter in \"set\" SSI command|y",
            ),
            (
                "<!--#set a='b'c -->y",
                "!unexpected \"c\" symbol after \"b\" value of \"a\" parameter in \"set\" SSI command|y",
            ),
            (
                "<!--#set -x -->y",
                "!unexpected \"x\" symbol in \"set\" SSI command|y",
            ),
            (
                "<!--#set a='0123456789012345678901' -->y",
                "!too long \"012345678901234567890...\" value of \"a\" parameter in \"set\" SSI command|y",
            ),
        ] {
            assert_eq!(shown(page), expected, "{page}");
        }
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "<", "!", "-", "#", "<!--#", "-->", " ", "a", "echo", "var", "=", "\"", "'", "\\",
                    "<!--#include virtual=\"/x\" -->", "text", "0123456789012345678901234567890123456789",
                ]),
                0..40,
            ),
            cuts in prop::collection::vec(0usize..400, 0..12),
        ) {
            let page = words.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(page.len())).collect();
            cuts.push(page.len());
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&page[from..cut]);
                from = cut;
            }
            prop_assert_eq!(events(&pieces), events(&[&page]));
        }
    }
}
