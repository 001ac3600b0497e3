//! Docker's contexts: named engines, one folder each below the configuration's directory. Owns their files
//! (`contexts/meta/<sha256 of the name>/meta.json`, and the TLS files below `contexts/tls/` beside it), read and written as
//! Docker does, so that both programs share them. Never decides which context is in use: `host.rs` does.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use minke_model::{Context as _, Digest, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::host::TlsFiles;

/// The name that stands for no context: flags, environment and the default socket decide.
pub const DEFAULT: &str = "default";
const LIMIT_BYTES: u64 = 1 << 20;

/// Where a context leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    /// The host as it was written.
    pub host: String,
    /// Present where the context has TLS files, or asks to skip the check of the server's certificate.
    pub tls: Option<TlsFiles>,
}

/// A context as its file has it; what this version does not know is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StoredContext {
    /// Its name.
    pub name: String,
    /// `Description`, and whatever else.
    pub metadata: Map<String, Value>,
    /// The engine's endpoint under the key `docker`.
    pub endpoints: BTreeMap<String, StoredEndpoint>,
}

/// How a context reaches its engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredEndpoint {
    /// The host as it was written.
    #[serde(rename = "Host")]
    pub host: String,
    /// Whether the server's certificate is not checked.
    #[serde(rename = "SkipTLSVerify")]
    pub skip_tls_verify: bool,
}

/// A file of a context's TLS material: the endpoint, the file's name, its bytes.
pub type TlsFile = (String, String, Vec<u8>);

impl StoredContext {
    /// What the context is for; empty where nobody said.
    pub fn description(&self) -> &str {
        self.metadata.get("Description").and_then(Value::as_str).unwrap_or_default()
    }

    /// Says what it is for.
    pub fn describe(&mut self, text: &str) {
        self.metadata.insert("Description".into(), text.into());
    }

    /// The engine's host as it was written; empty where there is none.
    pub fn host(&self) -> &str {
        self.endpoints.get("docker").map_or("", |endpoint| &endpoint.host)
    }
}

/// All contexts below a configuration's directory.
#[derive(Clone, Debug)]
pub struct ContextStore {
    directory: PathBuf,
}

/// Refuses what cannot be a context's name.
///
/// # Errors
/// [`minke_model::ErrorKind::InvalidParameter`] for an empty or malformed name, and for `default`.
pub fn check_name(name: &str) -> Result<()> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-');
    match name {
        "" => Err(Error::invalid("context name cannot be empty")),
        DEFAULT => Err(Error::invalid("\"default\" is a reserved context name")),
        _ if name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(inner) =>
        {
            Ok(())
        }
        _ => Err(Error::invalid(format!(
            "context name \"{name}\" is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
        ))),
    }
}

impl ContextStore {
    /// The contexts of the configuration in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.join("contexts") }
    }

    /// The folder of a context's own file.
    pub fn metadata_path(&self, name: &str) -> PathBuf {
        self.directory.join("meta").join(folder_of(name))
    }

    /// The folder of a context's TLS files.
    pub fn tls_path(&self, name: &str) -> PathBuf {
        self.directory.join("tls").join(folder_of(name))
    }

    /// Tells whether there is one of this name.
    pub fn exists(&self, name: &str) -> bool {
        self.metadata_path(name).join("meta.json").is_file()
    }

    /// Reads the context `name`.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::NotFound`] where there is none; [`minke_model::ErrorKind::InvalidParameter`] where its
    /// file is not one.
    pub fn read(&self, name: &str) -> Result<StoredContext> {
        let path = self.metadata_path(name).join("meta.json");
        let absent = || {
            Error::not_found(format!(
                "context \"{name}\": context not found: open {}: no such file or directory",
                path.display()
            ))
        };
        let invalid =
            |cause: String| Error::invalid(format!("context \"{name}\": {}: {cause}", path.display()));
        if fs::metadata(&path).map_err(|_| absent())?.len() > LIMIT_BYTES {
            return Err(invalid("the file is too large".into()));
        }
        let bytes = fs::read(&path).map_err(|_| absent())?;
        serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))
    }

    /// Reads all, by name.
    ///
    /// # Errors
    /// A context's file cannot be read.
    pub fn list(&self) -> Result<Vec<StoredContext>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.directory.join("meta")).into_iter().flatten().flatten() {
            let path = entry.path().join("meta.json");
            if fs::metadata(&path).is_ok_and(|file| file.len() <= LIMIT_BYTES) {
                let bytes = fs::read(&path).with_context(|| format!("open {}", path.display()))?;
                let context: StoredContext = serde_json::from_slice(&bytes)
                    .map_err(|error| Error::invalid(format!("{}: {error}", path.display())))?;
                found.push(context);
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The names of a context's TLS files, by endpoint.
    pub fn tls_names(&self, name: &str) -> BTreeMap<String, Vec<String>> {
        let mut found = BTreeMap::new();
        for endpoint in fs::read_dir(self.tls_path(name)).into_iter().flatten().flatten() {
            let files = fs::read_dir(endpoint.path()).into_iter().flatten().flatten();
            let mut names: Vec<String> =
                files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            found.insert(endpoint.file_name().to_string_lossy().into_owned(), names);
        }
        found
    }

    /// A context's TLS files.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn tls_files(&self, name: &str) -> Result<Vec<TlsFile>> {
        let mut files = Vec::new();
        for (endpoint, names) in self.tls_names(name) {
            for file in names {
                let path = self.tls_path(name).join(&endpoint).join(&file);
                let bytes = fs::read(&path).with_context(|| format!("open {}", path.display()))?;
                files.push((endpoint.clone(), file, bytes));
            }
        }
        Ok(files)
    }

    /// Writes a context; with `tls`, its TLS files become those.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, context: &StoredContext, tls: Option<&[TlsFile]>) -> Result<()> {
        if let Some(files) = tls {
            let _ = fs::remove_dir_all(self.tls_path(&context.name));
            for (endpoint, file, bytes) in files {
                let folder = self.tls_path(&context.name).join(endpoint);
                make_folder(&folder, 0o700)?;
                write_file(&folder.join(file), bytes, 0o600)?;
            }
        }
        let folder = self.metadata_path(&context.name);
        make_folder(&folder, 0o755)?;
        let text = serde_json::to_vec(context).context("a context's file")?;
        write_file(&folder.join("meta.json"), &text, 0o644)
    }

    /// Removes a context and its TLS files.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::NotFound`] where there is none.
    pub fn remove(&self, name: &str) -> Result<()> {
        if !self.exists(name) {
            return Err(Error::not_found(format!("context \"{name}\" does not exist")));
        }
        let path = self.metadata_path(name);
        fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        let _ = fs::remove_dir_all(self.tls_path(name));
        Ok(())
    }
}

