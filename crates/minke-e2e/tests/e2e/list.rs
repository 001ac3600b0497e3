//! The list of containers by the API: it shows what is, in the form of each version.

use minke_e2e::{EngineKind, Rig, once};
use serde_json::{Value, json};

/// The versions at which the form of an element changes, and those around them.
const VERSIONS: [&str; 5] = ["1.41", "1.45", "1.46", "1.51", "1.52"];

fn listed(rig: &Rig, query: &str) -> Value {
    rig.get(&format!("/containers/json?all=1{query}")).json()
}

#[test]
fn what_changes_shows_in_the_very_next_list() {
    once(|rig| {
        let shows = |name: &str, state: &str, status: &str| {
            // Each is asked for twice: the second may be made of the first.
            for _ in 0..2 {
                let found = listed(rig, "");
                let found = &found[0];
                assert_eq!(found["Names"], json!([format!("/{name}")]), "{found}");
                assert_eq!(found["State"], state, "{found}");
                assert!(found["Status"].as_str().unwrap_or_default().starts_with(status), "{found}");
            }
        };
        assert_eq!(listed(rig, ""), json!([]));
        rig.ok("create --name one busybox sleep 1000");
        shows("one", "created", "Created");
        rig.ok("start one");
        shows("one", "running", "Up ");
        rig.ok("rename one two");
        shows("two", "running", "Up ");
        rig.ok("pause two");
        shows("two", "paused", "Up ");
        assert!(listed(rig, "")[0]["Status"].as_str().unwrap_or_default().ends_with("(Paused)"));
        rig.ok("unpause two");
        shows("two", "running", "Up ");
        rig.ok("kill two");
        rig.ok("wait two");
        shows("two", "exited", "Exited (137) ");
        rig.ok("start two");
        shows("two", "running", "Up ");
        rig.ok("rm -f two");
        assert_eq!(listed(rig, ""), json!([]));
    });
}

#[test]
fn time_goes_on_in_a_list_in_which_nothing_changes() {
    once(|rig| {
        rig.ok("run -d --name one busybox sleep 1000");
        let status = || listed(rig, "")[0]["Status"].clone();
        let first = status();
        minke_e2e::within(20, "the words change", || (status() != first).then_some(()));
    });
}

#[test]
fn each_version_gets_its_own_form_whoever_asked_before() {
    once(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return; // which forms it has hangs on its version
        }
        // A label that looks like what stands around the status.
        rig.ok("run -d --name one --label State=running --label 'Status=\"x\\' --annotation a=b busybox sleep 1000");
        for version in VERSIONS.iter().chain(VERSIONS.iter().rev()) {
            let get = |query: &str| rig.get(&format!("/v{version}/containers/json{query}")).json();
            let (plain, mut measured) = (get(""), get("?size=1"));
            let element = measured[0].as_object_mut().expect("an element");
            // The one that is measured is made anew each time.
            let sizes = [element.remove("SizeRw"), element.remove("SizeRootFs")];
            assert!(sizes[1].is_some(), "{sizes:?}");
            element.insert("Status".into(), plain[0]["Status"].clone());
            assert_eq!(plain, measured, "{version}");
            assert_eq!(plain[0].get("Health").is_some(), *version >= "1.52", "{version}");
            let annotations = plain[0]["HostConfig"].get("Annotations").is_some();
            assert_eq!(annotations, *version >= "1.46", "{version}");
            assert_eq!(plain[0]["Labels"], json!({"State": "running", "Status": "\"x\\"}), "{version}");
        }
    });
}
