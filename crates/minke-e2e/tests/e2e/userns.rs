//! `--userns-remap`: a container's root is nobody on the host. Files inside have the container's ids, volumes and binds the
//! host's.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::process::Command;

use minke_e2e::engine::NETWORKS;
use minke_e2e::{Client, EngineKind, Rig, within};

/// The first id of the containers' on the host.
const ROOT: u32 = 200_000;

/// Runs a test with an engine that remaps, on a host whose /etc names the user for it.
fn remapped(body: impl Fn(&Rig)) {
    remapped_with(&[], body);
}

fn remapped_with(flags: &[&str], body: impl Fn(&Rig)) {
    let folder = etc();
    let inside = inside(folder.path());
    let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
    let flags = [&["--userns-remap", "default"], flags].concat();
    Rig::run_inside(Client::Minke, &inside, &flags, body);
}

/// Returns a folder with a copy of /etc that names the user.
pub fn etc() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let etc = folder.path().join("etc");
    let copied = Command::new("cp").args(["-a", "/etc"]).arg(&etc).status().expect("cp runs");
    assert!(copied.success(), "/etc can be copied");
    let add = |name: &str, line: &str| {
        let text = fs::read_to_string(etc.join(name)).unwrap_or_default();
        let others = text.lines().filter(|line| !line.starts_with("dockremap:"));
        let text: String = others.chain([line]).map(|line| format!("{line}\n")).collect();
        fs::write(etc.join(name), text).expect("a file");
    };
    add("passwd", "dockremap:x:64990:64990::/:/bin/false");
    add("group", "dockremap:x:64990:");
    add("subuid", &format!("dockremap:{ROOT}:65536"));
    add("subgid", &format!("dockremap:{ROOT}:65536"));
    folder
}

/// Returns the command that executes another where that copy is /etc.
pub fn inside(folder: &std::path::Path) -> Vec<String> {
    let script = format!("mount --bind {} /etc && exec \"$@\"", folder.join("etc").display());
    ["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"].map(str::to_owned).into()
}

fn owner(path: impl AsRef<std::path::Path>) -> (u32, u32) {
    let found = fs::symlink_metadata(path.as_ref()).expect("it is there");
    (found.uid(), found.gid())
}

#[test]
fn the_containers_root_is_nobody_on_the_host() {
    remapped(|rig| {
        let info = rig.get("/info").json();
        assert!(info["SecurityOptions"].to_string().contains("name=userns"), "{info}");
        assert!(
            info["DockerRootDir"].as_str().is_some_and(|root| root.ends_with("/200000.200000")),
            "{info}"
        );
        rig.ok("run -d --name one busybox sh -c 'id -u; while :; do sleep 1; done'");
        rig.await_log("one", "0");
        let pid = rig.inspect("one")["State"]["Pid"].as_i64().expect("a pid");
        assert_eq!(owner(format!("/proc/{pid}")), (ROOT, ROOT));
        let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).expect("a map");
        assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "200000", "65536"]);
        // Who joins is in the same namespace, with the same rights.
        let word = |line: &str| rig.ok(line).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(word("exec one cat /proc/self/uid_map"), "0 200000 65536");
        assert_eq!(rig.ok("exec -u alice one sh -c 'id -u; touch /tmp/a; stat -c %u /tmp/a'"), "1000\n1000");
        assert!(rig.ok("exec one cat /proc/self/status").contains("CapEff:\t00000000a80425fb"));
        assert_eq!(
            rig.ok("exec one sh -c 'echo a >/dev/stdout; echo b >/dev/null; echo c >/dev/stderr'"),
            "a"
        );
        assert_eq!(rig.ok("run --rm -u alice busybox sh -c 'echo a >/dev/stdout'"), "a");
        assert_eq!(rig.ok("run --rm --ulimit nofile=1000:1024 busybox sh -c 'ulimit -Hn'"), "1024");
        assert_eq!(rig.ok("run --rm --domainname d.e busybox cat /proc/sys/kernel/domainname"), "d.e");
        assert_eq!(
            rig.ok("run --rm busybox sh -c 'stat -c %u /etc/hosts /etc/passwd /dev/shm /proc/1 / | uniq'"),
            "0"
        );
    });
}

