//! `pull`, and what `run` pulls: from a registry that counts what it gives, and misbehaves as it is told.

use minke_e2e::registry::{Manner, Packing, Registry, Stored, await_given};
use minke_e2e::rootfs::{Tree, busybox_tar};
use minke_e2e::{Client, Rig, case, escape, once, within};
use rustix::process::Signal;
use serde_json::Value;

/// A tar with one file of so many bytes that do not compress.
fn large(name: &str, bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let noise = (0..bytes).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    });
    let mut tree = Tree::default();
    tree.file(name, 0o644, &noise.collect::<Vec<u8>>());
    tree.finish()
}

fn small(name: &str, text: &str) -> Vec<u8> {
    let mut tree = Tree::default();
    tree.file(name, 0o644, text.as_bytes());
    tree.finish()
}

fn short(digest: &str) -> &str {
    &digest["sha256:".len()..][..12]
}

fn image(rig: &Rig, name: &str) -> Value {
    let answer = rig.get(&format!("/images/{}/json", escape(name)));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The messages of a pull by the API.
fn messages(rig: &Rig, name: &str, tag: &str, more: &str) -> (u16, Vec<Value>) {
    let path = format!("/images/create?fromImage={}&tag={}{more}", escape(name), escape(tag));
    let answer = rig.post(&path, &Value::Null);
    let lines = answer.text();
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    (answer.status, lines.map(|line| serde_json::from_str(line).expect("a line is JSON")).collect())
}

fn error_of(messages: &[Value]) -> String {
    messages.last().and_then(|last| last["error"].as_str()).unwrap_or_default().to_owned()
}

#[test]
fn an_image_is_pulled_by_tag_and_digest_and_runs() {
    let registry = Registry::start();
    let (one, two) = (small("one", "1\n"), small("two", "2\n"));
    let layers = [(busybox_tar(), Packing::Gzip), (&one[..], Packing::Zstd), (&two[..], Packing::Tar)];
    let stored = registry.image("team/box", "1", &layers);
    let name = registry.name("team/box");
    case(|rig| {
        let output = rig.ok(&format!("pull {name}:1"));
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines[0], "1: Pulling from team/box", "{output}");
        for layer in &stored.layers {
            for step in ["Pulling fs layer", "Download complete", "Pull complete"] {
                assert!(lines.contains(&format!("{}: {step}", short(layer)).as_str()), "{step}: {output}");
            }
        }
        assert_eq!(
            lines[lines.len() - 3..],
            [
                &format!("Digest: {}", stored.manifest),
                &format!("Status: Downloaded newer image for {name}:1"),
                &format!("{name}:1")
            ]
        );
        assert_eq!(rig.ok(&format!("run --rm {name}:1 sh -c 'cat one two'")), "1\n2");
        let found = image(rig, &format!("{name}:1"));
        assert_eq!(found["Id"], stored.config.as_str());
        assert_eq!(found["RepoTags"], serde_json::json!([format!("{name}:1")]));
        assert_eq!(found["RepoDigests"], serde_json::json!([format!("{name}@{}", stored.manifest)]));
        let asked: Vec<usize> = stored.layers.iter().map(|layer| registry.asked(layer)).collect();
        let again = rig.ok(&format!("pull {name}:1"));
        assert!(again.contains(&format!("Status: Image is up to date for {name}:1")), "{again}");
        assert_eq!(stored.layers.iter().map(|layer| registry.asked(layer)).collect::<Vec<_>>(), asked);
        let by_digest = format!("{name}@{}", stored.manifest);
        assert_eq!(rig.ok(&format!("pull -q {by_digest}")), by_digest);
        assert_eq!(rig.ok(&format!("run --rm {by_digest} cat one")), "1");
    });
}

#[test]
fn a_default_tag_is_named_and_all_tags_are_brought() {
    let registry = Registry::start();
    let stored = registry.image("all", "latest", &[(busybox_tar(), Packing::Gzip)]);
    registry.name_it("all", "2", &stored.manifest);
    let name = registry.name("all");
    case(|rig| {
        assert!(
            rig.ok(&format!("pull {name}"))
                .starts_with("Using default tag: latest\nlatest: Pulling from all")
        );
        let output = rig.ok(&format!("pull -a {name}"));
        assert!(
            output.contains("2: Pulling from all") && output.contains("latest: Pulling from all"),
            "{output}"
        );
        assert!(output.ends_with(&format!("Status: Downloaded newer image for {name}\n{name}")), "{output}");
        assert_eq!(image(rig, &format!("{name}:2"))["Id"], stored.config.as_str());
        rig.fails(&format!("pull -a {name}:2"), 1, "tag can't be used with --all-tags/-a");
    });
}

