//! Known holes of container engines, by number, where `hostile` and `security` have no test of the class: volumes that lie about `/dev`
//! and `/proc`, programs in a container's root that an engine might run, mounts beside a copy, attributes that only overlay may set.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use minke_e2e::rootfs::Tree;
use minke_e2e::{EngineKind, Rig, case, once, peers, process};

/// Runs a test on our engine alone: the reference has, or had, the hole.
fn ours(body: impl Fn(&Rig)) {
    case(|rig| {
        if rig.kind() == EngineKind::Minke {
            body(rig);
        }
    });
}

/// A folder of the host that nothing may write into.
fn aim(rig: &Rig) -> PathBuf {
    let aim = rig.scratch().join("aim");
    std::fs::create_dir_all(&aim).expect("the scratch folder takes a folder");
    std::fs::write(aim.join("secret"), "of the host").expect("a file");
    aim
}

/// Panics unless the folder is as [`aim`] left it.
fn is_untouched(aim: &Path, what: &str) {
    let names: Vec<_> =
        std::fs::read_dir(aim).expect("it is there").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["secret"], "{what}");
    assert_eq!(std::fs::read(aim.join("secret")).expect("it is there"), b"of the host", "{what}");
}

/// CVE-2019-5736: what `/proc/<pid>/exe` of anything that starts containers leads to can't be written, also when it doesn't run any more.
#[test]
fn the_program_of_a_shim_is_sealed() {
    ours(|rig| {
        rig.ok("run -d --name main busybox sleep 1000");
        let pid = rig.inspect("main")["State"]["Pid"].as_i64().expect("a pid") as i32;
        let shim = process::parent(pid).expect("a shim");
        let program = std::fs::File::open(format!("/proc/{shim}/exe")).expect("its program");
        let seals = rustix::fs::fcntl_get_seals(&program).expect("it is a memory file");
        let wanted =
            rustix::fs::SealFlags::WRITE | rustix::fs::SealFlags::GROW | rustix::fs::SealFlags::SHRINK;
        assert!(seals.contains(wanted | rustix::fs::SealFlags::SEAL), "{seals:?}");
    });
}

/// CVE-2025-31133, CVE-2025-52565: a volume at `/dev` whose names lead to what the kernel lets the host change. Masks and the console
/// are made of what the engine brought along.
#[test]
fn a_volume_at_dev_is_believed_nothing() {
    ours(|rig| {
        let aim = aim(rig);
        let dev = rig.scratch().join("dev");
        std::fs::create_dir(&dev).expect("a folder");
        let far = format!("../../../../../../../..{}", aim.join("made").display());
        for (name, target) in [
            ("null", "/proc/sys/kernel/domainname"),
            ("console", "/proc/sys/kernel/domainname"),
            ("zero", far.as_str()),
            ("ptmx", far.as_str()),
            ("shm", &aim.display().to_string()),
            ("pts", &aim.display().to_string()),
        ] {
            symlink(target, dev.join(name)).expect("a link");
        }
        let script = "for f in /proc/keys /proc/timer_list; do test -e $f && stat -c %t:%T $f; done; \
                      for f in /proc/keys /dev/null /dev/console; do (echo x >$f) 2>/dev/null; done; cat /proc/sys/kernel/domainname";
        let before = std::fs::read_to_string("/proc/sys/kernel/domainname").expect("a name");
        for flags in ["--rm", "--rm -t"] {
            let output = rig.cli(&format!("run {flags} -v {}:/dev busybox sh -c '{script}'", dev.display()));
            let text = output.text();
            let masks: Vec<&str> = text.lines().map(str::trim).filter(|line| line.contains(':')).collect();
            assert!(
                output.code != 0 || (!masks.is_empty() && masks.iter().all(|mask| *mask == "1:3")),
                "{output:?}"
            );
            assert!(!output.text().lines().any(|line| line.trim() == "x"), "{flags}: {output:?}");
            is_untouched(&aim, flags);
        }
        assert_eq!(std::fs::read_to_string("/proc/sys/kernel/domainname").expect("a name"), before);
        assert_eq!(
            std::fs::read_dir(&dev).expect("it is there").count(),
            6,
            "nothing was made beside the links"
        );
    });
}

/// CVE-2026-41579, CVE-2026-47766: an image's `/dev` that is a link. What is mounted and made there is where the link ends inside.
#[test]
fn a_dev_that_is_a_link_is_where_it_ends_inside() {
    ours(|rig| {
        let mut tree = Tree::default();
        for folder in ["bin/", "elsewhere/"] {
            tree.folder(folder, 0o755);
        }
        tree.file("bin/busybox", 0o755, &std::fs::read(peers::busybox()).expect("busybox is readable"));
        tree.link("bin/ls", "busybox");
        // The host has such a folder as well.
        let there = aim(rig);
        let far = there.display().to_string();
        let mut way = String::new();
        for part in far.split('/').filter(|part| !part.is_empty()) {
            way = format!("{way}{part}/");
            tree.folder(&way, 0o755);
        }
        tree.link("dev", &format!("../../../../../../../..{far}"));
        rig.import("linked", &tree.finish(), &["ENV PATH=/bin"]);
        let seen = rig.ok(&format!("run --rm linked ls {far}"));
        assert!(seen.lines().any(|name| name == "null") && !seen.contains("secret"), "{seen}");
        is_untouched(&there, "/dev");
    });
}

