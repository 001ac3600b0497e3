//! Registries as the command line speaks with them itself, where no engine has a part: `manifest`, `image copy`.

use std::path::PathBuf;

use minke_api::registry::AuthConfig;
use minke_client::{Config, credentials};
use minke_model::{Error, Reference, Result};
use minke_registry::client::{Credentials, Insecure, Proxies, Registry, Repository, Settings};

/// Where the certificates of single registries are, the last one's word counting.
const CERTS_DIRS: [&str; 2] = ["/etc/docker/certs.d", "/etc/minke/certs.d"];

/// The client of all registries; with `insecure`, those of these names need no checked certificate, nor TLS.
pub fn client(insecure: &[&Reference]) -> Result<Registry> {
    let insecure = insecure.iter().map(|reference| Insecure::parse(reference.domain()));
    Ok(Registry::new(Settings {
        insecure: insecure.collect::<Result<_>>()?,
        certs_dirs: CERTS_DIRS.iter().map(PathBuf::from).collect(),
        proxies: Proxies::from_environment(),
        ..Settings::default()
    }))
}

/// A repository, as whom the configuration knows there.
pub fn repository(registry: &Registry, config: &Config, reference: &Reference) -> Result<Repository> {
    let auth = credentials::get(config, &credentials::server_of(reference))?;
    Ok(registry.repository(reference, as_credentials(auth)?))
}

fn as_credentials(auth: AuthConfig) -> Result<Credentials> {
    let auth = auth.unpacked().ok_or_else(|| Error::invalid("the credentials' auth cannot be read"))?;
    Ok(match auth {
        auth if auth.is_anonymous() => Credentials::Anonymous,
        auth if !auth.registrytoken.is_empty() => Credentials::Bearer(auth.registrytoken),
        auth if !auth.identitytoken.is_empty() => {
            Credentials::IdentityToken { username: auth.username, token: auth.identitytoken }
        }
        auth => Credentials::Basic { username: auth.username, password: auth.password },
    })
}
