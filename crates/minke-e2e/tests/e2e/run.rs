//! `run` and `create`: what the container's process sees, and what comes back from it.

use minke_e2e::{EngineKind, case, once};
use rustix::process::Signal;

#[test]
fn standard_output_and_error_come_apart() {
    case(|rig| {
        let output = rig.cli("run --rm busybox sh -c 'echo out; echo err >&2'");
        assert_eq!((output.code, output.text().as_str()), (0, "out"));
        assert!(output.stderr.contains("err\n"), "{}", output.stderr);
    });
}

#[test]
fn the_exit_code_is_the_command_s() {
    case(|rig| {
        for (script, code) in
            [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 0)]
        {
            // A signal that the first process of a pid namespace has no handler for does nothing.
            let expected = if script == "kill -9 $$" { 0 } else { code };
            assert_eq!(rig.cli(&format!("run --rm busybox sh -c '{script}'")).code, expected, "{script}");
        }
        assert_eq!(rig.cli("run --rm busybox sh -c 'sh -c \"kill -9 \\$\\$\"; exit $?'").code, 137);
        rig.fails("run --rm busybox no-such-program", 127, "executable file not found in $PATH");
        rig.fails("run --rm busybox /etc/passwd", 126, "permission denied");
        rig.fails("run --rm busybox /no/such/program", 127, "no such file or directory");
        assert_eq!(rig.ok("ps -aq"), "", "a container that could not start is removed with --rm");
    });
}

#[test]
fn a_container_that_can_not_start_stays_created() {
    case(|rig| {
        rig.fails("run --name broken busybox no-such-program", 127, "executable file not found");
        let state = rig.inspect("broken");
        assert_eq!(state["State"]["Status"], "created");
        assert_eq!(state["State"]["ExitCode"], 127);
        assert!(state["State"]["Error"].as_str().is_some_and(|words| words.contains("no-such-program")));
    });
}

#[test]
fn standard_input_reaches_the_command_and_ends() {
    case(|rig| {
        let output = rig.with_input("run --rm -i busybox sh -c 'cat; echo end'", b"one\ntwo\n");
        assert_eq!((output.code, output.text().as_str()), (0, "one\ntwo\nend"));
        assert_eq!(rig.with_input("run --rm -i busybox wc -c", &vec![b'x'; 3_000_000]).text(), "3000000");
        assert_eq!(rig.ok("run --rm busybox readlink /proc/self/fd/0"), "/dev/null");
    });
}

#[test]
fn the_container_has_its_own_namespaces() {
    case(|rig| {
        let list = "sh -c 'cd /proc/self/ns; for n in ipc mnt net pid uts; do readlink $n; done'";
        let inside = rig.ok(&format!("run --rm busybox {list}"));
        let host = ["ipc", "mnt", "net", "pid", "uts"].map(|name| {
            std::fs::read_link(format!("/proc/self/ns/{name}"))
                .expect("namespaces are listed")
                .display()
                .to_string()
        });
        assert_eq!(inside.lines().count(), 5);
        assert!(inside.lines().all(|line| !host.iter().any(|host| host == line)), "{inside}");
        assert_eq!(rig.ok("run --rm busybox sh -c 'echo $$'"), "1");
        // The shell alone: in a pipeline the first program may look before the second is there.
        assert_eq!(rig.ok("run --rm busybox sh -c 'set -- /proc/[0-9]*; echo $#'"), "1");
    });
}

#[test]
fn the_network_is_none_or_the_host_s() {
    case(|rig| {
        assert_eq!(rig.ok("run --rm --network none busybox ls /sys/class/net"), "lo");
        assert!(rig.ok("run --rm --network none busybox ip addr show lo").contains("127.0.0.1/8"));
        if rig.kind() == EngineKind::Minke {
            let host = std::fs::read_link("/proc/self/ns/net").expect("a namespace").display().to_string();
            assert_eq!(rig.ok("run --rm --network host busybox readlink /proc/self/ns/net"), host);
        }
    });
}