#[test]
fn a_run_pulls_what_is_missing_always_or_never() {
    let registry = Registry::start();
    let stored = registry.image("box", "1", &[(busybox_tar(), Packing::Gzip)]);
    let name = registry.name("box:1");
    case(|rig| {
        rig.fails(&format!("run --rm --pull never {name} true"), 125, "No such image");
        let output = rig.cli(&format!("run --rm {name} echo ran"));
        assert_eq!((output.code, output.text().as_str()), (0, "ran"), "{}", output.stderr);
        assert!(
            output.stderr.starts_with(&format!("Unable to find image '{name}' locally\n")),
            "{}",
            output.stderr
        );
        assert!(
            output.stderr.contains(&format!("Status: Downloaded newer image for {name}")),
            "{}",
            output.stderr
        );
        let output = rig.cli(&format!("run --rm --pull always {name} echo again"));
        assert_eq!((output.code, output.text().as_str()), (0, "again"), "{}", output.stderr);
        assert!(
            output.stderr.contains(&format!("Status: Image is up to date for {name}")),
            "{}",
            output.stderr
        );
        let quiet = if rig.client_is_like(25) { "-q" } else { "" };
        let output = rig.cli(&format!("run --rm {quiet} --pull always {name} true"));
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert!(quiet.is_empty() || output.stderr.is_empty(), "{}", output.stderr);
        rig.ok(&format!("rmi {name}"));
        let id = rig.ok(&format!("create {name}"));
        assert_eq!(rig.inspect(id.lines().last().unwrap_or_default())["Image"], stored.config.as_str());
        rig.fails(&format!("run --rm {} true", registry.name("nothing:1")), 125, "manifest unknown");
        rig.remove_all();
    });
}

#[test]
fn the_stream_has_dockers_messages() {
    let registry = Registry::start();
    let stored = registry.image("box", "1", &[(busybox_tar(), Packing::Gzip)]);
    once(|rig| {
        let (status, lines) = messages(rig, &registry.name("box"), "1", "");
        assert_eq!(status, 200);
        assert_eq!(lines[0], serde_json::json!({"status": "Pulling from box", "id": "1"}));
        let of_layer: Vec<&Value> =
            lines.iter().filter(|line| line["id"] == short(&stored.layers[0])).collect();
        assert_eq!(of_layer[0]["status"], "Pulling fs layer");
        assert_eq!(of_layer[0]["progressDetail"], serde_json::json!({}));
        for line in
            of_layer.iter().filter(|line| line["status"] == "Downloading" || line["status"] == "Extracting")
        {
            let (current, total) =
                (line["progressDetail"]["current"].as_i64(), line["progressDetail"]["total"].as_i64());
            assert!(current <= total && line["progress"].as_str().is_some(), "{line}");
        }
        assert_eq!(of_layer.last().map(|line| &line["status"]), Some(&Value::from("Pull complete")));
        assert_eq!(lines[lines.len() - 2]["status"], format!("Digest: {}", stored.manifest));
        // What is refused at once is no stream.
        let (status, lines) = messages(rig, &registry.name("box"), "no", "");
        assert_eq!(status, 404);
        let expected =
            format!("manifest for {} not found: manifest unknown: manifest unknown", registry.name("box:no"));
        assert_eq!(lines[0]["message"], expected);
        let answer = rig.get(&format!("/distribution/{}/json", registry.name("box:1")));
        assert_eq!(answer.json()["Descriptor"]["digest"], stored.manifest.as_str());
        assert_eq!(answer.json()["Platforms"][0]["architecture"], "amd64");
    });
}

#[test]
fn a_pull_goes_on_where_the_killed_engine_was() {
    let registry = Registry::start();
    let layer = large("large", 8 << 20);
    let stored = registry.image("big", "1", &[(busybox_tar(), Packing::Gzip), (&layer[..], Packing::Tar)]);
    let blob = stored.layers[1].clone();
    let size = registry.size(&blob);
    registry.give(&blob, Manner::Hold(4 << 20));
    let name = registry.name("big:1");
    once(|rig| {
        let pull = rig.spawn(&format!("pull {name}"));
        await_given(&registry, &blob, 4 << 20);
        await_partial(rig, &blob, 2 << 20);
        // The first layer is complete by then, and stays too.
        within(30, "the first layer is here", || is_blob(rig, &stored.layers[0]).then_some(()));
        rig.kill_engine();
        registry.release();
        drop(pull);
        rig.start_engine();
        let before = registry.bytes_given(&stored.layers[0]);
        let given = registry.bytes_given(&blob);
        rig.ok(&format!("pull {name}"));
        let again = registry.bytes_given(&blob) - given;
        assert!(again <= size - (2 << 20), "{again} of {size} bytes came a second time");
        assert_eq!(registry.bytes_given(&stored.layers[0]), before, "a whole layer came a second time");
        assert_eq!(rig.ok(&format!("run --rm {name} stat -c %s large")), (8 << 20).to_string());
    });
}

