//! Certificates from an authority, got and renewed by ourselves.
//!
//! ```nginx
//! acme_issuer letsencrypt {
//!     uri        https://acme-v02.api.letsencrypt.org/directory;
//!     contact    admin@example.org;
//!     state_path /var/lib/revolve/letsencrypt;
//!     accept_terms_of_service;
//! }
//! server {
//!     listen              443 ssl;
//!     server_name         example.org;
//!     acme_certificate    letsencrypt;
//!     ssl_certificate     $acme_certificate;
//!     ssl_certificate_key $acme_certificate_key;
//! }
//! server { listen 80; }
//! ```

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::{Diagnostic, Diagnostics, Directive, Span, Word, value};

use crate::acme::{
    Acme, Challenge, ChallengeZone, Challenges, DnsCommand, ExternalAccount, Issuer, Wanted,
};
use crate::config::scope::{HTTP, SERVER, invalid_parameter, set_once};
use crate::config::setting::settings;
use crate::http::modules::server_name::ServerName;
use crate::http::modules::ssl::file;
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, row};
use crate::http::variables::{Builtin, text};
use crate::tls::upstream::{UpstreamOptions, UpstreamTls};
use crate::tls::{self, CacheLimits, NamedFile, Terms, Url};
use crate::zones::{ZoneId, name_and_size};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_acme_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    handlers: &[(Phase::PostRead, applies, answer_challenge)],
    ..Module::EMPTY
};

settings! {
    /// Certificates from an authority.
    pub struct AcmeSettings / RawAcme {
        inherit {
            /// Where what challenges are answered with lies; there where there is an issuer.
            zone: Option<ZoneId> = None,
        }
        own {
            /// `acme_certificate`.
            certificate: Option<Arc<Named>> = None,
        }
    }
}

/// What `acme_certificate` says.
#[derive(Debug)]
pub(crate) struct Named {
    issuer: String,
    span: Span,
    /// Whom the certificate is for; the names of the server where nothing stands here.
    names: Vec<(String, Span)>,
    /// The file that it comes to lie in, once all is read.
    path: OnceLock<PathBuf>,
}

/// The issuers met while the configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Issuers {
    list: Vec<Issuer>,
    zone: Option<ZoneId>,
}

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "acme_issuer",
        contexts: HTTP,
        args: Args::ONE_BLOCK,
        set: issuer,
    },
    row(HTTP, "acme_shared_zone", Args::ONE, shared_zone),
    row(SERVER, "acme_certificate", Args::ONE_MORE, certificate),
];

/// Where no `acme_shared_zone` is. Source: nginx's.
const ZONE_NAME: &str = "ngx_acme_shared";
const ZONE_BYTES: u64 = 256 * 1024;

/// Whom the system trusts, where nothing else is said.
const SYSTEM_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

fn shared_zone(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let Some(named) = word.text.strip_prefix("zone=") else {
        return Err(invalid_parameter(word, "expected zone=NAME:SIZE"));
    };
    if scope.acme.zone.is_some() {
        return Err(duplicate(directive));
    }
    let (name, bytes) = name_and_size(named, word)?;
    let zone = scope
        .shared
        .zones
        .declare_shared((name, bytes), ChallengeZone, word)?;
    scope.acme.zone = Some(zone);
    scope.level.settings.acme.zone = Some(Some(zone));
    Ok(())
}

/// What stands in an `acme_issuer`.
#[derive(Default)]
struct Block<'a> {
    uri: Option<&'a Word>,
    contacts: Vec<String>,
    state: Option<&'a Word>,
    trusted: Option<NamedFile>,
    verifies: Option<bool>,
    accepts_terms: bool,
    challenge: Option<&'a Word>,
    external: Option<ExternalAccount>,
    command: Option<&'a Directive>,
    command_within_ms: Option<u64>,
}

/// How long a command may take that sets a record, where nothing else is said.
const COMMAND_WITHIN_MS: u64 = 120_000;

