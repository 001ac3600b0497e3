//! The JSON of inspect, ps, info, version and events: the shape that programs read.

use minke_e2e::{EngineKind, case, http, once};
use serde_json::{Value, json};

/// Panics unless `value` has a key of the kind given, for each row.
fn check_shape(value: &Value, rows: &[(&str, &str)]) {
    for (pointer, kind) in rows {
        let found = value.pointer(pointer);
        let seen = match found {
            None => "absent",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "bool",
            Some(Value::Number(_)) => "number",
            Some(Value::String(_)) => "string",
            Some(Value::Array(_)) => "array",
            Some(Value::Object(_)) => "object",
        };
        assert_eq!(&seen, kind, "{pointer}: {found:?}");
    }
}

#[test]
fn a_container_s_inspect_has_docker_s_shape() {
    once(|rig| {
        rig.ok("create --name one -i -t -e A=1 --memory 64m --cpus 0.5 --restart on-failure:3 --cap-add NET_ADMIN busybox echo hi");
        // As the reference's version of the API has it: 1.52 leaves an empty OnBuild out.
        let container = rig.get("/v1.41/containers/one/json").json();
        check_shape(
            &container,
            &[
                ("/Id", "string"),
                ("/Created", "string"),
                ("/Path", "string"),
                ("/Args", "array"),
                ("/State", "object"),
                ("/State/OOMKilled", "bool"),
                ("/State/Dead", "bool"),
                ("/State/Error", "string"),
                ("/State/StartedAt", "string"),
                ("/Image", "string"),
                ("/ResolvConfPath", "string"),
                ("/HostnamePath", "string"),
                ("/HostsPath", "string"),
                ("/LogPath", "string"),
                ("/RestartCount", "number"),
                ("/Driver", "string"),
                ("/Platform", "string"),
                ("/MountLabel", "string"),
                ("/ProcessLabel", "string"),
                ("/AppArmorProfile", "string"),
                ("/ExecIDs", "null"),
                ("/HostConfig", "object"),
                ("/HostConfig/Binds", "null"),
                ("/HostConfig/PortBindings", "object"),
                ("/HostConfig/CapAdd", "array"),
                ("/HostConfig/CapDrop", "null"),
                ("/HostConfig/Dns", "array"),
                ("/HostConfig/LogConfig/Config", "object"),
                ("/GraphDriver/Name", "string"),
                ("/GraphDriver/Data", "object"),
                ("/Mounts", "array"),
                ("/Config/Env", "array"),
                ("/Config/Cmd", "array"),
                ("/Config/Volumes", "null"),
                ("/Config/Entrypoint", "null"),
                ("/Config/OnBuild", "null"),
                ("/Config/Labels", "object"),
                ("/NetworkSettings", "object"),
                ("/NetworkSettings/Networks/none", "object"),
                ("/NetworkSettings/Ports", "object"),
            ],
        );
        let fixed = [
            ("/Name", json!("/one")),
            ("/Path", json!("echo")),
            ("/Args", json!(["hi"])),
            ("/State/Status", json!("created")),
            ("/State/Pid", json!(0)),
            ("/State/StartedAt", json!("0001-01-01T00:00:00Z")),
            ("/Platform", json!("linux")),
            ("/HostConfig/Memory", json!(67_108_864)),
            ("/HostConfig/MemorySwap", json!(134_217_728)),
            ("/HostConfig/NanoCpus", json!(500_000_000)),
            ("/HostConfig/NetworkMode", json!("none")),
            ("/HostConfig/RestartPolicy", json!({"Name": "on-failure", "MaximumRetryCount": 3})),
            ("/HostConfig/LogConfig/Type", json!("json-file")),
            ("/HostConfig/ShmSize", json!(67_108_864)),
            ("/HostConfig/IpcMode", json!("private")),
            ("/HostConfig/Runtime", json!("runc")),
            ("/Config/Tty", json!(true)),
            ("/Config/OpenStdin", json!(true)),
            ("/Config/StdinOnce", json!(true)),
            ("/Config/Image", json!("busybox")),
            ("/Config/Env", json!(["A=1", "PATH=/bin"])),
            ("/Config/Cmd", json!(["echo", "hi"])),
        ];
        for (pointer, expected) in fixed {
            let found = container.pointer(pointer).cloned().unwrap_or_default();
            if pointer == "/HostConfig/Runtime" && rig.kind() == EngineKind::Minke {
                assert!(found.is_string(), "{found}");
            } else {
                assert_eq!(found, expected, "{pointer}");
            }
        }
        check_shape(
            &rig.get("/containers/one/json?size=1").json(),
            &[("/SizeRw", "number"), ("/SizeRootFs", "number")],
        );
        check_shape(&container, &[("/SizeRw", "absent")]);
    });
}

