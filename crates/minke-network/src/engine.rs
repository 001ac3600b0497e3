//! What an engine's things in the kernel are called: several engines live on one host, and none touches another's.

use std::path::Path;

/// The exec root of the engine whose names are short.
const DEFAULT_EXEC_ROOT: &str = "/run/minke";

/// The names of one engine, made from its exec root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The bridge of the default network.
    pub bridge: String,
    /// The firewall's table.
    pub table: String,
    /// Eight hexadecimal digits, the alias of its bridges and parents behind `minke `.
    pub tag: String,
    /// What the host's ends of its containers' interfaces begin with.
    pub host_end: String,
}

impl Names {
    /// Returns the names of the engine with this exec root.
    pub fn of(exec_root: &Path) -> Self {
        let path = exec_root.to_string_lossy();
        let path = path.trim_end_matches('/');
        let hash = hash(path.as_bytes());
        let tag = format!("{:08x}", (hash >> 32) as u32);
        let (bridge, table) = if path == DEFAULT_EXEC_ROOT {
            ("minke0".to_string(), "minke".to_string())
        } else {
            (format!("mk-{tag}"), format!("minke-{tag}"))
        };
        Self { bridge, table, host_end: format!("mkv{}", letters(hash, 4)), tag }
    }

    /// Returns what the host's end of an endpoint's interface is called: as long as the kernel takes.
    pub fn host_end_of(&self, endpoint: &str) -> String {
        format!("{}{}", self.host_end, letters(hash(endpoint.as_bytes()), 8))
    }

    /// Returns the alias that says whose a link is.
    pub fn alias(&self) -> String {
        format!("minke {}", self.tag)
    }
}

/// Returns what the bridge of a network is called where nobody named it, as Docker's.
pub fn bridge_of(network: &str) -> String {
    format!("br-{}", &network[..network.len().min(12)])
}

/// FNV-1a: the same in every version, as names outlive an engine.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, step);
    // Its low bits follow the last bytes closely; names are made of the high ones.
    (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// The first of a hash's bits as letters and digits, five bits each.
fn letters(hash: u64, count: u32) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    (1..=count).map(|place| char::from(LETTERS[(hash >> (64 - 5 * place)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_engine_has_short_names_and_others_their_own() {
        let default = Names::of(Path::new("/run/minke"));
        assert_eq!((default.bridge.as_str(), default.table.as_str()), ("minke0", "minke"));
        assert_eq!(Names::of(Path::new("/run/minke/")), default);
        let other = Names::of(Path::new("/tmp/x/exec"));
        assert_eq!(other.bridge, format!("mk-{}", other.tag));
        assert_ne!(other.host_end, default.host_end);
        assert_ne!(other.alias(), default.alias());
    }

    #[test]
    fn names_are_the_same_in_every_version() {
        let names = Names::of(Path::new("/run/minke"));
        assert_eq!((names.tag.as_str(), names.host_end.as_str()), ("285de386", "mkvfbo6"));
        let end = names.host_end_of(&"0123456789abcdef".repeat(4));
        assert_eq!(end.len(), 15);
        assert!(end.starts_with(&names.host_end));
        assert_eq!(bridge_of("0123456789abcdef"), "br-0123456789ab");
    }
}