/// CVE-2025-52881: what lies about `/proc` is told no kernel parameter and no label; those go to the kernel's own.
#[test]
fn a_volume_in_proc_is_told_nothing() {
    ours(|rig| {
        let fake = rig.scratch().join("fake");
        for folder in ["sys/net/core", "net/core", "self/attr", "thread-self/attr"] {
            std::fs::create_dir_all(fake.join(folder)).expect("folders");
        }
        for file in ["sys/net/core/somaxconn", "net/core/somaxconn", "somaxconn", "exec", "self/attr/exec"] {
            std::fs::write(fake.join(file), "untold").expect("a file");
        }
        for place in ["/proc", "/proc/sys", "/proc/sys/net", "/proc/sys/net/core", "/proc/self/attr"] {
            let line = format!(
                "run --rm -v {}:{place} --sysctl net.core.somaxconn=77 busybox cat /proc/sys/net/core/somaxconn",
                fake.display()
            );
            let output = rig.cli(&line);
            let seen = output.text();
            assert!(output.code != 0 || seen == "77" || seen.contains("untold"), "{place}: {output:?}");
            for file in
                ["sys/net/core/somaxconn", "net/core/somaxconn", "somaxconn", "exec", "self/attr/exec"]
            {
                let text = std::fs::read_to_string(fake.join(file)).expect("it is there");
                assert_eq!(text, "untold", "{place}: {file}");
            }
        }
    });
}

/// CVE-2026-41567: to unpack what is put into a container, none of its own programs is run, nor any of its libraries loaded.
#[test]
fn an_archive_is_opened_by_no_program_of_the_container() {
    once(|rig| {
        let mut tree = Tree::default();
        for folder in ["bin/", "usr/", "usr/bin/", "sbin/", "tmp/", "etc/"] {
            tree.folder(folder, 0o777);
        }
        tree.file("bin/busybox", 0o755, &std::fs::read(peers::busybox()).expect("busybox is readable"));
        for applet in ["sh", "sleep", "cat", "ls"] {
            tree.link(&format!("bin/{applet}"), "busybox");
        }
        let trap = b"#!/bin/sh\necho sprung >>/sprung\nexec /bin/cat\n";
        for name in ["xz", "unxz", "unpigz", "pigz", "gzip", "gunzip", "bzip2", "zstd", "unzstd", "tar"] {
            for folder in ["bin", "usr/bin", "sbin"] {
                tree.file(&format!("{folder}/{name}"), 0o755, trap);
            }
        }
        rig.import("traps", &tree.finish(), &["ENV PATH=/usr/bin:/bin", "CMD [\"sleep\", \"1000\"]"]);
        rig.ok("run -d --name main traps sleep 1000");
        rig.ok("create --name still traps sleep 1000");
        let mut inner = Tree::default();
        inner.file("put", 0o644, b"well");
        let tar = inner.finish();
        for (program, flags) in [("gzip", "-c"), ("xz", "-c"), ("bzip2", "-c"), ("zstd", "-qc")] {
            // Where the host lacks a compressor, there is nothing to send.
            let Some(body) = compressed(program, flags, &tar) else { continue };
            for name in ["main", "still"] {
                let path = format!("/containers/{name}/archive?path=/tmp");
                let answer = rig.request("PUT", &path, "application/x-tar", &body);
                assert_eq!(answer.status, 200, "{program}: {answer:?}");
                let answer = rig.get(&format!("/containers/{name}/archive?path=/tmp/put"));
                assert!(answer.text().contains("well"), "{program}: {answer:?}");
                let answer = rig.get(&format!("/containers/{name}/archive?path=/sprung"));
                assert_eq!(answer.status, 404, "{program}: the engine ran a program of the container");
            }
        }
    });
}

