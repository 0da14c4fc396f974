//! An authority that issues certificates by ACME, and looks closely at what it is asked (RFC 8555).

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::{ServerConfig, ServerConnection, SignatureScheme, StreamOwned};
use serde_json::{Value, json};

use super::Folder;
use super::tls::{Authority, Clients};

/// An order.
struct Order {
    names: Vec<String>,
    /// What each name is challenged with, and what came of it.
    tokens: Vec<(String, &'static str)>,
    /// The certificate that it is to take the place of.
    replaces: Option<String>,
    certificate: Option<String>,
    /// It takes its time once.
    has_waited: bool,
}

#[derive(Default)]
struct State {
    numbers: u64,
    nonces: HashSet<String>,
    account: Option<(String, String)>,
    orders: HashMap<usize, Order>,
    /// What was not as it ought to be.
    complaints: Vec<String>,
    has_refused_a_nonce: bool,
    /// The challenges that were looked at.
    challenges: Vec<String>,
    /// From and to when it suggests to renew what it has issued, in seconds since 1970, and how often it was
    /// asked.
    window_s: Option<(i64, i64)>,
    asked: usize,
    /// The days that what it issues is valid.
    days: u32,
    /// Whom it knows otherwise: the name of a key, and the key. Nobody else gets an account.
    customer: Option<(String, Vec<u8>)>,
}

/// The authority.
#[derive(Clone)]
pub(crate) struct Acme {
    pub(crate) port: u16,
    /// Where challenges are to be answered.
    challenged: u16,
    /// Where records are found, a name and its value a line.
    records: PathBuf,
    authority: Arc<Authority>,
    state: Arc<Mutex<State>>,
}

/// What is answered: status, headers, body.
type Said = (u16, String, String);

impl Acme {
    /// Starts it; its own certificate is of the authority that it issues by, `ca.crt` in the folder.
    pub(crate) fn start(folder: &Folder, challenged: u16) -> Acme {
        let authority = Authority::new(folder, "ca");
        let identity = authority.issue(folder, "acme", "127.0.0.1", 1);
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(identity.key).into();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(identity.chain, key)
            .expect("a pair");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let acme = Acme {
            port: listener.local_addr().expect("a bound socket").port(),
            challenged,
            records: folder.file("records"),
            authority: Arc::new(authority),
            state: Arc::new(Mutex::new(State {
                days: 90,
                ..State::default()
            })),
        };
        let serving = acme.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (acme, config) = (serving.clone(), config.clone());
                std::thread::spawn(move || acme.serve(stream, config));
            }
        });
        acme
    }

    /// From now on it suggests to renew in this window, in seconds since 1970.
    pub(crate) fn suggest(&self, window_s: (i64, i64)) {
        let mut state = self.state.lock().expect("nobody panics with it");
        state.window_s = Some(window_s);
    }

    /// From now on what it issues is valid for so many days.
    pub(crate) fn issue_for(&self, days: u32) {
        self.state.lock().expect("nobody panics with it").days = days;
    }

    /// From now on it has accounts for a customer alone, who has this key.
    pub(crate) fn serve_customer(&self, kid: &str, key: &[u8]) {
        let mut state = self.state.lock().expect("nobody panics with it");
        state.customer = Some((kid.to_owned(), key.to_vec()));
    }

    /// Whether an account is bound to the customer (RFC 8555, 7.3.4).
    fn is_bound(&self, binding: &Value) -> bool {
        let state = self.state.lock().expect("nobody panics with it");
        let Some((kid, key)) = &state.customer else {
            return binding.is_null();
        };
        let part = |name: &str| binding[name].as_str().unwrap_or_default();
        let (protected, payload) = (part("protected"), part("payload"));
        let head: Value = serde_json::from_slice(&decode(protected)).unwrap_or_default();
        let jwk: Value = serde_json::from_slice(&decode(payload)).unwrap_or_default();
        let account = state.account.clone().unwrap_or_default();
        let mac = hmac(key, format!("{protected}.{payload}").as_bytes());
        head == json!({ "alg": "HS256", "kid": kid, "url": self.url("/account") })
            && (jwk["x"].as_str(), jwk["y"].as_str()) == (Some(&*account.0), Some(&*account.1))
            && decode(part("signature")) == mac
    }

    /// How often it was asked when to renew.
    pub(crate) fn asked(&self) -> usize {
        self.state.lock().expect("nobody panics with it").asked
    }

    /// The names of the certificates that orders take the place of.
    pub(crate) fn replaced(&self) -> Vec<String> {
        let state = self.state.lock().expect("nobody panics with it");
        let orders = state.orders.values();
        orders.filter_map(|order| order.replaces.clone()).collect()
    }

    /// How many orders there were.
    pub(crate) fn orders(&self) -> usize {
        self.state
            .lock()
            .expect("nobody panics with it")
            .orders
            .len()
    }

    /// The challenges that were looked at.
    pub(crate) fn challenges(&self) -> Vec<String> {
        self.state
            .lock()
            .expect("nobody panics with it")
            .challenges
            .clone()
    }

    /// What was not as it ought to be.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.state
            .lock()
            .expect("nobody panics with it")
            .complaints
            .clone()
    }

    fn serve(&self, stream: TcpStream, config: Arc<ServerConfig>) {
        let connection = ServerConnection::new(config).expect("a server");
        let mut tls = StreamOwned::new(connection, stream);
        let Some((head, body)) = read(&mut tls) else {
            return;
        };
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let said = self.answer(method, path, &body);
        let (status, headers, body) = said.unwrap_or_else(|complaint| {
            let kind = format!("urn:ietf:params:acme:error:{complaint}");
            if complaint != "badNonce" {
                let mut state = self.state.lock().expect("nobody panics with it");
                state
                    .complaints
                    .push(format!("{method} {path}: {complaint}"));
            }
            (
                400,
                String::new(),
                json!({ "type": kind, "detail": complaint }).to_string(),
            )
        });
        let nonce = self.nonce();
        let len = body.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\nReplay-Nonce: {nonce}\r\nContent-Length: {len}\r\n{headers}\r\n"
        );
        let body = if method == "HEAD" {
            String::new()
        } else {
            body
        };
        let _ = tls.write_all(format!("{head}{body}").as_bytes());
        tls.conn.send_close_notify();
        let _ = tls.flush();
    }

    fn nonce(&self) -> String {
        let mut state = self.state.lock().expect("nobody panics with it");
        state.numbers += 1;
        let nonce = format!("nonce-{}", state.numbers);
        state.nonces.insert(nonce.clone());
        nonce
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    fn answer(&self, method: &str, path: &str, body: &[u8]) -> Result<Said, String> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let number = |at: usize| parts.get(at).and_then(|it| it.parse::<usize>().ok());
        match (method, parts[0]) {
            ("GET", "directory") => {
                let mut directory = json!({
                    "newNonce": self.url("/nonce"),
                    "newAccount": self.url("/account"),
                    "newOrder": self.url("/order"),
                });
                let state = self.state.lock().expect("nobody panics with it");
                if state.window_s.is_some() {
                    directory["renewalInfo"] = self.url("/renewal").into();
                }
                return Ok((200, String::new(), directory.to_string()));
            }
            ("GET", "renewal") => return self.renewal(parts.get(1).copied().unwrap_or_default()),
            ("HEAD", "nonce") => return Ok((200, String::new(), String::new())),
            ("POST", _) => {}
            _ => return Err("malformed".into()),
        }
        let payload = self.opened(path, body)?;
        let order = number(1).unwrap_or_default();
        match (parts[0], parts.len()) {
            ("account", 1) => {
                let has_agreed = payload["termsOfServiceAgreed"] == true;
                if !has_agreed || payload["contact"] != json!(["mailto:admin@one.test"]) {
                    return Err("userActionRequired".into());
                }
                if !self.is_bound(&payload["externalAccountBinding"]) {
                    return Err("externalAccountRequired".into());
                }
                Ok((201, self.location("/account/1"), "{}".into()))
            }
            ("order", 1) => self.new_order(&payload),
            ("order", 2) => self.order(order),
            ("authorization", 3) => self.authorization(order, number(2).unwrap_or_default()),
            ("challenge", 4) => self.challenge(order, number(2).unwrap_or_default(), parts[3]),
            ("finalize", 2) => self.finalize(order, &payload),
            ("certificate", 2) => {
                let state = self.state.lock().expect("nobody panics with it");
                let order = state.orders.get(&order).ok_or("malformed")?;
                let pem = order.certificate.clone().ok_or("orderNotReady")?;
                Ok((
                    200,
                    "Content-Type: application/pem-certificate-chain\r\n".into(),
                    pem,
                ))
            }
            _ => Err("malformed".into()),
        }
    }

    /// Says when to renew a certificate, which has to be the one that was issued last.
    fn renewal(&self, id: &str) -> Result<Said, String> {
        let mut state = self.state.lock().expect("nobody panics with it");
        state.asked += 1;
        let last = state.orders.len().checked_sub(1).ok_or("malformed")?;
        let pem = state.orders[&last].certificate.clone();
        if certificate_id(&pem.ok_or("malformed")?) != id {
            return Err("malformed".into());
        }
        let (start_s, end_s) = state.window_s.ok_or("malformed")?;
        let window = json!({ "start": time_text(start_s), "end": time_text(end_s) });
        let body = json!({ "suggestedWindow": window, "explanationURL": "https://a.test/why" });
        Ok((200, "Retry-After: 21600\r\n".into(), body.to_string()))
    }

    fn location(&self, path: &str) -> String {
        format!("Location: {}\r\n", self.url(path))
    }

    /// The payload of a signed question, whose signature, nonce and place are right.
    fn opened(&self, path: &str, body: &[u8]) -> Result<Value, String> {
        let signed: Value = serde_json::from_slice(body).map_err(|_| "malformed")?;
        let part = |name: &str| signed[name].as_str().unwrap_or_default().to_owned();
        let (protected, payload) = (part("protected"), part("payload"));
        let head: Value = serde_json::from_slice(&decode(&protected)).map_err(|_| "malformed")?;
        let mut state = self.state.lock().expect("nobody panics with it");
        let nonce = head["nonce"].as_str().unwrap_or_default();
        if !state.nonces.remove(nonce) {
            return Err("unknownNonce".into());
        }
        if !std::mem::replace(&mut state.has_refused_a_nonce, true) {
            return Err("badNonce".into());
        }
        if head["alg"] != "ES256" || head["url"] != self.url(path) {
            return Err("unauthorized".into());
        }
        let jwk = &head["jwk"];
        let account = match path {
            "/account" => {
                let part = |name: &str| jwk[name].as_str().unwrap_or_default().to_owned();
                let account = (part("x"), part("y"));
                state.account = Some(account.clone());
                account
            }
            _ if head["kid"] != self.url("/account/1") || !jwk.is_null() => {
                return Err("accountDoesNotExist".into());
            }
            _ => state.account.clone().ok_or("accountDoesNotExist")?,
        };
        let key = [&[4][..], &decode(&account.0), &decode(&account.1)].concat();
        let message = format!("{protected}.{payload}");
        if !is_signed(&key, message.as_bytes(), &decode(&part("signature"))) {
            return Err("badSignature".into());
        }
        match payload.is_empty() {
            true => Ok(Value::Null),
            false => serde_json::from_slice(&decode(&payload)).map_err(|_| "malformed".into()),
        }
    }

    fn new_order(&self, payload: &Value) -> Result<Said, String> {
        let identifiers = payload["identifiers"].as_array().ok_or("malformed")?;
        let names = identifiers.iter().filter(|it| it["type"] == "dns");
        let names: Vec<String> = names
            .filter_map(|it| it["value"].as_str().map(str::to_owned))
            .collect();
        let mut state = self.state.lock().expect("nobody panics with it");
        let number = state.orders.len();
        let tokens = names.iter().enumerate();
        let tokens = tokens.map(|(at, _)| (format!("token_{number}-{at}"), "pending"));
        let replaces = payload["replaces"].as_str().map(str::to_owned);
        let order = Order {
            replaces,
            tokens: tokens.collect(),
            names,
            certificate: None,
            has_waited: false,
        };
        let shown = self.shown(number, &order, "pending");
        state.orders.insert(number, order);
        Ok((201, self.location(&format!("/order/{number}")), shown))
    }

    fn shown(&self, number: usize, order: &Order, status: &str) -> String {
        let authorizations = 0..order.names.len();
        let authorizations: Vec<String> = authorizations
            .map(|at| self.url(&format!("/authorization/{number}/{at}")))
            .collect();
        json!({
            "status": status,
            "authorizations": authorizations,
            "finalize": self.url(&format!("/finalize/{number}")),
            "certificate": self.url(&format!("/certificate/{number}")),
        })
        .to_string()
    }

    fn order(&self, number: usize) -> Result<Said, String> {
        let mut state = self.state.lock().expect("nobody panics with it");
        let order = state.orders.get_mut(&number).ok_or("malformed")?;
        let are_valid = order.tokens.iter().all(|(_, status)| *status == "valid");
        let status = match (&order.certificate, are_valid) {
            (Some(_), _) if !std::mem::replace(&mut order.has_waited, true) => "processing",
            (Some(_), _) => "valid",
            (None, true) => "ready",
            (None, false) => "pending",
        };
        let shown = self.shown(number, &state.orders[&number], status);
        Ok((200, String::new(), shown))
    }

    fn authorization(&self, number: usize, at: usize) -> Result<Said, String> {
        let state = self.state.lock().expect("nobody panics with it");
        let order = state.orders.get(&number).ok_or("malformed")?;
        let (token, status) = order.tokens.get(at).ok_or("malformed")?;
        let name = &order.names[at];
        let bare = name.strip_prefix("*.");
        let challenge = |kind: &str| {
            let url = self.url(&format!("/challenge/{number}/{at}/{kind}"));
            json!({ "type": kind, "url": url, "token": token, "status": status,
                    "error": { "detail": "the answer was another" } })
        };
        // Who has a wildcard can show that by a record alone.
        let kinds: &[&str] = match bare {
            Some(_) => &["dns-01"],
            None => &["dns-01", "http-01", "tls-alpn-01"],
        };
        let shown = json!({
            "status": status,
            "identifier": { "type": "dns", "value": bare.unwrap_or(name) },
            "wildcard": bare.is_some(),
            "challenges": kinds.iter().map(|kind| challenge(kind)).collect::<Value>(),
        });
        Ok((200, String::new(), shown.to_string()))
    }

    /// Looks whether the name is theirs who say so.
    fn challenge(&self, number: usize, at: usize, kind: &str) -> Result<Said, String> {
        let (token, name, account) = {
            let state = self.state.lock().expect("nobody panics with it");
            let order = state.orders.get(&number).ok_or("malformed")?;
            let account = state.account.clone().ok_or("malformed")?;
            (order.tokens[at].0.clone(), order.names[at].clone(), account)
        };
        let (x, y) = account;
        let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let expected = format!("{token}.{}", encode(&sha256(jwk.as_bytes())));
        let digest = sha256(expected.as_bytes());
        let is_right = match kind {
            "http-01" => ask(self.challenged, &name, &token).is_some_and(|it| it == expected),
            "tls-alpn-01" => shakes_for(self.challenged, &name, &digest),
            _ => {
                let name = name.strip_prefix("*.").unwrap_or(&name);
                let record = format!("_acme-challenge.{name} {}", encode(&digest));
                let records = std::fs::read_to_string(&self.records).unwrap_or_default();
                records.lines().any(|line| line == record)
            }
        };
        let mut state = self.state.lock().expect("nobody panics with it");
        state.challenges.push(kind.to_owned());
        let order = state.orders.get_mut(&number).ok_or("malformed")?;
        order.tokens[at].1 = if is_right { "valid" } else { "invalid" };
        Ok((200, String::new(), "{}".into()))
    }

    fn finalize(&self, number: usize, payload: &Value) -> Result<Said, String> {
        let csr = decode(payload["csr"].as_str().unwrap_or_default());
        let mut state = self.state.lock().expect("nobody panics with it");
        let days = state.days;
        let order = state.orders.get_mut(&number).ok_or("malformed")?;
        if order.tokens.iter().any(|(_, status)| *status != "valid") {
            return Err("orderNotReady".into());
        }
        let issued = self.authority.sign_request(&csr, &order.names, days);
        order.certificate = Some(issued.ok_or("badCSR")?);
        let shown = self.shown(number, &state.orders[&number], "processing");
        Ok((200, String::new(), shown))
    }
}

