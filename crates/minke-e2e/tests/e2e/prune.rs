//! Removing what is not used, and how much space things take.

use minke_e2e::rootfs::Tree;
use minke_e2e::{Client, Rig, case, escape, once};
use serde_json::{Value, json};

fn post(rig: &Rig, path: &str, filters: &Value) -> Value {
    let query =
        if filters.is_null() { String::new() } else { format!("?filters={}", escape(&filters.to_string())) };
    let answer = rig.request("POST", &format!("{path}{query}"), "application/json", &[]);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

/// Makes an image of one file of that many bytes.
fn import(rig: &Rig, name: &str, bytes: usize) {
    let mut tree = Tree::default();
    tree.file(&format!("{name}.file"), 0o644, &vec![b'x'; bytes]);
    rig.import(name, &tree.finish(), &[&format!("LABEL of={name}")]);
}

#[test]
fn stopped_containers_are_removed() {
    case(|rig| {
        rig.ok("run -d --name runs busybox sleep 1000");
        rig.ok("run --name wrote busybox sh -c 'head -c 1000 /dev/zero > /file'");
        rig.ok("create --name made --label keep=1 busybox");
        let answer = rig.cli("container prune");
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "nobody said yes: {answer:?}");
        assert!(
            answer.text().contains(
                "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N]"
            ),
            "{answer:?}"
        );
        let id = rig.inspect("wrote")["Id"].as_str().expect("an id").to_string();
        let pruned = rig.with_input("container prune --filter label!=keep", b"y\n");
        assert_eq!(pruned.code, 0, "{pruned:?}");
        assert!(
            pruned.text().ends_with(&format!("Deleted Containers:\n{id}\n\nTotal reclaimed space: 1kB")),
            "{pruned:?}"
        );
        assert_eq!(rig.ok("container prune -f --filter until=24h"), "Total reclaimed space: 0B");
        let id = rig.inspect("made")["Id"].as_str().expect("an id").to_string();
        assert_eq!(
            rig.ok("container prune -f"),
            format!("Deleted Containers:\n{id}\n\nTotal reclaimed space: 0B")
        );
        assert_eq!(rig.ok("ps -a --format '{{.Names}}'"), "runs");
    });
}

#[test]
fn unused_volumes_are_removed() {
    case(|rig| {
        rig.ok("volume create named");
        let anonymous = rig.ok("volume create");
        rig.ok("create --name holder -v used:/u -v /held busybox");
        let listed = || rig.ok("volume ls -q").lines().map(str::to_string).collect::<Vec<_>>();
        assert_eq!(listed().len(), 4);
        if !rig.is_like(23) {
            return;
        }
        let place = rig.get(&format!("/volumes/{anonymous}")).json()["Mountpoint"]
            .as_str()
            .expect("a place")
            .to_string();
        std::fs::write(format!("{place}/f"), [0; 2000]).expect("the volume takes a file");
        assert_eq!(
            rig.ok("volume prune -f"),
            format!("Deleted Volumes:\n{anonymous}\n\nTotal reclaimed space: 2kB")
        );
        assert_eq!(rig.ok("volume prune -f --filter label=no"), "Total reclaimed space: 0B");
        assert_eq!(rig.ok("volume prune -f -a"), "Deleted Volumes:\nnamed\n\nTotal reclaimed space: 0B");
        assert_eq!(listed().len(), 2);
        // Before 1.42 there was no such thing as an anonymous volume.
        rig.ok("volume create other");
        let old = post(rig, "/v1.41/volumes/prune", &json!(null));
        assert_eq!(old["VolumesDeleted"], json!(["other"]));
    });
}

#[test]
fn unused_images_are_removed() {
    case(|rig| {
        import(rig, "first", 1000);
        import(rig, "again", 3000);
        let id = |name: &str| {
            rig.get(&format!("/images/{name}/json")).json()["Id"].as_str().expect("an id").to_string()
        };
        let (first, again) = (id("first"), id("again"));
        // Its name goes to another image: it has none then.
        rig.ok("tag again first");
        let pruned = rig.ok("image prune -f");
        assert!(pruned.starts_with(&format!("Deleted Images:\ndeleted: {first}\n")), "{pruned}");
        assert!(pruned.ends_with("\n\nTotal reclaimed space: 1kB"), "{pruned}");
        assert_eq!(rig.ok("image prune -f"), "Total reclaimed space: 0B");
        rig.ok("create --name uses busybox");
        assert_eq!(rig.ok("image prune -a -f --filter label=of=nobody"), "Total reclaimed space: 0B");
        let pruned = rig.ok("image prune -a -f");
        for line in [
            "Deleted Images:",
            "untagged: again:latest",
            "untagged: first:latest",
            &format!("deleted: {again}"),
            "Total reclaimed space: 3kB",
        ] {
            assert!(pruned.lines().any(|found| found == line), "{line} in {pruned}");
        }
        assert_eq!(rig.ok("images --format '{{.Repository}}'"), "busybox");
    });
}

