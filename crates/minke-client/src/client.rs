//! The client: one engine, its connections, and the version spoken with it.

use std::sync::OnceLock;

use hyper::header::{HeaderName, HeaderValue};
use minke_api::{ApiVersion, Operation};
use minke_model::{Context as _, Result};

use crate::call::{self, Call};
use crate::config::Config;
use crate::connection::Pool;
use crate::host::Endpoint;

/// A connection to one engine; cheap requests share it, long ones open their own.
pub struct Client {
    pub(crate) pool: Pool,
    version: OnceLock<ApiVersion>,
    headers: Vec<(HeaderName, HeaderValue)>,
    user_agent: String,
}

/// What a client says of itself.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    /// The program and its version, as `User-Agent`.
    pub user_agent: String,
    /// A version that is spoken without asking (`DOCKER_API_VERSION`).
    pub version: Option<ApiVersion>,
}

impl Client {
    /// Connects. The version is the one given, or the newest where nobody named a host (that engine came with this
    /// program); else it isn't known yet: see [`Client::agree`].
    ///
    /// # Errors
    /// Nobody listens there (see [`crate::is_absent`]), the caller may not connect, or TLS fails.
    pub async fn connect(endpoint: Endpoint, config: &Config, introduction: Introduction) -> Result<Self> {
        let mut headers = Vec::new();
        for (name, value) in &config.http_headers {
            let pair = || Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?));
            headers.extend(pair());
        }
        let ours = endpoint.implicit;
        let client = Self {
            pool: Pool::new(endpoint)?,
            version: OnceLock::new(),
            headers,
            user_agent: introduction.user_agent,
        };
        let sender = client.pool.open().await?;
        client.pool.give_back(sender).await;
        if let Some(version) = introduction.version.or(ours.then_some(ApiVersion::MAX)) {
            let _ = client.version.set(version);
        }
        Ok(client)
    }

    /// Asks an engine whose version isn't known for it by one `_ping`; the lower of both is spoken from then on.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn agree(&self) -> Result<()> {
        if self.version().is_none() {
            self.learn(call::ping(self).await.context("error during connect")?);
        }
        Ok(())
    }

    /// The engine has said what its newest version is.
    pub(crate) fn learn(&self, theirs: ApiVersion) {
        let _ = self.version.set(ApiVersion::MAX.negotiate(theirs));
    }

    /// The version spoken, once it is known.
    pub fn version(&self) -> Option<ApiVersion> {
        self.version.get().copied()
    }

    /// Where this client is connected to.
    pub fn endpoint(&self) -> &Endpoint {
        self.pool.endpoint()
    }

    pub(crate) fn user_agent(&self) -> &str {
        &self.user_agent
    }

    pub(crate) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    pub(crate) fn call(&self, operation: Operation, parameter: &str) -> Call<'_> {
        Call::new(self, operation, parameter)
    }
}