fn folder_of(name: &str) -> String {
    Digest::sha256(&Sha256::digest(name.as_bytes())).hex().to_string()
}

fn make_folder(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("mkdir {}", path.display()))
}

/// Writes a file beside its place and renames it there, so that nobody reads half of it.
pub(crate) fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let part = path.with_extension(format!("part-{}", std::process::id()));
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&part)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written.with_context(|| format!("open {}", path.display()))
}

/// Reads where the context `name` below the configuration's directory leads.
///
/// # Errors
/// [`minke_model::ErrorKind::NotFound`] where there is none of that name.
pub(crate) fn load(directory: &Path, name: &str) -> Result<Context> {
    let store = ContextStore::new(directory);
    let stored = store.read(name)?;
    let endpoint = stored
        .endpoints
        .get("docker")
        .ok_or_else(|| Error::invalid(format!("context \"{name}\": no docker endpoint")))?;
    let tls = TlsFiles::existing_in(&store.tls_path(name).join("docker"), !endpoint.skip_tls_verify);
    Ok(Context { host: endpoint.host.clone(), tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_found_by_the_hash_of_its_name() {
        let home = tempfile::tempdir().unwrap();
        let meta = home.path().join("contexts/meta").join(folder_of("far"));
        fs::create_dir_all(&meta).unwrap();
        fs::write(meta.join("meta.json"), r#"{"Name":"far","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://h:1","SkipTLSVerify":false}}}"#).unwrap();
        assert_eq!(load(home.path(), "far").unwrap(), Context { host: "tcp://h:1".into(), tls: None });
        let error = load(home.path(), "near").unwrap_err();
        assert_eq!(error.kind(), minke_model::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_written_is_read_again_and_gone_after_removal() {
        let home = tempfile::tempdir().unwrap();
        let store = ContextStore::new(home.path());
        let mut context = StoredContext { name: "two".into(), ..StoredContext::default() };
        context.describe("a second one");
        context.metadata.insert("Foreign".into(), 1.into());
        let files: Vec<TlsFile> = vec![("docker".into(), "ca.pem".into(), b"x".to_vec())];
        store.write(&context, Some(&files)).unwrap();
        assert_eq!(store.list().unwrap(), [context.clone()]);
        assert_eq!(store.tls_files("two").unwrap(), files);
        store.write(&context, None).unwrap();
        assert_eq!(store.tls_files("two").unwrap(), files, "an update without TLS leaves it");
        store.remove("two").unwrap();
        assert!(store.list().unwrap().is_empty() && store.tls_names("two").is_empty());
    }

    #[test]
    fn names_are_checked_as_docker_does() {
        assert!(check_name("a-1.b+c_").is_ok());
        for name in ["", "default", "a", "-a", "a b", "a/b", ".."] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
