//! From a method and a path to a row of the table of endpoints and a version. Pure.

use http::Method;
use minke_api::query::unescape;
use minke_api::{ApiVersion, ENDPOINTS, Operation};
use minke_model::{Error, Result};

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To an operation, with its parameter (a container, an image, ...) unescaped.
    To {
        /// What is asked for.
        operation: Operation,
        /// The version in which it is asked.
        version: ApiVersion,
        /// The reference in the path, empty where the endpoint has none.
        parameter: String,
    },
    /// To the same path written properly.
    Redirect(String),
    /// To the question which methods there are, which Docker answers with nothing.
    Options,
    /// Nowhere.
    Nothing,
}

/// Finds the route; an error is a version that is not served, or a broken escape.
pub fn route(method: &Method, path: &str) -> Result<Route> {
    if path.contains("//") {
        return Ok(Route::Redirect(without_empty_segments(path)));
    }
    if method == Method::OPTIONS {
        return Ok(Route::Options);
    }
    let (version, rest) = split_version(path);
    let fitting = ENDPOINTS
        .iter()
        .filter(|endpoint| endpoint.method.as_str() == method.as_str())
        .find_map(|endpoint| endpoint.match_path(rest).map(|parameter| (endpoint, parameter)));
    let Some((endpoint, parameter)) = fitting else { return Ok(Route::Nothing) };
    let version = match version {
        Some(text) => parse_version(text)?.check_served()?,
        None => ApiVersion::MAX,
    };
    if version < endpoint.since || endpoint.until.is_some_and(|until| version > until) {
        return Ok(Route::Nothing);
    }
    Ok(Route::To { operation: endpoint.operation, version, parameter: unescape(parameter, false)? })
}

/// Splits `/v1.41/info` into `1.41` and `/info`.
fn split_version(path: &str) -> (Option<&str>, &str) {
    let split = path.strip_prefix("/v").and_then(|rest| {
        let end = rest.find('/')?;
        let (version, rest) = rest.split_at(end);
        let digits = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        digits.then_some((version, rest))
    });
    match split {
        Some((version, rest)) => (Some(version), rest),
        None => (None, path),
    }
}

/// Reads `1`, `1.41` and `1.41.2`, comparing by the first two numbers as Docker does.
fn parse_version(text: &str) -> Result<ApiVersion> {
    let mut parts = text.split('.');
    let mut number = || match parts.next() {
        None | Some("") => Ok(0),
        Some(part) => part.parse().map_err(|_| Error::invalid(format!("invalid API version {text}"))),
    };
    Ok(ApiVersion::new(number()?, number()?))
}

fn without_empty_segments(path: &str) -> String {
    let mut clean = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !clean.ends_with('/') {
            clean.push(c);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(operation: Operation, version: ApiVersion, parameter: &str) -> Route {
        Route::To { operation, version, parameter: parameter.into() }
    }

    fn check(method: Method, path: &str, expected: Route) {
        assert_eq!(route(&method, path).unwrap(), expected, "{method} {path}");
    }

    #[test]
    fn paths_work_with_and_without_a_version() {
        check(Method::GET, "/info", to(Operation::SystemInfo, ApiVersion::MAX, ""));
        check(Method::GET, "/v1.24/info", to(Operation::SystemInfo, ApiVersion::MIN, ""));
        check(Method::HEAD, "/_ping", to(Operation::SystemPingHead, ApiVersion::MAX, ""));
    }

    #[test]
    fn references_are_unescaped() {
        check(Method::GET, "/containers/a%2Fb/json", to(Operation::ContainerInspect, ApiVersion::MAX, "a/b"));
        check(
            Method::GET,
            "/images/h:5/a%20b/c+d/json",
            to(Operation::ImageInspect, ApiVersion::MAX, "h:5/a b/c+d"),
        );
        check(
            Method::DELETE,
            "/images/a/b@sha256:1",
            to(Operation::ImageDelete, ApiVersion::MAX, "a/b@sha256:1"),
        );
        check(Method::DELETE, "/containers/json", to(Operation::ContainerDelete, ApiVersion::MAX, "json"));
    }

    #[test]
    fn lists_are_not_taken_for_references() {
        check(Method::GET, "/images/json", to(Operation::ImageList, ApiVersion::MAX, ""));
        check(Method::GET, "/images/get", to(Operation::ImageGetAll, ApiVersion::MAX, ""));
    }

    #[test]
    fn unknown_paths_and_methods_go_nowhere() {
        for (method, path) in [
            (Method::GET, "/nope"),
            (Method::GET, "/v1.99/nope"),
            (Method::PUT, "/info"),
            (Method::HEAD, "/info"),
            (Method::GET, "/vx/info"),
            (Method::GET, "/containers/json/"),
            (Method::GET, "/v1.41"),
        ] {
            check(method, path, Route::Nothing);
        }
    }

    #[test]
    fn versions_that_are_not_served_are_refused() {
        let refusal = |path| route(&Method::GET, path).unwrap_err().to_string();
        assert_eq!(
            refusal("/v1.60/info"),
            "client version 1.60 is too new. Maximum supported API version is 1.55"
        );
        assert!(refusal("/v1/info").contains("too old"));
        assert!(refusal("/v1.2.3/info").contains("too old"));
        assert!(refusal("/v99999999/info").contains("invalid API version"));
    }

    #[test]
    fn double_slashes_are_redirected() {
        check(Method::GET, "//v1.41//info", Route::Redirect("/v1.41/info".into()));
    }

    #[test]
    fn every_endpoint_is_reached_by_its_own_path() {
        for endpoint in ENDPOINTS {
            let method = Method::from_bytes(endpoint.method.as_str().as_bytes()).unwrap();
            let parameter = if endpoint.path.contains('{') { "x" } else { "" };
            check(method, &endpoint.path_for("x"), to(endpoint.operation, ApiVersion::MAX, parameter));
        }
    }
}