/// The engine's file of a blob that has not come whole.
fn await_partial(rig: &Rig, blob: &str, bytes: u64) {
    let path = rig.scratch().join("data/ingest").join(format!("{}.part", &blob["sha256:".len()..]));
    within(30, "the engine has the blob's beginning", || {
        std::fs::metadata(&path).is_ok_and(|found| found.len() >= bytes).then_some(())
    });
}

fn is_blob(rig: &Rig, digest: &str) -> bool {
    let hex = &digest["sha256:".len()..];
    rig.scratch().join("data/blobs/sha256").join(&hex[..2]).join(hex).exists()
}

#[test]
fn two_pulls_of_one_image_fetch_each_blob_once() {
    let registry = Registry::start();
    let layer = large("large", 2 << 20);
    let stored = registry.image("twice", "1", &[(busybox_tar(), Packing::Gzip), (&layer[..], Packing::Gzip)]);
    registry.name_it("twice", "2", &stored.manifest);
    registry.give(&stored.layers[1], Manner::Hold(1 << 20));
    once(|rig| {
        let one = rig.spawn(&format!("pull {}", registry.name("twice:1")));
        await_given(&registry, &stored.layers[1], 1 << 20);
        let two = rig.spawn(&format!("pull {}", registry.name("twice:2")));
        two.expect(&format!("{}: Pulling fs layer", short(&stored.layers[1])));
        registry.release();
        for session in [one, two] {
            let output = session.finish(minke_e2e::deadline::seconds(60));
            assert_eq!(output.code, 0, "{}", output.stderr);
        }
        for blob in stored.layers.iter().chain([&stored.config]) {
            assert_eq!(registry.asked(blob), 1, "{blob}");
        }
    });
}

#[test]
fn a_pull_ends_with_its_client_and_nobody_elses() {
    let registry = Registry::start();
    let layer = large("large", 2 << 20);
    let stored = registry.image("gone", "1", &[(&layer[..], Packing::Tar)]);
    registry.give(&stored.layers[0], Manner::Hold(1 << 20));
    once(|rig| {
        let pull = rig.spawn(&format!("pull {}", registry.name("gone:1")));
        await_given(&registry, &stored.layers[0], 1 << 20);
        pull.signal(Signal::KILL);
        // What nobody wants any more may be given up by a prune.
        within(30, "the partial content is let go of", || {
            rig.ok("image prune -f");
            let ingest = std::fs::read_dir(rig.scratch().join("data/ingest")).expect("the folder");
            (ingest.count() == 0).then_some(())
        });
        registry.release();
        rig.ok(&format!("pull -q {}", registry.name("gone:1")));
    });
}

#[test]
fn pulls_prunes_and_runs_at_once_do_not_hurt_each_other() {
    let registry = Registry::start();
    let layer = large("large", 2 << 20);
    let stored = registry.image("busy", "1", &[(busybox_tar(), Packing::Gzip), (&layer[..], Packing::Gzip)]);
    registry.give(&stored.layers[1], Manner::Hold(1 << 20));
    once(|rig| {
        let pull = rig.spawn(&format!("pull {}", registry.name("busy:1")));
        await_given(&registry, &stored.layers[1], 1 << 20);
        within(30, "the first layer is here", || is_blob(rig, &stored.layers[0]).then_some(()));
        rig.ok("run -d --name keeps busybox sleep 1000");
        rig.ok("image prune -af");
        rig.ok("system prune -f");
        assert_eq!(rig.ok("run --rm busybox echo runs"), "runs");
        registry.release();
        let output = pull.finish(minke_e2e::deadline::seconds(60));
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert_eq!(rig.ok(&format!("run --rm {} echo whole", registry.name("busy:1"))), "whole");
        assert_eq!(registry.asked(&stored.layers[0]), 1);
    });
}

