//! `manifest` and `image copy`: what the command line does with registries itself.

use minke_e2e::registry::{DockerRegistry, Packing, Registry};
use minke_e2e::rootfs::busybox_tar;
use minke_e2e::{Client, Output, Rig, once, peers};

use crate::same_words::at_home;

#[test]
fn lists_of_manifests_are_made_and_pushed_as_by_dockers_client() {
    Rig::run(Client::Minke, &[], |rig| {
        let registry = DockerRegistry::start(&rig.scratch().join("registry"), "");
        let from = Registry::start();
        let layers = [(busybox_tar(), Packing::Gzip)];
        for (name, architecture, oci) in [("box", "amd64", false), ("other/arm", "arm64", false)] {
            let stored = from.image_for(name, &layers, architecture, oci);
            from.name_it(name, "1", &stored.manifest);
            let (source, target) = (from.name(&format!("{name}:1")), registry.name(&format!("{name}:1")));
            rig.ok(&format!("image copy {source} {target}"));
            assert_eq!(registry.manifest(name, "1").0, stored.manifest);
        }
        if !peers::docker_speaks_as_ours("manifest_words.txt") {
            return;
        }
        let homes = ["docker-home", "minke-home"].map(|name| rig.scratch().join(name));
        homes.iter().for_each(|home| std::fs::create_dir(home).expect("a home"));
        let mut found = Vec::new();
        let lines = include_str!("manifest_words.txt").lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let typed = line.replace("REG", registry.address());
            let one = at_home(Client::Docker, &homes[0], &typed);
            let other = at_home(Client::Minke, &homes[1], &typed);
            eprintln!("$ {line}\n{}{}", one.text(), one.stderr);
            if (said(&one), one.code) != (said(&other), other.code) {
                let (one, other) = (said(&one), said(&other));
                found.push(format!("==== {line}\n--- docker\n{one}\n--- minke\n{other}"));
            }
        }
        assert!(found.is_empty(), "{} differ:\n{}", found.len(), found.join("\n"));
    });
}

fn said(output: &Output) -> String {
    (output.text() + "\n" + &output.stderr).trim().to_owned()
}

#[test]
fn a_list_that_was_pushed_is_pulled_by_platform() {
    once(|rig| {
        let registry = DockerRegistry::start(&rig.scratch().join("registry"), "");
        let from = Registry::start();
        let layers = [(busybox_tar(), Packing::Zstd)];
        let images = ["amd64", "arm64"].map(|architecture| {
            let stored = from.image_for(architecture, &layers, architecture, true);
            from.name_it(architecture, "1", &stored.manifest);
            let source = from.name(&format!("{architecture}:1"));
            rig.ok(&format!("image copy -q {source} {}", registry.name(&format!("{architecture}:1"))));
            stored
        });
        let list = registry.name("multi:1");
        let (amd64, arm64) = (registry.name("amd64:1"), registry.name("arm64:1"));
        let ours = |line: &str| {
            let output = at_home(Client::Minke, rig.scratch(), line);
            assert_eq!(output.code, 0, "{line}: {}", output.stderr);
            output.text()
        };
        ours(&format!("manifest create {list} {amd64} {arm64}"));
        let pushed = ours(&format!("manifest push --purge {list}"));
        let (digest, index) = registry.manifest("multi", "1");
        assert_eq!(pushed.lines().last(), Some(digest.as_str()));
        assert_eq!(index["manifests"][1]["platform"]["architecture"], "arm64");
        for (platform, image) in [("linux/amd64", &images[0]), ("linux/arm64", &images[1])] {
            rig.ok(&format!("pull -q --platform {platform} {list}"));
            let output = rig.ok(&format!("image inspect --platform {platform} --format {{{{.Id}}}} {list}"));
            assert_eq!(output, image.config);
        }
    });
}

#[test]
fn an_image_is_copied_from_registry_to_registry_as_it_is() {
    let from = Registry::start();
    let amd64 = from.image_for("multi", &[(busybox_tar(), Packing::Zstd)], "amd64", true);
    let arm64 = from.image_for("multi", &[(busybox_tar(), Packing::Gzip)], "arm64", true);
    let index = from.index("multi", "1", &[&amd64, &arm64]);
    once(|rig| {
        let registry = DockerRegistry::start(&rig.scratch().join("registry"), "");
        let ours = |line: &str| at_home(Client::Minke, rig.scratch(), line);
        let source = from.name("multi:1");
        let output = ours(&format!("image copy {source} {}", registry.name("team/multi:2")));
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert_eq!(output.text().matches(": Copied").count(), 4, "{}", output.text());
        assert!(output.text().contains(&format!("2: digest: {index} size: ")), "{}", output.text());
        assert_eq!(registry.manifest("team/multi", "2").0, index);
        assert_eq!(registry.manifest("team/multi", &arm64.manifest).0, arm64.manifest);
        // Within one registry nothing is sent.
        let again =
            ours(&format!("image copy {} {}", registry.name("team/multi:2"), registry.name("near:1")));
        assert_eq!(again.text().matches(": Mounted from team/multi").count(), 4, "{}", again.text());
        let one = ours(&format!("image copy -q --platform linux/arm64 {source} {}", registry.name("one:1")));
        assert_eq!(one.text(), arm64.manifest, "{}", one.stderr);
        let missing = ours(&format!("image copy {} {}", from.name("multi:no"), registry.name("one:2")));
        assert_eq!(missing.code, 1);
        assert!(missing.stderr.contains("manifest unknown"), "{}", missing.stderr);
    });
}
