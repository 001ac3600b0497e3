//! Archives as `docker save` writes them, with manifests and configurations that nothing writes.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::tar::Tar;
use super::{Random, tricks};

/// Makes an archive to be loaded, whose name is told by its number.
pub(super) fn archive(random: &mut Random, number: u64, aim: &str) -> (String, Vec<u8>) {
    let may_break = random.below(5) == 0;
    let (what, layer) = tricks::layer(random, aim, may_break);
    let mut config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/true"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hash(&layer))]}});
    if cfg!(target_arch = "aarch64") {
        config["architecture"] = "arm64".into();
    }
    let mut what = vec![what];
    if random.below(3) > 0 {
        what.push(format!("setting {}", setting(random, &mut config, aim)));
    }
    if random.below(4) == 0 {
        what.push(format!("configuration {}", configuration(random, &mut config)));
    }
    let mut text = config.to_string();
    if random.below(12) == 0 {
        let depth = 10 + random.below(100_000);
        text = format!("{{\"config\":{}", "[".repeat(depth));
        what.push("nested".into());
    }
    let name = format!("{}.json", hash(text.as_bytes()));
    let mut manifest =
        json!([{"Config": name, "RepoTags": [format!("hostile{number}:1")], "Layers": ["one/layer.tar"]}]);
    let mut outer = Tar::default();
    if random.below(3) == 0 {
        what.push(format!("manifest {}", around(random, &mut manifest, &mut outer, aim)));
    }
    outer.file("one/layer.tar", &layer);
    outer.file(&name, text.as_bytes());
    let mut text = manifest.to_string();
    if random.below(20) == 0 {
        text = random
            .of(&["", "[", "null", "{}", "[]", "[{}]", "[1]", "\"x\"", "[{\"Config\":1}]", "\u{0}"])
            .to_owned();
        what.push(format!("manifest is {text:?}"));
    }
    outer.file("manifest.json", text.as_bytes());
    (what.join(", "), outer.finish())
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Changes what containers are made with.
fn setting(random: &mut Random, config: &mut Value, aim: &str) -> String {
    let huge: Vec<String> = (0..20_000).map(|number| format!("KEY{number}={}", "v".repeat(20))).collect();
    let long = format!("/{}", "w/".repeat(3000));
    let choices: Vec<(&str, Value)> = vec![
        ("Env", json!(huge)),
        ("Env", json!(["NOTHING", "=x", "", "A=\u{0}", "PATH=", "PATH"])),
        ("Env", json!([format!("BIG={}", "x".repeat(200_000))])),
        ("Env", json!({"a": 1})),
        ("User", json!("-1")),
        ("User", json!("99999999999:0")),
        ("User", json!("a:b:c")),
        ("User", json!("0:nosuch")),
        ("User", json!("root\u{0}x")),
        ("User", json!("root:root")),
        ("User", json!("u".repeat(100_000))),
        ("User", json!(0)),
        ("WorkingDir", json!("../../../../..")),
        ("WorkingDir", json!("relative/to")),
        ("WorkingDir", json!("/proc/self/fd/7")),
        ("WorkingDir", json!("/out/folder/new")),
        ("WorkingDir", json!(format!("{aim}/new"))),
        ("WorkingDir", json!("/etc/passwd/x")),
        ("WorkingDir", json!(long)),
        ("Entrypoint", json!([])),
        ("Entrypoint", json!([""])),
        ("Entrypoint", json!(["/bin/true\u{0}x"])),
        ("Entrypoint", json!(["../../bin/true"])),
        ("Entrypoint", json!([format!("{aim}/one")])),
        ("Entrypoint", json!(["/proc/self/exe"])),
        ("Entrypoint", json!("text")),
        ("Cmd", json!(null)),
        ("Cmd", json!(vec!["/bin/true"; 5000])),
        ("Volumes", json!({"/": {}})),
        ("Volumes", json!({"../../..": {}, "relative": {}})),
        ("Volumes", json!({"/proc": {}, "/dev": {}, "/sys/fs/cgroup": {}})),
        ("Volumes", json!({"/out": {}, "/etc/passwd": {}, "/bin/true": {}})),
        ("Volumes", json!({(format!("{aim}/folder")): {}})),
        ("ExposedPorts", json!({"99999/tcp": {}, "x": {}, "-1/udp": {}, "1-65535/tcp": {}})),
        ("Healthcheck", json!({"Test": ["NONSENSE"], "Interval": -5})),
        (
            "Healthcheck",
            json!({"Test": ["CMD", "/bin/true"], "Interval": 1, "Timeout": i64::MAX, "Retries": -1}),
        ),
        ("StopSignal", json!("SIGNONE")),
        ("Labels", json!({"": "", "a\u{0}": "b", "\u{1b}[31m": "red"})),
        ("Shell", json!([1, 2])),
        ("OnBuild", json!(["RUN rm -rf /"])),
    ];
    let (key, value) = &choices[random.below(choices.len())];
    config["config"][*key] = value.clone();
    let mut shown = value.to_string();
    shown.truncate(shown.char_indices().nth(60).map_or(shown.len(), |(at, _)| at));
    format!("{key}={shown}")
}

/// Changes the configuration around that.
fn configuration(random: &mut Random, config: &mut Value) -> String {
    let digest = config["rootfs"]["diff_ids"][0].clone();
    let choices: Vec<(&str, Value)> = vec![
        ("rootfs", json!(null)),
        ("rootfs", json!("layers")),
        ("rootfs", json!({"type": "layers", "diff_ids": []})),
        ("rootfs", json!({"type": "layers", "diff_ids": [digest, digest]})),
        ("rootfs", json!({"type": "layers", "diff_ids": [format!("sha256:{}", "0".repeat(64))]})),
        ("rootfs", json!({"type": "layers", "diff_ids": ["sha256:../../../../etc/passwd"]})),
        ("rootfs", json!({"type": "layers", "diff_ids": ["md5:0", "sha256:", ""]})),
        ("rootfs", json!({"type": "other", "diff_ids": [digest]})),
        ("config", json!(null)),
        ("config", json!("text")),
        ("config", json!([])),
        ("architecture", json!("pdp11")),
        ("os", json!("windows")),
        ("os", json!("")),
        ("created", json!("yesterday")),
        ("created", json!("9999-99-99T99:99:99Z")),
        ("history", json!([{"empty_layer": "x"}])),
        ("history", json!(vec![json!({"created_by": "x", "empty_layer": true}); 3000])),
        ("container_config", json!({"Cmd": 5})),
    ];
    let (key, value) = &choices[random.below(choices.len())];
    config[*key] = value.clone();
    (*key).to_owned()
}

/// Changes the manifest, and what it names.
fn around(random: &mut Random, manifest: &mut Value, outer: &mut Tar, aim: &str) -> &'static str {
    let one = format!("{aim}/one");
    let inside = &mut manifest[0];
    match random.below(11) {
        0 => inside["Config"] = json!(format!("{}{one}", "../".repeat(12))),
        1 => inside["Config"] = json!(one),
        2 => inside["Layers"] = json!([one]),
        3 => inside["Layers"] = json!(["../one/layer.tar", "", "/"]),
        4 => {
            outer.link("link", &one);
            inside["Layers"] = json!(["link"]);
        }
        5 => {
            outer.link("config.json", &one);
            inside["Config"] = json!("config.json");
        }
        6 => inside["Layers"] = json!(["one/layer.tar", "one/layer.tar"]),
        7 => inside["RepoTags"] = json!(["", ":", "a:b:c", "UPPER:1"]),
        8 => inside["RepoTags"] = json!(["../../x:1", "x".repeat(1000)]),
        9 => *manifest = json!(vec![manifest[0].clone(); 200]),
        _ => {
            outer.link("one", aim);
            outer.link("loop", "loop");
            outer.file(&format!("..{aim}/new"), b"written");
            outer.put(b'1', b"hard", one.as_bytes(), b"");
        }
    }
    "changed"
}