/// `MINKE_E2E_CHURN=2000` lengthens it.
#[test]
fn what_a_pull_shares_with_what_a_prune_takes_stays() {
    let rounds = std::env::var("MINKE_E2E_CHURN").map_or(25, |text| text.parse().expect("a number"));
    let registry = Registry::start();
    let images = ["one", "two"].map(|name| {
        let own = small("which", name);
        registry.image(name, "1", &[(busybox_tar(), Packing::Gzip), (&own[..], Packing::Gzip)])
    });
    for (name, image) in ["one", "two"].iter().zip(&images) {
        let manifest = registry.document_of(name, &image.manifest).expect("the manifest is there");
        registry.document("churn", name, "application/vnd.oci.image.manifest.v1+json", &manifest);
    }
    once(|rig| {
        let done = std::sync::atomic::AtomicBool::new(false);
        let going = || !done.load(std::sync::atomic::Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while going() {
                    rig.ok("image prune -f");
                }
            });
            scope.spawn(|| {
                while going() {
                    assert_eq!(rig.ok("run --rm busybox echo runs"), "runs");
                }
            });
            // Ends the others also where it panics.
            struct End<'a>(&'a std::sync::atomic::AtomicBool);
            impl Drop for End<'_> {
                fn drop(&mut self) {
                    self.0.store(true, std::sync::atomic::Ordering::Relaxed);
                }
            }
            let _end = End(&done);
            for round in 0..rounds {
                let (name, stored) = [("one", &images[0]), ("two", &images[1])][round % 2];
                registry.name_it("churn", "1", &stored.manifest);
                let tag = registry.name("churn:1");
                rig.ok(&format!("pull -q {tag}"));
                assert_eq!(image(rig, &tag)["Id"], stored.config.as_str(), "round {round}");
                assert_eq!(rig.ok(&format!("run --rm {tag} cat which")), name, "round {round}");
            }
        });
    });
}

#[test]
fn no_more_is_fetched_at_once_than_allowed() {
    for (flags, bound) in [(&["--max-concurrent-downloads", "1"][..], 1), (&[], 3)] {
        let registry = Registry::start();
        let layers: Vec<Vec<u8>> =
            ["one", "two", "three", "four", "five"].iter().map(|name| large(name, 20 << 10)).collect();
        let packed: Vec<(&[u8], Packing)> = layers.iter().map(|layer| (&layer[..], Packing::Tar)).collect();
        let stored = registry.image("many", "1", &packed);
        stored.layers.iter().for_each(|layer| registry.give(layer, Manner::Hold(1 << 10)));
        let asked = || stored.layers.iter().filter(|layer| registry.asked(layer) > 0).count();
        Rig::run(Client::Minke, flags, |rig| {
            let pull = rig.spawn(&format!("pull -q {}", registry.name("many:1")));
            within(30, "as many are asked for as may be", || (asked() >= bound).then_some(()));
            for _ in 0..20 {
                rig.get("/info");
                assert_eq!(asked(), bound, "{flags:?}");
            }
            registry.release();
            let output = pull.finish(minke_e2e::deadline::seconds(60));
            assert_eq!((output.code, asked()), (0, 5), "{}", output.stderr);
        });
    }
}

#[test]
fn wrong_and_torn_blobs_are_noticed_and_leave_nothing() {
    let registry = Registry::start();
    let layer = large("large", 1 << 20);
    let wrong = registry.image("wrong", "1", &[(&layer[..], Packing::Tar)]);
    registry.give(&wrong.layers[0], Manner::Wrong);
    let second = large("other", 1 << 20);
    let torn = registry.image("torn", "1", &[(&second[..], Packing::Tar)]);
    registry.give(&torn.layers[0], Manner::Truncate(400 << 10));
    once(|rig| {
        let (status, lines) = messages(rig, &registry.name("wrong"), "1", "");
        assert_eq!(status, 200);
        let error = error_of(&lines);
        assert!(error.contains(&format!("verification failed for digest {}", wrong.layers[0])), "{error}");
        assert_eq!(rig.get(&format!("/images/{}/json", registry.name("wrong:1"))).status, 404);
        assert!(!is_blob(rig, &wrong.layers[0]));
        // Broken off again and again, each time further on.
        rig.ok(&format!("pull -q {}", registry.name("torn:1")));
        assert!(registry.asked(&torn.layers[0]) >= 3);
        assert_eq!(registry.bytes_given(&torn.layers[0]), registry.size(&torn.layers[0]));
    });
}

#[test]
fn documents_that_no_image_has_are_refused_with_a_word() {
    let registry = Registry::start();
    let kind = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let old =
        serde_json::json!({"schemaVersion": 1, "name": "old", "tag": "1", "fsLayers": [], "history": []});
    registry.document("old", "1", kind, old.to_string().as_bytes());
    once(|rig| {
        let output = rig.cli(&format!("pull {}", registry.name("old:1")));
        assert_eq!(output.code, 1);
        assert!(output.stderr.contains("schema 1"), "{}", output.stderr);
    });
}

