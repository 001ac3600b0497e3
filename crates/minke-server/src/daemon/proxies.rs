//! The proxies through which the engine speaks with registries: by flags or the file, and where both say nothing, the environment.

use clap::Args;
use minke_engine::Proxies;
use serde::Deserialize;

/// The flags.
#[derive(Args, Clone, Debug, Default)]
pub struct ProxyFlags {
    /// The proxy for what goes out by plain HTTP, in the place of the environment's HTTP_PROXY.
    #[arg(long, value_name = "ADDRESS")]
    pub http_proxy: Option<String>,
    /// The proxy for what goes out by HTTPS, in the place of the environment's HTTPS_PROXY.
    #[arg(long, value_name = "ADDRESS")]
    pub https_proxy: Option<String>,
    /// Names and addresses that are asked without a proxy, between commas, in the place of the environment's NO_PROXY.
    #[arg(long, value_name = "LIST")]
    pub no_proxy: Option<String>,
}

/// The file's `proxies`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct ProxyFile {
    http_proxy: Option<String>,
    https_proxy: Option<String>,
    no_proxy: Option<String>,
}

impl ProxyFlags {
    /// What both a flag and the file's `proxies` say.
    pub fn twice(&self, file: &serde_json::Value) -> Vec<String> {
        let flags = [
            ("http-proxy", &self.http_proxy),
            ("https-proxy", &self.https_proxy),
            ("no-proxy", &self.no_proxy),
        ];
        let given = flags.iter().filter(|(key, flag)| flag.is_some() && file.get(key).is_some());
        // The values may hold passwords.
        given.map(|(key, _)| format!("{key}: (from flag, from file)")).collect()
    }
}

/// Joins flags, file and environment, each word by itself.
pub fn join(flags: &ProxyFlags, file: &ProxyFile, environment: Proxies) -> Proxies {
    let given = |flag: &Option<String>, file: &Option<String>| {
        flag.clone().or_else(|| file.clone()).filter(|text| !text.is_empty())
    };
    Proxies {
        http: given(&flags.http_proxy, &file.http_proxy).or(environment.http),
        https: given(&flags.https_proxy, &file.https_proxy).or(environment.https),
        no_proxy: given(&flags.no_proxy, &file.no_proxy).unwrap_or(environment.no_proxy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_or_the_file_takes_the_place_of_the_environment() {
        let environment =
            Proxies { http: Some("e:1".into()), https: Some("e:2".into()), no_proxy: "e".into() };
        let file: ProxyFile = serde_json::from_str(r#"{"http-proxy":"http://f:1","no-proxy":".f"}"#).unwrap();
        let flags = ProxyFlags { https_proxy: Some("http://g:2".into()), ..ProxyFlags::default() };
        let joined = join(&flags, &file, environment.clone());
        assert_eq!(joined.http.as_deref(), Some("http://f:1"));
        assert_eq!((joined.https.as_deref(), joined.no_proxy.as_str()), (Some("http://g:2"), ".f"));
        assert_eq!(join(&ProxyFlags::default(), &ProxyFile::default(), environment.clone()), environment);
        assert!(serde_json::from_str::<ProxyFile>(r#"{"ftp-proxy":"x"}"#).is_err());
        let file = serde_json::json!({"https-proxy": "http://me:pw@f:2", "no-proxy": ""});
        assert_eq!(flags.twice(&file), ["https-proxy: (from flag, from file)"]);
    }
}
