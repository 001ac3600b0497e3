use serde_json::{Value, json};

use super::*;
use crate::cmd::container::create::Create;
use crate::error::Failure;
use crate::grammar::{Parsed, parse};

/// The parts of the request that differ from a plain one, or the error.
fn request(line: &str) -> Result<Value, String> {
    let words: Vec<std::ffi::OsString> =
        shell_words::split(line).unwrap().into_iter().map(Into::into).collect();
    let (create, arguments) = match parse::<Create>("minke", "create", &words) {
        Ok(Parsed::Run(create, arguments)) => (create, arguments),
        Ok(Parsed::Help(text)) => return Err(text),
        Err(Failure::Flag(usage)) => {
            return Err(format!(
                "{}{}",
                usage.message,
                usage.hint.map(|hint| format!(" | {hint}")).unwrap_or_default()
            ));
        }
        Err(other) => return Err(other.render("minke").lines().next().unwrap_or_default().to_string()),
    };
    let env = |name: &str| (name == "HOME").then(|| "/root".to_string());
    let read = |path: &str| match path {
        "vars" => Ok(b"A=file\nHOME\n".to_vec()),
        "bad" => Ok(b"A B=1".to_vec()),
        _ => Err(Error::invalid(format!("open {path}: no such file or directory"))),
    };
    let facts = Facts {
        directory: "/work",
        env: &env,
        read: &read,
        proxies: Vec::new(),
        console: Some([24, 80]),
        detach: false,
    };
    let plan = |line: &[String], flags: &ContainerFlags| plan_create(flags, &line[0], &line[1..], &facts);
    let body = plan(&arguments, &create.flags).map_err(|error| error.to_string())?;
    let plain = plan(
        &["i".to_string()],
        &ContainerFlags { pull: "missing".into(), restart: "no".into(), ..ContainerFlags::default() },
    )
    .unwrap();
    let body = serde_json::to_value(body).unwrap();
    Ok(difference(&body, &serde_json::to_value(plain).unwrap()))
}

fn difference(value: &Value, plain: &Value) -> Value {
    match (value, plain) {
        (Value::Object(fields), Value::Object(known)) => fields
            .iter()
            .filter(|(key, value)| known.get(*key) != Some(value))
            .map(|(key, value)| (key.clone(), difference(value, known.get(key).unwrap_or(&Value::Null))))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        (value, _) => value.clone(),
    }
}

#[track_caller]
fn check(line: &str, expected: Value) {
    assert_eq!(request(line), Ok(expected), "{line}");
}

#[track_caller]
fn refuses(line: &str, message: &str) {
    assert_eq!(request(line), Err(message.to_string()), "{line}");
}

#[test]
fn flags_stop_at_the_image() {
    check("i sh -c 'ls -l' --rm", json!({"Cmd": ["sh", "-c", "ls -l", "--rm"]}));
    check("-- i -- -x", json!({"Cmd": ["--", "-x"]}));
}

#[test]
fn short_flags_are_joined_and_booleans_take_a_value() {
    let terminal = json!({"AttachStdin": true, "OpenStdin": true, "StdinOnce": true, "Tty": true, "HostConfig": {"ConsoleSize": [24, 80]}});
    check("-it i", terminal.clone());
    check("-i -t=true i", terminal);
    check("-i=false -t=0 --rm=false i", json!({}));
    check("--rm --rm=false --privileged=1 i", json!({"HostConfig": {"Privileged": true}}));
}

#[test]
fn values_may_be_joined_and_the_last_of_a_single_one_wins() {
    check("-eA=1 -e B=2 -e=C=3 --env D=4 i", json!({"Env": ["A=1", "B=2", "C=3", "D=4"]}));
    check("-w /a --workdir=/b i", json!({"WorkingDir": "/b"}));
    check("--memory-swap -1 -m 1g i", json!({"HostConfig": {"Memory": 1_073_741_824, "MemorySwap": -1}}));
}

