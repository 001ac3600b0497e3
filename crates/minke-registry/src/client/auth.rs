//! Who we are to a registry: tokens fetched from the server that it names, kept until shortly before they end (distribution's
//! `token`, `oauth` and `scope` pages). Credentials go to the registry of the name, to the token server that it names, and
//! nowhere else; over plain HTTP only to places that may be spoken to so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method};
use serde::Deserialize;

use super::Result;
use super::body::Answer;
use super::challenge::{self, Challenge};
use super::error::{Error, ErrorKind, NO_CREDENTIALS};
use super::place::Place;
use super::send::{Call, Client, Payload};
use super::settings::{Credentials, Settings};
use super::transport::Reach;
use super::url::{Origin, Url, encode};

/// The life of a token that does not say it.
const DEFAULT_LIFE_SECONDS: u64 = 60;
/// The longest life that is believed.
const MAX_LIFE_SECONDS: u64 = 24 * 3600;
/// The most places, and tokens of each, that are kept.
const MAX_KEPT: usize = 128;
/// The longest token: a header of more would be refused.
const MAX_TOKEN_BYTES: usize = 64 << 10;
/// What this client is called by token servers, which know Docker's.
const CLIENT_ID: &str = "docker";

/// What is known of each place for each who asks.
#[derive(Default)]
pub(crate) struct Auth {
    slots: Mutex<HashMap<(Origin, Credentials), Arc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    /// What the place asked for last.
    offer: Mutex<Option<Offer>>,
    /// By scope; locked while one is fetched, so that a pull's many layers fetch one.
    tokens: tokio::sync::Mutex<HashMap<String, Token>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Offer {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    until: Instant,
}

/// What a token server answers.
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<f64>,
    pub(crate) refresh_token: Option<String>,
}

/// Who asks for what.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) credentials: Credentials,
    /// `repository:NAME:pull,push` and the like.
    pub(crate) scopes: Vec<String>,
}

impl Auth {
    pub(crate) fn clear(&self) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Forgets what one of those who ask has of a place.
    pub(crate) fn forget(&self, origin: &Origin, credentials: &Credentials) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.remove(&(origin.clone(), credentials.clone()));
    }

    fn slot(&self, origin: &Origin, credentials: &Credentials) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_KEPT {
            slots.clear();
        }
        slots.entry((origin.clone(), credentials.clone())).or_default().clone()
    }
}