fn issuer(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let name = &directive.args[0];
    if scope.acme.list.iter().any(|it| it.name == name.text) {
        let message = format!("duplicate acme_issuer \"{}\"", name.text);
        return Err(Diagnostic::new(name.span, message).label("an issuer of this name is there"));
    }
    let mut block = Block::default();
    for row in directive.block.as_deref().unwrap_or_default() {
        read_row(scope, &mut block, row)?;
    }
    let lacks = |what: &str| {
        let message = format!("acme_issuer \"{}\" has no \"{what}\"", name.text);
        Diagnostic::new(name.span, message)
    };
    let uri = block
        .uri
        .ok_or_else(|| lacks("uri").label("expected the authority's directory"))?;
    let url = Url::parse_secure(&uri.text).ok_or_else(|| {
        let message = format!("invalid acme_issuer uri \"{}\"", uri.text);
        Diagnostic::new(uri.span, message).label("expected https://host[:port]/path")
    })?;
    let challenge = challenge(&block, &mut scope.shared.diagnostics)?;
    let verifies = block.verifies.unwrap_or(true);
    let trusted = match (block.trusted, verifies) {
        (None, true) => Some(system_roots(name)?),
        (trusted, _) => trusted,
    };
    let tls = UpstreamTls::load(
        options(verifies, trusted.as_ref()),
        &mut scope.shared.secrets,
        &mut scope.shared.diagnostics,
    );
    let Some(tls) = tls else {
        return Ok(());
    };
    // Source: nginx's default.
    let state = block
        .state
        .map_or_else(|| format!("acme_{}", name.text), |it| it.text.clone());
    let state = scope.shared.full_path(&state);
    scope.acme.list.push(Issuer {
        name: name.text.clone(),
        uri: url,
        contacts: block.contacts,
        tls,
        state,
        accepts_terms: block.accepts_terms,
        challenge,
        external: block.external,
    });
    if scope.acme.zone.is_none() {
        let zones = &mut scope.shared.zones;
        let zone = zones.declare_shared((ZONE_NAME, ZONE_BYTES), ChallengeZone, name)?;
        scope.acme.zone = Some(zone);
        scope.level.settings.acme.zone = Some(Some(zone));
    }
    Ok(())
}

fn read_row<'a>(
    scope: &mut Scope,
    block: &mut Block<'a>,
    row: &'a Directive,
) -> Result<(), Diagnostic> {
    let args = row.args.as_slice();
    match (row.name.text.as_str(), args) {
        ("uri", [uri]) => set_once(&mut block.uri, uri, row)?,
        ("state_path", [path]) if path.text != "off" => set_once(&mut block.state, path, row)?,
        ("contact", [contact]) => block.contacts.push(match contact.text.contains(':') {
            true => contact.text.clone(),
            false => format!("mailto:{}", contact.text),
        }),
        ("challenge", [kind]) => set_once(&mut block.challenge, kind, row)?,
        ("external_account_key", [kid, key]) => {
            let external = external_account(scope, kid, key, row)?;
            set_once(&mut block.external, external, row)?;
        }
        ("dns_command", [_, ..]) => set_once(&mut block.command, row, row)?,
        ("dns_timeout", [word]) => {
            let within_ms = value::time_ms_of(word, "dns_timeout")?;
            set_once(&mut block.command_within_ms, within_ms, row)?;
        }
        ("ssl_trusted_certificate", [word]) => {
            let file = file(scope, word, row)?;
            set_once(&mut block.trusted, file, row)?;
        }
        ("ssl_verify", [word]) => {
            let is_on = value::flag_of(word, "ssl_verify")?;
            set_once(&mut block.verifies, is_on, row)?;
        }
        ("accept_terms_of_service", []) => block.accepts_terms = true,
        ("account_key", [kind]) if kind.text == "ecdsa:256" => {}
        (name, _) => {
            let message = format!("unexpected \"{name}\" in \"acme_issuer\"");
            return Err(Diagnostic::new(row.span, message)
                .label("it is not known here, or not with these arguments")
                .help("there are uri, contact, state_path, accept_terms_of_service, challenge, external_account_key, dns_command, dns_timeout, account_key ecdsa:256, ssl_trusted_certificate and ssl_verify"));
        }
    }
    Ok(())
}

