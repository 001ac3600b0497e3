//! Who asks a registry, and what is asked without anything being stored: logins, what a name stands for.

use minke_api::image;
use minke_api::registry::{AuthConfig, AuthResponse, DistributionInspect};
use minke_model::image::{ImageConfig, Index, Manifest, media_type};
use minke_model::{Error, Platform, Reference, Result};
use minke_registry::client::{Credentials, Repository};

use super::resolve;
use crate::Engine;

/// Credentials as the client of registries takes them.
pub fn credentials(auth: AuthConfig) -> Credentials {
    if !auth.registrytoken.is_empty() {
        return Credentials::Bearer(auth.registrytoken);
    }
    if !auth.identitytoken.is_empty() {
        return Credentials::IdentityToken { username: auth.username, token: auth.identitytoken };
    }
    match auth.username.is_empty() && auth.password.is_empty() {
        true => Credentials::Anonymous,
        false => Credentials::Basic { username: auth.username, password: auth.password },
    }
}

impl Engine {
    /// The repository of a name, as somebody.
    pub(super) fn repository(&self, reference: &Reference, auth: AuthConfig) -> Repository {
        self.shared.distribution.registry.repository(reference, credentials(auth))
    }

    /// `POST /auth`.
    pub async fn system_auth(&self, auth: AuthConfig) -> Result<AuthResponse> {
        let auth = auth.unpacked().ok_or_else(|| Error::invalid("the credentials' auth cannot be read"))?;
        let server = auth.serveraddress.clone();
        let answer = self.shared.distribution.registry.login(&server, &credentials(auth)).await?;
        Ok(AuthResponse { status: answer.status, identity_token: answer.identity_token })
    }

    /// `GET /distribution/{name}/json`.
    pub async fn distribution_inspect(&self, name: &str, auth: AuthConfig) -> Result<DistributionInspect> {
        let reference = Reference::parse(name)?.with_default_tag();
        let repository = self.repository(&reference, auth);
        let top = resolve::top(&repository, &reference).await?;
        let platforms = if media_type::is_index(&top.media_type) {
            let index: Index = resolve::parse("index", &top.bytes)?;
            index.manifests.into_iter().filter_map(|child| child.platform).collect()
        } else {
            let manifest: Manifest = resolve::parse("manifest", &top.bytes)?;
            vec![platform_of(&repository, &manifest).await?]
        };
        let descriptor = image::Descriptor {
            media_type: top.media_type.clone(),
            digest: top.digest.to_string(),
            size: i64::try_from(top.bytes.len()).unwrap_or(i64::MAX),
            ..image::Descriptor::default()
        };
        Ok(DistributionInspect { descriptor, platforms: platforms.into_iter().map(shown).collect() })
    }
}

/// The platform that an image's configuration says.
async fn platform_of(repository: &Repository, manifest: &Manifest) -> Result<Platform> {
    if manifest.config.size > resolve::MAX_CONFIG_BYTES {
        return Err(Error::invalid("the image configuration is too long"));
    }
    let mut stream = repository.blob(&manifest.config.digest, manifest.config.size, 0).await?.verified();
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await? {
        bytes.extend_from_slice(&part);
    }
    let config: ImageConfig = resolve::parse("configuration", &bytes)?;
    Ok(config.platform())
}

fn shown(platform: Platform) -> image::Platform {
    image::Platform {
        architecture: platform.architecture,
        os: platform.os,
        os_version: platform.os_version,
        os_features: platform.os_features,
        variant: platform.variant,
    }
}
