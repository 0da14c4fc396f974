//! A page whose commands are done while it is sent.
//!
//! What comes before an include is given on while that is under way, and the page is read on behind it as
//! far as a bound allows, so that several includes are served at a time; their answers keep their order.
//! An answer is pulled when its turn has come.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::expression::{holds, set};
use super::parser::{Command, Event, PARAMETERS_MAX, Parser};
use super::text::{Encoding, evaluate, target, variable};
use super::{SHARED_BYTES_MAX, Shared};
use crate::http::body::{Broken, Outgoing, Piece, Source};
use crate::http::request::Request;
use crate::http::subrequest::{Options, Subrequest, stand_in, subrequest};
use crate::log::{Level, Shown};

/// How many texts and includes may wait for their turn.
const PARTS_MAX: usize = 32;

/// How many bytes of text may wait for their turn.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// How often a page is read in one turn where nothing of it is shown.
const READS_MAX: usize = 16;

/// Where the page is among `if`, `elif`, `else` and `endif`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Branch {
    None,
    If,
    Else,
}

/// What of the page waits for its turn.
enum Part {
    Text(Bytes),
    Include(Include),
    /// What stands in the place of an include.
    Stub(Box<Page>),
}

/// The answer of a subrequest.
struct Include {
    answer: Subrequest,
    /// The block that takes its place where it is empty or an error.
    stub: Option<Bytes>,
    /// The variable that takes its body, instead of the page.
    variable: Option<Vec<u8>>,
    /// What of the body has come for that.
    kept: Vec<u8>,
    is_empty: bool,
}

/// A page on its way.
pub(super) struct Page {
    /// What variables are asked of, and subrequests made of.
    request: Box<Request>,
    shared: Rc<Shared>,
    body: Outgoing,
    has_ended: bool,
    input: Bytes,
    parser: Parser,
    parts: VecDeque<Part>,
    waiting_bytes: usize,
    /// Whether nothing is read on before all parts are through.
    waits: bool,
    is_shown: bool,
    /// Whether a branch was chosen already.
    is_chosen: bool,
    branch: Branch,
    in_block: bool,
    encoding: Encoding,
    error_text: Bytes,
}

impl Page {
    /// The page that is a request's answer.
    pub(super) fn new(request: &Request, body: Outgoing) -> Self {
        let mut own = stand_in(request);
        own.response.status = request.response.status;
        own.response.content_type = request.response.content_type.clone();
        let value_bytes_max = request.settings().ssi.value_bytes_max;
        Self {
            shared: own.state.ssi.shared.get_or_insert_default().clone(),
            request: own,
            body,
            has_ended: false,
            input: Bytes::new(),
            parser: Parser::new(usize::try_from(value_bytes_max).unwrap_or(usize::MAX)),
            parts: VecDeque::new(),
            waiting_bytes: 0,
            waits: false,
            is_shown: true,
            is_chosen: false,
            branch: Branch::None,
            in_block: false,
            encoding: Encoding::Entity,
            error_text: Bytes::from_static(b"[an error occurred while processing the directive]"),
        }
    }

