//! Login: whether a registry takes somebody's credentials, and what it gives instead of a password.

use hyper::Method;

use super::Result;
use super::auth::{TokenRequest, Who};
use super::error::{Error, ErrorKind};
use super::place::{HUB, Place};
use super::repository::Registry;
use super::send::Call;
use super::settings::Credentials;
use super::transport::Reach;

/// What a registry said to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginAnswer {
    /// Docker's words: `Login Succeeded`.
    pub status: String,
    /// What to keep instead of the password; empty where the registry gives nothing.
    pub identity_token: String,
}

impl Registry {
    /// Tries credentials at a registry: a host, an address, or nothing for Docker's own.
    ///
    /// # Errors
    /// In Docker's words, as `Get "https://host/v2/": unauthorized: incorrect username or password`.
    pub async fn login(&self, server: &str, credentials: &Credentials) -> Result<LoginAnswer> {
        let domain = domain_of(server);
        let mut tour = self.tour(domain, false)?;
        loop {
            let place = tour.place();
            match Box::pin(self.login_at(&place, credentials)).await {
                Ok(identity_token) => {
                    tour.settle();
                    return Ok(LoginAnswer { status: "Login Succeeded".to_owned(), identity_token });
                }
                Err(error) => tour.next(error).await?,
            }
        }
    }

    async fn login_at(&self, place: &Place, credentials: &Credentials) -> Result<String> {
        let url = place.url("");
        let who = Who { credentials: credentials.clone(), scopes: Vec::new() };
        let client = &self.client;
        // What is kept of an earlier login says nothing about this one.
        client.auth.forget(&place.base.origin, credentials);
        let (settings, call) = (client.settings(), Call::new(Method::GET, url.clone()));
        let asked = Box::pin(client.follow(&settings, call, Some(place), Reach::Anywhere)).await;
        let refusal = match asked {
            // It lets everyone in; whatever was given is as good as anything.
            Ok(answer) => {
                answer.body.discard().await;
                return Ok(String::new());
            }
            Err(error) => error,
        };
        let Some(headers) = refusal.challenge.as_deref() else { return Err(refusal) };
        let mut identity = String::new();
        if client.challenged(place, &who, headers)?
            && let Some((realm, service)) = client.token_server(place, credentials)
        {
            let asked = TokenRequest { realm, service, scopes: &[], credentials, offline: true };
            let answer = client.fetch_token(place, asked).await;
            let answer = answer.map_err(|error| error.during(&Method::GET, &url))?;
            identity = answer.refresh_token.clone().unwrap_or_default();
            client.keep_token(place, &who, &answer).await?;
        }
        match client.send(place, &who, Call::new(Method::GET, url.clone())).await {
            Ok(answer) => {
                answer.body.discard().await;
                Ok(identity)
            }
            Err(error) if error.status() == Some(401) => Err(Error::new(
                ErrorKind::Unauthorized,
                format!("login attempt to {url} failed with status: 401 Unauthorized"),
            )
            .with_source(error)),
            Err(error) => Err(error),
        }
    }
}

/// The registry of what a user logs in to: without scheme and path; Docker's own by each of its names.
fn domain_of(server: &str) -> &str {
    let server = server.trim();
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    match server.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" | "registry-1.docker.io" | HUB => HUB,
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_own_registry_has_several_names() {
        for own in ["", "docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"] {
            assert_eq!(domain_of(own), "docker.io", "{own}");
        }
        assert_eq!(domain_of("https://r.example:5000/v2/"), "r.example:5000");
    }
}