impl Slot {
    fn offer(&self) -> Option<Offer> {
        self.offer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Client {
    /// What to show to a place, as far as it is known what it wants; `refused` is what was just shown in vain.
    pub(crate) async fn authorization(
        &self,
        place: &Place,
        who: &Who,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>> {
        if let Credentials::Bearer(token) = &who.credentials {
            return place.is_origin().then(|| bearer(token)).transpose();
        }
        let credentials = if place.is_origin() { who.credentials.clone() } else { Credentials::Anonymous };
        let slot = self.auth.slot(&place.base.origin, &credentials);
        let (realm, service) = match slot.offer() {
            None => return Ok(None),
            Some(Offer::Basic) => return basic(&credentials).map(Some),
            Some(Offer::Bearer { realm, service }) => (realm, service),
        };
        let key = who.scopes.join(" ");
        let mut tokens = slot.tokens.lock().await;
        if let Some(token) = tokens.get(&key)
            && token.until > Instant::now()
            && refused != Some(&token.header)
        {
            return Ok(Some(token.header.clone()));
        }
        let asked =
            TokenRequest { realm, service, scopes: &who.scopes, credentials: &credentials, offline: false };
        let answer = Box::pin(self.fetch_token(place, asked)).await?;
        let token = answer.keep()?;
        let header = token.header.clone();
        if tokens.len() >= MAX_KEPT {
            tokens.clear();
        }
        tokens.insert(key, token);
        Ok(Some(header))
    }

    /// Takes note of what a refusal asks for; says whether there is something to show.
    pub(crate) fn challenged(&self, place: &Place, who: &Who, headers: &HeaderMap) -> Result<bool> {
        let credentials = if place.is_origin() { who.credentials.clone() } else { Credentials::Anonymous };
        if matches!(credentials, Credentials::Bearer(_)) {
            return Ok(false);
        }
        let challenges = challenges(headers);
        let Some(offer) = choose(&challenges, &credentials)? else { return Ok(false) };
        let slot = self.auth.slot(&place.base.origin, &credentials);
        *slot.offer.lock().unwrap_or_else(PoisonError::into_inner) = Some(offer);
        Ok(true)
    }

    /// The token server that a place has named.
    pub(crate) fn token_server(
        &self,
        place: &Place,
        credentials: &Credentials,
    ) -> Option<(Url, Option<String>)> {
        match self.auth.slot(&place.base.origin, credentials).offer()? {
            Offer::Bearer { realm, service } => Some((realm, service)),
            Offer::Basic => None,
        }
    }

    /// Keeps a token for what `who` asks.
    pub(crate) async fn keep_token(&self, place: &Place, who: &Who, answer: &TokenAnswer) -> Result<()> {
        let slot = self.auth.slot(&place.base.origin, &who.credentials);
        slot.tokens.lock().await.insert(who.scopes.join(" "), answer.keep()?);
        Ok(())
    }

    /// Asks a token server.
    pub(crate) async fn fetch_token(&self, place: &Place, asked: TokenRequest<'_>) -> Result<TokenAnswer> {
        let settings = self.settings();
        let (realm, service) = (asked.realm.clone(), asked.service.clone());
        check_realm(&settings, place, &realm, asked.credentials)?;
        let call = match asked.credentials {
            Credentials::IdentityToken { token, .. } => oauth_call(&asked, token),
            _ => get_call(&asked)?,
        };
        let reach = if realm.origin.host == place.base.origin.host {
            Reach::Anywhere
        } else {
            settings.reach_from(&place.base.origin)
        };
        let answer = self.persistently(|| self.follow(&settings, call.again(), None, reach)).await;
        let answer = answer.map_err(|error| error_of_token(error, &realm, &service))?;
        let body = read_token_answer(answer, settings.limits.document_bytes).await;
        body.map_err(|error| error.within(format_args!("token server {}", realm.origin)))
    }
}

/// What is asked of a token server.
pub(crate) struct TokenRequest<'a> {
    pub(crate) realm: Url,
    pub(crate) service: Option<String>,
    pub(crate) scopes: &'a [String],
    pub(crate) credentials: &'a Credentials,
    /// Whether to ask for a refresh token, which a login keeps.
    pub(crate) offline: bool,
}

fn get_call(asked: &TokenRequest<'_>) -> Result<Call> {
    let mut url = asked.realm.clone();
    if let Some(service) = &asked.service {
        url = url.with("service", service);
    }
    for scope in asked.scopes {
        url = url.with("scope", scope);
    }
    let mut headers = HeaderMap::new();
    if let Credentials::Basic { username, .. } = asked.credentials {
        if !username.is_empty() {
            url = url.with("account", username);
        }
        headers.insert(AUTHORIZATION, basic(asked.credentials)?);
    }
    if asked.offline {
        url = url.with("client_id", CLIENT_ID).with("offline_token", "true");
    }
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    Ok(Call { headers, secret: true, ..Call::new(Method::GET, url) })
}

fn oauth_call(asked: &TokenRequest<'_>, token: &str) -> Call {
    let mut form = format!("grant_type=refresh_token&refresh_token={}&client_id={CLIENT_ID}", encode(token));
    if let Some(service) = &asked.service {
        form += &format!("&service={}", encode(service));
    }
    if !asked.scopes.is_empty() {
        form += &format!("&scope={}", encode(&asked.scopes.join(" ")));
    }
    if asked.offline {
        form += "&access_type=offline";
    }
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let body = Payload::Bytes(form.into());
    Call { headers, body, secret: true, ..Call::new(Method::POST, asked.realm.clone()) }
}

async fn read_token_answer(answer: Answer, limit: usize) -> Result<TokenAnswer> {
    let body = answer.body.whole(limit).await?;
    serde_json::from_slice(&body).map_err(|error| {
        // Not the document itself: it may hold half a token.
        Error::invalid(format!(
            "unable to decode token response: line {} column {}",
            error.line(),
            error.column()
        ))
    })
}

fn error_of_token(error: Error, realm: &Url, service: &Option<String>) -> Error {
    tracing::debug!("registry: token of {} for {service:?}: {error}", realm.origin);
    match error.status() {
        // A token server's own refusals are about who asks.
        Some(400 | 403) => error.of_kind(ErrorKind::Unauthorized),
        _ => error,
    }
}

impl TokenAnswer {
    fn keep(&self) -> Result<Token> {
        let text = self.token.as_deref().filter(|token| !token.is_empty());
        let text = text.or(self.access_token.as_deref()).unwrap_or_default();
        if text.is_empty() || text.len() > MAX_TOKEN_BYTES {
            return Err(Error::invalid("authorization server did not include a token in the response"));
        }
        let seconds =
            self.expires_in.filter(|seconds| *seconds > 0.0).map_or(DEFAULT_LIFE_SECONDS, |it| it as u64);
        // A tenth earlier than it ends, by our own clock: theirs may differ.
        let life = Duration::from_secs(seconds.min(MAX_LIFE_SECONDS)).mul_f64(0.9);
        Ok(Token { header: bearer(text)?, until: Instant::now() + life })
    }
}

/// The challenges of a refusal.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    challenge::parse(headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()))
}

/// The offer to take: a token where there is one, else the password where we have one.
fn choose(challenges: &[Challenge], credentials: &Credentials) -> Result<Option<Offer>> {
    let mut broken = None;
    for challenge in challenges.iter().filter(|challenge| challenge.scheme == "bearer") {
        let realm = challenge.get("realm").unwrap_or_default();
        match Url::parse(realm) {
            Some(realm) => {
                let service = challenge.get("service").filter(|service| !service.is_empty());
                return Ok(Some(Offer::Bearer { realm, service: service.map(str::to_owned) }));
            }
            None => broken = Some(Error::invalid("invalid realm of the registry's bearer challenge")),
        }
    }
    if challenges.iter().any(|challenge| challenge.scheme == "basic") {
        return match credentials {
            Credentials::Basic { .. } => Ok(Some(Offer::Basic)),
            _ => Err(Error::new(ErrorKind::Unauthorized, NO_CREDENTIALS)),
        };
    }
    broken.map_or(Ok(None), Err)
}

/// Whether a realm may have these credentials.
fn check_realm(settings: &Settings, place: &Place, realm: &Url, credentials: &Credentials) -> Result<()> {
    if realm.origin.secure || settings.is_insecure(&realm.origin) {
        return Ok(());
    }
    // Who spoke plain HTTP anyway may have a token server that does, as long as nobody's secret goes there.
    let open = !place.base.origin.secure && *credentials == Credentials::Anonymous;
    let same = !place.base.origin.secure && realm.origin == place.base.origin;
    if open || same {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Denied,
        format!(
            "refusing to send credentials to {} in clear text: add it to insecure-registries",
            realm.origin
        ),
    ))
}

fn bearer(token: &str) -> Result<HeaderValue> {
    sensitive(format!("Bearer {token}"))
}

/// The header of a user and password.
pub(crate) fn basic(credentials: &Credentials) -> Result<HeaderValue> {
    let Credentials::Basic { username, password } = credentials else {
        return Err(Error::new(ErrorKind::Unauthorized, NO_CREDENTIALS));
    };
    sensitive(format!("Basic {}", minke_model::base64::render(format!("{username}:{password}").as_bytes())))
}

fn sensitive(text: String) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| Error::invalid("a credential holds letters that no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}
