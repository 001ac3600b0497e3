//! One request to a registry: along redirects, with what the place asks for, again where that may help.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderValue, LOCATION, PROXY_AUTHORIZATION, USER_AGENT,
};
use hyper::{HeaderMap, Method, Request, StatusCode};

use super::Result;
use super::auth::{self, Auth, Who};
use super::backoff;
use super::body::{Answer, AnswerBody};
use super::error::{Error, ErrorKind};
use super::place::Place;
use super::settings::Settings;
use super::transport::{Body, Connection, Connections, Reach, Target, http_error};
use super::url::Url;

/// What all that speak with registries share.
pub(crate) struct Client {
    settings: Mutex<Arc<Settings>>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) auth: Auth,
}

/// A request in the making.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Payload,
    /// Whether it holds a credential of its own, and must not leave for another place.
    pub(crate) secret: bool,
}

/// A body that is taken once; behind a lock that nobody ever waits for, so that a request may be shared between threads.
pub(crate) type Taken = Mutex<Option<Body>>;

/// A request's body.
pub(crate) enum Payload {
    Empty,
    Bytes(Bytes),
    /// Can be sent once.
    Once(Taken),
}

impl Call {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Payload::Empty, secret: false }
    }

    /// The same once more; a body that can be sent once is gone.
    pub(crate) fn again(&self) -> Self {
        let body = match &self.body {
            Payload::Empty => Payload::Empty,
            Payload::Bytes(bytes) => Payload::Bytes(bytes.clone()),
            Payload::Once(_) => Payload::Once(Taken::new(None)),
        };
        let (method, headers) = (self.method.clone(), self.headers.clone());
        Self { method, url: self.url.clone(), headers, body, secret: self.secret }
    }

    fn is_repeatable(&self) -> bool {
        !matches!(self.body, Payload::Once(_))
    }
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings: Mutex::new(Arc::new(settings)), connections: Arc::default(), auth: Auth::default() }
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets connections and tokens along with the old settings.
    pub(crate) fn reconfigure(&self, settings: Settings) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.connections.clear();
        self.auth.clear();
    }

    /// Sends a request as `who`; a success, or a redirect of what isn't to be followed, is an answer.
    pub(crate) async fn send(&self, place: &Place, who: &Who, mut call: Call) -> Result<Answer> {
        if !call.is_repeatable() {
            return Box::pin(self.authorized(place, who, &mut call)).await;
        }
        self.persistently(|| {
            let mut call = call.again();
            async move { Box::pin(self.authorized(place, who, &mut call)).await }
        })
        .await
    }

    /// Tries again what fails in a way that may pass; a place that can't be reached at all is not waited for.
    pub(crate) async fn persistently<T, F: Future<Output = Result<T>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T> {
        let limits = self.settings().limits.clone();
        let mut failed = 0;
        loop {
            let error = match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failed += 1;
            if !error.is_passing() || error.unreachable || failed >= limits.attempts {
                return Err(error);
            }
            let pause = backoff::pause(failed, error.retry_after, &limits, backoff::chance());
            tracing::debug!("registry: {error}; again in {pause:?}");
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends once, or a second time with what the first refusal asks for.
    async fn authorized(&self, place: &Place, who: &Who, call: &mut Call) -> Result<Answer> {
        let settings = self.settings();
        let mut shown = self.authorization(place, who, None).await?;
        let mut rounds = 0;
        loop {
            let mut attempt = call.again();
            if let (Payload::Once(body), Payload::Once(taken)) = (&mut call.body, &mut attempt.body) {
                *taken = Taken::new(once(body).take());
            }
            if let Some(shown) = &shown {
                attempt.headers.insert(AUTHORIZATION, shown.clone());
            }
            let refusal = match self.follow(&settings, attempt, Some(place), Reach::Anywhere).await {
                Err(error) if error.status() == Some(401) && error.challenge.is_some() => error,
                done => return done,
            };
            rounds += 1;
            let headers = refusal.challenge.as_deref().expect("asked for above");
            // Two rounds: the token may have ended, or what the place asks for may have changed.
            if rounds > 2 || !call.is_repeatable() || !self.challenged(place, who, headers)? {
                return Err(refusal);
            }
            let fresh = self.authorization(place, who, shown.as_ref()).await?;
            if fresh == shown {
                return Err(refusal);
            }
            shown = fresh;
        }
    }

    /// Sends along redirects. A credential goes to the first origin alone; `place` is whose settings of TLS hold there.
    pub(crate) async fn follow(
        &self,
        settings: &Settings,
        mut call: Call,
        place: Option<&Place>,
        mut reach: Reach,
    ) -> Result<Answer> {
        let first = call.url.origin.clone();
        let mut verify = place.map_or_else(|| !settings.is_insecure(&first), |place| place.verify);
        for _ in 0..=settings.limits.redirects {
            let (method, url) = (call.method.clone(), call.url.clone());
            let target = Target { origin: url.origin.clone(), verify };
            let answer = Box::pin(self.exchange(settings, &target, reach, &mut call)).await;
            let answer = answer.map_err(|error| match place {
                // Docker asks whether there is a registry before it asks for anything.
                Some(place) if error.unreachable => error.during(&Method::GET, &place.url("")),
                _ => error.during(&method, &shown_url(&url, place)),
            })?;
            let Some(next) = redirect(&answer, &method)? else {
                return refuse(answer, url.origin == first).await;
            };
            answer.body.discard().await;
            if next.origin != url.origin {
                check_hop(settings, &url, &next, &call)?;
            }
            reach = match () {
                () if next.origin == first || settings.is_insecure_by_name(&next.origin) => Reach::Anywhere,
                () => settings.reach_from(&first),
            };
            verify = if next.origin == first && place.is_some() {
                verify
            } else {
                !settings.is_insecure(&next.origin)
            };
            if next.origin != first {
                call.headers.remove(AUTHORIZATION);
            }
            call.url = next;
        }
        Err(Error::invalid(format!("stopped after {} redirects", settings.limits.redirects))
            .during(&call.method, &call.url))
    }

    /// One request over one connection; over a second one where an old one had been closed.
    async fn exchange(
        &self,
        settings: &Settings,
        target: &Target,
        reach: Reach,
        call: &mut Call,
    ) -> Result<Answer> {
        while let Some(mut connection) = self.connections.take_idle(target) {
            if connection.sender.ready().await.is_err() {
                continue;
            }
            let request = request(settings, call, &connection)?;
            match self.answer(settings, target, connection, request, call).await {
                // It was closed at the moment that we asked.
                Err(error) if error.kind() == ErrorKind::Network && call.is_repeatable() => break,
                done => return done,
            }
        }
        let opened = self.connections.open(settings, target, reach).await;
        let connection = opened.map_err(|mut error| {
            error.unreachable = error.kind() == ErrorKind::Network;
            error
        })?;
        let request = request(settings, call, &connection)?;
        self.answer(settings, target, connection, request, call).await
    }

    async fn answer(
        &self,
        settings: &Settings,
        target: &Target,
        mut connection: Connection,
        request: Request<Body>,
        call: &Call,
    ) -> Result<Answer> {
        let sending = connection.sender.send_request(request);
        // What is sent at length takes its time: the source and the connection bound that.
        let response = match &call.body {
            Payload::Once(_) => sending.await,
            _ => tokio::time::timeout(settings.limits.answer, sending)
                .await
                .map_err(|_| Error::new(ErrorKind::Network, "net/http: timeout awaiting response headers"))?,
        };
        let (parts, incoming) = response.map_err(http_error)?.into_parts();
        let lease = (self.connections.clone(), target.clone(), connection);
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: AnswerBody::new(incoming, lease, settings.limits.idle),
            url: call.url.clone(),
        })
    }
}

