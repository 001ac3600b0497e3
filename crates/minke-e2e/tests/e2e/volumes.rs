//! Volumes as things of their own: create, ls, inspect, rm, prune, update, with their words, and what a restart keeps.

use minke_e2e::{EngineKind, Rig, case, once};
use serde_json::json;

/// A query of filters.
pub fn filters(text: &str) -> String {
    minke_e2e::escape(text)
}

#[test]
fn a_volume_is_made_described_listed_and_removed() {
    case(|rig| {
        assert_eq!(rig.ok("volume create --label tier=db data"), "data");
        assert_eq!(rig.ok("volume create data"), "data", "one that is there is given as it is");
        let made = rig.ok("volume create");
        assert!(made.len() == 64 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
        let found = rig.get("/volumes/data").json();
        let (none, empty) = (json!(null), json!({})); // an older client sends no options as an empty map
        assert_eq!(
            (&found["Name"], &found["Driver"], &found["Scope"], &found["Options"]),
            (&json!("data"), &json!("local"), &json!("local"), if rig.is_like(23) { &none } else { &empty }),
        );
        assert_eq!(found["Labels"], json!({"tier": "db"}));
        let place = found["Mountpoint"].as_str().expect("a mount point");
        assert!(place.ends_with("/volumes/data/_data") && std::path::Path::new(place).is_dir(), "{place}");
        assert!(found["CreatedAt"].as_str().is_some_and(|time| time.len() >= 20), "{found}");
        assert!(found.get("UsageData").is_none(), "{found}");
        assert_eq!(rig.ok("volume ls --format '{{.Driver}} {{.Name}}' --filter name=dat"), "local data");
        assert_eq!(rig.ok("volume ls -q --filter label=tier=db"), "data");
        assert_eq!(rig.ok("volume ls -q --filter label=tier=web"), "");
        assert_eq!(rig.ok("volume ls -q --filter driver=nope"), "");
        assert_eq!(rig.ok("volume ls -q --filter dangling=true").lines().count(), 2);
        assert!(rig.ok("volume ls").starts_with("DRIVER    VOLUME NAME\n"));
        assert_eq!(rig.ok("volume inspect --format '{{.Name}} {{.Scope}}' data"), "data local");
        assert_eq!(rig.ok("inspect --type volume --format '{{.Name}}' data"), "data");
        assert_eq!(rig.ok(&format!("volume rm data {made}")), format!("data\n{made}"));
        assert!(!std::path::Path::new(place).exists());
        // An old client has words of its own for what isn't there.
        let nothing =
            if rig.client_is_like(25) { "get data: no such volume" } else { "No such volume: data" };
        rig.fails("volume rm data", 1, nothing);
        rig.ok("volume rm -f data");
        rig.fails("volume inspect data", 1, nothing);
    });
}

#[test]
fn what_can_t_be_a_volume_is_refused_in_docker_s_words() {
    once(|rig| {
        let create = |body| rig.post("/volumes/create", &body);
        let rows = [
            (
                json!({"Name": "a"}),
                400,
                "create a: volume name is too short, names should be at least two alphanumeric characters",
            ),
            (
                json!({"Name": "a/b"}),
                400,
                "create a/b: \"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
            ),
            (
                json!({"Name": "data", "Driver": "nope"}),
                404,
                "create data: error looking up volume plugin nope: plugin \"nope\" not found",
            ),
            (
                json!({"Name": "data", "DriverOpts": {"type": "tmpfs"}}),
                400,
                "create data: missing required option: \"device\"",
            ),
            (
                json!({"Name": "data", "DriverOpts": {"foo": "bar"}}),
                400,
                "create data: invalid option: \"foo\"",
            ),
        ];
        for (body, status, words) in rows {
            let answer = create(body.clone());
            // Docker 20 said it in other words, or of another name.
            if rig.is_like(28) || words.contains("characters") || words.contains("too short") {
                assert_eq!(answer.message(), words, "{body}");
            }
            if rig.is_like(23) {
                assert_eq!(answer.status, status, "{body}: {answer:?}");
            }
        }
        assert_eq!(rig.delete("/volumes/missing").status, 404);
        assert_eq!(rig.get("/volumes/missing").status, 404);
        let answer = rig.get(&format!("/volumes?filters={}", filters("{\"nope\":[\"x\"]}")));
        assert_eq!(answer.status, 400, "{answer:?}");
        if rig.is_like(23) {
            let answer = rig.request("PUT", "/volumes/missing?version=1", "application/json", b"{}");
            assert_eq!(
                (answer.status, answer.message().as_str()),
                (503, "volume update only valid for cluster volumes, but swarm is unavailable"),
            );
        }
    });
}

#[test]
fn volumes_tell_what_happens_to_them() {
    case(|rig| {
        let since = "1";
        rig.ok("volume create data");
        rig.ok("volume rm data");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let until = now.as_secs() + 1;
        let told = rig.ok(&format!(
            "events --since {since} --until {until} --filter volume=data --format '{{{{.Type}}}} {{{{.Action}}}} {{{{.Actor.ID}}}} {{{{.Actor.Attributes.driver}}}}'"
        ));
        assert_eq!(told, "volume create data local\nvolume destroy data local");
    });
}

#[test]
fn a_volume_outlives_the_engine_and_kill_9() {
    minke_e2e::once(|rig: &Rig| {
        if rig.kind() != EngineKind::Minke {
            return;
        }
        rig.ok("volume create --label a=b --opt type=tmpfs --opt device=tmpfs --opt o=size=1m memory");
        rig.ok("volume create data");
        let before = rig.get("/volumes").json();
        let place = before["Volumes"][0]["Mountpoint"].as_str().expect("a mount point").to_string();
        std::fs::write(format!("{place}/file"), "kept").expect("the volume takes a file");
        rig.kill_engine();
        rig.start_engine();
        assert_eq!(rig.get("/volumes").json(), before);
        assert_eq!(std::fs::read_to_string(format!("{place}/file")).expect("the file"), "kept");
        rig.ok("volume rm data memory");
        rig.kill_engine();
        rig.start_engine();
        assert_eq!(rig.get("/volumes").json()["Volumes"], json!([]));
    });
}