#[test]
fn the_environment_is_the_image_s_and_the_flags() {
    case(|rig| {
        let file = rig.file("env", b"# a comment\nA=from file\nB=two\n\nPATH=/bin:/extra\n");
        let output = rig.ok(&format!(
            "run --rm --hostname box --env-file {} -e A=given -e 'C=x y' busybox env",
            file.display()
        ));
        let mut lines: Vec<&str> = output.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["A=given", "B=two", "C=x y", "HOME=/root", "HOSTNAME=box", "PATH=/bin:/extra"]);
        assert_eq!(rig.ok("run --rm -e HOME=/elsewhere busybox sh -c 'echo $HOME'"), "/elsewhere");
        let tty = rig.terminal("run --rm -t busybox sh -c 'echo term=$TERM.'");
        let mut tty = tty;
        tty.expect("term=xterm.");
        assert_eq!(tty.wait(), 0);
    });
}

#[test]
fn the_user_is_from_the_image_s_own_files() {
    case(|rig| {
        let id = |flags: &str| {
            rig.ok(&format!("run --rm {flags} busybox sh -c 'id -u; id -g; id -G; echo $HOME'"))
        };
        let rows = [
            ("", "0\n0\n0 10\n/root", "0\n0\n0\n/root"),
            ("-u alice", "1000\n1000\n1000 10 29\n/home/alice", "1000\n1000\n10 29 1000\n/home/alice"),
            ("-u alice:audio", "1000\n29\n29\n/home/alice", ""),
            ("-u 1000", "1000\n1000\n1000 10 29\n/home/alice", "1000\n1000\n10 29 1000\n/home/alice"),
            ("-u 4242", "4242\n0\n0\n/", ""),
            ("-u 4242:4343", "4242\n4343\n4343\n/", ""),
            ("-u nobody", "65534\n65534\n65534 29\n/home", "65534\n65534\n29 65534\n/home"),
        ];
        for (flags, one, other) in rows {
            let seen = id(flags);
            assert!(seen == one || seen == other, "{flags}: {seen}");
        }
        rig.fails(
            "run --rm -u mallory busybox true",
            125,
            "unable to find user mallory: no matching entries in passwd file",
        );
        rig.fails("run --rm -u alice:mallory busybox true", 125, "unable to find group mallory");
    });
}

#[test]
fn the_working_directory_is_made_and_can_not_lead_outside() {
    case(|rig| {
        assert_eq!(rig.ok("run --rm busybox pwd"), "/");
        assert_eq!(rig.ok("run --rm -w /tmp busybox pwd"), "/tmp");
        assert_eq!(rig.ok("run --rm -w /made/here busybox pwd"), "/made/here");
        rig.fails(
            "run --rm -w relative busybox pwd",
            125,
            "the working directory 'relative' is invalid, it needs to be an absolute path",
        );
        let output = rig.cli("run --rm -w /etc/passwd busybox pwd");
        assert!([125, 126, 127].contains(&output.code), "{output:?}");
        // A descriptor of the engine's that stayed open would be a way out of the container.
        for number in 3..20 {
            let output = rig.cli(&format!("run --rm -w /proc/self/fd/{number} busybox ls ../../../.."));
            assert_ne!(output.code, 0, "descriptor {number} leads to: {}", output.text());
        }
    });
}

#[test]
fn the_entry_point_stands_before_the_command() {
    case(|rig| {
        assert_eq!(rig.ok("run --rm --entrypoint echo busybox one two"), "one two");
        assert_eq!(rig.ok("run --rm --entrypoint /bin/sh busybox -c 'echo $0'"), "/bin/sh");
        rig.import(
            "entry",
            minke_e2e::rootfs::busybox_tar(),
            &["ENTRYPOINT [\"echo\", \"hello\"]", "CMD [\"world\"]", "ENV PATH=/bin"],
        );
        assert_eq!(rig.ok("run --rm entry"), "hello world");
        assert_eq!(rig.ok("run --rm entry there"), "hello there");
        assert_eq!(rig.ok("run --rm --entrypoint pwd entry"), "/");
    });
}

