//! One order: from the directory of an authority to a certificate. Source: RFC 8555, 7.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::KeyPair;
use revolve_reactor::{sleep, timeout};
use serde_json::{Value, json};

use super::account::{AccountKey, base64url};
use super::challenges::Challenges;
use super::spec::{Challenge, Issuer, now_s};
use super::state;
use crate::net::resolver::Resolver;
use crate::tls::{Answer, Question, Url, ask};

/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(30);

/// How long an authority may take to look at an answer, or to issue: so often it is asked, with so much
/// time between.
const POLLS_MAX: usize = 60;
const POLL_PAUSE: Duration = Duration::from_secs(1);

/// So often a question is asked again that an authority found too old.
const NONCES_MAX: usize = 3;

/// A conversation with an authority.
struct Conversation<'a> {
    issuer: &'a Issuer,
    names: &'a [String],
    resolver: &'a Resolver,
    key: AccountKey,
    /// The account's URL.
    kid: Option<String>,
    nonce: Option<String>,
    new_nonce: String,
}

/// Orders a certificate for these names; it comes back with its key behind it, as PEM.
pub(super) async fn obtain(
    issuer: &Issuer,
    names: &[String],
    challenges: &Challenges,
    resolver: &Resolver,
) -> Result<String, String> {
    let account = state::account_key(&issuer.state)?;
    let mut talk = Conversation {
        issuer,
        names,
        resolver,
        key: AccountKey::new(&account.serialize_der())?,
        kid: None,
        nonce: None,
        new_nonce: String::new(),
    };
    let directory = talk.send("GET", &issuer.uri.to_string(), None).await?;
    let directory = json_of(&directory)?;
    talk.new_nonce = text(&directory, "newNonce")?;
    talk.sign_up(&text(&directory, "newAccount")?).await?;
    let identifiers: Vec<Value> = names.iter().map(|name| identifier(name)).collect();
    let new_order = text(&directory, "newOrder")?;
    let answer = talk
        .post(&new_order, Some(&json!({ "identifiers": identifiers })))
        .await?;
    let order_url = answer
        .header("location")
        .ok_or("an order without a place")?;
    let order = json_of(&answer)?;
    let authorizations = order["authorizations"].as_array().cloned();
    for url in authorizations.unwrap_or_default() {
        let url = url.as_str().ok_or("an authorization without a place")?;
        talk.authorize(url, challenges).await?;
    }
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let request = state::params(names)?.serialize_request(&key);
    let request = request.map_err(|error| error.to_string())?;
    talk.poll(&order_url, "ready").await?;
    let csr = json!({ "csr": base64url(request.der()) });
    talk.post(&text(&order, "finalize")?, Some(&csr)).await?;
    let order = talk.poll(&order_url, "valid").await?;
    let certificate = talk.post(&text(&order, "certificate")?, None).await?;
    checked(&certificate.body, names, &key)
}

fn identifier(name: &str) -> Value {
    let kind = if name.parse::<IpAddr>().is_ok() {
        "ip"
    } else {
        "dns"
    };
    json!({ "type": kind, "value": name })
}

/// What was issued, with its key; it has to be for whom it was asked for, and of the key.
fn checked(body: &[u8], names: &[String], key: &KeyPair) -> Result<String, String> {
    let chain = revolve_tls::certificates(body).map_err(|error| error.to_string())?;
    if !names
        .iter()
        .all(|name| revolve_tls::is_for_host(&chain[0], name))
    {
        return Err("the certificate is for others".to_owned());
    }
    let pem: String = chain.iter().map(revolve_tls::pem).collect();
    let key = key.serialize_pem();
    let pair = revolve_tls::key_pair(chain, key.as_bytes(), &[]);
    pair.map_err(|error| error.to_string())?;
    Ok(pem + &key)
}

