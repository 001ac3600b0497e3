//! What containers mount: volumes named and not, their filling and their end, binds with all their options, tmpfs, images.

use std::path::Path;

use minke_e2e::rootfs::{Tree, busybox_tar};
use minke_e2e::{EngineKind, Rig, case, once};
use serde_json::{Value, json};

/// Returns the names of all volumes.
fn volumes(rig: &Rig) -> Vec<String> {
    let answer = rig.get("/volumes").json();
    let list = answer["Volumes"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> =
        list.iter().map(|volume| volume["Name"].as_str().unwrap_or_default().to_string()).collect();
    names.sort();
    names
}

/// Makes an image whose `/data` has files of alice's, a link, and `/data` as a volume, and one whose is none.
fn import_data(rig: &Rig) {
    let mut tree = Tree::default();
    tree.folder("data/", 0o1770);
    tree.file("data/file", 0o640, b"of the image");
    tree.folder("data/inner/", 0o711);
    tree.file("data/inner/deep", 0o600, b"deep");
    tree.link("data/outside", "/etc/passwd");
    tree.link("link", "data/inner");
    let mut tar = tree.finish();
    tar.truncate(tar.len() - 1024);
    tar.extend_from_slice(busybox_tar());
    rig.import("withdata", &tar, &["CMD [\"sh\"]", "ENV PATH=/bin"]);
    rig.import("withvolume", &tar, &["CMD [\"sh\"]", "ENV PATH=/bin", "VOLUME /data"]);
}

#[test]
fn a_named_volume_keeps_what_containers_write() {
    case(|rig| {
        rig.ok("run --rm -v data:/d busybox sh -c 'echo kept > /d/file'");
        assert_eq!(rig.ok("run --rm -v data:/d:ro busybox cat /d/file"), "kept");
        rig.fails("run --rm -v data:/d:ro busybox touch /d/x", 1, "Read-only file system");
        assert_eq!(rig.ok("run --rm --mount type=volume,src=data,dst=/e busybox cat /e/file"), "kept");
        assert_eq!(volumes(rig), ["data"]);
        rig.ok("create --name holder -v data:/d busybox");
        let id = rig.inspect("holder")["Id"].as_str().expect("an id").to_string();
        rig.fails("volume rm data", 1, &format!("remove data: volume is in use - [{id}]"));
        assert_eq!(rig.ok("volume ls -q --filter dangling=true"), "");
        rig.ok("rm -v holder");
        assert_eq!(volumes(rig), ["data"], "a volume with a name stays");
        rig.ok("volume rm data");
    });
}

#[test]
fn what_is_mounted_is_shown_as_under_docker() {
    once(|rig| {
        rig.ok("volume create named");
        let folder = rig.scratch().join("bound");
        std::fs::create_dir(&folder).expect("a folder");
        let folder = folder.display();
        rig.ok(&format!(
            "create --name all -v named:/a:ro -v /anonymous -v {folder}:/b:ro --mount type=volume,src=named,dst=/c,volume-nocopy --mount type=bind,src={folder},dst=/d,readonly --mount type=tmpfs,dst=/e,tmpfs-size=1m --tmpfs /f busybox"
        ));
        let found = rig.inspect("all");
        let mut mounts = found["Mounts"].as_array().expect("mounts").clone();
        mounts.sort_by_key(|mount| mount["Destination"].as_str().unwrap_or_default().to_string());
        let place = |name: &str| rig.get(&format!("/volumes/{name}")).json()["Mountpoint"].clone();
        let anonymous = mounts[1]["Name"].as_str().expect("a name").to_string();
        assert_eq!(anonymous.len(), 64);
        let volume = |name: &str, at: &str, mode: &str, rw: bool| {
            json!({"Type": "volume", "Name": name, "Source": place(name), "Destination": at, "Driver": "local",
                "Mode": mode, "RW": rw, "Propagation": ""})
        };
        let bind = |at: &str, mode: &str| {
            json!({"Type": "bind", "Source": folder.to_string(), "Destination": at, "Mode": mode, "RW": false,
                "Propagation": "rprivate"})
        };
        assert_eq!(
            mounts,
            [
                volume("named", "/a", "ro", false),
                volume(&anonymous, "/anonymous", "", true),
                bind("/b", "ro"),
                volume("named", "/c", "z", true),
                bind("/d", ""),
                json!({"Type": "tmpfs", "Source": "", "Destination": "/e", "Mode": "", "RW": true, "Propagation": ""}),
            ]
        );
        assert_eq!(found["Config"]["Volumes"], json!({"/anonymous": {}}));
        let listed = rig.get("/containers/json?all=1").json();
        let mut listed = listed[0]["Mounts"].as_array().expect("mounts").clone();
        listed.sort_by_key(|mount| mount["Destination"].as_str().unwrap_or_default().to_string());
        assert_eq!(listed.len(), mounts.len());
        assert_eq!(
            (&listed[0]["Name"], &listed[0]["Driver"], &listed[0]["RW"]),
            (&json!("named"), &json!("local"), &json!(false))
        );
        if rig.is_like(23) {
            let labels = rig.get(&format!("/volumes/{anonymous}")).json()["Labels"].clone();
            assert_eq!(labels, json!({"com.docker.volume.anonymous": ""}));
        }
    });
}

#[test]
fn an_empty_volume_gets_the_image_s_files() {
    case(|rig| {
        import_data(rig);
        let list = "cd /v && ls -A | tr '\\n' ' ' && stat -c '%a %U' . file inner inner/deep | tr '\\n' ' ' && readlink outside && cat file";
        let expected = "file inner outside 1770 root 640 root 711 root 600 root /etc/passwd\nof the image";
        assert_eq!(
            rig.ok(&format!("run --rm -v fresh:/data withdata sh -c \"ln -s data /v; {list}\"")),
            expected
        );
        // As it was left: a volume with something in it is as it is.
        rig.ok("run --rm -v fresh:/data withdata sh -c 'rm -r /data/inner; echo mine > /data/file'");
        assert_eq!(
            rig.ok("run --rm -v fresh:/data withdata sh -c 'ls -A /data | tr \"\\n\" \" \"; cat /data/file'"),
            "file outside mine"
        );
        assert_eq!(rig.ok("run --rm -v bare:/data:nocopy withdata ls -A /data"), "");
        assert_eq!(rig.ok("run --rm --mount src=bare2,dst=/data,volume-nocopy withdata ls -A /data"), "");
        // By way of a link of the image, which stays inside it.
        assert_eq!(rig.ok("run --rm -v linked:/link withdata ls -A /link"), "deep");
        // The owner and the mode come too where there are no files.
        assert_eq!(rig.ok("run --rm -v mode:/tmp withdata stat -c %a /tmp"), "1777");
        let refused = rig.cli("create -v over:/etc/passwd withdata");
        assert!(
            refused.code != 0
                && rig.get("/containers/json?all=1").json().as_array().is_some_and(Vec::is_empty),
            "{refused:?}"
        );
    });
}

#[test]
fn a_volume_of_the_image_goes_with_its_container() {
    case(|rig| {
        import_data(rig);
        assert_eq!(rig.ok("run --rm withvolume cat /data/file"), "of the image");
        assert!(volumes(rig).is_empty(), "{:?}", volumes(rig));
        rig.ok("run --name one withvolume sh -c 'echo mine > /data/file'");
        let [name] = &volumes(rig)[..] else { panic!("one volume is expected") };
        rig.ok("start -a one");
        assert_eq!(rig.inspect("one")["Mounts"][0]["Name"], json!(name));
        rig.ok("rm one");
        assert_eq!(&volumes(rig), std::slice::from_ref(name), "without -v it stays");
        rig.ok(&format!("volume rm {name}"));
        rig.ok("create --name two -v named:/data -v /other withvolume");
        assert_eq!(volumes(rig).len(), 2, "no volume where another is mounted");
        rig.ok("rm -v two");
        assert_eq!(volumes(rig), ["named"]);
        assert_eq!(rig.ok("run --rm withvolume sh -c 'grep -c \" /data \" /proc/mounts'"), "1");
    });
}

#[test]
fn mounts_are_taken_from_another_container() {
    case(|rig| {
        let folder = rig.scratch().join("shared");
        std::fs::create_dir(&folder).expect("a folder");
        let folder = folder.display();
        rig.ok(&format!("create --name first -v one:/one -v {folder}:/two -v /three busybox"));
        rig.ok("run --rm --volumes-from first busybox sh -c 'echo a > /one/f; echo b > /two/f; echo c > /three/f'");
        assert_eq!(rig.ok("run --rm --volumes-from first:ro busybox cat /one/f /two/f /three/f"), "a\nb\nc");
        rig.fails("run --rm --volumes-from first:ro busybox touch /three/x", 1, "Read-only file system");
        // What is asked for itself wins.
        assert_eq!(
            rig.ok("run --rm --volumes-from first -v other:/one busybox ls /one /two"),
            "/one:\n\n/two:\nf"
        );
        rig.fails("run --volumes-from missing busybox true", 125, "No such container: missing");
        rig.fails("run --volumes-from first:odd busybox true", 125, "invalid mode: odd");
        // The anonymous volume lives as long as somebody holds it.
        rig.ok("create --name second --volumes-from first busybox");
        rig.ok("rm -v first");
        assert_eq!(rig.ok("run --rm --volumes-from second busybox cat /three/f"), "c");
        rig.ok("rm -v second");
        assert_eq!(volumes(rig), ["one", "other"]);
    });
}

#[test]
fn what_can_t_be_mounted_is_refused_in_docker_s_words() {
    case(|rig| {
        let folder = rig.scratch().display();
        let rows = [
            ("-v aa:/x -v bb:/x".to_string(), "Duplicate mount point: /x"),
            ("-v aa:/x --tmpfs /x".to_string(), "Duplicate mount point: /x"),
            ("-v aa:/x --mount dst=/x".to_string(), "Duplicate mount point: /x"),
            ("-v aa:relative".to_string(), "invalid mount path: 'relative' mount path must be absolute"),
            ("-v aa:/".to_string(), "invalid specification: destination can't be '/'"),
            ("-v aa:/x:odd".to_string(), "invalid mode: odd"),
            ("-v aa/b:/x".to_string(), "includes invalid characters for a local volume name"),
            ("--volume-driver nope -v aa:/x".to_string(), "plugin \"nope\" not found"),
            (
                format!("--mount type=bind,src={folder}/missing,dst=/x"),
                "invalid mount config for type \"bind\": bind source path does not exist: ",
            ),
        ];
        for (flags, words) in rows {
            // Docker's own answer makes its client fetch the container's image first.
            if words.contains("plugin") && rig.kind() != EngineKind::Minke {
                continue;
            }
            rig.fails(&format!("run --rm {flags} busybox true"), 125, words);
        }
        assert!(volumes(rig).iter().all(|name| name.len() < 64), "{:?}", volumes(rig));
        assert!(rig.get("/containers/json?all=1").json().as_array().is_some_and(Vec::is_empty));
    });
}

#[test]
fn a_part_of_a_volume_is_mounted() {
    case(|rig| {
        if !rig.is_like(26) {
            return;
        }
        rig.ok("run --rm -v data:/d busybox sh -c 'mkdir -p /d/a/b; echo in > /d/a/b/f; ln -s /etc /d/out; ln -s a/b /d/in'");
        let part = |path: &str| format!("run --rm --mount src=data,dst=/p,volume-subpath={path} busybox");
        assert_eq!(rig.ok(&format!("{} cat /p/f", part("a/b"))), "in");
        assert_eq!(rig.ok(&format!("{} cat /p/f", part("in"))), "in", "a link that stays inside");
        rig.fails(&format!("{} cat /p/passwd", part("out")), 125, "cannot access path");
        rig.fails(&format!("{} true", part("missing")), 125, "cannot access path");
        rig.fails(
            &format!("{} true", part("../x")),
            125,
            "subpath must be a relative path within the volume",
        );
        rig.fails("run --rm --mount dst=/p,volume-subpath=a busybox true", 125, "must not set Subpath");
    });
}

#[test]
fn an_image_is_mounted_read_only() {
    case(|rig| {
        if !rig.is_like(28) {
            return;
        }
        import_data(rig);
        let mount = "--mount type=image,src=withdata,dst=/i";
        assert_eq!(rig.ok(&format!("run --rm {mount} busybox cat /i/data/file")), "of the image");
        rig.fails(&format!("run --rm {mount} busybox touch /i/x"), 1, "Read-only file system");
        assert_eq!(rig.ok(&format!("run --rm {mount},image-subpath=data/inner busybox ls /i")), "deep");
        rig.fails(
            "run --rm --mount type=image,src=missing,dst=/i busybox true",
            125,
            "No such image: missing",
        );
        rig.ok(&format!("create --name holder {mount} busybox cat /i/data/file"));
        assert_eq!(rig.inspect("holder")["Mounts"][0]["Type"], json!("image"));
        if rig.kind() == EngineKind::Minke {
            // What is mounted stays, whatever happens to the image and the engine.
            rig.ok("rmi -f withdata");
            rig.kill_engine();
            rig.start_engine();
            assert_eq!(rig.ok("start -a holder"), "of the image");
        }
    });
}

#[test]
fn a_volume_with_a_file_system_is_mounted_while_it_is_used() {
    case(|rig| {
        let folder = rig.scratch().join("device");
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("f"), "of the host").expect("the folder takes a file");
        rig.ok("volume create --opt type=tmpfs --opt device=tmpfs --opt o=size=1m,uid=1000 memory");
        rig.ok(&format!(
            "volume create --opt type=none --opt o=bind --opt device={} bound",
            folder.display()
        ));
        let place = |name: &str| {
            rig.get(&format!("/volumes/{name}")).json()["Mountpoint"].as_str().expect("a place").to_string()
        };
        let mounted = || {
            let all = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts are listed");
            ["memory", "bound"].map(|name| all.contains(&format!(" {} ", place(name))))
        };
        rig.ok("run -d --name one -v memory:/m -v bound:/b busybox sleep 1000");
        rig.ok("run -d --name two -v memory:/m busybox sleep 1000");
        if rig.kind() == EngineKind::Minke {
            assert_eq!(mounted(), [true, true]);
        }
        let shown = rig.ok("exec one sh -c 'grep \" /m \" /proc/mounts; stat -c %u /m; cat /b/f'");
        assert!(shown.contains("size=1024k") && shown.ends_with("1000\nof the host"), "{shown}");
        rig.ok("exec one sh -c 'echo shared > /m/f'");
        assert_eq!(rig.ok("exec two cat /m/f"), "shared");
        rig.ok("rm -f one");
        if rig.kind() == EngineKind::Minke {
            minke_e2e::within(10, "the bind is unmounted", || (mounted() == [true, false]).then_some(()));
            rig.kill_engine();
            rig.start_engine();
            assert_eq!(mounted(), [true, false], "what runs keeps what it uses");
        }
        rig.ok("rm -f two");
        if rig.kind() == EngineKind::Minke {
            minke_e2e::within(10, "all is unmounted", || (mounted() == [false, false]).then_some(()));
        }
        rig.ok("volume rm memory bound");
        assert_eq!(std::fs::read_to_string(folder.join("f")).expect("the file"), "of the host");
        rig.ok("volume create --opt type=none --opt o=bind --opt device=/is/not/there broken");
        rig.ok("create --name three -v broken:/b:nocopy busybox true");
        rig.fails("start three", 1, "failed to mount local volume: mount /is/not/there:");
    });
}

