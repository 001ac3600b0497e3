//! The client's configuration file, `config.json`, and where it lies. Reads the keys this version acts on and leaves the
//! others alone; writes the current context and credentials.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minke_api::registry::AuthConfig;
use minke_model::{Context as _, Error, Result};
use serde::Deserialize;

const LIMIT_BYTES: u64 = 4 << 20;

/// What the configuration file says; all of it is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Headers that go with every request.
    #[serde(rename = "HttpHeaders")]
    pub http_headers: BTreeMap<String, String>,
    /// The `--format` of `ps` where none is given.
    #[serde(rename = "psFormat")]
    pub ps_format: String,
    /// The `--format` of `stats` where none is given.
    #[serde(rename = "statsFormat")]
    pub stats_format: String,
    /// The `--format` of `images` where none is given.
    #[serde(rename = "imagesFormat")]
    pub images_format: String,
    /// The `--format` of `volume ls` where none is given.
    #[serde(rename = "volumesFormat")]
    pub volumes_format: String,
    /// The `--format` of `network ls` where none is given.
    #[serde(rename = "networksFormat")]
    pub networks_format: String,
    /// Filters of every prune, `label=a=b`.
    #[serde(rename = "pruneFilters")]
    pub prune_filters: Vec<String>,
    /// The keys that detach from a container.
    #[serde(rename = "detachKeys")]
    pub detach_keys: String,
    /// The context in use.
    #[serde(rename = "currentContext")]
    pub current_context: String,
    /// Credentials by registry, in clear text.
    pub auths: BTreeMap<String, AuthConfig>,
    /// The helper that keeps credentials instead.
    #[serde(rename = "credsStore")]
    pub creds_store: String,
    /// The helpers of single registries.
    #[serde(rename = "credHelpers")]
    pub cred_helpers: BTreeMap<String, String>,
    /// Proxies that become variables of every container, by host or `default`.
    pub proxies: BTreeMap<String, Proxies>,
    /// The directory it was read from.
    #[serde(skip)]
    pub directory: PathBuf,
}

/// Proxy settings for containers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Proxies {
    /// `HTTP_PROXY`
    pub http_proxy: String,
    /// `HTTPS_PROXY`
    pub https_proxy: String,
    /// `NO_PROXY`
    pub no_proxy: String,
    /// `FTP_PROXY`
    pub ftp_proxy: String,
    /// `ALL_PROXY`
    pub all_proxy: String,
}

impl Proxies {
    /// The variables they set, each in upper and lower case.
    pub fn variables(&self) -> Vec<(String, String)> {
        let pairs = [
            ("HTTP_PROXY", &self.http_proxy),
            ("HTTPS_PROXY", &self.https_proxy),
            ("NO_PROXY", &self.no_proxy),
            ("FTP_PROXY", &self.ftp_proxy),
            ("ALL_PROXY", &self.all_proxy),
        ];
        let set = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        set.flat_map(|(name, value)| {
            [(name.to_string(), value.clone()), (name.to_lowercase(), value.clone())]
        })
        .collect()
    }
}

impl Config {
    /// The proxies for containers of the engine at `host`, else the default ones.
    pub fn proxies_for(&self, host: &str) -> Option<&Proxies> {
        self.proxies.get(host).or_else(|| self.proxies.get("default"))
    }

    /// Reads `config.json` in `directory`; a missing file is an empty configuration.
    ///
    /// # Errors
    /// The file cannot be read, is larger than 4 MiB, or is not JSON of the right form.
    pub fn load(directory: &Path) -> Result<Self> {
        let path = directory.join("config.json");
        let failed =
            |cause: String| Error::invalid(format!("Loading config file: {}: {cause}", path.display()));
        let mut config = match std::fs::metadata(&path) {
            Err(_) => Config::default(),
            Ok(found) if found.len() > LIMIT_BYTES => return Err(failed("file is too large".into())),
            Ok(_) => {
                let bytes = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
                serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?
            }
        };
        config.directory = directory.to_path_buf();
        Ok(config)
    }
}

/// Writes the context in use into `config.json` in `directory`; an empty name means none. All else in the file stays.
///
/// # Errors
/// The file is not JSON of the right form, or cannot be written.
pub fn set_current_context(directory: &Path, name: &str) -> Result<()> {
    change(directory, |settings| {
        settings.entry("auths").or_insert_with(|| serde_json::Map::new().into());
        match name {
            "" => drop(settings.remove("currentContext")),
            name => drop(settings.insert("currentContext".into(), name.into())),
        }
    })
}

/// Rewrites `config.json` in `directory`: what `change` leaves alone stays as it was.
pub(crate) fn change(
    directory: &Path,
    change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>),
) -> Result<()> {
    Config::load(directory)?;
    // Where it is a link, what it leads to is written.
    let path = directory.join("config.json");
    let path = std::fs::canonicalize(&path).unwrap_or(path);
    let mut settings: serde_json::Map<String, serde_json::Value> = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).context("config.json")?,
        Err(_) => serde_json::Map::new(),
    };
    change(&mut settings);
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, tabs);
    serde::Serialize::serialize(&settings, &mut writer).context("config.json")?;
    std::fs::create_dir_all(directory).with_context(|| format!("mkdir {}", directory.display()))?;
    crate::context::write_file(&path, &text, 0o600)
}

/// The directory of the configuration file: what the flag says, else `DOCKER_CONFIG`, else `.docker` in the home directory.
pub fn directory(flag: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    flag.map(Path::to_path_buf)
        .or_else(|| set("DOCKER_CONFIG"))
        .unwrap_or_else(|| set("HOME").unwrap_or_else(|| PathBuf::from("/root")).join(".docker"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_the_flags_then_the_environments_then_homes() {
        let env = |name: &str| match name {
            "DOCKER_CONFIG" => Some("/conf".to_string()),
            "HOME" => Some("/home/me".to_string()),
            _ => None,
        };
        assert_eq!(directory(Some(Path::new("/flag")), &env), Path::new("/flag"));
        assert_eq!(directory(None, &env), Path::new("/conf"));
        assert_eq!(
            directory(None, &|name| if name == "HOME" { env(name) } else { None }),
            Path::new("/home/me/.docker")
        );
    }

    #[test]
    fn unknown_keys_are_left_alone() {
        let config: Config =
            serde_json::from_str(r#"{"auths":{"x":{}},"detachKeys":"ctrl-x","psFormat":"{{.ID}}"}"#).unwrap();
        assert_eq!((config.detach_keys.as_str(), config.ps_format.as_str()), ("ctrl-x", "{{.ID}}"));
    }

    #[test]
    fn the_context_in_use_is_written_and_all_else_stays() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("config.json"), r#"{"auths":{"x":{}},"psFormat":"y"}"#).unwrap();
        set_current_context(home.path(), "far").unwrap();
        let config = Config::load(home.path()).unwrap();
        assert_eq!((config.current_context.as_str(), config.ps_format.as_str()), ("far", "y"));
        set_current_context(home.path(), "").unwrap();
        let text = std::fs::read_to_string(home.path().join("config.json")).unwrap();
        assert_eq!(text, "{\n\t\"auths\": {\n\t\t\"x\": {}\n\t},\n\t\"psFormat\": \"y\"\n}");
    }

    #[test]
    fn proxies_become_variables_in_both_cases() {
        let proxies = Proxies { http_proxy: "http://p".into(), ..Proxies::default() };
        assert_eq!(
            proxies.variables(),
            [("HTTP_PROXY".into(), "http://p".into()), ("http_proxy".to_string(), "http://p".to_string())]
        );
    }
}