#[test]
fn host_name_and_hosts_file_are_docker_s() {
    case(|rig| {
        assert_eq!(rig.ok("run --rm --hostname box busybox hostname"), "box");
        assert_eq!(rig.ok("run --rm --hostname box busybox cat /etc/hostname"), "box");
        let id = rig.ok("run -d busybox hostname");
        rig.ok(&format!("wait {id}"));
        assert_eq!(rig.ok(&format!("logs {id}")), id[..12]);
        let hosts = rig.ok("run --rm busybox cat /etc/hosts");
        assert!(hosts.starts_with("127.0.0.1\tlocalhost\n"), "{hosts}");
        assert!(hosts.contains("ff02::2\tip6-allrouters"), "{hosts}");
    });
}

#[test]
fn binds_and_tmpfs_are_mounted() {
    case(|rig| {
        let folder = rig.scratch().join("shared");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("file"), "content").expect("a file");
        let folder = folder.display();
        assert_eq!(rig.ok(&format!("run --rm -v {folder}:/here busybox cat /here/file")), "content");
        rig.ok(&format!("run --rm -v {folder}:/here busybox sh -c 'echo new >/here/made'"));
        assert_eq!(std::fs::read_to_string(rig.scratch().join("shared/made")).ok().as_deref(), Some("new\n"));
        rig.fails(
            &format!("run --rm -v {folder}:/here:ro busybox touch /here/x"),
            1,
            "Read-only file system",
        );
        rig.fails(
            &format!("run --rm --mount type=bind,src={folder},dst=/here,readonly busybox touch /here/x"),
            1,
            "Read-only",
        );
        let file = format!("run --rm -v {folder}/file:/etc/one-file busybox cat /etc/one-file");
        assert_eq!(rig.ok(&file), "content");
        rig.ok(&format!("run --rm -v {folder}/made-by-v:/here busybox true"));
        assert!(rig.scratch().join("shared/made-by-v").is_dir(), "-v makes a source that isn't there");
        let missing = format!("run --rm --mount type=bind,src={folder}/missing,dst=/here busybox true");
        rig.fails(&missing, 125, "bind source path does not exist");
        let mounts = rig.ok(
            "run --rm --tmpfs /t:size=1m,mode=700 busybox sh -c 'grep \" /t \" /proc/mounts; stat -c %a /t'",
        );
        assert!(
            mounts.starts_with("tmpfs /t tmpfs rw,nosuid,nodev,noexec,relatime,size=1024k,mode=700"),
            "{mounts}"
        );
        rig.ok("run --rm --mount type=tmpfs,dst=/t,tmpfs-size=2m busybox sh -c 'grep \" /t .*size=2048k\" /proc/mounts'");
    });
}

#[test]
fn a_read_only_container_can_write_only_to_mounts() {
    case(|rig| {
        rig.fails("run --rm --read-only busybox touch /x", 1, "Read-only file system");
        assert_eq!(rig.ok("run --rm --read-only --tmpfs /t busybox sh -c 'echo a >/t/x; echo b >/dev/shm/x; cat /t/x /dev/shm/x'"), "a\nb");
    });
}

#[test]
fn what_a_container_writes_is_its_own() {
    case(|rig| {
        rig.ok("run --name one busybox sh -c 'echo changed >/etc/passwd; rm /bin/wc; mkdir /new'");
        assert_eq!(
            rig.ok("run --rm busybox sh -c 'ls /bin/wc; ls -d /new 2>&1; head -n 1 /etc/passwd'"),
            "/bin/wc\nls: /new: No such file or directory\nroot:x:0:0:root:/root:/bin/sh"
        );
    });
}

#[test]
fn the_image_s_files_stay_when_a_container_is_started_again() {
    case(|rig| {
        rig.ok("run --name again busybox sh -c 'echo more >>/log; cat /log'");
        assert_eq!(rig.ok("start -a again"), "more\nmore");
        assert_eq!(rig.ok("start -a again"), "more\nmore\nmore");
    });
}

#[test]
fn a_detached_run_prints_the_id_and_goes_on() {
    case(|rig| {
        let id = rig.ok("run -d --name background busybox sleep 1000");
        assert!(id.len() == 64 && id.chars().all(|letter| letter.is_ascii_hexdigit()), "{id}");
        assert_eq!(rig.ok("ps -q --no-trunc"), id);
        assert_eq!(rig.inspect("background")["State"]["Running"], true);
        rig.ok("kill background");
        assert_eq!(rig.ok("wait background"), "137");
    });
}