#[test]
fn what_the_engine_did_not_mount_is_not_removed() {
    once(|rig| {
        if rig.kind() != EngineKind::Minke {
            return;
        }
        rig.ok("volume create data");
        let found = rig.get("/volumes/data").json();
        let inner = Path::new(found["Mountpoint"].as_str().expect("a place")).join("inner");
        let precious = rig.scratch().join("precious");
        for folder in [&inner, &precious] {
            std::fs::create_dir(folder).expect("a folder");
        }
        std::fs::write(precious.join("f"), "x").expect("the folder takes a file");
        let run = |program: &str, words: &[&Path]| {
            let status = std::process::Command::new(program).args(words).status().expect("it runs");
            assert!(status.success());
        };
        run("mount", &[Path::new("--bind"), &precious, &inner]);
        rig.fails("volume rm data", 1, "remove data: something is mounted at ");
        run("umount", &[&inner]);
        assert!(precious.join("f").exists());
        rig.ok("volume rm data");
    });
}

#[test]
fn binds_have_docker_s_options() {
    case(|rig| {
        let folder = rig.scratch().join("tree");
        std::fs::create_dir_all(folder.join("below")).expect("a folder");
        let tree = folder.display();
        let mount = |options: &str| format!("run --rm --mount type=bind,src={tree},dst=/t{options} busybox");
        let private = Rig::scratch(rig).join("tree/below");
        let status =
            std::process::Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&private).status();
        assert!(status.expect("mount runs").success());
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            rig.ok(&format!("{} touch /t/below/x", mount("")));
            if rig.is_like(25) {
                assert_eq!(rig.ok(&format!("{} ls /t/below", mount(",bind-recursive=disabled"))), "");
                rig.fails(&format!("{} touch /t/below/y", mount(",readonly")), 1, "Read-only file system");
                rig.ok(&format!("{} touch /t/below/y", mount(",readonly,bind-recursive=writable")));
                rig.fails(
                    &format!(
                        "{} touch /t/below/z",
                        mount(",readonly,bind-propagation=rprivate,bind-recursive=readonly")
                    ),
                    1,
                    "Read-only file system",
                );
            }
            rig.ok(&format!("run --rm -v {tree}:/t:z,consistent busybox ls /t"));
        }));
        let status = std::process::Command::new("umount").arg(&private).status();
        assert!(status.expect("umount runs").success());
        if let Err(cause) = outcome {
            std::panic::resume_unwind(cause);
        }
        rig.ok(&format!("run --rm -v {tree}/made/by/v:/t busybox touch /t/x"));
        assert!(folder.join("made/by/v/x").exists());
    });
}

