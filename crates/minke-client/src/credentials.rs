//! Credentials for registries: in `config.json`, or behind a helper program (`docker-credential-NAME`), which
//! `credHelpers` names for a registry and `credsStore` for all. Owns where they are found, written and removed; sends them nowhere.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use minke_api::registry::AuthConfig;
use minke_model::{Context as _, Error, ErrorKind, Reference, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{self, Config};

/// The registry that Docker's own is called by in configurations.
pub const DEFAULT_SERVER: &str = "https://index.docker.io/v1/";
/// The user that a helper gives where the secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// What a helper says of a registry that it does not know.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The longest answer of a helper.
const ANSWER_LIMIT_BYTES: usize = 1 << 20;

/// What helpers read and write.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HelperCredentials {
    #[serde(rename = "ServerURL")]
    server_url: String,
    username: String,
    secret: String,
}

/// What a configuration calls the registry of an image.
pub fn server_of(reference: &Reference) -> String {
    match reference.domain() {
        minke_model::reference::DEFAULT_DOMAIN => DEFAULT_SERVER.to_owned(),
        domain => domain.to_owned(),
    }
}

/// What a configuration calls the registry that a user named: its host, and Docker's own in each of its spellings.
pub fn server_named(text: &str) -> String {
    let host = hostname(text);
    match host {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => DEFAULT_SERVER.to_owned(),
        host => host.to_owned(),
    }
}

/// `host[:port]` of an address.
fn hostname(text: &str) -> &str {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    rest.split('/').next().unwrap_or_default()
}

/// The credentials for a registry; anonymous ones where there are none.
///
/// # Errors
/// A helper that cannot be run or that fails, an entry that cannot be read.
pub fn get(config: &Config, server: &str) -> Result<AuthConfig> {
    if let Some(helper) = helper_for(config, server) {
        return from_helper(helper, server);
    }
    let unreadable = || Error::invalid(format!("the credentials of {server} in config.json cannot be read"));
    let exact = config.auths.get(server);
    let similar =
        || config.auths.iter().find(|(key, _)| hostname(key) == hostname(server)).map(|(_, found)| found);
    match exact.or_else(similar) {
        Some(found) => {
            let found = found.clone().unpacked().ok_or_else(unreadable)?;
            Ok(AuthConfig { serveraddress: server.to_owned(), ..found })
        }
        None => Ok(AuthConfig::default()),
    }
}

/// Keeps credentials. Tells the file that has them in clear text, where no helper keeps them.
///
/// # Errors
/// A helper that fails, a file that cannot be written.
pub fn store(config: &Config, server: &str, credentials: &AuthConfig) -> Result<Option<std::path::PathBuf>> {
    if let Some(helper) = helper_for(config, server) {
        let token = !credentials.identitytoken.is_empty();
        let kept = HelperCredentials {
            server_url: server.to_owned(),
            username: if token { TOKEN_USER.into() } else { credentials.username.clone() },
            secret: if token { credentials.identitytoken.clone() } else { credentials.password.clone() },
        };
        let text = serde_json::to_vec(&kept).context("credentials")?;
        run_helper(helper, "store", &text).map_err(|error| refused("storing credentials", helper, error))?;
        // The entry says that a login was made; what was there in clear text goes.
        change_auths(&config.directory, |auths| drop(auths.insert(server.to_owned(), Map::new().into())))?;
        return Ok(None);
    }
    let mut entry = Map::new();
    let pair = format!("{}:{}", credentials.username, credentials.password);
    entry.insert("auth".into(), minke_model::base64::render(pair.as_bytes()).into());
    if !credentials.identitytoken.is_empty() {
        let user = format!("{}:", credentials.username);
        entry.insert("auth".into(), minke_model::base64::render(user.as_bytes()).into());
        entry.insert("identitytoken".into(), credentials.identitytoken.clone().into());
    }
    change_auths(&config.directory, |auths| drop(auths.insert(server.to_owned(), entry.into())))?;
    Ok(Some(config.directory.join("config.json")))
}

/// Forgets the credentials for a registry; there may be none.
///
/// # Errors
/// A helper that fails, a file that cannot be written.
pub fn erase(config: &Config, server: &str) -> Result<()> {
    if let Some(helper) = helper_for(config, server) {
        match run_helper(helper, "erase", server.as_bytes()) {
            Err(error) if error.message().contains(NOT_FOUND) => {}
            other => drop(other.map_err(|error| refused("erasing credentials", helper, error))?),
        }
    }
    if config.auths.contains_key(server) {
        change_auths(&config.directory, |auths| drop(auths.remove(server)))?;
    }
    Ok(())
}

