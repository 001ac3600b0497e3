//! Who may do what: everyone, those with a password, or those with a token of this registry's own token server
//! (distribution's `token` and `oauth` pages).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use super::answer::{Answer, Refusal, Result, json_answer};
use super::route::Noun;
use super::upload::new_id;
use crate::query::Query;

/// The longest form that is read.
const MAX_FORM_BYTES: usize = 64 << 10;

/// Users and their passwords.
pub type Users = BTreeMap<String, String>;

/// Whom a registry lets in.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everyone, for everything.
    Open,
    /// Those with a password, for everything.
    Basic(Users),
    /// Those with a token, which `/token` gives to users for everything, and to all for pulling if `anonymous_pull`.
    Token {
        /// The users.
        users: Users,
        /// Whether repositories may be pulled by everyone.
        anonymous_pull: bool,
        /// How long a token holds.
        life: Duration,
        /// Where the token server is, if not here: its whole address.
        realm: Option<String>,
        /// What the registry calls itself.
        service: String,
    },
}

/// What somebody does to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Reads.
    Pull,
    /// Writes.
    Push,
    /// Removes.
    Delete,
}

impl Action {
    pub(crate) fn of(method: &Method, noun: &Noun) -> Self {
        match (method, noun) {
            (&Method::DELETE, Noun::Upload { .. }) => Self::Push,
            (&Method::DELETE, _) => Self::Delete,
            (&Method::GET | &Method::HEAD, Noun::Upload { .. } | Noun::Uploads { .. }) => Self::Push,
            (&Method::GET | &Method::HEAD, _) => Self::Pull,
            _ => Self::Push,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// The gate before a registry.
pub(crate) struct Gate {
    access: Access,
    tokens: Mutex<Issued>,
}

#[derive(Default)]
struct Issued {
    access: HashMap<String, Grant>,
    refresh: HashMap<String, String>,
}

#[derive(Clone)]
struct Grant {
    until: Instant,
    /// `repository:NAME:ACTION`.
    scopes: Arc<BTreeSet<String>>,
}

impl Gate {
    pub(crate) fn new(access: Access) -> Self {
        Self { access, tokens: Mutex::default() }
    }

    fn issued(&self) -> MutexGuard<'_, Issued> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether who sent a request may do that to the repository `name`, or be here at all where there is none.
    pub(crate) fn check(
        &self,
        request: &Request<Incoming>,
        name: Option<&str>,
        action: Action,
    ) -> Result<()> {
        let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        match &self.access {
            Access::Open => Ok(()),
            Access::Basic(users) => match shown.and_then(user_and_password) {
                Some((user, password)) if knows(users, &user, &password) => Ok(()),
                _ => Err(unauthorized("Basic realm=\"registry\"".to_owned())),
            },
            Access::Token { realm, service, .. } => {
                let scope = name.map(|name| format!("repository:{name}:{}", action.name()));
                let grant =
                    shown.and_then(|shown| shown.strip_prefix("Bearer ")).map(|token| self.grant(token));
                let realm = realm.clone().unwrap_or_else(|| own_realm(request));
                let mut challenge = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
                if let Some(scope) = &scope {
                    let scope = scope.replace(":push", ":pull,push");
                    challenge += &format!(",scope=\"{scope}\"");
                }
                match grant {
                    Some(Some(grant)) if scope.is_none_or(|scope| grant.scopes.contains(&scope)) => Ok(()),
                    Some(Some(_)) => Err(unauthorized(challenge + ",error=\"insufficient_scope\"")),
                    Some(None) => Err(unauthorized(challenge + ",error=\"invalid_token\"")),
                    None => Err(unauthorized(challenge)),
                }
            }
        }
    }

    fn grant(&self, token: &str) -> Option<Grant> {
        self.issued().access.get(token).filter(|grant| grant.until > Instant::now()).cloned()
    }

    /// Answers as the token server.
    pub(crate) async fn token(&self, request: Request<Incoming>, query: &Query) -> Result<Answer> {
        let Access::Token { users, anonymous_pull, life, .. } = &self.access else {
            return Err(Refusal::unsupported());
        };
        let shown =
            request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let form = if request.method() == Method::POST { read_form(request).await? } else { query.clone() };
        let wrong =
            || Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "incorrect username or password");
        let pair = match form.get("grant_type") {
            Some("refresh_token") => {
                let token = form.get("refresh_token").unwrap_or_default();
                let user = self.issued().refresh.get(token).cloned().ok_or_else(wrong)?;
                Some((user, None))
            }
            Some("password") => {
                let get = |name| form.get(name).unwrap_or_default().to_owned();
                Some((get("username"), Some(get("password"))))
            }
            _ => shown.as_deref().and_then(user_and_password).map(|(user, password)| (user, Some(password))),
        };
        let user = match pair {
            None => None,
            Some((user, None)) => Some(user),
            Some((user, Some(password))) if knows(users, &user, &password) => Some(user),
            Some(_) => return Err(wrong()),
        };
        let mut scopes = BTreeSet::new();
        for scope in form.all("scope").flat_map(|scopes| scopes.split(' ')) {
            let Some((name, actions)) = scope.rsplit_once(':') else { continue };
            let may = |action: &&str| user.is_some() || (*anonymous_pull && *action == "pull");
            scopes.extend(actions.split(',').filter(may).map(|action| format!("{name}:{action}")));
        }
        let (token, until) = (new_id(), Instant::now() + *life);
        let mut answer = json!({"token": token, "access_token": token, "expires_in": life.as_secs_f64()});
        let mut issued = self.issued();
        issued.access.retain(|_, grant| grant.until > Instant::now());
        issued.access.insert(token, Grant { until, scopes: Arc::new(scopes) });
        let offline = form.get("offline_token") == Some("true") || form.get("access_type") == Some("offline");
        if let Some(user) = user.filter(|_| offline) {
            let refresh = new_id();
            answer["refresh_token"] = json!(refresh);
            issued.refresh.insert(refresh, user);
        }
        Ok(json_answer(StatusCode::OK, &answer))
    }
}

fn unauthorized(challenge: String) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required")
        .with("www-authenticate", challenge)
}

/// The token server's address as the client may know it.
fn own_realm(request: &Request<Incoming>) -> String {
    let host = request.headers().get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let scheme =
        if request.extensions().get::<super::listen::OverTls>().is_some() { "https" } else { "http" };
    format!("{scheme}://{host}/token")
}

/// User and password of a Basic credential.
fn user_and_password(shown: &str) -> Option<(String, String)> {
    let bytes = minke_model::base64::parse(shown.strip_prefix("Basic ")?)?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Compares in a time that says nothing about where two passwords differ.
fn knows(users: &Users, user: &str, password: &str) -> bool {
    let known = users.get(user).map(String::as_bytes).unwrap_or_default();
    let given = password.as_bytes();
    let differs = (0..known.len().max(given.len())).fold(known.len() ^ given.len(), |differs, at| {
        let of = |bytes: &[u8]| usize::from(bytes.get(at).copied().unwrap_or_default());
        differs | (of(known) ^ of(given))
    });
    differs == 0 && users.contains_key(user)
}

async fn read_form(request: Request<Incoming>) -> Result<Query> {
    let mut body = request.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let part = frame.ok().and_then(|frame| frame.into_data().ok()).unwrap_or_default();
        if text.len() + part.len() > MAX_FORM_BYTES {
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "UNKNOWN", "form too large"));
        }
        text.extend_from_slice(&part);
    }
    Ok(Query::parse(&String::from_utf8_lossy(&text)))
}
