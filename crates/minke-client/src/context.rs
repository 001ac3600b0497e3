//! Docker's contexts, read only: `contexts/meta/<sha256 of the name>/meta.json` and the TLS files beside it.

use std::path::Path;

use minke_model::{Digest, Error, Result};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::host::TlsFiles;

const LIMIT_BYTES: u64 = 1 << 20;

/// Where a context leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    /// The host as it was written.
    pub host: String,
    /// Present where the context has TLS files, or asks to skip the check of the server's certificate.
    pub tls: Option<TlsFiles>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "Endpoints", default)]
    endpoints: std::collections::BTreeMap<String, EndpointMeta>,
}

#[derive(Deserialize)]
struct EndpointMeta {
    #[serde(rename = "Host", default)]
    host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    skip_tls_verify: bool,
}

/// Reads the context `name` below the configuration's directory.
///
/// # Errors
/// [`minke_model::ErrorKind::NotFound`] where there is none of that name.
pub(crate) fn load(directory: &Path, name: &str) -> Result<Context> {
    let id = Digest::sha256(&Sha256::digest(name.as_bytes()));
    let id = id.hex();
    let path = directory.join("contexts/meta").join(id).join("meta.json");
    let absent = || {
        Error::not_found(format!(
            "context \"{name}\": context not found: open {}: no such file or directory",
            path.display()
        ))
    };
    let size = std::fs::metadata(&path).map_err(|_| absent())?.len();
    if size > LIMIT_BYTES {
        return Err(Error::invalid(format!("context \"{name}\": {} is too large", path.display())));
    }
    let bytes = std::fs::read(&path).map_err(|_| absent())?;
    let invalid = |cause: String| Error::invalid(format!("context \"{name}\": {}: {cause}", path.display()));
    let meta: Meta = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    let endpoint = meta.endpoints.get("docker").ok_or_else(|| invalid("no docker endpoint".into()))?;
    let files = directory.join("contexts/tls").join(id).join("docker");
    let tls = TlsFiles::existing_in(&files, !endpoint.skip_tls_verify);
    Ok(Context { host: endpoint.host.clone(), tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_found_by_the_hash_of_its_name() {
        let home = tempfile::tempdir().unwrap();
        let id = Digest::sha256(&Sha256::digest(b"far"));
        let meta = home.path().join("contexts/meta").join(id.hex());
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(meta.join("meta.json"), r#"{"Name":"far","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://h:1","SkipTLSVerify":false}}}"#).unwrap();
        assert_eq!(load(home.path(), "far").unwrap(), Context { host: "tcp://h:1".into(), tls: None });
        let error = load(home.path(), "near").unwrap_err();
        assert_eq!(error.kind(), minke_model::ErrorKind::NotFound);
    }
}
