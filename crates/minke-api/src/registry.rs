//! What is said about registries: credentials, their header, a push's query, what a registry has under a name.
#![allow(missing_docs, reason = "fields carry the names and meanings of the specification")]

use minke_model::{Error, Result, base64};
use serde::{Deserialize, Serialize};

use crate::image::{Descriptor, Platform};
use crate::omit::zero;
use crate::{Filters, FromQuery, Query, QueryWriter, ToQuery};

/// The header that carries the credentials of a pull or push: base64url of [`AuthConfig`] as JSON.
pub const AUTH_HEADER: &str = "x-registry-auth";
/// The longest such header.
const MAX_HEADER_BYTES: usize = 256 << 10;

/// Credentials for a registry.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    #[serde(skip_serializing_if = "zero")]
    pub username: String,
    #[serde(skip_serializing_if = "zero")]
    pub password: String,
    /// `user:password` in base64, in place of both.
    #[serde(skip_serializing_if = "zero")]
    pub auth: String,
    #[serde(skip_serializing_if = "zero")]
    pub serveraddress: String,
    /// What a login gave in place of the password.
    #[serde(skip_serializing_if = "zero")]
    pub identitytoken: String,
    /// What is shown to the registry as it is.
    #[serde(skip_serializing_if = "zero")]
    pub registrytoken: String,
}

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Secrets stay out of every log.
        write!(f, "AuthConfig({} at {})", self.username, self.serveraddress)
    }
}

impl AuthConfig {
    /// The value of [`AUTH_HEADER`].
    pub fn to_header(&self) -> String {
        base64::render_url(&serde_json::to_vec(self).expect("credentials are plain data"))
    }

    /// Reads [`AUTH_HEADER`]; nothing gives no credentials.
    ///
    /// # Errors
    /// It is neither base64 nor JSON.
    pub fn from_header(text: &str) -> Result<Self> {
        let invalid = |cause: String| Error::invalid(format!("invalid X-Registry-Auth header: {cause}"));
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > MAX_HEADER_BYTES {
            return Err(invalid("it is too long".into()));
        }
        let bytes = base64::parse_either(text).ok_or_else(|| invalid("it is not base64url".into()))?;
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let parsed: Self = crate::json::decode(&bytes).map_err(|error| invalid(error.to_string()))?;
        parsed.unpacked().ok_or_else(|| invalid("its auth cannot be read".into()))
    }

    /// With `auth` taken apart into user and password.
    pub fn unpacked(mut self) -> Option<Self> {
        if self.auth.is_empty() {
            return Some(self);
        }
        let text = String::from_utf8(base64::parse_either(&self.auth)?).ok()?;
        let (username, password) = text.split_once(':')?;
        self.username = username.to_owned();
        self.password = password.trim_matches('\0').to_owned();
        self.auth = String::new();
        Some(self)
    }

    /// Whether it says nothing of who asks.
    pub fn is_anonymous(&self) -> bool {
        self.username.is_empty()
            && self.password.is_empty()
            && self.identitytoken.is_empty()
            && self.registrytoken.is_empty()
    }
}

/// The answer of `POST /auth`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthResponse {
    pub status: String,
    #[serde(skip_serializing_if = "zero")]
    pub identity_token: String,
}

/// The query of `POST /images/{name}/push`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImagePushQuery {
    /// Nothing for all tags of the repository.
    pub tag: String,
    /// JSON.
    pub platform: String,
}

impl FromQuery for ImagePushQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { tag: query.text("tag"), platform: query.text("platform") })
    }
}

impl ToQuery for ImagePushQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("tag", &self.tag).text("platform", &self.platform);
    }
}

/// The query of `GET /images/search`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSearchQuery {
    pub term: String,
    /// 0 for as many as the engine thinks right.
    pub limit: i64,
    pub filters: Filters,
}

impl FromQuery for ImageSearchQuery {
    fn from_query(query: &Query) -> Result<Self> {
        let limit = query.strict_number("limit")?.unwrap_or(0);
        Ok(Self { term: query.text("term"), limit, filters: query.filters()? })
    }
}

impl ToQuery for ImageSearchQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("term", &self.term).filters(&self.filters);
        if self.limit != 0 {
            out.number("limit", Some(self.limit));
        }
    }
}

/// What a search has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchResult {
    pub star_count: i64,
    pub is_official: bool,
    pub name: String,
    pub is_automated: bool,
    pub description: String,
}

/// What a push says of what it has pushed, beside its last line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PushResult {
    pub tag: String,
    pub digest: String,
    pub size: i64,
}

/// The answer of `GET /distribution/{name}/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DistributionInspect {
    pub descriptor: Descriptor,
    pub platforms: Vec<Platform>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_through_the_header() {
        let config = AuthConfig {
            username: "me".into(),
            password: "p\u{fc}?>~".into(),
            serveraddress: "localhost:5000".into(),
            ..AuthConfig::default()
        };
        assert_eq!(AuthConfig::from_header(&config.to_header()).unwrap(), config);
        assert!(AuthConfig::from_header("").unwrap().is_anonymous());
        // `{}` in both alphabets, with padding and without.
        assert!(AuthConfig::from_header("e30=").unwrap().is_anonymous());
        assert!(AuthConfig::from_header("e30").unwrap().is_anonymous());
        // {"password":null}
        assert!(AuthConfig::from_header("eyJwYXNzd29yZCI6bnVsbH0=").unwrap().is_anonymous());
        assert!(AuthConfig::from_header("!").is_err());
        assert!(AuthConfig::from_header("e30x").is_err());
    }

    #[test]
    fn user_and_password_in_one_are_taken_apart() {
        let config = AuthConfig { auth: "bWU6YTpi".into(), ..AuthConfig::default() }.unpacked().unwrap();
        assert_eq!((config.username.as_str(), config.password.as_str()), ("me", "a:b"));
        assert_eq!(format!("{config:?}"), "AuthConfig(me at )");
    }
}
