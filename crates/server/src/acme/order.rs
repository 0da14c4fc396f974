//! One order: from the directory of an authority to a certificate. Source: RFC 8555, 7.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::KeyPair;
use revolve_reactor::{sleep, timeout};
use serde_json::{Value, json};

use super::account::{AccountKey, base64url};
use super::challenges::Challenges;
use super::dns::{self, Action};
use super::renewal::{self, Said};
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
const NONCES_MAX: usize = 8;

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

/// What is ordered.
pub(super) struct Order<'a> {
    pub(super) issuer: &'a Issuer,
    pub(super) names: &'a [String],
    /// The certificate that it takes the place of, as its authority knows that.
    pub(super) replaces: Option<&'a str>,
}

/// Orders a certificate; it comes back with its key behind it, as PEM.
pub(super) async fn obtain(
    order: &Order<'_>,
    challenges: &Challenges,
    resolver: &Resolver,
    say: &impl Fn(bool, String),
) -> Result<String, String> {
    let names = order.names;
    let mut talk = Conversation::new((order.issuer, names), resolver)?;
    let directory = talk.directory().await?;
    talk.new_nonce = text(&directory, "newNonce")?;
    talk.sign_up(&text(&directory, "newAccount")?).await?;
    let answer = talk.order(&directory, order.replaces).await?;
    let order_url = answer
        .header("location")
        .ok_or("an order without a place")?;
    let order = json_of(&answer)?;
    let authorizations = order["authorizations"].as_array().cloned();
    for url in authorizations.unwrap_or_default() {
        let url = url.as_str().ok_or("an authorization without a place")?;
        talk.authorize(url, challenges, say).await?;
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

/// What an authority says of when a certificate of its own is to be renewed; `None` where it says nothing of
/// that kind at all. Source: RFC 9773, 4.
pub(super) async fn renewal_info(
    (issuer, names): (&Issuer, &[String]),
    id: &str,
    resolver: &Resolver,
) -> Result<Option<Said>, String> {
    let talk = Conversation::new((issuer, names), resolver)?;
    let directory = talk.directory().await?;
    let Some(place) = directory["renewalInfo"].as_str() else {
        return Ok(None);
    };
    let url = format!("{}/{id}", place.trim_end_matches('/'));
    let answer = talk.send("GET", &url, None).await?;
    if answer.status != 200 {
        return Err(format!("it answers {} ({url})", answer.status));
    }
    let retry_after = answer.header("retry-after");
    renewal::read(&json_of(&answer)?, retry_after.as_deref()).map(Some)
}

/// What shows that a name is ours.
struct Proof<'a> {
    challenge: &'a Challenge,
    token: &'a str,
    name: &'a str,
    /// What the authority is to find.
    shown: &'a str,
}

impl Proof<'_> {
    async fn show(
        &self,
        challenges: &Challenges,
        say: &impl Fn(bool, String),
    ) -> Result<(), String> {
        match self.challenge {
            Challenge::Http01 => challenges.put(self.token, self.shown),
            Challenge::TlsAlpn01 => challenges.put_authorization(self.name, self.shown),
            Challenge::Dns01(command) => {
                let record = dns::record(self.name, self.shown);
                dns::run(command, Action::Add, &record, say).await
            }
        }
    }

    /// Takes it back, also where showing it has failed: how far that came is not known.
    async fn hide(&self, challenges: &Challenges, say: &impl Fn(bool, String)) {
        match self.challenge {
            Challenge::Http01 => challenges.remove(self.token),
            Challenge::TlsAlpn01 => challenges.remove_authorization(self.name),
            Challenge::Dns01(command) => {
                let record = dns::record(self.name, self.shown);
                let removed = dns::run(command, Action::Remove, &record, say).await;
                if let Err(why) = removed {
                    let name = &record.0;
                    say(
                        true,
                        format!("acme: {why}; the record \"{name}\" may still be there"),
                    );
                }
            }
        }
    }
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
    if !names.iter().all(|name| state::is_for(&chain[0], name)) {
        return Err("the certificate is for others".to_owned());
    }
    let pem: String = chain.iter().map(revolve_tls::pem).collect();
    let key = key.serialize_pem();
    let pair = revolve_tls::key_pair(chain, key.as_bytes(), &[]);
    pair.map_err(|error| error.to_string())?;
    Ok(pem + &key)
}

impl<'a> Conversation<'a> {
    fn new(
        (issuer, names): (&'a Issuer, &'a [String]),
        resolver: &'a Resolver,
    ) -> Result<Self, String> {
        let account = state::account_key(&issuer.state)?;
        Ok(Conversation {
            issuer,
            names,
            resolver,
            key: AccountKey::new(&account.serialize_der())?,
            kid: None,
            nonce: None,
            new_nonce: String::new(),
        })
    }

    async fn directory(&self) -> Result<Value, String> {
        let answer = self.send("GET", &self.issuer.uri.to_string(), None).await?;
        json_of(&answer)
    }

    /// Places an order. What it takes the place of is said to authorities that understand it; one that has
    /// had that replaced already is asked without.
    async fn order(&mut self, directory: &Value, replaces: Option<&str>) -> Result<Answer, String> {
        let url = text(directory, "newOrder")?;
        let identifiers: Vec<Value> = self.names.iter().map(|name| identifier(name)).collect();
        let mut payload = json!({ "identifiers": identifiers });
        if let Some(replaces) = replaces.filter(|_| directory["renewalInfo"].is_string()) {
            payload["replaces"] = replaces.into();
            match self.post(&url, Some(&payload)).await {
                Err(why) if why.contains(":alreadyReplaced") => {}
                done => return done,
            }
            payload = json!({ "identifiers": identifiers });
        }
        self.post(&url, Some(&payload)).await
    }

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
        let mut payload = json!({
            "termsOfServiceAgreed": self.issuer.accepts_terms,
            "contact": contacts,
        });
        if let Some(external) = &self.issuer.external {
            payload["externalAccountBinding"] = self.key.bound(external, url);
        }
        let answer = self.post(url, Some(&payload)).await?;
        let kid = answer
            .header("location")
            .ok_or("an account without a place")?;
        self.kid = Some(kid);
        Ok(())
    }

    /// Shows that a name is ours.
    async fn authorize(
        &mut self,
        url: &str,
        challenges: &Challenges,
        say: &impl Fn(bool, String),
    ) -> Result<(), String> {
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
        let proof = Proof {
            challenge: &self.issuer.challenge,
            token: &token,
            name: &name,
            shown: &shown,
        };
        let judged = async {
            proof.show(challenges, say).await?;
            self.post(&text(challenge, "url")?, Some(&json!({})))
                .await?;
            self.poll(url, "valid").await
        };
        let judged = judged.await;
        proof.hide(challenges, say).await;
        judged.map(|_| ())
    }

    /// The name that an authorization is about, which has to be one of those that are ordered.
    fn authorized(&self, authorization: &Value) -> Result<String, String> {
        let value = &authorization["identifier"];
        let value = text(value, "value")?.to_ascii_lowercase();
        let bare = |name: &'a String| name.strip_prefix("*.").unwrap_or(name);
        let is_ours = self.names.iter().any(|name| bare(name) == value);
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