fn once(body: &mut Taken) -> &mut Option<Body> {
    body.get_mut().unwrap_or_else(PoisonError::into_inner)
}

fn request(settings: &Settings, call: &mut Call, connection: &Connection) -> Result<Request<Body>> {
    let uri = if connection.absolute { call.url.to_string() } else { call.url.target.clone() };
    let mut request = Request::builder().method(call.method.clone()).uri(uri);
    let headers = request.headers_mut().expect("nothing has failed yet");
    *headers = call.headers.clone();
    let text = |text: &str| HeaderValue::from_str(text).map_err(|_| Error::invalid("invalid header"));
    headers.insert(HOST, text(&call.url.origin.authority())?);
    headers.insert(USER_AGENT, text(&settings.user_agent)?);
    if let Some(proxy) = connection.proxy_authorization.as_ref().filter(|_| connection.absolute) {
        headers.insert(PROXY_AUTHORIZATION, proxy.clone());
    }
    let whole = |bytes: Bytes| Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
    let body = match &mut call.body {
        Payload::Empty => {
            if call.method != Method::GET && call.method != Method::HEAD {
                headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            whole(Bytes::new())
        }
        Payload::Bytes(bytes) => whole(bytes.clone()),
        Payload::Once(body) => {
            once(body).take().ok_or_else(|| Error::new(ErrorKind::Network, "the connection was closed"))?
        }
    };
    request.body(body).map_err(|error| Error::invalid("invalid address").with_source(error))
}

/// Docker's words name what its client asks first, whatever is asked here.
fn shown_url(url: &Url, place: Option<&Place>) -> Url {
    match place {
        Some(place) if url.origin == place.base.origin => place.url(""),
        _ => url.clone(),
    }
}

/// Where an answer sends us, if it does.
fn redirect(answer: &Answer, method: &Method) -> Result<Option<Url>> {
    let reading = method == Method::GET || method == Method::HEAD;
    let follows = match answer.status {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => reading,
        _ => false,
    };
    if !follows {
        return Ok(None);
    }
    let location = answer.header(LOCATION.as_str());
    let next = location.and_then(|location| answer.url.join(location));
    next.map(Some).ok_or_else(|| Error::invalid("invalid Location of a redirect").during(method, &answer.url))
}

/// Whether a registry may send us from one place to another.
fn check_hop(settings: &Settings, from: &Url, to: &Url, call: &Call) -> Result<()> {
    let refused = |why: &str| {
        Err(Error::invalid(format!("refusing to follow a redirect to {}: {why}", to.origin))
            .during(&call.method, from))
    };
    if from.origin.secure && !to.origin.secure && !settings.is_insecure(&to.origin) {
        return refused("it would leave TLS");
    }
    if call.secret && !matches!(call.body, Payload::Empty) {
        return refused("it would take a credential along");
    }
    match to.origin.ip() {
        Some(ip)
            if !settings.is_insecure_by_name(&to.origin) && !settings.reach_from(&from.origin).allows(ip) =>
        {
            refused("a registry has no business there")
        }
        _ => Ok(()),
    }
}

/// Turns what is no success into an error; what the first origin asks for is kept with it.
async fn refuse(answer: Answer, of_first: bool) -> Result<Answer> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let (status, headers) = (answer.status, answer.headers);
    let body = answer.body.whole(64 << 10).await.unwrap_or_default();
    let challenges = auth::challenges(&headers);
    let said = challenges
        .iter()
        .filter(|one| one.scheme == "bearer")
        .find_map(|one| Some((one.get("error")?, one.get("error_description"))));
    let mut error = Error::refused(status, said, &body);
    error.retry_after = backoff::retry_after(&headers, SystemTime::now());
    if of_first && status == StatusCode::UNAUTHORIZED {
        error.challenge = Some(Box::new(headers));
    }
    Err(error)
}