#[test]
fn a_row_of_the_list_has_docker_s_shape() {
    case(|rig| {
        rig.ok("create --name one --label a=b busybox sh -c 'exit 3'");
        let row = rig.get("/containers/json?all=1").json()[0].clone();
        check_shape(
            &row,
            &[
                ("/Id", "string"),
                ("/Names", "array"),
                ("/Image", "string"),
                ("/ImageID", "string"),
                ("/Command", "string"),
                ("/Created", "number"),
                ("/Ports", "array"),
                ("/Labels", "object"),
                ("/State", "string"),
                ("/Status", "string"),
                ("/HostConfig/NetworkMode", "string"),
                ("/NetworkSettings/Networks", "object"),
                ("/Mounts", "array"),
            ],
        );
        assert_eq!(
            (&row["Names"], &row["State"], &row["Status"]),
            (&json!(["/one"]), &json!("created"), &json!("Created"))
        );
        assert_eq!(row["Command"], "sh -c 'exit 3'");
        rig.ok("start one");
        rig.ok("wait one");
        let row = rig.get("/containers/json?all=1").json()[0].clone();
        assert!(row["Status"].as_str().is_some_and(|text| text.starts_with("Exited (3) ")), "{row}");
        let table = rig.ok("ps -a");
        let heading: Vec<&str> = table
            .lines()
            .next()
            .unwrap_or_default()
            .split("  ")
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .collect();
        assert_eq!(heading, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
        assert_eq!(
            rig.ok("ps -a --format '{{.Names}} {{.Image}} {{.Command}}'"),
            "one busybox \"sh -c 'exit 3'\""
        );
        assert_eq!(rig.ok("ps -a --format '{{json .Labels}}'"), "\"a=b\"");
        for (filter, found) in [
            ("name=on", true),
            ("status=exited", true),
            ("status=running", false),
            ("exited=3", true),
            ("exited=4", false),
            ("label=a", true),
            ("label=a=c", false),
            ("ancestor=busybox", true),
            ("id=zz", false),
        ] {
            assert_eq!(
                rig.ok(&format!("ps -a --filter {filter} --format '{{{{.Names}}}}'")) == "one",
                found,
                "{filter}"
            );
        }
        assert_eq!(
            rig.ok("ps"),
            table
                .lines()
                .next()
                .map(|_| "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES")
                .unwrap_or_default()
        );
    });
}

#[test]
fn inspect_prints_json_or_a_template() {
    case(|rig| {
        rig.ok("create --name one -e A=1 busybox");
        let all: Value = serde_json::from_str(&rig.ok("inspect one")).expect("JSON");
        assert_eq!(all[0]["Name"], "/one");
        assert_eq!(rig.ok("inspect --format '{{.State.Status}} {{json .Config.Cmd}} {{range .Config.Env}}[{{.}}]{{end}}' one"), "created [\"sh\"] [A=1][PATH=/bin]");
        assert_eq!(rig.ok("container inspect -f '{{len .Name}}' one"), "4");
        assert_eq!(rig.ok("image inspect -f '{{.Os}}' busybox"), "linux");
        let output = rig.cli("inspect one missing");
        assert_eq!(output.code, 1);
        assert!(output.stderr.contains("o such object: missing"), "{}", output.stderr);
        rig.fails("inspect --format '{{.Nope' one", 64, "template parsing error");
    });
}

#[test]
fn version_and_info_are_docker_s() {
    case(|rig| {
        let version = rig.get("/version").json();
        check_shape(
            &version,
            &[
                ("/Version", "string"),
                ("/ApiVersion", "string"),
                ("/MinAPIVersion", "string"),
                ("/GitCommit", "string"),
                ("/GoVersion", "string"),
                ("/Os", "string"),
                ("/Arch", "string"),
                ("/KernelVersion", "string"),
                ("/Components", "array"),
            ],
        );
        let info = rig.get("/info").json();
        check_shape(
            &info,
            &[
                ("/ID", "string"),
                ("/Containers", "number"),
                ("/Images", "number"),
                ("/Driver", "string"),
                ("/DriverStatus", "array"),
                ("/CgroupDriver", "string"),
                ("/CgroupVersion", "string"),
                ("/NCPU", "number"),
                ("/MemTotal", "number"),
                ("/DockerRootDir", "string"),
                ("/ServerVersion", "string"),
                ("/Name", "string"),
                ("/SecurityOptions", "array"),
                ("/Plugins/Log", "array"),
                ("/Runtimes", "object"),
                ("/OSType", "string"),
            ],
        );
        assert!(rig.ok("version").contains("Server:"));
        assert!(rig.ok("info").contains("Containers: 0"));
        assert_eq!(rig.ok("version --format '{{.Server.Os}}'"), "linux");
    });
}

#[test]
fn events_tell_what_happens() {
    case(|rig| {
        let mut events = http::follow(rig.socket(), "/events").expect("events");
        assert_eq!(rig.cli("run --rm --name one --label a=b busybox sh -c 'exit 3'").code, 3);
        let mut seen = Vec::new();
        while seen.last().map(String::as_str) != Some("destroy") {
            let line = events.next().expect("the stream goes on");
            let event: Value = serde_json::from_str(&line).expect("JSON");
            if event["Type"] != "container" {
                continue;
            }
            assert_eq!(event["Actor"]["Attributes"]["name"], "one");
            assert_eq!(event["Actor"]["Attributes"]["image"], "busybox");
            assert_eq!(event["Actor"]["Attributes"]["a"], "b");
            if event["Action"] == "die" {
                assert_eq!(event["Actor"]["Attributes"]["exitCode"], "3");
            }
            assert!(event["timeNano"].as_i64() > event["time"].as_i64());
            seen.push(event["Action"].as_str().unwrap_or_default().to_string());
        }
        assert_eq!(seen, ["create", "attach", "start", "die", "destroy"]);
        let past = rig.ok("events --since 1h --until=-1s --filter event=die --format '{{.Action}} {{.Actor.Attributes.exitCode}}'");
        assert_eq!(past, "die 3");
    });
}