/// The name of a key, and the file of the key or `data:` and the key itself.
fn external_account(
    scope: &mut Scope,
    kid: &Word,
    key: &Word,
    row: &Directive,
) -> Result<ExternalAccount, Diagnostic> {
    let text = match key.text.strip_prefix("data:") {
        Some(text) => text.to_owned(),
        None => {
            let file = file(scope, key, row)?;
            let text = tls::read(&file, &mut scope.shared.secrets, &row.name.text)?;
            String::from_utf8_lossy(&text).into_owned()
        }
    };
    ExternalAccount::new(&kid.text, &text).ok_or_else(|| {
        let message = format!("invalid key of the external account \"{}\"", kid.text);
        Diagnostic::new(key.span, message)
            .label("expected base64 for URLs, as the authority gives it")
    })
}

/// How it is shown that names are ours.
fn challenge(block: &Block<'_>, diagnostics: &mut Diagnostics) -> Result<Challenge, Diagnostic> {
    let kind = block.challenge.map_or("http-01", |kind| kind.text.as_str());
    let challenge = match kind {
        "http" | "http-01" => Challenge::Http01,
        "tls-alpn" | "tls-alpn-01" => Challenge::TlsAlpn01,
        "dns" | "dns-01" => Challenge::Dns01(dns_command(block, diagnostics)?),
        other => {
            let message = format!("unsupported challenge \"{other}\"");
            let span = block.challenge.map(|kind| kind.span);
            let expected = "expected http-01, tls-alpn-01 or dns-01";
            return Err(Diagnostic::new(span, message).label(expected));
        }
    };
    match (&challenge, block.command) {
        (Challenge::Http01 | Challenge::TlsAlpn01, Some(command)) => {
            let message = format!("\"dns_command\" is of no use with challenge \"{kind}\"");
            Err(Diagnostic::new(command.span, message)
                .label("nothing runs it")
                .help("add `challenge dns-01;`"))
        }
        _ => Ok(challenge),
    }
}

fn dns_command(block: &Block<'_>, diagnostics: &mut Diagnostics) -> Result<DnsCommand, Diagnostic> {
    let Some(command) = block.command else {
        let message = "challenge \"dns-01\" needs a \"dns_command\"";
        let span = block.challenge.map(|kind| kind.span);
        return Err(Diagnostic::new(span, message)
            .label("nothing sets the record that the authority looks for")
            .help("add `dns_command /path/to/program;`, which is run with `add` or `remove`, the record's name and its value"));
    };
    let program = &command.args[0];
    if !program.text.starts_with('/') {
        let message = format!(
            "\"dns_command\" needs an absolute path, not \"{}\"",
            program.text
        );
        let diagnostic = Diagnostic::new(program.span, message);
        return Err(diagnostic.label("it is run without a shell, from the folder /"));
    }
    let path = PathBuf::from(&program.text);
    if !path.is_file() {
        let message = format!("there is no program \"{}\"", program.text);
        let warning = Diagnostic::new(program.span, message);
        diagnostics.push(warning.label("no certificate is issued without it").warn());
    }
    Ok(DnsCommand {
        program: path,
        arguments: command.args[1..].iter().map(|it| it.text.clone()).collect(),
        within: Duration::from_millis(block.command_within_ms.unwrap_or(COMMAND_WITHIN_MS)),
    })
}