impl Conversation<'_> {
    async fn send(&self, method: &str, url: &str, body: Option<String>) -> Result<Answer, String> {
        let url = Url::parse_secure(url).ok_or_else(|| format!("\"{url}\" is no https:// URL"))?;
        let question = Question {
            method,
            content_type: "application/jose+json",
            body: body.unwrap_or_default().into_bytes(),
        };
        let tls = Some((&*self.issuer.tls, now_s()));
        let asked = timeout(WITHIN, ask(self.resolver, &url, tls, question)).await;
        let answer = asked.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        answer.map_err(|why| format!("{why} ({url})"))
    }

    /// A signed question, whose answer has to be a good one.
    async fn post(&mut self, url: &str, payload: Option<&Value>) -> Result<Answer, String> {
        for _ in 0..NONCES_MAX {
            let nonce = match self.nonce.take() {
                Some(nonce) => nonce,
                None => {
                    let answer = self.send("HEAD", &self.new_nonce, None).await?;
                    answer.header("replay-nonce").ok_or("no nonce")?
                }
            };
            let signed = self
                .key
                .signed((url, &nonce, self.kid.as_deref()), payload)?;
            let answer = self.send("POST", url, Some(signed)).await?;
            self.nonce = answer.header("replay-nonce");
            if answer.status < 300 {
                return Ok(answer);
            }
            let problem = json_of(&answer).unwrap_or_default();
            let kind = problem["type"].as_str().unwrap_or("no type").to_owned();
            if !kind.ends_with(":badNonce") {
                let detail = problem["detail"].as_str().unwrap_or_default();
                let status = answer.status;
                let shown = crate::log::Shown(detail.as_bytes());
                return Err(format!("it answers {status}, {kind}: {shown}"));
            }
        }
        Err("it takes none of its nonces".to_owned())
    }

    async fn sign_up(&mut self, url: &str) -> Result<(), String> {
        let contacts = &self.issuer.contacts;
        let payload = json!({
            "termsOfServiceAgreed": self.issuer.accepts_terms,
            "contact": contacts,
        });
        let answer = self.post(url, Some(&payload)).await?;
        let kid = answer
            .header("location")
            .ok_or("an account without a place")?;
        self.kid = Some(kid);
        Ok(())
    }

    /// Shows that a name is ours.
    async fn authorize(&mut self, url: &str, challenges: &Challenges) -> Result<(), String> {
        let authorization = json_of(&self.post(url, None).await?)?;
        if authorization["status"] == "valid" {
            return Ok(());
        }
        let name = self.authorized(&authorization)?;
        let all = authorization["challenges"].as_array();
        let wanted = self.issuer.challenge.name();
        let challenge = all.into_iter().flatten().find(|it| it["type"] == wanted);
        let challenge = challenge.ok_or_else(|| format!("it offers no challenge {wanted}"))?;
        let token = text(challenge, "token")?;
        let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.is_empty() || !token.bytes().all(is_sound) {
            return Err("its token is none".to_owned());
        }
        let shown = format!("{token}.{}", self.key.thumbprint());
        match &self.issuer.challenge {
            Challenge::Http01 => challenges.put(&token, &shown)?,
            Challenge::TlsAlpn01 => challenges.put_authorization(&name, &shown)?,
        }
        let judged = async {
            self.post(&text(challenge, "url")?, Some(&json!({})))
                .await?;
            self.poll(url, "valid").await
        };
        let judged = judged.await;
        match &self.issuer.challenge {
            Challenge::Http01 => challenges.remove(&token),
            Challenge::TlsAlpn01 => challenges.remove_authorization(&name),
        }
        judged.map(|_| ())
    }

    /// The name that an authorization is about, which has to be one of those that are ordered.
    fn authorized(&self, authorization: &Value) -> Result<String, String> {
        let value = &authorization["identifier"];
        let value = text(value, "value")?.to_ascii_lowercase();
        let is_ours = self.names.iter().any(|name| *name == value);
        match is_ours {
            true => Ok(value),
            false => Err("it asks about a name that was not ordered".to_owned()),
        }
    }

    /// Asks until something has come to a state.
    async fn poll(&mut self, url: &str, wanted: &str) -> Result<Value, String> {
        for _ in 0..POLLS_MAX {
            let found = json_of(&self.post(url, None).await?)?;
            let status = found["status"].as_str().unwrap_or_default().to_owned();
            // Whoever is ready may be further already.
            if status == wanted || wanted == "ready" && status == "valid" {
                return Ok(found);
            }
            if status == "invalid" {
                let why = reason(&found);
                return Err(format!("it has refused: {why}"));
            }
            sleep(POLL_PAUSE).await;
        }
        Err(format!("nothing has become {wanted} in time"))
    }
}

/// Why an authority has refused, as far as it says.
fn reason(found: &Value) -> String {
    let challenges = found["challenges"].as_array().into_iter().flatten();
    let errors = challenges.map(|it| &it["error"]["detail"]);
    let mut errors = std::iter::once(&found["error"]["detail"]).chain(errors);
    let detail = errors
        .find_map(Value::as_str)
        .unwrap_or("it does not say why");
    crate::log::Shown(detail.as_bytes()).to_string()
}

fn json_of(answer: &Answer) -> Result<Value, String> {
    let parsed = serde_json::from_slice(&answer.body);
    parsed.map_err(|_| format!("its answer ({}) is no JSON", answer.status))
}

fn text(value: &Value, field: &str) -> Result<String, String> {
    let text = value[field].as_str().map(str::to_owned);
    text.ok_or_else(|| format!("its answer has no \"{field}\""))
}
