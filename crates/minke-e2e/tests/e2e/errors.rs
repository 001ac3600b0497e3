//! Errors: status codes, words and exit codes, as programs that know Docker expect them.

use minke_e2e::{EngineKind, case, once};
use serde_json::json;

#[test]
fn the_api_s_errors_have_docker_s_codes_and_words() {
    once(|rig| {
        let rows = [
            ("GET", "/containers/missing/json", json!(null), 404, "No such container: missing"),
            ("POST", "/containers/missing/start", json!(null), 404, "No such container: missing"),
            ("POST", "/containers/missing/stop", json!(null), 404, "No such container: missing"),
            ("POST", "/containers/missing/kill", json!(null), 404, "No such container: missing"),
            ("DELETE", "/containers/missing", json!(null), 404, "No such container: missing"),
            ("GET", "/containers/missing/logs?stdout=1", json!(null), 404, "No such container: missing"),
            ("GET", "/images/missing/json", json!(null), 404, "No such image: missing"),
            ("DELETE", "/images/missing", json!(null), 404, "No such image: missing"),
            ("GET", "/exec/missing/json", json!(null), 404, "No such exec instance"),
            ("POST", "/containers/create", json!({"Image": "missing"}), 404, "No such image: missing:latest"),
            ("GET", "/nothing/here", json!(null), 404, "page not found"),
            ("GET", "/containers/json?filters=nonsense", json!(null), 400, "invalid"),
        ];
        for (method, path, body, status, words) in rows {
            // Until Docker 22, what can't be parsed was the engine's fault.
            let status = if status == 400 && words == "invalid" && !rig.is_like(23) { 500 } else { status };
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let answer = rig.request(method, path, "application/json", body.as_bytes());
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
            assert!(answer.message().contains(words), "{method} {path}: {}", answer.message());
        }
        assert_eq!(rig.get("/containers/missing/json").header("content-type"), Some("application/json"));
    });
}

#[test]
fn an_unknown_filter_is_named() {
    once(|rig| {
        let answer = rig.get("/containers/json?filters=%7B%22nope%22%3A%5B%22x%22%5D%7D");
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.message().to_lowercase().contains("invalid filter"), "{}", answer.message());
    });
}

#[test]
fn a_body_that_is_not_json_is_refused() {
    once(|rig| {
        for body in ["", "{", "[]", "\"text\"", "{\"Image\": 3}"] {
            let answer = rig.request("POST", "/containers/create", "application/json", body.as_bytes());
            assert!(answer.status == 400 || answer.status == 500 && !rig.is_like(23), "{body}: {answer:?}");
        }
        let answer = rig.request("POST", "/containers/create", "text/plain", b"{\"Image\": \"busybox\"}");
        assert!([400, 415].contains(&answer.status), "{answer:?}");
    });
}

#[test]
fn versions_are_negotiated() {
    once(|rig| {
        let ping = rig.get("/_ping");
        assert_eq!((ping.status, ping.text().as_str()), (200, "OK"));
        assert!(ping.header("api-version").is_some());
        assert_eq!(ping.header("ostype"), Some("linux"));
        assert_eq!(rig.get("/v1.24/version").status, 200);
        assert_eq!(rig.get("/v1.41/containers/json").status, 200);
        let answer = rig.get("/v9.99/version");
        assert_eq!(answer.status, 400);
        assert!(
            answer.message().contains("client version 9.99 is too new. Maximum supported API version is "),
            "{}",
            answer.message()
        );
        let answer = rig.get("/v1.1/version");
        assert_eq!(answer.status, 400);
        assert!(
            answer.message().contains("client version 1.1 is too old. Minimum supported API version is "),
            "{}",
            answer.message()
        );
        if rig.kind() == EngineKind::Minke {
            assert_eq!(ping.header("api-version"), Some("1.55"));
        }
    });
}

#[test]
fn the_command_line_s_errors_have_docker_s_codes() {
    case(|rig| {
        rig.fails("start missing", 1, "No such container: missing");
        rig.fails("logs missing", 1, "No such container: missing");
        rig.fails("attach missing", 1, "No such container: missing");
        rig.fails("rmi missing", 1, "No such image: missing");
        rig.fails("history missing", 1, "No such image: missing");
        rig.fails("tag missing other", 1, "No such image: missing");
        rig.fails("wait missing", 1, "No such container: missing");
        rig.fails("rename missing other", 1, "No such container: missing");
        rig.fails("run --no-such-flag busybox", 125, "no-such-flag");
        rig.fails("ps --no-such-flag", 125, "no-such-flag");
        rig.fails("run", 1, "requires at least 1 argument");
        rig.fails("run --memory lots busybox true", 125, "invalid");
        rig.fails("run --memory 1k busybox true", 125, "Minimum memory limit allowed is 6MB");
        rig.fails("run --cpus -1 busybox true", 125, "");
        rig.fails("run -v relative/path:/x/../..:zz busybox true", 125, "");
        rig.fails("run -e = busybox true", 125, "invalid environment variable");
    });
}

#[test]
fn a_mistyped_command_is_answered_with_a_suggestion() {
    minke_e2e::case(|rig| {
        let output = rig.cli("rnu busybox");
        assert_ne!(output.code, 0);
        if rig.client() == minke_e2e::Client::Minke {
            assert!(output.stderr.contains("run"), "{}", output.stderr);
            assert!(rig.cli("run --entrypiont sh busybox").stderr.contains("--entrypoint"));
        }
    });
}