#[test]
fn every_offered_flag_reaches_its_field() {
    check(
        "--cpus 1.5 --pids-limit 9 --cpu-shares 5 i",
        json!({"HostConfig": {"NanoCpus": 1_500_000_000, "PidsLimit": 9, "CpuShares": 5}}),
    );
    check(
        "--cap-add NET_ADMIN --cap-drop ALL --init --read-only i",
        json!({"HostConfig": {"CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"], "Init": true, "ReadonlyRootfs": true}}),
    );
    check(
        "-v ./a:/b:ro -v /anon --tmpfs /t:size=1m i",
        json!({"Volumes": {"/anon": {}}, "HostConfig": {"Binds": ["/work/a:/b:ro"], "Tmpfs": {"/t": "size=1m"}}}),
    );
    check(
        "--mount type=bind,src=/a,dst=/b,ro i",
        json!({"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true}]}}),
    );
    check(
        "--restart on-failure:3 i",
        json!({"HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}}),
    );
    check(
        "--log-opt max-size=1m --log-opt max-file=2 i",
        json!({"HostConfig": {"LogConfig": {"Config": {"max-size": "1m", "max-file": "2"}}}}),
    );
    check(
        "--stop-signal INT --stop-timeout 3 -u 1:2 -h box i",
        json!({"StopSignal": "INT", "StopTimeout": 3, "User": "1:2", "Hostname": "box"}),
    );
    check(
        "--entrypoint '' -l a=b -l c i x",
        json!({"Entrypoint": [""], "Labels": {"a": "b", "c": ""}, "Cmd": ["x"]}),
    );
    check("-a stdout i", json!({"AttachStderr": false}));
    check("--env-file vars -e A=flag i", json!({"Env": ["A=file", "HOME=/root", "A=flag"]}));
}

#[test]
fn a_bad_value_is_refused_in_dockers_words() {
    refuses("--foo i", "unknown flag: --foo");
    refuses("-Z i", "unknown shorthand flag: 'Z' in -Z");
    refuses("--name", "flag needs an argument: --name");
    refuses(
        "-t=x i",
        "invalid argument \"x\" for \"-t, --tty\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
    );
    refuses(
        "--rm=x i",
        "invalid argument \"x\" for \"--rm\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
    );
    refuses("--memory x i", "invalid argument \"x\" for \"-m, --memory\" flag: invalid size: 'x'");
    refuses(
        "--cpus x i",
        "invalid argument \"x\" for \"--cpus\" flag: failed to parse x as a rational number",
    );
    refuses(
        "--stop-timeout x i",
        "invalid argument \"x\" for \"--stop-timeout\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
    );
    refuses(
        "--mount foo i",
        "invalid argument \"foo\" for \"--mount\" flag: invalid field 'foo' must be a key=value pair",
    );
    refuses("-e =x i", "invalid argument \"=x\" for \"-e, --env\" flag: invalid environment variable: =x");
    refuses("-l =x i", "invalid argument \"=x\" for \"-l, --label\" flag: invalid label '=x': empty name");
    refuses(
        "-a foo i",
        "invalid argument \"foo\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR",
    );
    refuses("", "minke: 'minke create' requires at least 1 argument");
}

#[test]
fn a_contradiction_is_refused_in_dockers_words() {
    refuses("--rm --restart always i", "conflicting options: cannot specify both --restart and --rm");
    refuses(
        "--pull foo i",
        "invalid pull option: 'foo': must be one of \"always\", \"missing\" or \"never\"",
    );
    refuses("--network '' i", "no name set for network");
    refuses("--log-driver none --log-opt a=b i", "invalid logging opts for driver none");
    refuses("-v '' i", "invalid empty volume spec");
    refuses("--env-file bad i", "invalid env file (bad): variable 'A B' contains whitespaces");
    refuses("--env-file gone i", "open gone: no such file or directory");
}

#[test]
fn a_published_port_is_exposed_too() {
    check(
        "-p 8080:80 i",
        json!({"ExposedPorts": {"80/tcp": {}}, "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}}),
    );
}

#[test]
fn a_mistyped_flag_gets_a_suggestion_and_one_not_offered_its_reason() {
    refuses("--privilegd i", "unknown flag: --privilegd | Did you mean --privileged?");
    refuses("--isolation x i", "the flag --isolation is not offered by this version of minke");
}