#[test]
fn everything_unused_is_removed_at_once() {
    case(|rig| {
        import(rig, "unused", 1000);
        rig.ok("run --name one busybox true");
        rig.ok("volume create");
        let asked = rig.cli("system prune -a --volumes --filter label=x");
        assert_eq!((asked.code, asked.stderr.as_str()), (0, ""), "{asked:?}");
        let text = asked.text();
        for line in [
            "all stopped containers",
            "all images without at least one container associated to them",
            "label=x",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        rig.fails(
            "system prune -f --volumes --filter until=1h",
            1,
            "The \"until\" filter is not supported with \"--volumes\"",
        );
        assert_eq!(rig.ok("system prune -f --filter label=x"), "Total reclaimed space: 0B");
        if !rig.is_like(23) {
            return;
        }
        let pruned = rig.ok("system prune -f -a --volumes");
        for line in ["Deleted Containers:", "Deleted Volumes:", "Deleted Images:", "untagged: unused:latest"]
        {
            assert!(pruned.lines().any(|found| found == line), "{line} in {pruned}");
        }
        assert!(pruned.contains("Total reclaimed space: "), "{pruned}");
        assert_eq!(rig.get("/images/json").json(), json!([]));
    });
}

#[test]
fn prunes_are_told_and_know_their_filters() {
    once(|rig| {
        for path in ["/containers/prune", "/images/prune", "/volumes/prune", "/networks/prune"] {
            post(rig, path, &json!({"label": ["a=b"]}));
            let answer = rig.request(
                "POST",
                &format!("{path}?filters={}", escape("{\"nope\":[\"x\"]}")),
                "application/json",
                &[],
            );
            assert!(answer.status == 400 || !rig.is_like(23), "{path}: {answer:?}");
        }
        post(rig, "/build/prune", &json!(null));
        let empty = post(rig, "/containers/prune", &json!({"until": ["10m"]}));
        assert_eq!(empty, json!({"ContainersDeleted": null, "SpaceReclaimed": 0}));
        if rig.is_like(23) {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
            let path = format!(
                "/events?since=1&until={}&filters={}",
                now.as_secs() + 1,
                escape("{\"event\":[\"prune\"]}")
            );
            let told: Vec<Value> = rig
                .get(&path)
                .text()
                .lines()
                .map(|line| serde_json::from_str(line).expect("an event"))
                .collect();
            let mut kinds: Vec<&str> = told.iter().filter_map(|event| event["Type"].as_str()).collect();
            kinds.dedup();
            assert_eq!(
                kinds,
                ["container", "image", "volume", "network", "builder", "container"],
                "{told:?}"
            );
            assert_eq!(told[0]["Actor"]["Attributes"]["reclaimed"], json!("0"));
        }
    });
}

#[test]
fn space_is_summed_up_and_listed() {
    case(|rig| {
        import(rig, "extra", 5000);
        rig.ok("run --name one -v data:/d busybox sh -c 'head -c 3000 /dev/zero > /file; head -c 7000 /dev/zero > /d/file'");
        rig.ok("volume create empty");
        let lines = rig.ok("system df");
        let row = |kind: &str| {
            let line = lines
                .lines()
                .find(|line| line.starts_with(kind))
                .unwrap_or_else(|| panic!("{kind} in {lines}"));
            line[kind.len()..].split_whitespace().map(str::to_string).collect::<Vec<_>>()
        };
        assert_eq!(row("Images")[..2], ["2", "1"]);
        if rig.is_like(25) {
            assert_eq!(row("Images")[3], "5kB", "{lines}");
        }
        assert_eq!(row("Containers"), ["1", "0", "3kB", "3kB", "(100%)"]);
        assert_eq!(row("Local Volumes"), ["2", "1", "7kB", "0B", "(0%)"]);
        assert_eq!(row("Build Cache")[..2], ["0", "0"]);
        let types = rig.ok("system df --format '{{.Type}}:{{.TotalCount}}'");
        assert_eq!(types, "Images:2\nContainers:1\nLocal Volumes:2\nBuild Cache:0");
        let all = rig.ok("system df -v");
        for heading in [
            "Images space usage:",
            "Containers space usage:",
            "Local Volumes space usage:",
            "Build cache usage: 0B",
        ] {
            assert!(all.contains(heading), "{heading} in {all}");
        }
        let words = |name: &str| {
            let line =
                all.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {all}"));
            line.split_whitespace().map(str::to_string).collect::<Vec<_>>()
        };
        assert_eq!(words("data "), ["data", "1", "7kB"]);
        assert_eq!(words("empty "), ["empty", "0", "0B"]);
        let extra = words("extra ");
        assert_eq!(extra[extra.len() - 4..], ["5kB", "0B", "5kB", "0"], "{all}");
        if rig.client() == Client::Minke {
            let names = rig.ok("system df -v --format '{{range .Volumes}}{{.Name}} {{end}}'");
            assert_eq!(names.trim_end(), "data empty");
        }
    });
}

#[test]
fn each_version_has_its_form_of_the_sums() {
    once(|rig| {
        rig.ok("volume create data");
        let old = rig.get("/v1.41/system/df").json();
        assert!(old["LayersSize"].as_i64().is_some_and(|size| size > 0), "{old}");
        assert_eq!((&old["BuilderSize"], &old["BuildCache"]), (&json!(0), &json!(null)));
        assert_eq!(old["Volumes"][0]["UsageData"], json!({"RefCount": 0, "Size": 0}));
        assert_eq!(old["Images"][0]["SharedSize"], json!(0));
        if rig.is_like(29) {
            let only = rig.get("/v1.55/system/df?type=volume").json();
            assert_eq!(only, json!({"VolumeUsage": {"TotalCount": 1}}));
            let verbose = rig.get("/v1.55/system/df?type=volume&verbose=1").json();
            assert_eq!(verbose["VolumeUsage"]["Items"][0]["Name"], json!("data"));
            let refused = rig.get("/v1.55/system/df?type=nope");
            assert_eq!((refused.status, refused.message().as_str()), (400, "unknown object type: nope"));
        }
    });
}
