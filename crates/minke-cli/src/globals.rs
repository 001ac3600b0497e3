//! The flags that stand before the command: which engine, which configuration, TLS.

use std::path::PathBuf;

use clap::Args;
use minke_client::{HostRequest, TlsFiles};

use crate::error::Outcome;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of the program itself.
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// Directory of the client's configuration (default is .docker in the home directory)
    #[arg(long, value_name = "string")]
    pub config: Option<PathBuf>,
    /// Context that names the engine; wins over DOCKER_HOST and the current context
    #[arg(long, short = 'c', value_name = "string")]
    pub context: Option<String>,
    /// Say more about what is done
    #[arg(long, short = 'D')]
    pub debug: bool,
    /// Engine to talk to: unix:///path or tcp://name:port
    #[arg(long, short = 'H', value_name = "list")]
    pub host: Vec<String>,
    /// How much is said: debug, info, warn, error or fatal
    #[arg(long, short = 'l', value_name = "string", default_value = "info")]
    pub log_level: String,
    /// Talk by TLS; implied by --tlsverify
    #[arg(long)]
    pub tls: bool,
    /// Trust only certificates signed by the authority in this file
    #[arg(long, value_name = "string")]
    pub tlscacert: Option<PathBuf>,
    /// Certificate to show to the engine
    #[arg(long, value_name = "string")]
    pub tlscert: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "string")]
    pub tlskey: Option<PathBuf>,
    /// Talk by TLS and check the engine's certificate
    #[arg(long)]
    pub tlsverify: bool,
    /// Print the version and stop
    #[arg(long, short = 'v')]
    pub version: bool,
}

impl Verb for Globals {
    const SUMMARY: &'static str = "Containers for Linux, compatible with Docker";
    const USAGE: &'static str = "[OPTIONS] COMMAND [ARG...]";
    const ARITY: Arity = Arity::AtLeast(0);
    const STOPS_AT_FIRST: bool = true;

    async fn run(self, _arguments: Vec<String>, _session: &Session) -> Outcome {
        Ok(crate::exit::SUCCESS)
    }
}

impl Globals {
    /// What flags and environment say about the engine to talk to.
    pub fn host_request(
        &self,
        env: &dyn Fn(&str) -> Option<String>,
        config_directory: &std::path::Path,
    ) -> HostRequest {
        let set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
        let verify = self.tlsverify || set("DOCKER_TLS_VERIFY");
        let wanted = verify || self.tls || set("DOCKER_TLS");
        let directory = env("DOCKER_CERT_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
        let directory = directory.unwrap_or_else(|| config_directory.to_path_buf());
        let file = |flag: &Option<PathBuf>, name: &str| {
            flag.clone().or_else(|| Some(directory.join(name)).filter(|path| path.is_file()))
        };
        let tls = wanted.then(|| TlsFiles {
            ca: file(&self.tlscacert, "ca.pem"),
            cert: file(&self.tlscert, "cert.pem"),
            key: file(&self.tlskey, "key.pem"),
            verify,
        });
        HostRequest { hosts: self.host.clone(), context: self.context.clone(), tls }
    }
}
