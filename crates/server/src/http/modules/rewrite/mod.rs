//! Paths, arguments and variables that are changed, conditions, and answers without content.
//!
//! ```nginx
//! rewrite ^/old/(.*)$ /new/$1 last;
//! rewrite ^/shop https://shop.example/? permanent;
//! set $cached 1;
//! if ($request_method = POST) { set $cached 0; }
//! if ($cached) { expires 1h; }
//! return 404;
//! return 444;                  # close without a word
//! ```
//!
//! What a level says of this is one script, in the order of the file. A script of a server is run before
//! the location is looked up, that of the location thereafter.
//!
//! Source: nginx's `ngx_http_rewrite_module.c` and `ngx_http_script.c`, as documented.

mod answer;
mod condition;
mod escape;
mod replace;
mod script;
#[cfg(test)]
mod tests;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, IF_LOCATION, IF_SERVER, LOCATION, SERVER};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::modules::rewrite::answer::Return;
use crate::http::modules::rewrite::condition::Condition;
use crate::http::modules::rewrite::replace::Rewrite;
use crate::http::modules::rewrite::script::{Instruction, Script, Target};
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{Block, DirectiveRow, LocationMatch, Scope, slot};
use crate::http::variables::{Definitions, Evaluate};
use crate::log::Level;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_rewrite_module",
    directives: DIRECTIVES,
    handlers: &[
        (Phase::ServerRewrite, applies, script::run),
        (Phase::Rewrite, applies, in_location),
    ],
    ..Module::EMPTY
};

settings! {
    /// What is rewritten, and how.
    pub struct RewriteSettings / RawRewrite {
        inherit {
            /// `rewrite_log`, default off: whether the error log tells what scripts do.
            log: bool = false,
            /// `uninitialized_variable_warn`, default on.
            warns_of_unset: bool = true,
        }
        own {
            /// What the level says, in its order.
            script: Script = Script::default(),
        }
    }
}

const SCRIPTS: u32 = SERVER | IF_SERVER | LOCATION | IF_LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "rewrite",
        contexts: SCRIPTS,
        args: Args::TWO_OR_THREE,
        set: |scope, directive| {
            let rewrite = Rewrite::read(scope, directive)?;
            push(scope, Instruction::Rewrite(Box::new(rewrite)));
            Ok(())
        },
    },
    DirectiveRow {
        name: "if",
        contexts: SERVER | LOCATION,
        args: Args::ONE_MORE_BLOCK,
        set: set_if,
    },
    DirectiveRow {
        name: "set",
        contexts: SCRIPTS,
        args: Args::TWO,
        set: set_variable,
    },
    DirectiveRow {
        name: "break",
        contexts: SCRIPTS,
        args: Args::NONE,
        set: |scope, _| {
            push(scope, Instruction::Break);
            Ok(())
        },
    },
    DirectiveRow {
        name: "return",
        contexts: SCRIPTS,
        args: Args::ONE_OR_TWO,
        set: |scope, directive| {
            let answer = Return::read(scope, directive)?;
            push(scope, Instruction::Return(Box::new(answer)));
            Ok(())
        },
    },
    DirectiveRow {
        name: "rewrite_log",
        contexts: HTTP | SCRIPTS,
        args: Args::FLAG,
        set: slot!(flag rewrite.log),
    },
    DirectiveRow {
        name: "uninitialized_variable_warn",
        contexts: HTTP | SCRIPTS,
        args: Args::FLAG,
        set: slot!(flag rewrite.warns_of_unset),
    },
];

fn push(scope: &mut Scope, instruction: Instruction) {
    let script = &mut scope.level.settings.rewrite.script;
    script.get_or_insert_default().push(instruction);
}

/// Reads a block `if`: its instructions stand in the script of the level around it, and in a location
/// the rest of it is a level of its own.
fn set_if(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let condition = Condition::read(scope, directive);
    let is_location = scope.level.context == LOCATION;
    let context = if is_location { IF_LOCATION } else { IF_SERVER };
    let matching = LocationMatch::If(scope.level.matching.name());
    let level = Block::new(context, matching, Some(directive.span));
    let block = directive.block.as_deref().unwrap_or_default();
    let mut level = scope.nested(level, block);
    let within = level.settings.rewrite.script.take().unwrap_or_default();
    let script = &mut scope.level.settings.rewrite.script;
    script
        .get_or_insert_default()
        .push_if(condition?, within, is_location);
    if is_location {
        scope.level.children.push(level);
    }
    Ok(())
}

fn set_variable(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let name = Definitions::name(&directive.args[0])?;
    let registry = &mut scope.shared.registry;
    let target = match name {
        "args" => Target::Args,
        "limit_rate" => Target::LimitRate,
        _ => {
            let unset = Unset(name.to_owned());
            Target::Slot(scope.definitions.insert_weak(name, unset, registry))
        }
    };
    let value = Value::of(&directive.args[1], registry)?;
    push(scope, Instruction::Set(target, value));
    Ok(())
}

/// A variable that a `set` sets, as long as none has.
#[derive(Debug)]
struct Unset(String);

impl Evaluate for Unset {
    fn evaluate(&self, request: &Request, _: &mut Vec<u8>) -> bool {
        if request.settings().rewrite.warns_of_unset {
            let name = &self.0;
            let message = format_args!("using uninitialized \"{name}\" variable");
            request.log(Level::Warn, message);
        }
        true
    }
}

/// Whether the level has a script.
pub(crate) fn applies(settings: &Settings) -> bool {
    !settings.rewrite.script.is_empty()
}

/// Rewrite phase: runs the script of the location. Where none was found, that of the server has been run
/// already.
fn in_location(request: &mut Request) -> Outcome {
    match request.current.location == request.server().location {
        true => Outcome::Next,
        false => script::run(request),
    }
}
