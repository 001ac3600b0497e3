//! What a swarm's paths answer on an engine that is in none: clients ask them to find out, or to leave to be sure. Pure.
//! Never makes a swarm.

use http::Method;
use minke_model::{Error, ErrorKind};

/// The paths that belong to a swarm, by their first part.
const FAMILIES: [&str; 6] = ["swarm", "nodes", "services", "tasks", "secrets", "configs"];

/// Docker's refusal, where the path is a swarm's; `None` for every other one.
pub fn refusal(method: &Method, path: &str) -> Option<Error> {
    let path = path.trim_start_matches('/');
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let versioned =
        first.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let path = if versioned { rest } else { path };
    if !FAMILIES.contains(&path.split('/').next().unwrap_or_default()) {
        return None;
    }
    let words = match (method.as_str(), path) {
        ("POST", "swarm/leave") => "This node is not part of a swarm",
        ("POST", "swarm/init" | "swarm/join") => {
            return Some(Error::new(ErrorKind::NotImplemented, "this engine can't be part of a swarm"));
        }
        _ => {
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."
        }
    };
    Some(Error::new(ErrorKind::Unavailable, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_a_swarm_is_told_that_there_is_none() {
        let words = |method, path| refusal(&method, path).map(|error| (error.kind(), error.to_string()));
        let left = (ErrorKind::Unavailable, "This node is not part of a swarm".to_owned());
        assert_eq!(words(Method::POST, "/v1.41/swarm/leave"), Some(left));
        for path in ["/swarm", "/v1.41/nodes", "/v1.55/services/a", "/secrets/create", "/configs", "/tasks"] {
            let (kind, text) = words(Method::GET, path).unwrap();
            assert_eq!(kind, ErrorKind::Unavailable, "{path}");
            assert!(text.starts_with("This node is not a swarm manager."), "{path}: {text}");
        }
        let (kind, _) = words(Method::POST, "/v1.41/swarm/init").unwrap();
        assert_eq!(kind, ErrorKind::NotImplemented);
    }

    #[test]
    fn no_other_path_is_a_swarms() {
        for path in ["/", "/v1.41/containers/swarm", "/swarms", "/v1.41/nothing", "/volumes/nodes"] {
            assert!(refusal(&Method::GET, path).is_none(), "{path}");
        }
    }
}