#[test]
fn propagation_is_passed_on_only_where_it_can_be() {
    once(|rig| {
        let folder = rig.scratch().join("passed-on");
        std::fs::create_dir(&folder).expect("a folder");
        let run = |words: &[&str]| {
            assert!(
                std::process::Command::new(words[0]).args(&words[1..]).status().expect("it runs").success()
            );
        };
        let path = folder.display().to_string();
        run(&["mount", "-t", "tmpfs", "tmpfs", &path]);
        run(&["mount", "--make-private", &path]);
        let refused = [("shared", "a shared mount"), ("rslave", "a shared or slave mount")];
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            if rig.kind() == EngineKind::Minke {
                for (mode, what) in refused {
                    let words = format!("path {path} is mounted on {path} but it is not {what}");
                    rig.fails(&format!("run --rm -v {path}:/p:{mode} busybox true"), 125, &words);
                }
                run(&["mount", "--make-shared", &path]);
                rig.ok(&format!("run --rm --cap-add SYS_ADMIN -v {path}:/p:shared busybox sh -c 'mkdir /p/in && mount -t tmpfs t /p/in && touch /p/in/x'"));
                assert!(folder.join("in/x").exists(), "the host sees what the container has mounted");
                run(&["umount", &format!("{path}/in")]);
                rig.ok(&format!("run -d --name slave -v {path}:/p:rslave busybox sleep 1000"));
                run(&["mount", "-t", "tmpfs", "tmpfs", &format!("{path}/in")]);
                std::fs::write(folder.join("in/y"), "seen").expect("a file");
                assert_eq!(rig.ok("exec slave cat /p/in/y"), "seen");
                rig.ok("rm -f slave");
                run(&["umount", &format!("{path}/in")]);
            }
        }));
        run(&["umount", "-R", &path]);
        if let Err(cause) = outcome {
            std::panic::resume_unwind(cause);
        }
    });
}