fn helper_for<'a>(config: &'a Config, server: &str) -> Option<&'a str> {
    let own = config.cred_helpers.get(server).or_else(|| config.cred_helpers.get(hostname(server)));
    own.map(String::as_str).or(Some(config.creds_store.as_str())).filter(|helper| !helper.is_empty())
}

fn from_helper(helper: &str, server: &str) -> Result<AuthConfig> {
    let answer = match run_helper(helper, "get", server.as_bytes()) {
        Err(error) if error.message().contains(NOT_FOUND) => return Ok(AuthConfig::default()),
        answer => answer.map_err(|error| refused("getting credentials", helper, error))?,
    };
    let found: HelperCredentials = serde_json::from_slice(&answer)
        .map_err(|error| Error::system(format!("docker-credential-{helper} gave no credentials: {error}")))?;
    let mut auth = AuthConfig { serveraddress: server.to_owned(), ..AuthConfig::default() };
    match found.username.as_str() {
        TOKEN_USER => auth.identitytoken = found.secret,
        _ => (auth.username, auth.password) = (found.username, found.secret),
    }
    Ok(auth)
}

fn refused(what: &str, helper: &str, error: Error) -> Error {
    Error::new(error.kind(), format!("error {what} - err: {error}, helper: `docker-credential-{helper}`"))
}

fn run_helper(helper: &str, action: &str, input: &[u8]) -> Result<Vec<u8>> {
    if helper.contains('/') {
        return Err(Error::invalid(format!("invalid credential helper {helper:?}")));
    }
    let program = format!("docker-credential-{helper}");
    let mut child = Command::new(&program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Error::not_found(format!("exec: {program:?}: executable file not found in $PATH"))
            }
            _ => Error::system(format!("cannot run {program}")).with_source(error),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read says what it wants by how it ends.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().with_context(|| format!("cannot run {program}"))?;
    if output.stdout.len() > ANSWER_LIMIT_BYTES {
        return Err(Error::system(format!("the answer of {program} is too long")));
    }
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        return Err(Error::new(ErrorKind::System, format!("{}, out: `{said}`", output.status)));
    }
    Ok(output.stdout)
}

fn change_auths(directory: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Result<()> {
    config::change(directory, |settings| {
        let auths = settings.entry("auths").or_insert_with(|| Map::new().into());
        if !auths.is_object() {
            *auths = Map::new().into();
        }
        if let Value::Object(auths) = auths {
            change(auths);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_found_by_every_name_that_they_have() {
        assert_eq!(server_named("https://index.docker.io/v1/"), DEFAULT_SERVER);
        assert_eq!(server_named("docker.io"), DEFAULT_SERVER);
        assert_eq!(server_named("https://localhost:5000/v2/"), "localhost:5000");
        assert_eq!(server_of(&Reference::parse("busybox").unwrap()), DEFAULT_SERVER);
        assert_eq!(server_of(&Reference::parse("localhost:5000/x").unwrap()), "localhost:5000");
        let config: Config =
            serde_json::from_str(r#"{"auths":{"https://localhost:5000/v1/":{"auth":"YTpi"}}}"#).unwrap();
        let found = get(&config, "localhost:5000").unwrap();
        assert_eq!((found.username.as_str(), found.password.as_str()), ("a", "b"));
        assert!(get(&config, "localhost:5001").unwrap().is_anonymous());
    }

    #[test]
    fn what_is_stored_is_found_and_all_else_stays() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config.json");
        std::fs::write(&path, r#"{"psFormat":"y","auths":{"other":{"auth":"YTpi"}}}"#).unwrap();
        let me = AuthConfig { username: "me".into(), password: "p:w".into(), ..AuthConfig::default() };
        let config = Config::load(home.path()).unwrap();
        assert_eq!(store(&config, "localhost:5000", &me).unwrap().as_deref(), Some(path.as_path()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let config = Config::load(home.path()).unwrap();
        assert_eq!(get(&config, "localhost:5000").unwrap().password, "p:w");
        assert_eq!(get(&config, "other").unwrap().username, "a");
        erase(&config, "localhost:5000").unwrap();
        let config = Config::load(home.path()).unwrap();
        assert!(get(&config, "localhost:5000").unwrap().is_anonymous());
        assert_eq!(config.ps_format, "y");
    }
}
