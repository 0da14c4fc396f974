//! Who may come in, by name and password.
//!
//! ```nginx
//! auth_basic           "members only";
//! auth_basic_user_file members;      # name:hash lines, as htpasswd makes them
//! ```
//!
//! The file is read through the file cache, so a change holds from the next request on. A hash takes
//! milliseconds on purpose: it is computed on threads of its own, and a pair that was right is
//! remembered for a minute.

mod check;
mod password;
mod remembered;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_http::{HeaderId, Method};
use rustix::io::Errno;

use crate::config::scope::{HTTP, LIMIT_EXCEPT, LOCATION, SERVER, set_once};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::file_cache::{Content, FileEntry, Found};
use crate::http::base64::{self, Letters};
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::DirectiveRow;
use crate::log::{Level, Shown, errno_text};

pub(crate) use remembered::Remembered;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_auth_basic_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Access, applies, handle)],
    ..Module::EMPTY
};

/// `auth_basic_user_file`: its path, and the folder of one that is relative.
#[derive(Debug)]
pub(crate) struct UserFile {
    path: Value,
    folder: PathBuf,
    /// The whole path, where it is the same for all requests.
    known: Option<Box<[u8]>>,
}

settings! {
    /// Who may come in, by name and password.
    pub struct AuthBasicSettings / RawAuthBasic {
        inherit {
            /// `auth_basic`: what the client is told that it is asked for; default off.
            realm: Option<Arc<Value>> = None,
            /// `auth_basic_user_file`; without one nobody is asked.
            user_file: Option<Arc<UserFile>> = None,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION | LIMIT_EXCEPT;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "auth_basic",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, d| {
            let realm = match d.args[0].text.as_str() {
                "off" => None,
                _ => Some(Arc::new(Value::of(&d.args[0], &mut scope.shared.registry)?)),
            };
            set_once(&mut scope.level.settings.auth_basic.realm, realm, d)
        },
    },
    DirectiveRow {
        name: "auth_basic_user_file",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, d| {
            let path = Value::of(&d.args[0], &mut scope.shared.registry)?;
            let folder = scope.shared.conf_prefix.clone();
            let known = path
                .as_literal()
                .map(|path| full_path(&folder, path).into());
            let file = Some(Arc::new(UserFile {
                path,
                folder,
                known,
            }));
            set_once(&mut scope.level.settings.auth_basic.user_file, file, d)
        },
    },
];

fn full_path(folder: &Path, path: &[u8]) -> Vec<u8> {
    let path = folder.join(OsStr::from_bytes(path));
    path.into_os_string().into_encoded_bytes()
}

fn applies(settings: &Settings) -> bool {
    let settings = &settings.auth_basic;
    settings.realm.is_some() && settings.user_file.is_some()
}

/// Whether the client asks for a tunnel, and so for a proxy.
fn is_of_proxy(request: &Request) -> bool {
    request.current.head_done && request.head().method == Method::Connect
}

/// The line that says who the client is.
fn line_of(request: &Request) -> HeaderId {
    match is_of_proxy(request) {
        true => HeaderId::ProxyAuthorization,
        false => HeaderId::Authorization,
    }
}

/// A name and a password as a client says them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    pair: Vec<u8>,
    colon_at: usize,
}

impl Credentials {
    /// Those of a request's `Authorization: Basic` line, or of the one for proxies; `None` where it has none that can be read, or an
    /// empty name.
    ///
    /// Source: RFC 7617, and nginx's `ngx_http_auth_basic_user`.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        if !request.current.head_done {
            return None;
        }
        let value = request.known(line_of(request))?;
        let (scheme, encoded) = value.split_at_checked("basic ".len())?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let pair = base64::decode(encoded.trim_ascii(), Letters::Standard)?;
        let colon_at = memchr::memchr(b':', &pair).filter(|at| *at > 0)?;
        Some(Self { pair, colon_at })
    }

    pub(crate) fn user(&self) -> &[u8] {
        &self.pair[..self.colon_at]
    }

    fn password(&self) -> &[u8] {
        &self.pair[self.colon_at + 1..]
    }
}