#[test]
fn tmpfs_has_docker_s_options() {
    case(|rig| {
        let shown =
            |flags: &str| rig.ok(&format!("run --rm {flags} busybox sh -c 'grep \" /t \" /proc/mounts'"));
        assert!(shown("--tmpfs /t").starts_with("tmpfs /t tmpfs rw,nosuid,nodev,noexec,relatime"));
        assert!(
            shown("--tmpfs /t:exec,suid,ro,size=2m,mode=700")
                .starts_with("tmpfs /t tmpfs ro,nodev,relatime,size=2048k,mode=700")
        );
        assert!(
            shown("--mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=750,readonly")
                .contains("size=1024k,mode=750")
        );
        rig.fails(
            "run --rm --tmpfs relative busybox true",
            125,
            "invalid mount path: 'relative' mount path must be absolute",
        );
        rig.fails("run --rm --tmpfs / busybox true", 125, "destination can't be '/'");
        rig.fails("run --rm --tmpfs /t:odd busybox true", 125, "invalid tmpfs option");
    });
}

#[test]
fn what_happens_to_a_container_s_volumes_is_told() {
    once(|rig| {
        rig.ok("volume create data");
        rig.ok("run --rm -v data:/d:ro busybox true");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let path = format!(
            "/events?since=1&until={}&filters={}",
            now.as_secs() + 1,
            minke_e2e::escape("{\"volume\":[\"data\"],\"type\":[\"volume\"]}")
        );
        let told: Vec<Value> =
            rig.get(&path).text().lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
        let actions: Vec<&str> = told.iter().filter_map(|event| event["Action"].as_str()).collect();
        // Docker 20 tells once more of a volume that is there.
        let first = usize::from(!rig.is_like(23));
        assert_eq!(actions[first..], ["create", "mount", "unmount"], "{told:?}");
        let attributes = &told[first + 1]["Actor"]["Attributes"];
        assert_eq!(
            (&attributes["destination"], &attributes["driver"], &attributes["read/write"]),
            (&json!("/d"), &json!("local"), &json!("false"))
        );
    });
}