/// Asks a site as an authority does.
fn ask(port: u16, name: &str, token: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let request = format!(
        "GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200 ").then(|| body.to_owned())
}

/// Shakes hands as an authority does, and looks at what it is shown (RFC 8737, 3).
fn shakes_for(port: u16, name: &str, digest: &[u8]) -> bool {
    use x509_parser::prelude::*;
    let clients = Clients::trusting_anybody().offering(&[b"acme-tls/1"]);
    let Ok(client) = clients.connect_to(port, name) else {
        return false;
    };
    let certificate = client.certificate().unwrap_or_default();
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    let is_for_it = names.is_some_and(
        |names| matches!(names.value.general_names[..], [GeneralName::DNSName(it)] if it == name),
    );
    let wanted = [&[4, 32][..], digest].concat();
    let says_it = certificate.extensions().iter().any(|extension| {
        extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31"
            && extension.critical
            && extension.value == wanted
    });
    client.protocol() == Some(b"acme-tls/1") && is_for_it && says_it
}

/// A time as RFC 3339 has it.
fn time_text(at_s: i64) -> String {
    let at = x509_parser::time::ASN1Time::from_timestamp(at_s).expect("a time");
    let at = at.to_datetime();
    let (date, time) = (at.date(), at.time());
    format!(
        "{date}T{:02}:{:02}:{:02}Z",
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// What a certificate is known by (RFC 9773, 4.1).
fn certificate_id(pem: &str) -> String {
    use x509_parser::prelude::*;
    let (_, pem) = parse_x509_pem(pem.as_bytes()).expect("PEM");
    let certificate = pem.parse_x509().expect("a certificate");
    let mut extensions = certificate.extensions().iter();
    let key = extensions.find_map(|it| match it.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
        _ => None,
    });
    let key = key.expect("the authority names its key").0;
    format!("{}.{}", encode(key), encode(certificate.raw_serial()))
}

fn read(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let mut memory = [0; 4096];
        let read = stream.read(&mut memory).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&memory[..read]);
        let Some(end) = super::client::find(&bytes, b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let len = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let len: usize = len.and_then(|len| len.parse().ok()).unwrap_or(0);
        if bytes.len() >= end + 4 + len {
            return Some((head, bytes[end + 4..end + 4 + len].to_vec()));
        }
    }
}