    /// Reads on in the page; false where it has ended.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        for _ in 0..READS_MAX {
            while let Some(event) = self.parser.next(&mut self.input) {
                self.take(event);
                if self.is_full() {
                    return Poll::Ready(Ok(true));
                }
            }
            if self.has_ended {
                return Poll::Ready(Ok(false));
            }
            match self.body.poll_bytes(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => self.input = bytes,
                Poll::Ready(Some(Err(broken))) => return Poll::Ready(Err(broken)),
                Poll::Ready(None) => {
                    self.has_ended = true;
                    if let Some(event) = self.parser.end() {
                        self.take(event);
                    }
                }
            }
        }
        // Others have their turn, however much of the page is not shown.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_full(&self) -> bool {
        self.waits || self.parts.len() >= PARTS_MAX || self.waiting_bytes >= WAITING_BYTES_MAX
    }

    fn push_text(&mut self, text: Bytes) {
        if !text.is_empty() {
            self.waiting_bytes += text.len();
            self.parts.push_back(Part::Text(text));
        }
    }

    fn error(&self, message: std::fmt::Arguments<'_>) -> Option<()> {
        self.request.log(Level::Error, message);
        None
    }

    fn take(&mut self, event: Event) {
        let done = match event {
            Event::Text(text) if self.is_shown => {
                self.push_text(text);
                Some(())
            }
            Event::Text(text) => {
                self.push_to_block(&text);
                Some(())
            }
            Event::Command(command) => self.command(&command),
            Event::Error(error) => self.error(format_args!("{error}")),
        };
        if done.is_none() && !self.request.settings().ssi.silent_errors {
            self.push_text(self.error_text.clone());
        }
    }

    fn push_to_block(&mut self, text: &[u8]) {
        if !self.in_block {
            return;
        }
        let mut blocks = self.shared.blocks.borrow_mut();
        let bytes: usize = blocks.iter().map(|(_, text)| text.len()).sum();
        if bytes + text.len() <= SHARED_BYTES_MAX
            && let Some((_, block)) = blocks.last_mut()
        {
            block.extend_from_slice(text);
        }
    }

    /// Does a command; nothing where it is not sound, which was logged.
    ///
    /// Source: nginx's `ngx_http_ssi_body_filter` and its `ngx_http_ssi_commands`.
    fn command(&mut self, command: &Command) -> Option<()> {
        let Some(known) = parameters(&command.name) else {
            let name = Shown(&command.name);
            return match self.is_shown {
                true => self.error(format_args!("invalid SSI command: \"{name}\"")),
                false => Some(()),
            };
        };
        let is_branch = matches!(command.name.as_slice(), b"elif" | b"else" | b"endif");
        if !self.is_shown && command.name != b"endblock" {
            if self.in_block {
                self.push_to_block(&command.text());
                return Some(());
            }
            if !is_branch {
                return Some(());
            }
        }
        let name = Shown(&command.name);
        let is_misplaced = match command.name.as_slice() {
            b"elif" | b"else" => self.branch != Branch::If,
            b"endif" => self.branch == Branch::None,
            _ => false,
        };
        if is_misplaced {
            return self.error(format_args!("invalid context of SSI command: \"{name}\""));
        }
        self.check(command, known)?;
        let of = |wanted: &str| {
            let mut parameters = command.parameters.iter();
            let found = parameters.find(|(name, _)| name == wanted.as_bytes());
            found.map(|(_, value)| value.as_slice())
        };
        match command.name.as_slice() {
            b"include" => return self.include(of),
            b"echo" => self.echo(of),
            b"config" => self.configure(of),
            b"set" => {
                let value = evaluate(&self.request, &self.shared, of("value")?)?;
                if !set(&self.shared, of("var")?, value) {
                    return self.error(format_args!("too many SSI variables"));
                }
            }
            b"if" | b"elif" => return self.branch(&command.name, of("expr")?),
            b"else" => {
                self.is_shown = !self.is_chosen;
                self.branch = Branch::Else;
            }
            b"endif" => {
                (self.is_shown, self.is_chosen) = (true, false);
                self.branch = Branch::None;
            }
            b"block" => return self.begin_block(of("name")?),
            _ => (self.is_shown, self.in_block) = (true, false),
        }
        Some(())
    }

    fn configure<'a>(&mut self, of: impl Fn(&str) -> Option<&'a [u8]>) {
        if let Some(format) = of("timefmt") {
            self.request.state.ssi.time_format = Some(format.to_vec());
        }
        if let Some(text) = of("errmsg") {
            self.error_text = Bytes::copy_from_slice(text);
        }
    }

    fn begin_block(&mut self, name: &[u8]) -> Option<()> {
        let mut blocks = self.shared.blocks.borrow_mut();
        let bytes: usize = blocks.iter().map(|(name, _)| name.len()).sum();
        if bytes + name.len() > SHARED_BYTES_MAX {
            drop(blocks);
            return self.error(format_args!("too many SSI blocks"));
        }
        blocks.push((name.to_vec(), Vec::new()));
        drop(blocks);
        (self.is_shown, self.in_block) = (false, true);
        Some(())
    }

    /// Whether a command has parameters that it may have, and all that it must.
    fn check(&self, command: &Command, known: &[&str]) -> Option<()> {
        let of_command = Shown(&command.name);
        if command.parameters.len() > PARAMETERS_MAX {
            return self.error(format_args!(
                "too many SSI command parameters: \"{of_command}\""
            ));
        }
        for (place, (name, _)) in command.parameters.iter().enumerate() {
            let shown = Shown(name);
            if command.parameters[..place]
                .iter()
                .any(|(other, _)| other == name)
            {
                return self.error(format_args!(
                    "duplicate \"{shown}\" parameter in \"{of_command}\" SSI command"
                ));
            }
            if !known.iter().any(|known| known.as_bytes() == name) {
                return self.error(format_args!(
                    "invalid parameter name: \"{shown}\" in \"{of_command}\" SSI command"
                ));
            }
        }
        let mandatory = match command.name.as_slice() {
            b"echo" => &known[..1],
            b"include" | b"config" => &known[..0],
            _ => known,
        };
        for name in mandatory {
            if !command
                .parameters
                .iter()
                .any(|(given, _)| given == name.as_bytes())
            {
                return self.error(format_args!(
                    "mandatory \"{name}\" parameter is absent in \"{of_command}\" SSI command"
                ));
            }
        }
        Some(())
    }

    fn branch(&mut self, name: &[u8], expression: &[u8]) -> Option<()> {
        if name == b"if" && self.branch != Branch::None {
            return self.error(format_args!("the \"if\" command inside the \"if\" command"));
        }
        if self.is_chosen {
            self.is_shown = false;
            return Some(());
        }
        let holds = holds(&self.request, &self.shared, expression)?;
        (self.is_shown, self.is_chosen) = (holds, holds);
        self.branch = Branch::If;
        Some(())
    }

    fn echo<'a>(&mut self, of: impl Fn(&str) -> Option<&'a [u8]>) {
        let mut value = Vec::new();
        let name = of("var").unwrap_or_default();
        if !variable(&self.request, &self.shared, name, &mut value) {
            value = of("default").unwrap_or(b"(none)").to_vec();
        }
        if value.is_empty() {
            return;
        }
        match of("encoding") {
            None => {}
            Some(b"none") => self.encoding = Encoding::None,
            Some(b"url") => self.encoding = Encoding::Url,
            Some(b"entity") => self.encoding = Encoding::Entity,
            Some(other) => {
                let other = Shown(other);
                self.error(format_args!(
                    "unknown encoding \"{other}\" in the \"echo\" command"
                ));
            }
        }
        let mut shown = Vec::with_capacity(value.len());
        self.encoding.append(&value, &mut shown);
        self.push_text(shown.into());
    }

    /// Source: nginx's `ngx_http_ssi_include`.
    fn include<'a>(&mut self, of: impl Fn(&str) -> Option<&'a [u8]>) -> Option<()> {
        let uri = match (of("virtual"), of("file")) {
            (Some(uri), Some(file)) => {
                let (uri, file) = (Shown(uri), Shown(file));
                return self.error(format_args!(
                    "inclusion may be either virtual=\"{uri}\" or file=\"{file}\""
                ));
            }
            (None, None) => {
                return self.error(format_args!("no parameter in \"include\" SSI command"));
            }
            (Some(uri), None) | (None, Some(uri)) => uri,
        };
        let variable = of("set");
        if variable.is_some() && of("stub").is_some() {
            return self.error(format_args!(
                "\"set\" and \"stub\" cannot be used together in \"include\" SSI command"
            ));
        }
        let waits = match of("wait") {
            Some(_) if of("virtual").is_none() => {
                let file = Shown(uri);
                return self.error(format_args!("\"wait\" cannot be used with file=\"{file}\""));
            }
            Some(value) if value.eq_ignore_ascii_case(b"no") => false,
            Some(value) if value.eq_ignore_ascii_case(b"yes") => true,
            Some(value) => {
                let value = Shown(value);
                return self.error(format_args!(
                    "invalid value \"{value}\" in the \"wait\" parameter"
                ));
            }
            None => of("virtual").is_none() || variable.is_some(),
        };
        let mut path = evaluate(&self.request, &self.shared, uri)?;
        if path.first() != Some(&b'/') && (!path.is_empty() || !uri.contains(&b'$')) {
            let folder = memchr::memrchr(b'/', &self.request.path).map_or(0, |at| at + 1);
            path.splice(..0, self.request.path[..folder].iter().copied());
        }
        let (path, args) = target(&self.request, path)?;
        let stub = match of("stub") {
            None => None,
            Some(name) => {
                let blocks = self.shared.blocks.borrow();
                let Some((_, block)) = blocks.iter().find(|(known, _)| known == name) else {
                    let name = Shown(name);
                    return self.error(format_args!(
                        "\"stub\"=\"{name}\" for \"include\" not found"
                    ));
                };
                Some(Bytes::copy_from_slice(block))
            }
        };
        let child = subrequest(&self.request, path, args, Options::default()).ok()?;
        if let Some(name) = variable {
            set(&self.shared, name, Vec::new());
        }
        self.waits |= waits || variable.is_some();
        self.parts.push_back(Part::Include(Include {
            answer: Subrequest::begin(child),
            stub,
            variable: variable.map(<[u8]>::to_vec),
            kept: Vec::new(),
            is_empty: true,
        }));
        Some(())
    }

    /// The next piece of the parts that wait; `None` where none does.
    fn poll_parts(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        loop {
            let next = match self.parts.front_mut() {
                None => return Poll::Ready(None),
                Some(Part::Text(text)) => {
                    let text = std::mem::take(text);
                    self.waiting_bytes -= text.len();
                    self.parts.pop_front();
                    return Poll::Ready(Some(Ok(Piece::Bytes(text))));
                }
                Some(Part::Stub(page)) => page.poll_next(cx),
                Some(Part::Include(include)) => match include.poll_next(&self.shared, cx) {
                    Poll::Ready(None) => match include.take_stub() {
                        Some(stub) => {
                            if let Part::Text(text) = &stub {
                                self.waiting_bytes += text.len();
                            }
                            self.parts[0] = stub;
                            continue;
                        }
                        None => Poll::Ready(None),
                    },
                    other => other,
                },
            };
            match next {
                Poll::Ready(None) => {
                    self.parts.pop_front();
                }
                Poll::Pending => {
                    self.begin_others(cx);
                    return Poll::Pending;
                }
                other => return other,
            }
        }
    }

    /// Those that wait behind the first are served meanwhile, up to where their bodies begin.
    fn begin_others(&mut self, cx: &mut Context<'_>) {
        for part in self.parts.iter_mut().skip(1) {
            if let Part::Include(include) = part {
                // One that has failed says so again when its turn has come.
                let _ = include.answer.poll_head(cx);
            }
        }
    }
}