/// What a compressor of the host makes of bytes; `None` where it isn't there.
fn compressed(program: &str, flags: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut command = Command::new(program);
    let mut child = command.arg(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    child.stdin.take().expect("a pipe").write_all(bytes).expect("it reads");
    Some(child.wait_with_output().expect("it ends").stdout)
}

/// CVE-2018-15664, CVE-2026-41568, CVE-2026-42306: a copy beside a container that swaps folders, also those volumes are mounted in,
/// for links to the host's: nothing of the host is read, written, or covered by a mount.
#[test]
fn a_copy_beside_swapped_folders_stays_inside() {
    once(|rig| {
        let aim = aim(rig);
        let up = format!("../../../../../../../../../..{}", aim.display());
        rig.ok(&format!(
            "run -d --name main -v inner:/d/m/v busybox sh -c 'echo mine >/d/m/secret; echo made; \
             while :; do mv /d/m /d/n; ln -s {up} /d/m; rm /d/m; ln -s {} /d/m; rm /d/m; mv /d/n /d/m; done'",
            aim.display()
        ));
        rig.await_log("main", "made");
        let mounts = || std::fs::read_to_string("/proc/self/mountinfo").expect("a table");
        let before = mounts();
        let mut tar = Tree::default();
        tar.file("planted", 0o644, b"x");
        let tar = tar.finish();
        for round in 0..60 {
            let place = ["/d/m", "/d/m/v", "/d/m/."][round % 3];
            let path = format!("/containers/main/archive?path={place}");
            let answer = rig.request("PUT", &path, "application/x-tar", &tar);
            assert!(answer.status < 500 || answer.message().contains("/d/m"), "{answer:?}");
            let answer = rig.get("/containers/main/archive?path=/d/m/secret");
            assert!(!answer.text().contains("of the host"), "a file of the host came out");
            is_untouched(&aim, place);
        }
        assert_eq!(std::fs::metadata(aim.join("secret")).expect("it is there").nlink(), 1);
        let news: Vec<String> = {
            let after = mounts();
            let is_new = |line: &&str| line.contains(&*aim.to_string_lossy()) && !before.contains(*line);
            after.lines().filter(is_new).map(str::to_owned).collect()
        };
        assert!(news.is_empty(), "{news:?}");
    });
}

/// A volume whose place in the image is a link to the host's: it is mounted, filled and copied into inside.
#[test]
fn a_volume_s_place_that_is_a_link_ends_inside() {
    once(|rig| {
        let aim = aim(rig);
        for (number, target) in [
            aim.display().to_string(),
            format!("../../../../../../../../../..{}", aim.display()),
            "/proc/self/root".to_owned(),
            "/proc/1/cwd".to_owned(),
        ]
        .iter()
        .enumerate()
        {
            let mut tree = Tree::default();
            tree.folder("bin/", 0o755);
            tree.file("bin/busybox", 0o755, &std::fs::read(peers::busybox()).expect("busybox is readable"));
            tree.link("bin/sh", "busybox");
            tree.link("data", target);
            let name = format!("linked{number}");
            rig.import(&name, &tree.finish(), &["ENV PATH=/bin", "VOLUME /data"]);
            rig.cli(&format!("run --rm {name} sh -c 'echo x >/data/planted'"));
            is_untouched(&aim, target);
            let output = rig.cli(&format!("create --name c{number} -v named{number}:/data {name} sh"));
            if output.code == 0 {
                rig.cli(&format!("cp {} c{number}:/data/planted", peers::busybox().display()));
                is_untouched(&aim, target);
                rig.cli(&format!("start c{number}"));
                is_untouched(&aim, target);
            }
        }
    });
}

/// Attributes by which overlay redirects a folder or hides one: an image has none to say.
#[test]
fn overlay_s_own_attributes_are_not_taken_from_an_image() {
    once(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return;
        }
        let redirect = pax("SCHILY.xattr.trusted.overlay.redirect", b"/bin");
        let opaque = pax("SCHILY.xattr.trusted.overlay.opaque", b"y");
        let mut tree = Tree::default();
        tree.folder("bin/", 0o755);
        tree.file("bin/busybox", 0o755, &std::fs::read(peers::busybox()).expect("busybox is readable"));
        tree.link("bin/ls", "busybox");
        let mut tar = tree.finish();
        tar.truncate(tar.len() - 1024);
        for (attribute, name) in [(&redirect, "redirected/"), (&opaque, "opaque/")] {
            tar.extend(attribute);
            let mut tree = Tree::default();
            tree.folder(name, 0o755);
            let folder = tree.finish();
            tar.extend(&folder[..512]);
        }
        tar.extend([0; 1024]);
        rig.import("attributes", &tar, &["ENV PATH=/bin"]);
        assert_eq!(rig.ok("run --rm attributes ls /redirected"), "");
        let (mut stack, mut looked) = (vec![rig.scratch().to_owned()], 0);
        while let Some(folder) = stack.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let path = entry.path();
                if path.ends_with("redirected") || path.ends_with("opaque") {
                    looked += 1;
                    let mut value = [0u8; 64];
                    for name in ["trusted.overlay.redirect", "trusted.overlay.opaque"] {
                        assert!(
                            rustix::fs::lgetxattr(&path, name, &mut value[..]).is_err(),
                            "{name} of {path:?}"
                        );
                    }
                }
                stack.push(path);
            }
        }
        assert!(looked >= 2, "the layer's folders are seen");
    });
}

/// A PAX header with one record, for the entry that follows.
fn pax(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = rest + (rest + 2).to_string().len();
    let record = [format!("{length} {key}=").as_bytes(), value, b"\n"].concat();
    let mut header = tar::Header::new_ustar();
    header.set_path("PaxHeaders/0").expect("a name");
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(record.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(&record);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}