/// What is to be compared before a client is let in.
struct Check {
    credentials: Credentials,
    /// What the file has of the user.
    stored: Vec<u8>,
    file: Vec<u8>,
    entry: Rc<FileEntry>,
}

/// What a level asks of a request.
struct Prepared {
    realm: Vec<u8>,
    /// `None` where the client must say who it is.
    check: Option<Check>,
}

/// Access phase: asks for a name and a password, and compares them with the file.
///
/// Source: nginx's `ngx_http_auth_basic_handler`.
fn handle(request: &mut Request) -> Outcome {
    if is_remembered(request) {
        return Outcome::Allow;
    }
    let Prepared { realm, check } = match prepare(request) {
        Ok(prepared) => prepared,
        Err(outcome) => return outcome,
    };
    let Some(check) = check else {
        return ask(request, &realm);
    };
    if !password::is_slow(&check.stored) {
        let verdict = password::compare(check.credentials.password(), &check.stored);
        return judge(request, &check, verdict, &realm);
    }
    let remembered = &request.http_loop.passwords;
    let key = remembered.key(&check.credentials.pair, &check.stored);
    match remembered.knows(key, revolve_reactor::now()) {
        true => Outcome::Allow,
        false => Outcome::Await(|request| Box::pin(check::on_a_thread(request))),
    }
}

/// Whether the very line that the client sent was right a short while ago, by the same file.
fn is_remembered(request: &Request) -> bool {
    let settings = &request.settings().auth_basic;
    // A variable may say that nobody is asked here.
    let is_asked = |realm: &Arc<Value>| realm.as_literal().is_some();
    if !settings.realm.as_ref().is_some_and(is_asked) {
        return false;
    }
    let known = request.known(line_of(request));
    let path = settings.user_file.as_ref().map(|file| &file.known);
    let (Some(line), Some(Some(path))) = (known, path) else {
        return false;
    };
    match request.connection.state.files.lookup(path) {
        Found::File(entry) => {
            let now = revolve_reactor::now();
            request.http_loop.passwords.knows_line(line, &entry, now)
        }
        _ => false,
    }
}

/// Errors: what to answer where nothing is asked for, or the file cannot be read.
fn prepare(request: &Request) -> Result<Prepared, Outcome> {
    let settings = &request.settings().auth_basic;
    let (Some(realm), Some(file)) = (&settings.realm, &settings.user_file) else {
        return Err(Outcome::Next);
    };
    let realm = realm.evaluate(request);
    if realm == b"off" {
        return Err(Outcome::Next);
    }
    let path = full_path(&file.folder, &file.path.evaluate(request));
    let check = find(request, path).map_err(Outcome::Finish)?;
    Ok(Prepared { realm, check })
}

/// What has to be compared; `None` where the client must say who it is.
///
/// Errors: the status where the file cannot be read.
fn find(request: &Request, file: Vec<u8>) -> Result<Option<Check>, u16> {
    let Some(credentials) = Credentials::of(request) else {
        let message = format_args!("no user/password was provided for basic authentication");
        request.log(Level::Info, message);
        return Ok(None);
    };
    let found = match request.connection.state.files.lookup(&file) {
        Found::File(entry) => stored_of(&entry, credentials.user()).map(|stored| (stored, entry)),
        Found::Directory => Err(Errno::ISDIR),
        Found::Missing(error) => Err(error),
    };
    let (stored, entry) = found.map_err(|error: Errno| -> u16 {
        let (level, status) = match error {
            Errno::NOENT => (Level::Error, 403),
            _ => (Level::Crit, 500),
        };
        let (shown, reason) = (Shown(&file), errno_text(error));
        // Opening a folder works; only reading it does not.
        let call = match error {
            Errno::ISDIR => "pread",
            _ => "open",
        };
        request.log(
            level,
            format_args!("{call}() \"{shown}\" failed ({reason})"),
        );
        status
    })?;
    let Some(stored) = stored else {
        let (user, shown) = (Shown(credentials.user()), Shown(&file));
        request.log(
            Level::Error,
            format_args!("user \"{user}\" was not found in \"{shown}\""),
        );
        return Ok(None);
    };
    Ok(Some(Check {
        credentials,
        stored,
        file,
        entry,
    }))
}