#[test]
fn rm_removes_the_container_after_a_detached_run_as_well() {
    case(|rig| {
        let id = rig.ok("run -d --rm busybox true");
        minke_e2e::within(20, "the container is removed", || {
            (rig.get(&format!("/containers/{id}/json")).status == 404).then_some(())
        });
    });
}

#[test]
fn init_reaps_what_the_command_leaves() {
    case(|rig| {
        let id = rig.ok("run -d --init busybox sh -c '(sleep 0.1 &) ; exec sleep 1000'");
        // One may end between the list and the look at it.
        let processes = || rig.cli(&format!("exec {id} sh -c 'cat /proc/[0-9]*/stat'")).text();
        let first = processes();
        let line = first.lines().find(|line| line.starts_with("1 ")).expect("the first process").to_string();
        assert!(!line.contains("sleep"), "the first process is the reaper: {first}");
        minke_e2e::within(20, "no zombie is left", || (!processes().contains(") Z ")).then_some(()));
        rig.ok(&format!("stop -t 20 {id}"));
        assert_eq!(rig.inspect(&id)["State"]["ExitCode"], 143, "the reaper passes TERM on");
    });
}

#[test]
fn a_signal_to_an_attached_run_reaches_the_command() {
    case(|rig| {
        let run = rig.spawn("run --rm -i --name proxied busybox sh -c 'trap \"echo got; exit 9\" TERM; echo ready; while :; do sleep 0.1; done'");
        run.expect("ready");
        run.signal(Signal::TERM);
        let output = run.wait();
        assert_eq!((output.code, output.text().as_str()), (9, "ready\ngot"));
    });
}

#[test]
fn labels_and_names_are_kept() {
    case(|rig| {
        let file = rig.file("labels", b"from.file=yes\n");
        rig.ok(&format!(
            "create --name labelled --label a=1 --label b --label-file {} busybox",
            file.display()
        ));
        let labels = &rig.inspect("labelled")["Config"]["Labels"];
        assert_eq!(labels.to_string(), r#"{"a":"1","b":"","from.file":"yes"}"#);
        assert_eq!(rig.ok("ps -a --filter label=a=1 --format '{{.Names}}'"), "labelled");
        rig.fails(
            "run --rm --name labelled busybox true",
            125,
            "Conflict. The container name \"/labelled\" is already in use by container",
        );
        rig.fails(
            "run --rm --name not/allowed busybox true",
            125,
            "Invalid container name (not/allowed), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        );
        let generated = rig.inspect(&rig.ok("create busybox"))["Name"].to_string();
        assert!(generated.contains('_'), "two words: {generated}");
    });
}

#[test]
fn an_image_that_is_not_there_is_a_clear_error() {
    case(|rig| {
        let output = rig.cli("run --rm --pull never no-such-image true");
        assert_eq!(output.code, 125);
        assert!(output.stderr.contains("No such image: no-such-image:latest"), "{}", output.stderr);
        let output = rig.cli("run --rm localhost:1/no-such-image true");
        assert_eq!(output.code, 125);
        let found = ["Unable to find image 'localhost:1/no-such-image:latest' locally", "connection refused"];
        assert!(found.iter().all(|words| output.stderr.contains(words)), "{}", output.stderr);
    });
}

#[test]
fn the_root_of_a_container_is_docker_s() {
    once(|rig| {
        let mounts = rig.ok("run --rm busybox sh -c 'cut -d\" \" -f2,3 /proc/mounts'");
        for expected in [
            "/ overlay",
            "/proc proc",
            "/dev tmpfs",
            "/dev/pts devpts",
            "/sys sysfs",
            "/dev/mqueue mqueue",
            "/dev/shm tmpfs",
        ] {
            assert!(mounts.lines().any(|line| line == expected), "{expected} in {mounts}");
        }
        // The host's kernel decides whether there is a core.
        let devices = rig.ok("run --rm busybox sh -c 'cd /dev; ls -d * | grep -v core; for n in fd stdin stdout stderr ptmx; do readlink $n; done'");
        assert_eq!(
            devices,
            "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n\
             /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx"
        );
    });
}