fn system_roots(name: &Word) -> Result<NamedFile, Diagnostic> {
    let found = SYSTEM_ROOTS
        .iter()
        .map(Path::new)
        .find(|path| path.is_file());
    let path = found.ok_or_else(|| {
        let message = format!("nobody is trusted for acme_issuer \"{}\"", name.text);
        Diagnostic::new(name.span, message)
            .label("the system has no bundle of roots")
            .help("name one by `ssl_trusted_certificate`")
    })?;
    Ok(NamedFile {
        path: path.to_owned(),
        value: None,
        span: name.span,
    })
}

fn options(verifies: bool, trusted: Option<&NamedFile>) -> UpstreamOptions<'_> {
    UpstreamOptions {
        terms: Terms {
            versions: (true, true),
            suites: revolve_tls::ciphers("DEFAULT").suites,
            groups: revolve_tls::default_groups(),
            prefers_own_ciphers: false,
            has_tickets: true,
        },
        key: None,
        passwords: None,
        cache: CacheLimits::default(),
        protocols: &[],
        sends_name: true,
        resumes: true,
        trusted,
        crl: None,
        verifies,
        depth_max: 8,
    }
}

fn certificate(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let mut names = Vec::new();
    for word in &directive.args[1..] {
        match word.text.split_once('=') {
            Some(("key", "ecdsa" | "ecdsa:256")) => {}
            Some(_) => return Err(invalid_parameter(word, "expected names, or key=ecdsa:256")),
            None => {
                let name = orderable(&word.text).ok_or_else(|| {
                    let message = format!("\"{}\" cannot be ordered", word.text);
                    Diagnostic::new(word.span, message)
                        .label("expected a name, an address, or *. and a name")
                })?;
                names.push((name, word.span));
            }
        }
    }
    let named = Named {
        issuer: directive.args[0].text.clone(),
        span: directive.span,
        names,
        path: OnceLock::new(),
    };
    let slot = &mut scope.level.settings.acme.certificate;
    set_once(slot, Some(Arc::new(named)), directive)
}

/// A name that an authority may vouch for, which is a wildcard where it begins with `*.`.
fn orderable(name: &str) -> Option<String> {
    let is_sound =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':' | b'_');
    let bare = name.strip_prefix("*.").unwrap_or(name);
    let is_name = !bare.is_empty() && bare.bytes().all(is_sound) && !bare.starts_with('.');
    is_name.then(|| name.to_ascii_lowercase())
}

/// The names of a server that can be ordered: wildcards where those can be shown to be ours.
fn orderable_names(server_names: &[ServerName], takes_wildcards: bool) -> Vec<String> {
    let mut names = Vec::new();
    for name in server_names {
        let text = name.to_string();
        // `.a.test` is the name and all below it.
        let forms = match text.strip_prefix('.') {
            Some(bare) => vec![bare.to_owned(), format!("*.{bare}")],
            None => vec![text],
        };
        let orderable = forms.iter().filter_map(|form| orderable(form));
        names.extend(orderable.filter(|name| takes_wildcards || !name.starts_with('*')));
    }
    // Authorities refuse a name that a wildcard beside it is for, too.
    let wildcards: Vec<String> = names
        .iter()
        .filter(|it| it.starts_with('*'))
        .cloned()
        .collect();
    names.retain(|name| match name.split_once('.') {
        Some((first, rest)) => first == "*" || !wildcards.contains(&format!("*.{rest}")),
        None => true,
    });
    names
}

/// What is wrong with a name that cannot be shown to be ours by the challenge of an issuer.
fn not_by_challenge(issuer: &Issuer, (name, span): &(String, Span)) -> Option<Diagnostic> {
    let challenge = issuer.challenge.name();
    let is_by_dns = matches!(issuer.challenge, Challenge::Dns01(_));
    let message = format!("\"{name}\" cannot be ordered by challenge \"{challenge}\"");
    let diagnostic = Diagnostic::new(*span, message);
    if name.starts_with('*') && !is_by_dns {
        return Some(
            diagnostic
                .label("wildcards are issued after a challenge by DNS alone")
                .help(format!(
                    "add `challenge dns-01;` and a `dns_command` to acme_issuer \"{}\"",
                    issuer.name
                )),
        );
    }
    let is_address = name.parse::<IpAddr>().is_ok();
    (is_address && is_by_dns).then(|| diagnostic.label("an address has no record of that kind"))
}