/// What a file has of a user.
fn stored_of(entry: &FileEntry, user: &[u8]) -> rustix::io::Result<Option<Vec<u8>>> {
    let read;
    let bytes: &[u8] = match &entry.content {
        Content::Bytes(bytes) => bytes,
        Content::Descriptor(file) => {
            use std::os::unix::fs::FileExt;
            let mut bytes = vec![0; entry.length.bytes as usize];
            let result = file.read_exact_at(&mut bytes, 0);
            result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            read = bytes;
            &read
        }
    };
    Ok(stored_in(bytes, user).map(<[u8]>::to_vec))
}

/// What lines `name:hash`, with or without `:comment` behind it, have of a user; the first such line.
fn stored_in<'a>(lines: &'a [u8], user: &[u8]) -> Option<&'a [u8]> {
    lines.split(|byte| *byte == b'\n').find_map(|line| {
        let rest = line.strip_prefix(user)?.strip_prefix(b":")?;
        let is_comment = line.starts_with(b"#");
        let end = rest.iter().position(|byte| matches!(byte, b':' | b'\r'));
        (!is_comment).then(|| &rest[..end.unwrap_or(rest.len())])
    })
}

/// What a comparison comes to.
fn judge(
    request: &mut Request,
    check: &Check,
    verdict: password::Verdict,
    realm: &[u8],
) -> Outcome {
    let user = Shown(check.credentials.user());
    match verdict {
        password::Verdict::Same => let_in(request, check),
        password::Verdict::Other => {
            request.log(
                Level::Error,
                format_args!("user \"{user}\": password mismatch"),
            );
            ask(request, realm)
        }
        password::Verdict::UnknownForm => {
            let file = Shown(&check.file);
            request.log(
                Level::Crit,
                format_args!(
                    "user \"{user}\": the password's hash in \"{file}\" has no form that is known; make \
                     it anew (htpasswd -B, openssl passwd -6)"
                ),
            );
            Outcome::Finish(500)
        }
    }
}

/// Lets the client in, and remembers the line that it sent.
fn let_in(request: &Request, check: &Check) -> Outcome {
    if let Some(line) = request.known(line_of(request)) {
        let passwords = &request.http_loop.passwords;
        passwords.remember_line(line, &check.entry, revolve_reactor::now());
    }
    Outcome::Allow
}

/// Asks the client who it is.
fn ask(request: &mut Request, realm: &[u8]) -> Outcome {
    let value = [b"Basic realm=\"", realm, b"\""].concat();
    let (name, status): (&[u8], u16) = match is_of_proxy(request) {
        true => (b"Proxy-Authenticate", 407),
        false => (b"WWW-Authenticate", 401),
    };
    request.response.headers.push(name, &value);
    Outcome::Finish(status)
}

/// A name, a password and the lines of a file, parted by NULs: what is found of the name is one line's, and forms
/// that take no time are compared.
#[cfg(any(test, fuzzing))]
#[cfg_attr(test, allow(unreachable_pub, reason = "a fuzz target calls it"))]
pub fn check_users(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let (Some(user), Some(password), Some(lines)) = (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let Some(stored) = stored_in(lines, user) else {
        return;
    };
    assert!(!stored.contains(&b'\n') && !stored.contains(&b':'));
    if !password::is_slow(stored) || stored.starts_with(b"$1$") || stored.starts_with(b"$apr1$") {
        let same = password::compare(password, stored) == password::Verdict::Same;
        let mut other = password.to_vec();
        other.push(b'x');
        assert!(!same || password::compare(&other, stored) != password::Verdict::Same);
    }
}

#[cfg(test)]
mod tests {
    use super::check_users;
    use crate::http::testing::corpus;

    /// What fuzzing has found, so that `cargo test` alone keeps it found.
    #[test]
    fn users_of_the_corpus_are_found() {
        let corpus = corpus("htpasswd");
        assert!(corpus.len() > 5);
        corpus.iter().for_each(|data| check_users(data));
    }
}
