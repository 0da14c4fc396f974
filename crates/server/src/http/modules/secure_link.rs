//! Links that hold for a while, or for those who were given them.
//!
//! ```nginx
//! secure_link     $arg_md5,$arg_expires;
//! secure_link_md5 "$secure_link_expires$uri$remote_addr secret";
//! # $secure_link is empty: not authentic; 0: over; 1: good
//!
//! secure_link_secret word;   # /prefix/HASH/link, the older form; $secure_link is the link
//! ```

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use md5::{Digest, Md5};
use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, LOCATION, SERVER, set_once};
use crate::config::setting::Inherit;
use crate::config::variable::Value;
use crate::http::base64::{self, Letters};
use crate::http::modules::{Module, RequestState};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope};
use crate::http::variables::Builtin;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_secure_link_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    ..Module::EMPTY
};

/// What a level was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct SecureLinkSettings {
    /// `secure_link`: the hash, and behind a comma until when it holds.
    link: Option<Arc<Value>>,
    /// `secure_link_md5`: what is hashed.
    md5: Option<Arc<Value>>,
    /// `secure_link_secret`, the older form.
    secret: Option<Arc<str>>,
}

/// The same as it is written.
#[derive(Debug, Default)]
pub(crate) struct RawSecureLink(SecureLinkSettings);

impl Inherit for RawSecureLink {
    type Merged = SecureLinkSettings;

    /// A level of one form inherits nothing of the other.
    fn merge(self, parent: Option<&SecureLinkSettings>) -> SecureLinkSettings {
        let own = self.0;
        let Some(parent) = parent.filter(|_| own.secret.is_none()) else {
            return own;
        };
        let link = own.link.or_else(|| parent.link.clone());
        let md5 = own.md5.or_else(|| parent.md5.clone());
        let is_older = link.is_none() && md5.is_none();
        let secret = parent.secret.clone().filter(|_| is_older);
        SecureLinkSettings { link, md5, secret }
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "secure_link",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, directive| {
            let value = Value::of(&directive.args[0], &mut scope.shared.registry)?;
            set_once(&mut own(scope).link, Arc::new(value), directive)?;
            not_mixed(scope, directive)
        },
    },
    DirectiveRow {
        name: "secure_link_md5",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, directive| {
            let value = Value::of(&directive.args[0], &mut scope.shared.registry)?;
            set_once(&mut own(scope).md5, Arc::new(value), directive)?;
            not_mixed(scope, directive)
        },
    },
    DirectiveRow {
        name: "secure_link_secret",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, directive| {
            let secret = directive.args[0].text.as_str().into();
            set_once(&mut own(scope).secret, secret, directive)?;
            not_mixed(scope, directive)
        },
    },
];

fn own(scope: &mut Scope) -> &mut SecureLinkSettings {
    &mut scope.level.settings.secure_link.0
}

fn not_mixed(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let own = own(scope);
    if own.secret.is_none() || (own.link.is_none() && own.md5.is_none()) {
        return Ok(());
    }
    let message =
        "\"secure_link_secret\" cannot be mixed with \"secure_link\" and \"secure_link_md5\"";
    Err(Diagnostic::new(directive.span, message).label("the other form is set in this block"))
}

/// What is kept of a request: it is checked once, as in nginx.
#[derive(Default)]
pub(crate) struct SecureLinkState {
    is_checked: Cell<bool>,
    link: RefCell<Option<Vec<u8>>>,
    /// Until when the link says it holds, in the digits of the link.
    expires: RefCell<Option<Vec<u8>>>,
}

impl RequestState for SecureLinkState {}

/// The module's variables.
const VARIABLES: &[Builtin] = &[
    Builtin {
        name: "secure_link",
        get: |request, out| {
            let state = &request.state.secure_link;
            if !state.is_checked.replace(true) {
                let link = check(request);
                *state.link.borrow_mut() = link;
            }
            append(&state.link, out)
        },
    },
    Builtin {
        name: "secure_link_expires",
        get: |request, out| append(&request.state.secure_link.expires, out),
    },
];

fn append(value: &RefCell<Option<Vec<u8>>>, out: &mut Vec<u8>) -> bool {
    match &*value.borrow() {
        Some(value) => {
            out.extend_from_slice(value);
            true
        }
        None => false,
    }
}

/// The value of `$secure_link`.
///
/// Source: nginx's `ngx_http_secure_link_variable`.
fn check(request: &Request) -> Option<Vec<u8>> {
    let settings = &request.settings().secure_link;
    if let Some(secret) = &settings.secret {
        return check_secret(request, secret);
    }
    let (link, md5) = (settings.link.as_ref()?, settings.md5.as_ref()?);
    let link = link.evaluate(request);
    let (hash, expires) = match memchr::memchr(b',', &link) {
        Some(at) => (&link[..at], Some(&link[at + 1..])),
        None => (&link[..], None),
    };
    let mut expires_s = None;
    if let Some(digits) = expires {
        expires_s = Some(seconds(digits)?);
        *request.state.secure_link.expires.borrow_mut() = Some(digits.to_vec());
    }
    // 16 bytes take so many letters.
    if hash.len() > 24 {
        return None;
    }
    let hash = base64::decode(hash, Letters::Url)?;
    let expected = Md5::digest(md5.evaluate(request));
    if !is_same(&hash, &expected) {
        return None;
    }
    let is_over = expires_s.is_some_and(|at_s| at_s < request.site.logs.clock().unix_s());
    Some(if is_over { b"0" } else { b"1" }.to_vec())
}

/// A time after the beginning of all times.
fn seconds(digits: &[u8]) -> Option<i64> {
    let are_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| are_digits)?;
    text.parse().ok().filter(|at_s| *at_s > 0)
}

/// `/prefix/HASH/link`: the link, if the hash is that of the link and the secret.
fn check_secret(request: &Request, secret: &str) -> Option<Vec<u8>> {
    let target = request.bytes(request.head().target.raw);
    let mut parts = target.get(1..)?.splitn(3, |byte| *byte == b'/');
    let (_, hash, link) = (parts.next()?, parts.next()?, parts.next()?);
    if link.is_empty() {
        return None;
    }
    let expected = Md5::new_with_prefix(link).chain_update(secret).finalize();
    is_same(&bytes_of_hex(hash)?, &expected).then(|| link.to_vec())
}

fn bytes_of_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let (pairs, rest) = text.as_chunks::<2>();
    let bytes = pairs.iter();
    let bytes = bytes.map(|[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8));
    rest.is_empty().then(|| bytes.collect())?
}

/// Compares in a time that does not tell how much is the same.
fn is_same(hash: &[u8], expected: &[u8]) -> bool {
    let different = hash.iter().zip(expected);
    let different = different.fold(0, |different, (one, other)| different | (one ^ other));
    hash.len() == expected.len() && different == 0
}