/// The two numbers of a signature as DER has them, looked at by rustls.
fn is_signed(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    if signature.len() != 64 || key.len() != 65 {
        return false;
    }
    let number = |bytes: &[u8]| {
        let first = bytes.iter().position(|byte| *byte > 0).unwrap_or(31);
        let mut number = bytes[first..].to_vec();
        if number[0] >= 0x80 {
            number.insert(0, 0);
        }
        [&[2, number.len() as u8][..], &number].concat()
    };
    let both = [number(&signature[..32]), number(&signature[32..])].concat();
    let der = [&[0x30, both.len() as u8][..], &both].concat();
    let known = aws_lc_rs::default_provider().signature_verification_algorithms;
    let mut schemes = known.mapping.iter();
    let found = schemes.find(|(scheme, _)| *scheme == SignatureScheme::ECDSA_NISTP256_SHA256);
    let (_, algorithms) = found.expect("rustls knows P-256");
    algorithms[0].verify_signature(key, message, &der).is_ok()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let suite = suite.tls13().expect("a suite of TLS 1.3");
    suite.common.hash_provider.hash(bytes).as_ref().to_vec()
}

/// HMAC with SHA-256 by a key of less than 64 bytes (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(key).for_each(|(it, key)| *it ^= key);
        block
    };
    let inner = sha256(&[&padded(0x36)[..], message].concat());
    sha256(&[&padded(0x5c)[..], &inner].concat())
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn decode(text: &str) -> Vec<u8> {
    let (mut bits, mut count) = (0_u32, 0);
    let mut out = Vec::new();
    for digit in text.bytes() {
        let value = DIGITS.iter().position(|known| *known == digit).unwrap_or(0);
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(bits);
        for at in 0..=group.len() {
            out.push(char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    out
}
