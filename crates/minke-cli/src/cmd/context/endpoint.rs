//! `--docker host=...,ca=...`: how an endpoint is described on the command line.

use std::fs;

use minke_client::context::{StoredEndpoint, TlsFile};
use minke_model::Error;

use crate::cmd::container::create::reason;
use crate::grammar::parse_bool;

/// One flag's pairs.
pub type Pairs = Vec<(String, String)>;

/// Reads `key=value,key=value`.
pub fn parse_pairs(text: &str) -> Result<Pairs, String> {
    text.split(',')
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => Ok((key.to_string(), value.to_string())),
            None => Err(format!("{pair} must be formatted as key=value")),
        })
        .collect()
}

/// The endpoint that the pairs describe, and the TLS files that they name.
pub fn read(pairs: &[(String, String)]) -> Result<(StoredEndpoint, Vec<TlsFile>), Error> {
    let failed = |words: String| Error::invalid(format!("unable to create docker endpoint config: {words}"));
    let mut endpoint = StoredEndpoint::default();
    let mut files = Vec::new();
    for (key, value) in pairs {
        match key.as_str() {
            "host" => endpoint.host = value.clone(),
            "skip-tls-verify" => {
                endpoint.skip_tls_verify = parse_bool(value)
                    .map_err(|_| failed(format!("skip-tls-verify: parsing {value:?}: invalid syntax")))?;
            }
            "ca" | "cert" | "key" => {
                let bytes =
                    fs::read(value).map_err(|error| failed(format!("open {value}: {}", reason(&error))))?;
                if !bytes.windows(11).any(|words| words == b"-----BEGIN ") {
                    return Err(failed(format!(
                        "invalid docker endpoint options: failed to retrieve context tls info: {key}.pem seems invalid"
                    )));
                }
                files.push(("docker".to_string(), format!("{key}.pem"), bytes));
            }
            other => return Err(failed(format!("unrecognized config key: {other}"))),
        }
    }
    Ok((endpoint, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_from_pairs() {
        let pairs = parse_pairs("host=tcp://h:1,skip-tls-verify=true").unwrap();
        let (endpoint, files) = read(&pairs).unwrap();
        assert_eq!(endpoint, StoredEndpoint { host: "tcp://h:1".into(), skip_tls_verify: true });
        assert!(files.is_empty());
        assert!(parse_pairs("host").unwrap_err().contains("key=value"));
        let error = read(&parse_pairs("nope=1").unwrap()).unwrap_err();
        assert_eq!(error.message(), "unable to create docker endpoint config: unrecognized config key: nope");
    }
}