#[test]
fn what_it_makes_on_the_host_is_nobodys_and_what_is_the_hosts_it_can_not_touch() {
    remapped(|rig| {
        let hosts = rig.scratch().join("hosts");
        let given = rig.scratch().join("given");
        for (path, owner) in [(&hosts, 0), (&given, ROOT)] {
            fs::create_dir(path).expect("a folder");
            chown(path, Some(owner), Some(owner)).expect("an owner");
        }
        fs::write(hosts.join("secret"), "s").expect("a file");
        fs::set_permissions(hosts.join("secret"), fs::Permissions::from_mode(0o600)).expect("a mode");
        let binds = format!(
            "-v {}:/hosts -v {}:/given -v {}:/new",
            hosts.display(),
            given.display(),
            rig.scratch().join("new").display()
        );
        rig.fails(&format!("run --rm {binds} busybox touch /hosts/x"), 1, "Permission denied");
        rig.fails(&format!("run --rm {binds} busybox cat /hosts/secret"), 1, "Permission denied");
        assert_eq!(rig.ok(&format!("run --rm {binds} busybox stat -c %u /hosts /given")), "65534\n0");
        let setuid = "cp /bin/busybox /given/su; chmod 4755 /given/su; touch /new/x; chown 33 /new/x";
        rig.ok(&format!("run --rm {binds} busybox sh -c '{setuid}'"));
        assert_eq!(owner(given.join("su")), (ROOT, ROOT));
        assert_eq!(owner(rig.scratch().join("new")), (ROOT, ROOT));
        assert_eq!(owner(rig.scratch().join("new/x")), (ROOT + 33, ROOT));
        // A volume gets the image's files, and their owners.
        rig.ok("run --name maker busybox sh -c 'mkdir -p /srv/v; echo a >/srv/v/f; chown 5:6 /srv/v/f'");
        rig.ok("commit maker image");
        rig.ok("run --rm -v data:/srv/v image sh -c 'touch /srv/v/g; test $(stat -c %u:%g /srv/v/f) = 5:6'");
        let data = rig.get("/volumes/data").json()["Mountpoint"].as_str().expect("a place").to_string();
        assert_eq!(owner(&data), (ROOT, ROOT));
        assert_eq!(owner(format!("{data}/f")), (ROOT + 5, ROOT + 6));
        assert_eq!(owner(format!("{data}/g")), (ROOT, ROOT));
    });
}

#[test]
fn archives_changes_and_images_have_the_containers_ids() {
    remapped(|rig| {
        rig.ok("run -d --name one busybox sh -c 'mkdir /d; touch /d/r /d/a; chown 1000:29 /d/a; sleep 1000'");
        rig.ok("exec one sh -c 'until test $(stat -c %u /d/a) = 1000; do :; done'");
        let listed = |output: &[u8]| -> Vec<(String, u64, u64)> {
            let mut archive = tar::Archive::new(output);
            let row = |entry: tar::Entry<'_, &[u8]>| {
                let (header, path) = (entry.header(), entry.path().expect("a path").display().to_string());
                (path, header.uid().expect("an id"), header.gid().expect("an id"))
            };
            archive.entries().expect("an archive").map(|entry| row(entry.expect("an entry"))).collect()
        };
        let expected = [("d/".into(), 0, 0), ("d/a".into(), 1000, 29), ("d/r".into(), 0, 0)];
        let archive = rig.get("/containers/one/archive?path=/d");
        assert_eq!(listed(&archive.body), expected);
        // Into it, while it runs and afterwards.
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_uid(7);
        header.set_gid(8);
        header.set_size(1);
        builder.append_data(&mut header, "new/in", &b"x"[..]).expect("an entry");
        let bytes = builder.into_inner().expect("an archive");
        let put = |path: &str| {
            rig.request("PUT", &format!("/containers/one/archive?path={path}"), "application/x-tar", &bytes)
        };
        assert_eq!(put("/d").status, 200);
        assert_eq!(rig.ok("exec one stat -c %u:%g /d/new /d/new/in"), "0:0\n7:8");
        rig.ok("stop -t 0 one");
        assert_eq!(put("/tmp").status, 200);
        assert_eq!(listed(&rig.get("/containers/one/archive?path=/d").body)[..2], expected[..2]);
        let changes = rig.ok("diff one");
        assert!(changes.contains("A /d/a") && changes.contains("A /tmp/new/in"), "{changes}");
        let whole = listed(&rig.get("/containers/one/export").body);
        for row in [("d/a", 1000, 29), ("d/new/in", 7, 8), ("tmp/new/in", 7, 8), ("bin/busybox", 0, 0)] {
            assert!(whole.contains(&(row.0.into(), row.1, row.2)), "{row:?}");
        }
        rig.ok("start one");
        assert_eq!(rig.ok("exec one stat -c %u:%g /tmp/new/in"), "7:8");
        rig.ok("commit one image");
        assert_eq!(rig.ok("run --rm image stat -c %u:%g /d/a /tmp/new/in"), "1000:29\n7:8");
        // The same layers for one that is not remapped.
        assert_eq!(rig.ok("run --rm --userns host image stat -c %u:%g /d/a /etc/passwd"), "1000:29\n0:0");
    });
}

#[test]
fn what_belongs_to_the_host_is_refused_unless_the_users_are_the_hosts_too() {
    remapped(|rig| {
        for (flags, words) in [
            (
                "--privileged",
                "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
            ),
            ("--network host", "cannot share the host's network namespace when user namespaces are enabled"),
            ("--pid host", "cannot share the host PID namespace when user namespaces are enabled"),
        ] {
            rig.fails(&format!("run --rm {flags} busybox true"), 125, words);
            let map = rig.ok(&format!("run --rm {flags} --userns host busybox cat /proc/self/uid_map"));
            assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "0", "4294967295"], "{flags}");
        }
        let device = "run --rm --cap-add ALL busybox sh -c 'mknod /tmp/sda b 8 0'";
        rig.fails(device, 1, "Operation not permitted");
    });
}