#[test]
fn volumes_and_their_containers_outlive_kill_9() {
    once(|rig| {
        if rig.kind() != EngineKind::Minke {
            return;
        }
        import_data(rig);
        rig.ok(
            "run -d --name one -v named:/n withvolume sh -c 'echo a > /n/f; echo b > /data/f; sleep 1000'",
        );
        minke_e2e::within(10, "the files are written", || {
            rig.cli("exec one cat /n/f /data/f").text().eq("a\nb").then_some(())
        });
        let before = rig.inspect("one")["Mounts"].clone();
        rig.kill_engine();
        rig.start_engine();
        assert_eq!(rig.inspect("one")["Mounts"], before);
        rig.fails("volume rm named", 1, "volume is in use");
        rig.ok("restart -t 0 one");
        assert_eq!(rig.ok("exec one cat /data/file"), "of the image");
        rig.ok("rm -f -v one");
        assert_eq!(volumes(rig), ["named"]);
        assert_eq!(rig.ok("run --rm -v named:/n busybox cat /n/f"), "a");
    });
}

#[test]
fn nothing_is_bound_over_the_kernel_s_view_of_processes() {
    once(|rig| {
        let file = rig.file("file", b"of the host\n").display().to_string();
        let folder = rig.scratch().join("folder");
        std::fs::create_dir(&folder).expect("a folder");
        let folder = folder.display();
        for (source, target) in [
            (file.clone(), "/proc/self/attr/exec"),
            (file.clone(), "/proc/version"),
            (folder.to_string(), "/proc/sys"),
            (folder.to_string(), "/proc/not/there"),
            ("named".to_owned(), "/proc/fs"),
        ] {
            let run = rig.cli(&format!("run --rm -v {source}:{target} busybox true"));
            assert_eq!(run.code, 125, "{target}: {run:?}");
            assert!(run.stderr.contains("cannot be mounted because it is inside /proc"), "{target}: {run:?}");
        }
        let run = rig.cli(&format!("run --rm -v {folder}:/proc busybox true"));
        assert_eq!(run.code, 125, "{run:?}");
        assert!(run.stderr.contains("cannot be mounted because it is not of type proc"), "{run:?}");
        // What file systems like lxcfs show instead of the kernel's.
        let seen = rig.ok(&format!("run --rm -v {file}:/proc/uptime:ro busybox cat /proc/uptime"));
        assert_eq!(seen, "of the host");
        assert_eq!(rig.cli(&format!("run --rm -v {file}:/processes/file busybox true")).code, 0);
    });
}
