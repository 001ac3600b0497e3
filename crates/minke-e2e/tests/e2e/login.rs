//! `login` and `logout`, at Debian's registry with a password: what is kept, where, and that pull and push use it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use minke_e2e::registry::{DockerRegistry, PASSWORDS};
use minke_e2e::{Rig, case, once};
use serde_json::Value;

fn guarded(folder: &Path) -> DockerRegistry {
    std::fs::create_dir_all(folder).expect("a folder");
    let users = folder.join("users");
    std::fs::write(&users, PASSWORDS).expect("a file");
    let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", users.display());
    DockerRegistry::start(folder, &auth)
}

fn config(rig: &Rig) -> Value {
    let path = rig.scratch().join("home/.docker/config.json");
    let text = std::fs::read(&path).expect("the configuration is there");
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    serde_json::from_slice(&text).expect("it is JSON")
}

#[test]
fn credentials_are_tried_kept_used_and_forgotten() {
    case(|rig| {
        let registry = guarded(&rig.scratch().join("registry"));
        let server = registry.address().to_owned();
        let name = registry.name("box:1");
        rig.ok(&format!("tag busybox {name}"));
        let refused = rig.cli(&format!("push {name}"));
        assert_eq!(refused.code, 1);
        assert!(refused.stderr.contains("no basic auth credentials"), "{}", refused.stderr);
        let wrong = rig.with_input(&format!("login -u me --password-stdin {server}"), b"wrong\n");
        assert_eq!(wrong.code, 1, "{}", wrong.text());
        assert!(wrong.stderr.contains("failed with status: 401 Unauthorized"), "{}", wrong.stderr);
        let right = rig.with_input(&format!("login -u me --password-stdin {server}"), b"secret\n");
        assert_eq!((right.code, right.text().as_str()), (0, "Login Succeeded"), "{}", right.stderr);
        // me:secret
        assert_eq!(config(rig)["auths"][&server]["auth"], "bWU6c2VjcmV0");
        rig.ok(&format!("push -q {name}"));
        rig.ok(&format!("rmi {name}"));
        rig.ok(&format!("pull -q {name}"));
        let known = rig.cli(&format!("login {server}"));
        // Old clients say it among what they print, new ones beside it.
        let text = known.text();
        let text = text.trim_start_matches("Authenticating with existing credentials...\n");
        assert_eq!((known.code, text), (0, "Login Succeeded"), "{}", known.stderr);
        assert_eq!(rig.ok(&format!("logout {server}")), format!("Removing login credentials for {server}"));
        assert!(config(rig)["auths"].get(&server).is_none());
        rig.fails(&format!("pull {}", registry.name("box:2")), 1, "no basic auth credentials");
        rig.fails("login -u me", 1, "Cannot perform an interactive login from a non TTY device");
        let words = if rig.client_is_like(28) {
            "the --password-stdin option requires --username to be set"
        } else {
            "Must provide --username with --password-stdin"
        };
        rig.fails("login --password-stdin x", 1, words);
    });
}

#[test]
fn a_helper_keeps_credentials() {
    once(|rig| {
        let registry = guarded(&rig.scratch().join("registry"));
        let server = registry.address().to_owned();
        let home = rig.scratch().join("home/.docker");
        std::fs::create_dir_all(&home).expect("a folder");
        let kept = rig.scratch().join("kept");
        let script = format!(
            "#!/bin/sh\ncase $1 in\nstore) cat > {0};;\nget) cat >/dev/null; test -s {0} && cat {0} || {{ echo 'credentials not found in native keychain'; exit 1; }};;\nerase) : > {0};;\nesac\n",
            kept.display()
        );
        let tools = rig.scratch().join("tools");
        std::fs::create_dir_all(&tools).expect("a folder");
        let helper = tools.join("docker-credential-test");
        std::fs::write(&helper, script).expect("a file");
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        std::fs::write(home.join("config.json"), r#"{"credsStore":"test"}"#).expect("a file");
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
        let line = |words: &str| {
            let mut command = rig.command_line().command(words);
            command.env("PATH", &path);
            let output = command.output().expect("the client runs");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let login = line(&format!("login -u me -p secret {server}"));
        assert_eq!(login.0, Some(0), "{}", login.1);
        let text = std::fs::read_to_string(&kept).expect("the helper has kept something");
        assert!(text.contains("\"Secret\":\"secret\"") && text.contains(&server), "{text}");
        assert!(config_text(rig).contains("credsStore") && !config_text(rig).contains("bWU6"));
        rig.ok(&format!("tag busybox {}", registry.name("box:1")));
        let push = line(&format!("push -q {}", registry.name("box:1")));
        assert_eq!(push.0, Some(0), "{}", push.1);
        assert_eq!(line(&format!("logout {server}")).0, Some(0));
        assert_eq!(line(&format!("push -q {}", registry.name("box:1"))).0, Some(1));
    });
}

fn config_text(rig: &Rig) -> String {
    std::fs::read_to_string(rig.scratch().join("home/.docker/config.json"))
        .expect("the configuration is there")
}

#[test]
fn the_api_answers_a_login_as_docker_does() {
    once(|rig| {
        let registry = guarded(&rig.scratch().join("registry"));
        let auth = |password: &str| {
            let body = serde_json::json!({"username": "me", "password": password, "serveraddress": registry.address()});
            rig.post("/auth", &body)
        };
        let answer = auth("secret");
        assert_eq!((answer.status, answer.json()["Status"].as_str()), (200, Some("Login Succeeded")));
        assert!(auth("wrong").message().contains("failed with status: 401 Unauthorized"));
    });
}