#[test]
fn other_platforms_are_kept_beside_the_hosts() {
    let registry = Registry::start();
    let (host, other) = (small("host", "amd64\n"), small("other", "arm64\n"));
    let layers = |own| [(busybox_tar(), Packing::Gzip), (own, Packing::Gzip)];
    let amd64 = registry.image_for("multi", &layers(&host[..]), "amd64", false);
    let arm64 = registry.image_for("multi", &layers(&other[..]), "arm64", true);
    let index = registry.index("multi", "1", &[&arm64, &amd64]);
    let name = registry.name("multi:1");
    once(|rig| {
        let id = |platform: &str| {
            let path = format!("/images/{}/json?platform={}", escape(&name), escape(platform));
            let answer = rig.get(&path);
            (answer.status, answer.json()["Id"].as_str().unwrap_or_default().to_owned())
        };
        rig.ok(&format!("pull {name}"));
        assert_eq!(image(rig, &name)["Id"], amd64.config.as_str());
        assert!(image(rig, &name)["RepoDigests"][0].as_str().is_some_and(|digest| digest.ends_with(&index)));
        let arm = r#"{"os":"linux","architecture":"arm64"}"#;
        assert_eq!(id(arm).0, 404);
        rig.ok(&format!("pull --platform linux/arm64 {name}"));
        assert_eq!(image(rig, &name)["Id"], amd64.config.as_str());
        assert_eq!(id(arm), (200, arm64.config.clone()));
        rig.ok("image prune -f");
        assert_eq!(id(arm), (200, arm64.config.clone()));
        let output = rig.cli(&format!("pull --platform linux/s390x {name}"));
        assert!(output.stderr.contains("no matching manifest for linux/s390x"), "{}", output.stderr);
        let container = rig.ok(&format!("create --platform linux/arm64 {name}"));
        assert_eq!(rig.inspect(&container)["Image"], arm64.config.as_str());
    });
}

#[test]
fn a_full_disk_is_said_and_the_space_comes_back() {
    let registry = Registry::start();
    let layer = large("large", 40 << 20);
    let stored = registry.image("huge", "1", &[(busybox_tar(), Packing::Gzip), (&layer[..], Packing::Tar)]);
    // Only the engine, and what it starts, sees this disk.
    let script = r#"before=; for word in "$@"; do
        [ "$before" = --data-root ] && mkdir -p "$word" && mount -t tmpfs -o size=32m disk "$word"; before=$word
    done; exec "$@""#;
    Rig::run_inside(Client::Minke, &["unshare", "--mount", "sh", "-c", script, "sh"], &[], |rig| {
        let root = format!("/proc/{}/root{}", rig.engine_pid(), rig.scratch().join("data").display());
        let free = || free_bytes(&root);
        let before = free();
        let output = rig.cli(&format!("pull {}", registry.name("huge:1")));
        assert_eq!(output.code, 1, "{}", output.text());
        assert!(output.stderr.contains("no space left on device"), "{}", output.stderr);
        assert_eq!(rig.ok("run --rm busybox echo runs"), "runs");
        within(30, "the space comes back", || (free() + (1 << 20) >= before).then_some(()));
        assert!(registry.bytes_given(&stored.layers[1]) > 0);
        let small = registry.image("small", "1", &[(busybox_tar(), Packing::Gzip)]);
        rig.ok(&format!("pull {}", registry.name("small:1")));
        assert_eq!(image(rig, &registry.name("small:1"))["Id"], small.config.as_str());
    });
}

/// The free bytes of a file system, by the shell's own tool.
fn free_bytes(path: &str) -> u64 {
    let output =
        std::process::Command::new("stat").args(["-f", "-c", "%f %S", path]).output().expect("stat runs");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let numbers: Vec<u64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
    numbers[0] * numbers[1]
}

#[test]
fn what_two_images_share_is_there_already() {
    let registry = Registry::start();
    let own = small("own", "x");
    let base: Stored = registry.image("base", "1", &[(busybox_tar(), Packing::Gzip)]);
    registry.image("top", "1", &[(busybox_tar(), Packing::Gzip), (&own[..], Packing::Gzip)]);
    once(|rig| {
        rig.ok(&format!("pull {}", registry.name("base:1")));
        let output = rig.ok(&format!("pull {}", registry.name("top:1")));
        assert!(output.contains(&format!("{}: Already exists", short(&base.layers[0]))), "{output}");
        assert_eq!(registry.asked(&base.layers[0]), 1);
    });
}