#[test]
fn who_shares_namespaces_shares_the_users() {
    remapped(|rig| {
        rig.ok("run -d --name one --ipc shareable busybox sh -c 'echo x >/dev/shm/x; sleep 1000'");
        let namespace = |line: &str| rig.ok(&format!("{line} readlink /proc/self/ns/user"));
        let own = namespace("exec one");
        for flags in ["--network container:one", "--pid container:one", "--ipc container:one"] {
            assert_eq!(namespace(&format!("run --rm {flags} busybox")), own, "{flags}");
        }
        assert_ne!(namespace("run --rm busybox"), own);
        let shared = "sh -c 'until test -s /dev/shm/x; do :; done; stat -c %u /dev/shm /dev/shm/x'";
        assert_eq!(rig.ok(&format!("run --rm --ipc container:one busybox {shared}")), "0\n0");
        // An engine that comes back finds everything where it was.
        rig.kill_engine();
        rig.start_engine();
        assert_eq!(namespace("exec one"), own);
    });
}

/// Serves a page at port 80.
const SERVE: &str = "sh -c 'mkdir -p /www && echo hello >/www/index.html && httpd -f -p 80 -h /www'";

fn served(rig: &Rig, ask: &str) {
    within(20, ask, || (rig.cli(ask).text() == "hello").then_some(()));
}

#[test]
fn networks_belong_to_the_containers_users() {
    remapped_with(&[NETWORKS], |rig| {
        rig.ok("network create front");
        rig.ok(&format!("run -d --name web --network front -p 8080:80 busybox {SERVE}"));
        rig.ok("run -d --name one --network front busybox sleep 1000");
        let get = "wget -q -O - http://web/";
        served(rig, &format!("exec one {get}"));
        assert_eq!(rig.on_host(&["wget", "-q", "-O", "-", "http://127.0.0.1:8080/"]).text(), "hello");
        assert!(rig.ok("exec one cat /etc/resolv.conf").contains("nameserver 127.0.0.11"));
        let owners = "exec one sh -c 'stat -c %u:%g /etc/hosts /etc/resolv.conf /etc/hostname /sys/class/net/eth0/mtu | uniq'";
        assert_eq!(rig.ok(owners), "0:0");
        let map = rig.ok("exec one cat /proc/self/uid_map");
        assert!(
            matches!(map.split_whitespace().collect::<Vec<_>>()[..], ["0", outside, _] if outside != "0"),
            "{map}"
        );
        assert_ne!(
            rig.ok("exec one readlink /proc/self/ns/user"),
            rig.ok("exec web readlink /proc/self/ns/user")
        );
        // Its root may do there what the flags say, and no more.
        let run = "run --rm --network front";
        let add = "busybox ip addr add 192.0.2.77/32 dev lo";
        rig.ok(&format!("{run} --cap-add NET_ADMIN {add}"));
        rig.fails(&format!("{run} {add}"), 2, "Operation not permitted");
        let read = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/conf/all/forwarding";
        let flags = "-u alice --sysctl net.ipv4.conf.all.forwarding=1";
        assert_eq!(rig.ok(&format!("{run} {flags} busybox {read}")), "0\n1");
        assert_eq!(rig.ok(&format!("{run} --init busybox {get}")), "hello");
        // Who shares the users or the network of another one, and who is the host's.
        assert_eq!(rig.ok(&format!("run --rm --network container:one busybox {get}")), "hello");
        assert_eq!(rig.ok(&format!("{run} --pid container:one busybox {get}")), "hello");
        assert_eq!(rig.ok(&format!("{run} --ipc shareable busybox {get}")), "hello");
        assert_eq!(rig.ok(&format!("{run} --userns host busybox {get}")), "hello");
        assert!(rig.ok("run --rm --network bridge busybox ip route").contains("default via"));
    });
}

#[test]
fn networks_come_and_go_while_a_container_with_its_own_users_runs() {
    remapped_with(&[NETWORKS], |rig| {
        rig.ok("network create front");
        rig.ok("network create back");
        rig.ok(&format!("run -d --name web --network front -p 8080:80 busybox {SERVE}"));
        rig.ok("run -d --name one --network none busybox sleep 1000");
        rig.fails("network connect front one", 1, "cannot be connected to multiple networks");
        rig.ok("run -d --name two --network back busybox sleep 1000");
        rig.ok("network connect --alias served back web");
        served(rig, "exec two wget -q -O - http://served/");
        assert_eq!(rig.ok("exec web stat -c %u /etc/hosts"), "0");
        rig.ok("network disconnect front web");
        served(rig, "exec two wget -q -O - http://served/");
        rig.ok("network connect front two");
        assert!(rig.ok("exec two ip addr").contains("eth1"));
        // An engine that comes back has all of it, and restarts it.
        if rig.kind() == EngineKind::Minke {
            rig.kill_engine();
            rig.start_engine();
        }
        served(rig, "exec two wget -q -O - http://web/");
        rig.ok("restart -t 0 web");
        served(rig, "exec two wget -q -O - http://served/");
        rig.ok("rm -f one two web");
        rig.ok("network rm front back");
    });
}