/// The parameters that a command may have; nothing where there is no such command.
fn parameters(name: &[u8]) -> Option<&'static [&'static str]> {
    Some(match name {
        b"include" => &["virtual", "file", "wait", "set", "stub"],
        b"echo" => &["var", "default", "encoding"],
        b"config" => &["errmsg", "timefmt"],
        b"set" => &["var", "value"],
        b"if" | b"elif" => &["expr"],
        b"block" => &["name"],
        b"else" | b"endif" | b"endblock" => &[],
        _ => return None,
    })
}

impl Include {
    /// The next piece for the page.
    fn poll_next(
        &mut self,
        shared: &Shared,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, Broken>>> {
        if self.variable.is_some() {
            return self.poll_variable(shared, cx);
        }
        if self.stub.is_some() && self.is_empty {
            match self.answer.poll_head(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                Poll::Ready(Ok(Some(answering)))
                    if answering.request.response.error_status != 0 =>
                {
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(_)) => {}
            }
        }
        let next = self.answer.poll_next(cx);
        if let Poll::Ready(Some(Ok(piece))) = &next
            && piece.len() > 0
        {
            self.is_empty = false;
        }
        next
    }

    /// Gathers the body, and sets the variable once all of it is there.
    fn poll_variable(
        &mut self,
        shared: &Shared,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, Broken>>> {
        loop {
            let bytes_max = match self.answer.poll_head(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                Poll::Ready(Ok(Some(answering))) => {
                    answering.request.settings().core.subrequest_bytes_max
                }
                Poll::Ready(Ok(None)) => 0,
            };
            match self.answer.poll_bytes(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(Piece::Bytes(bytes)))) => {
                    let len = (self.kept.len() + bytes.len()) as u64;
                    if len > bytes_max {
                        let reason = format!("too big subrequest response: {len}");
                        return Poll::Ready(Some(Err(Broken::because(reason))));
                    }
                    self.kept.extend_from_slice(&bytes);
                }
                Poll::Ready(None) => {
                    if let Some(name) = self.variable.take() {
                        set(shared, &name, std::mem::take(&mut self.kept));
                    }
                    return Poll::Ready(None);
                }
                other => return other,
            }
        }
    }

    /// What stands in its place, if anything does: the commands of a block are done as those of what it
    /// stands for would be.
    fn take_stub(&mut self) -> Option<Part> {
        let stub = self.stub.take().filter(|_| self.is_empty)?;
        let request = self.answer.take_request()?;
        match request.response.error_status != 0 && request.settings().ssi.enabled {
            true => Some(Part::Stub(Box::new(Page::new(
                &request,
                Outgoing::of(stub),
            )))),
            false => Some(Part::Text(stub)),
        }
    }
}

impl Source for Page {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        loop {
            let parts = self.poll_parts(cx);
            match parts {
                Poll::Ready(Some(next)) => return Poll::Ready(Some(next)),
                Poll::Ready(None) => self.waits = false,
                Poll::Pending if self.is_full() => return Poll::Pending,
                Poll::Pending => {}
            }
            let before = self.parts.len();
            match self.poll_read(cx) {
                Poll::Ready(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                Poll::Ready(Ok(_)) if self.parts.len() > before => {}
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) if parts.is_pending() => return Poll::Pending,
                Poll::Ready(Ok(false)) => return Poll::Ready(None),
                Poll::Pending if self.parts.len() > before => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
