//! The blocks `http`, `server` and `location` as they are read.

use revolve_conf::directive::{Args, Row};
use revolve_conf::{Diagnostic, Directive, Span};

use crate::config::regex::Pattern;
use crate::config::scope::{self, Shared};
use crate::http::location::Methods;
use crate::http::modules::acme::Issuers;
use crate::http::modules::cache;
use crate::http::modules::health_check::{Expected, Matching};
use crate::http::modules::listen::Listen;
use crate::http::modules::log_format::LogFormat;
use crate::http::modules::server_name::ServerName;
use crate::http::modules::upstream::{Upstream, Upstreams};
use crate::http::modules::{self, RawSettings};
use crate::http::variables::Definitions;

/// A row of a module's directive table.
pub(crate) type DirectiveRow = Row<Scope>;

/// A row on one line.
pub(crate) const fn row(
    contexts: u32,
    name: &'static str,
    args: Args,
    set: fn(&mut Scope, &Directive) -> Result<(), Diagnostic>,
) -> DirectiveRow {
    DirectiveRow {
        name,
        contexts,
        args,
        set,
    }
}

/// How a location is matched against the path of a request.
#[derive(Debug, Clone)]
pub(crate) enum LocationMatch {
    /// The level of the server itself, before any location was found.
    Server,
    /// `location = /x`.
    Exact(String),
    /// `location /x`, or `location ^~ /x` where `regex_follows` is false.
    Prefix {
        /// The path's beginning.
        path: String,
        /// Whether regular expressions may still win over it.
        regex_follows: bool,
    },
    /// `location ~ x` and `location ~* x`.
    Regex(Pattern),
    /// `location @x`, reached by internal redirects alone.
    Named(String),
    /// The block of an `if` in a location, whose settings a script chooses; with the location's name.
    If(String),
}

impl LocationMatch {
    /// What stands after `location`, without the modifier; empty for a server's own level.
    pub(crate) fn name(&self) -> String {
        match self {
            LocationMatch::Server => String::new(),
            LocationMatch::Exact(path) | LocationMatch::Prefix { path, .. } => path.clone(),
            LocationMatch::Regex(pattern) => pattern.to_string(),
            LocationMatch::Named(name) => format!("@{name}"),
            LocationMatch::If(name) => name.clone(),
        }
    }
}

/// One block as it is being read.
#[derive(Debug)]
pub(crate) struct Block {
    /// Which of the contexts it is.
    pub context: u32,
    pub settings: RawSettings,
    pub matching: LocationMatch,
    pub server_names: Vec<ServerName>,
    pub listens: Vec<Listen>,
    pub children: Vec<Block>,
    /// The group, in an `upstream`.
    pub upstream: Option<Upstream>,
    /// What a `match` asks for.
    pub expected: Vec<Expected>,
    /// `limit_except`: the methods that it lets be, and what holds for the others.
    pub limit_except: Option<(Methods, Box<Block>)>,
    /// The directives that stand here and say nothing to us.
    pub checked: Vec<String>,
    pub span: Option<Span>,
}

impl Block {
    pub(crate) fn new(context: u32, matching: LocationMatch, span: Option<Span>) -> Self {
        Self {
            context,
            settings: RawSettings::default(),
            matching,
            server_names: Vec::new(),
            listens: Vec::new(),
            children: Vec::new(),
            upstream: None,
            expected: Vec::new(),
            limit_except: None,
            checked: Vec::new(),
            span,
        }
    }
}

/// The state of one reading of an `http` block.
#[derive(Debug)]
pub(crate) struct Scope {
    pub level: Block,
    pub shared: Shared,
    pub log_formats: Vec<LogFormat>,
    pub upstreams: Upstreams,
    /// Who certificates are ordered of.
    pub acme: Issuers,
    /// The caches of what upstreams answer.
    pub caches: cache::Declared,
    /// The blocks `match`, by their names.
    pub matches: Vec<Matching>,
    /// The variables that directives define.
    pub definitions: Definitions,
}

impl Scope {
    /// Reads an `http` block. What all blocks share comes back with it.
    pub(crate) fn read_http(shared: Shared, directive: &Directive) -> Self {
        let level = Block::new(scope::HTTP, LocationMatch::Server, Some(directive.span));
        let mut scope = Self {
            level,
            shared,
            log_formats: Vec::new(),
            upstreams: Upstreams::default(),
            acme: Issuers::default(),
            caches: cache::Declared::default(),
            matches: Vec::new(),
            definitions: Definitions::default(),
        };
        scope::Scope::read(&mut scope, directive.block.as_deref().unwrap_or_default());
        scope
    }

    /// Reads the directives of a block into a level of its own and returns that level.
    pub(crate) fn nested(&mut self, level: Block, directives: &[Directive]) -> Block {
        let outer = std::mem::replace(&mut self.level, level);
        scope::Scope::read(self, directives);
        std::mem::replace(&mut self.level, outer)
    }
}

impl scope::Scope for Scope {
    fn rows() -> impl Iterator<Item = &'static DirectiveRow> {
        modules::rows()
    }

    fn context(&self) -> u32 {
        self.level.context
    }

    fn shared(&mut self) -> &mut Shared {
        &mut self.shared
    }

    fn checked(&mut self) -> &mut Vec<String> {
        &mut self.level.checked
    }
}

/// Setters for the plain kinds of value, for the tables of the modules.
///
/// `slot!(flag core.etag)` expands to a setter that stores an `on|off` once in that field.
macro_rules! slot {
    (@set $group:ident . $field:ident, $parse:expr) => {
        |scope: &mut $crate::http::scope::Scope, directive: &::revolve_conf::Directive| {
            let value = $parse(&directive.args[0], directive.name.text.as_str())?;
            $crate::config::scope::set_once(
                &mut scope.level.settings.$group.$field,
                value.into(),
                directive,
            )
        }
    };
    (flag $group:ident . $field:ident) => {
        $crate::http::scope::slot!(@set $group.$field, ::revolve_conf::value::flag_of)
    };
    (size $group:ident . $field:ident) => {
        $crate::http::scope::slot!(@set $group.$field, ::revolve_conf::value::size_of)
    };
    (offset $group:ident . $field:ident) => {
        $crate::http::scope::slot!(@set $group.$field, ::revolve_conf::value::offset_of)
    };
    (time_ms $group:ident . $field:ident) => {
        $crate::http::scope::slot!(@set $group.$field, ::revolve_conf::value::time_ms_of)
    };
    (number $group:ident . $field:ident) => {
        $crate::http::scope::slot!(@set $group.$field, ::revolve_conf::value::number_of)
    };
}
pub(crate) use slot;
