//! `push`, to Debian's registry: what goes there, what does not, and that it is the same each time.

use minke_e2e::registry::{DockerRegistry, Packing, Registry};
use minke_e2e::rootfs::busybox_tar;
use minke_e2e::{Client, Rig, case, escape, once};

fn digests(rig: &Rig, name: &str) -> Vec<String> {
    let answer = rig.get(&format!("/images/{}/json", escape(name)));
    let found = answer.json();
    let list = found["RepoDigests"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(|digest| digest.as_str().map(str::to_owned)).collect()
}

/// The digest in the last line of a push.
fn pushed(output: &str) -> String {
    let line = output.lines().find(|line| line.contains(": digest: sha256:")).expect(output);
    let rest = line.split("digest: ").nth(1).unwrap_or_default();
    rest.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn an_image_is_pushed_and_comes_back_the_same() {
    case(|rig| {
        let registry = DockerRegistry::start(&rig.scratch().join("registry"), "");
        let name = registry.name("team/box:1");
        rig.ok("run --name changed busybox sh -c 'echo hi > /new'");
        rig.ok("commit changed changed");
        rig.ok("rm changed");
        rig.ok(&format!("tag changed {name}"));
        let id = rig.ok(&format!("images -q --no-trunc {name}"));
        let output = rig.ok(&format!("push {name}"));
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines[0], format!("The push refers to repository [{}]", registry.name("team/box")));
        assert_eq!(lines.iter().filter(|line| line.ends_with(": Preparing")).count(), 2, "{output}");
        assert_eq!(lines.iter().filter(|line| line.ends_with(": Pushed")).count(), 2, "{output}");
        let (digest, manifest) = registry.manifest("team/box", "1");
        assert_eq!(pushed(&output), digest);
        assert!(lines.last().is_some_and(|line| line.starts_with("1: digest: ")), "{output}");
        assert_eq!(manifest["config"]["digest"], id.as_str());
        let again = rig.ok(&format!("push {name}"));
        assert_eq!(again.matches("Layer already exists").count(), 2, "{again}");
        assert_eq!(pushed(&again), digest);
        assert_eq!(digests(rig, &name), [format!("{}@{digest}", registry.name("team/box"))]);
        // Another repository of the same registry: nothing is sent.
        let other = registry.name("other:1");
        rig.ok(&format!("tag changed {other}"));
        let mounted = rig.ok(&format!("push {other}"));
        assert_eq!(mounted.matches("Mounted from team/box").count(), 2, "{mounted}");
        assert_eq!(pushed(&mounted), digest);
        rig.ok(&format!("rmi {name} {other} changed"));
        rig.ok(&format!("pull -q {name}"));
        assert_eq!(rig.ok(&format!("images -q --no-trunc {name}")), id);
        assert_eq!(rig.ok(&format!("run --rm {name} cat /new")), "hi");
        // Made anew from what was pulled, not from what was here.
        assert_eq!(pushed(&rig.ok(&format!("push {name}"))), digest);
        rig.ok(&format!("rmi {name}"));
    });
}

#[test]
fn what_was_pulled_goes_out_as_it_came() {
    let from = Registry::start();
    let layers = [(busybox_tar(), Packing::Zstd)];
    let amd64 = from.image_for("multi", &layers, "amd64", true);
    let arm64 = from.image_for("multi", &[(busybox_tar(), Packing::Gzip)], "arm64", true);
    let index = from.index("multi", "1", &[&amd64, &arm64]);
    from.name_it("multi", "single", &amd64.manifest);
    once(|rig| {
        let registry = DockerRegistry::start(&rig.scratch().join("registry"), "");
        let (source, target) = (from.name("multi:single"), registry.name("multi:single"));
        rig.ok(&format!("pull -q {source}"));
        rig.ok(&format!("tag {source} {target}"));
        rig.ok(&format!("push {target}"));
        let (digest, manifest) = registry.manifest("multi", "single");
        assert_eq!(digest, amd64.manifest);
        assert_eq!(manifest["layers"][0]["digest"], amd64.layers[0].as_str());
        // One platform of two: it alone, and a word about it.
        let (source, target) = (from.name("multi:1"), registry.name("multi:1"));
        rig.ok(&format!("pull -q {source}"));
        rig.ok(&format!("tag {source} {target}"));
        let output = rig.ok(&format!("push {target}"));
        assert!(output.contains("Not all platforms"), "{output}");
        assert_eq!(registry.manifest("multi", "1").0, amd64.manifest);
        rig.ok(&format!("pull -q --platform linux/arm64 {source}"));
        rig.ok(&format!("push {target}"));
        assert_eq!(registry.manifest("multi", "1").0, index);
        let arm = rig.ok(&format!("push --platform linux/arm64 {target}"));
        assert_eq!(pushed(&arm), arm64.manifest);
    });
}

#[test]
fn all_tags_go_and_what_is_not_there_is_said() {
    case(|rig| {
        let registry = DockerRegistry::start(&rig.scratch().join("registry"), "");
        for tag in ["1", "2"] {
            rig.ok(&format!("tag busybox {}", registry.name(&format!("all:{tag}"))));
        }
        let output = rig.ok(&format!("push --all-tags {}", registry.name("all")));
        assert_eq!(output.matches(": digest: sha256:").count(), 2, "{output}");
        assert_eq!(registry.manifest("all", "1").0, registry.manifest("all", "2").0);
        rig.fails(&format!("push {}", registry.name("all:3")), 1, "tag does not exist: ");
        rig.fails(
            &format!("push {}", registry.name("none")),
            1,
            "An image does not exist locally with the tag: ",
        );
        assert_eq!(rig.ok(&format!("push -q {}", registry.name("all:1"))), registry.name("all:1"));
    });
}

#[test]
fn an_index_that_is_here_in_parts_is_pushed_where_the_rest_is_there_already() {
    let from = Registry::start();
    let layers = [(busybox_tar(), Packing::Gzip)];
    let images = ["amd64", "arm64", "s390x"].map(|name| from.image_for("many", &layers, name, true));
    let index = from.index("many", "1", &images.each_ref());
    from.name_it("many", "s390x", &images[2].manifest);
    Rig::run(Client::Minke, &[], |rig| {
        let registry = DockerRegistry::start(&rig.scratch().join("registry"), "");
        let (source, target) = (from.name("many:1"), registry.name("many:1"));
        for name in ["amd64", "arm64"] {
            rig.ok(&format!("pull -q --platform linux/{name} {source}"));
        }
        let tree = rig.ok("images --tree");
        let rows: Vec<&str> = tree.lines().filter(|line| line.contains("─ linux/")).collect();
        assert!(rows[0].starts_with("├─ linux/amd64") && !rows[0].contains(" 0B"), "{tree}");
        assert!(rows[2].starts_with("└─ linux/s390x") && rows[2].contains(" 0B"), "{tree}");
        assert_eq!(rows.len(), 3, "{tree}");
        rig.ok(&format!("tag {source} {target}"));
        rig.fails(&format!("push {target}"), 1, &format!("missing content: {}", images[2].manifest));
        rig.ok(&format!("image copy -q {} {}", from.name("many:s390x"), registry.name("many:s390x")));
        rig.ok(&format!("push {target}"));
        assert_eq!(registry.manifest("many", "1").0, index);
        // One platform of it in an archive.
        let archive = rig.scratch().join("arm64.tar");
        rig.ok(&format!("save --platform linux/arm64 -o {} {source}", archive.display()));
        rig.fails(&format!("save --platform linux/s390x {source}"), 1, "does not provide the platform");
        rig.ok(&format!("rmi {source} {target}"));
        rig.ok(&format!("load -i {}", archive.display()));
        assert_eq!(rig.ok(&format!("images -q --no-trunc {source}")), images[1].config);
    });
}