/// Takes note of what a server wants, whose names are these.
pub(crate) fn note(
    wanted: &mut Vec<Wanted>,
    issuers: &Issuers,
    settings: &Settings,
    server_names: &[ServerName],
    diagnostics: &mut Diagnostics,
) {
    let Some(named) = &settings.acme.certificate else {
        return;
    };
    let place = issuers.list.iter().position(|it| it.name == named.issuer);
    let Some(place) = place else {
        let message = format!("acme_issuer \"{}\" is not found", named.issuer);
        diagnostics
            .push(Diagnostic::new(named.span, message).label("no `acme_issuer` has this name"));
        return;
    };
    let issuer = &issuers.list[place];
    let wrong: Vec<_> = named
        .names
        .iter()
        .filter_map(|it| not_by_challenge(issuer, it))
        .collect();
    if !wrong.is_empty() {
        return wrong.into_iter().for_each(|it| diagnostics.push(it));
    }
    let mut names: Vec<String> = named.names.iter().map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        let takes_wildcards = matches!(issuer.challenge, Challenge::Dns01(_));
        names = orderable_names(server_names, takes_wildcards);
    }
    let Some(first) = names.first() else {
        let message = "no name for \"acme_certificate\" that could be ordered";
        let diagnostic = Diagnostic::new(named.span, message)
            .label("the server has none but wildcards and patterns")
            .help("name some behind the issuer");
        diagnostics.push(diagnostic);
        return;
    };
    let path = issuer
        .state
        .join(format!("{}.pem", first.replace([':', '*'], "_")));
    let _ = named.path.set(path.clone());
    let new = Wanted {
        issuer: place,
        names,
        path,
    };
    if !wanted.contains(&new) {
        wanted.push(new);
    }
}

/// All that is ordered, where anything is.
pub(crate) fn finish(issuers: Issuers, wanted: Vec<Wanted>) -> Option<Arc<Acme>> {
    let zone = issuers.zone?;
    (!wanted.is_empty()).then(|| {
        Arc::new(Acme {
            issuers: issuers.list,
            wanted,
            zone,
        })
    })
}

const VARIABLES: &[Builtin] = &[
    Builtin {
        name: "acme_certificate",
        get: named_file,
    },
    // One file has both, so that they always fit.
    Builtin {
        name: "acme_certificate_key",
        get: named_file,
    },
];

fn named_file(request: &Request, out: &mut Vec<u8>) -> bool {
    let location = request.server().location;
    let settings = &request.http().locations[location as usize].settings;
    let named = settings.acme.certificate.as_ref();
    let path = named.and_then(|named| named.path.get());
    path.is_some_and(|path| text(&path.to_string_lossy(), out))
}

const CHALLENGE: &[u8] = b"/.well-known/acme-challenge/";

fn applies(settings: &Settings) -> bool {
    settings.acme.zone.is_some()
}

/// Post-read phase: answers the challenges of an authority; what is none of those that are open is a request
/// like any other.
fn answer_challenge(request: &mut Request) -> Outcome {
    let Some(token) = request.path.strip_prefix(CHALLENGE) else {
        return Outcome::Next;
    };
    let Some(zone) = request.settings().acme.zone else {
        return Outcome::Next;
    };
    let challenges = request.site.zones.state::<Challenges>(zone);
    let Some(answer) = challenges.answer(token) else {
        return Outcome::Next;
    };
    if let Err(status) = request.discard_body() {
        return Outcome::Finish(status);
    }
    let response = &mut request.response;
    response.clear_content();
    response.status = 200;
    response.content_type.set_text(b"text/plain");
    response.push_text(&answer);
    response.set_length(answer.len() as u64);
    Outcome::Respond
}
