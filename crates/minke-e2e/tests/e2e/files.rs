//! A container's files: cp, diff, export, commit.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use minke_e2e::rootfs::Tree;
use minke_e2e::{EngineKind, Rig, case, once};
use serde_json::json;

/// A running container `c` with a few files.
fn with_files(rig: &Rig) {
    rig.ok("run -d --name cc busybox sh -c 'mkdir -p /src/sub && echo one > /src/one && echo two > /src/sub/two && ln -s one /src/link && ln -s /src /way && echo done && exec sleep 1000'");
    rig.await_log("cc", "done");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in a tar, with their kinds.
fn names(tar: &[u8]) -> BTreeMap<String, char> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("a tar");
    let named = entries.map(|entry| {
        let entry = entry.expect("an entry");
        let kind = entry.header().entry_type().as_byte() as char;
        (String::from_utf8_lossy(&entry.path_bytes()).into_owned(), kind)
    });
    named.collect()
}

/// How it is said that a file isn't in a container; `rest` are a newer client's last words.
fn not_there(rig: &Rig, rest: &str) -> String {
    if rig.is_like(23) {
        format!("Could not find the file {rest}").trim_end().to_string()
    } else {
        "No such container:path: cc:".into()
    }
}

#[test]
fn cp_copies_out_by_docker_s_rules() {
    case(|rig| {
        with_files(rig);
        let out = rig.scratch().join("out");
        std::fs::create_dir(&out).unwrap();
        let at = |name: &str| out.join(name);
        let copy = |from: &str, to: &str| rig.ok(&format!("cp {from} {}", at(to).display()));
        copy("cc:/src/one", "new");
        copy("cc:/src/one", "");
        copy("cc:src", "");
        copy("cc:/src", "renamed");
        copy("cc:/src/.", "content");
        copy("cc:/src/link", "a-link");
        copy("-L cc:/src/link", "followed");
        copy("-L cc:/way", "way");
        assert_eq!(read(&at("new")), "one\n");
        assert_eq!(read(&at("one")), "one\n");
        for tree in ["src", "renamed", "content", "way"] {
            assert_eq!(read(&at(tree).join("sub/two")), "two\n", "{tree}");
            assert_eq!(std::fs::read_link(at(tree).join("link")).unwrap(), Path::new("one"));
        }
        assert_eq!(std::fs::read_link(at("a-link")).unwrap(), Path::new("one"));
        assert_eq!(read(&at("followed")), "one\n");
        let archive = rig.cli("cp cc:/src/sub -");
        assert_eq!(names(&archive.stdout), [("sub/".into(), '5'), ("sub/two".into(), '0')].into());
        let fails = |from: &str, to: &str, words: &str| {
            rig.fails(&format!("cp {from} {}", at(to).display()), 1, words);
        };
        fails("cc:/nope", "x", not_there(rig, "/nope in container cc").as_str());
        fails("cc:/src", "one", "cannot copy directory");
        fails("cc:/src/one", "gone/", "no such directory");
        fails("cc:/src/one", "gone/x", "does not exist");
        // An old client says what the path was.
        let nobody = if rig.client_is_like(23) { "container: missing" } else { "container:path: missing:/x" };
        fails("missing:/x", "x", &format!("No such {nobody}"));
        rig.fails("cp cc:/a cc:/b", 1, "copying between containers is not supported");
        rig.fails("cp /a /b", 1, "must specify at least one container source");
    });
}

#[test]
fn cp_copies_in_by_docker_s_rules() {
    case(|rig| {
        with_files(rig);
        let local = rig.scratch().join("local");
        std::fs::create_dir_all(local.join("deep")).unwrap();
        std::fs::write(local.join("file"), "in\n").unwrap();
        std::fs::write(local.join("deep/f"), "deep\n").unwrap();
        std::os::unix::fs::symlink("file", local.join("link")).unwrap();
        let at = |name: &str| local.join(name).display().to_string();
        let copy = |from: &str, to: &str| rig.ok(&format!("cp {} {to}", at(from)));
        copy("file", "cc:/root-file");
        copy("file", "cc:/src");
        copy("file", "cc:/src/one");
        copy("deep", "cc:/src");
        copy("deep", "cc:/fresh");
        copy("deep/.", "cc:/src/sub");
        copy("file", "cc:/way/through-a-link");
        copy("link", "cc:/src/copied-link");
        rig.ok(&format!("cp -L {} cc:/src/followed", at("link")));
        let script = "cat /root-file /src/file /src/one /src/deep/f /fresh/f /src/sub/f /src/sub/two /src/through-a-link /src/followed; readlink /src/copied-link";
        let expected = ["in", "in", "in", "deep", "deep", "deep", "two", "in", "in", "file"].join("\n");
        assert_eq!(rig.ok(&format!("exec cc sh -c '{script}'")), expected);
        let fails = |from: &str, to: &str, words: &str| rig.fails(&format!("cp {} {to}", at(from)), 1, words);
        fails("deep", "cc:/src/one", "cannot copy directory");
        fails("file", "cc:/nope/", "no such directory");
        fails("file", "cc:/nope/x", not_there(rig, "/nope in container cc").as_str());
        fails("missing", "cc:/", "no such file or directory");
        fails("file", "cc:/dev/null", "must be a directory or a regular file: got a device");
        std::fs::create_dir(local.join("one")).unwrap();
        fails("one", "cc:/src", "cannot overwrite non-directory");
        let mut tree = Tree::default();
        tree.file("streamed/x", 0o640, b"stream\n");
        let archive = tree.finish();
        let output = rig.with_input("cp - cc:/src", &archive);
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert_eq!(rig.ok("exec cc cat /src/streamed/x"), "stream");
        let output = rig.with_input("cp - cc:/src/one", &archive);
        assert!(output.code == 1 && output.stderr.contains("must be a directory"), "{}", output.stderr);
    });
}

#[test]
fn cp_works_on_containers_that_do_not_run_and_into_mounts() {
    case(|rig| {
        let (bind, fixed) = (rig.scratch().join("bind"), rig.scratch().join("fixed"));
        std::fs::create_dir(&bind).unwrap();
        std::fs::create_dir(&fixed).unwrap();
        let file = rig.file("f", b"content\n");
        let mounts = format!("-v {}:/data -v {}:/fixed:ro", bind.display(), fixed.display());
        rig.ok(&format!("create --name cc {mounts} busybox sh -c 'cat /f /data/f; exec sleep 1000'"));
        let put = |to: &str| format!("cp {} cc:{to}", file.display());
        for _state in ["created", "running", "exited"] {
            rig.ok(&put("/f"));
            rig.ok(&put("/data"));
            assert_eq!(read(&bind.join("f")), "content\n");
            std::fs::write(bind.join("back"), "back\n").unwrap();
            let back = rig.scratch().join("back");
            rig.ok(&format!("cp cc:/data/back {}", back.display()));
            assert_eq!(read(&back), "back\n");
            rig.fails(&put("/fixed"), 1, "mounted volume is marked read-only");
            let running = rig.inspect("cc")["State"]["Running"] == true;
            if running {
                rig.ok("stop -t 0 cc");
            } else {
                rig.ok("start cc");
                rig.await_log("cc", "content\ncontent");
            }
        }
        rig.ok("run -d --name ro --read-only busybox sleep 1000");
        rig.fails(&format!("cp {} ro:/f", file.display()), 1, "container rootfs is marked read-only");
        assert!(std::fs::read_dir(&fixed).unwrap().next().is_none());
    });
}

#[test]
fn the_api_s_archives_say_what_they_are_of() {
    once(|rig| {
        with_files(rig);
        let stat = rig.request("HEAD", "/containers/cc/archive?path=/src/link", "", &[]);
        assert_eq!(stat.status, 200, "{stat:?}");
        let header = stat.header("x-docker-container-path-stat").expect("the header").to_owned();
        let got = rig.get("/containers/cc/archive?path=/src/link");
        assert_eq!(got.header("x-docker-container-path-stat"), Some(header.as_str()));
        assert_eq!(got.header("content-type"), Some("application/x-tar"));
        assert_eq!(names(&got.body), [("link".into(), '2')].into());
        for (method, path, status) in [
            ("GET", "/containers/cc/archive?path=/nope", 404),
            ("HEAD", "/containers/cc/archive?path=/nope", 404),
            ("GET", "/containers/cc/archive", 400),
            ("PUT", "/containers/cc/archive?path=/nope", 404),
            ("PUT", "/containers/cc/archive?path=/src/one", 400),
        ] {
            let answer = rig.request(method, path, "application/x-tar", &[0; 1024]);
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        }
        let mut tree = Tree::default();
        tree.file("sub", 0o644, b"x");
        let archive = tree.finish();
        let put = |query: &str| {
            rig.request(
                "PUT",
                &format!("/containers/cc/archive?path=/src{query}"),
                "application/x-tar",
                &archive,
            )
        };
        let kept = put("&noOverwriteDirNonDir=1");
        assert!(
            kept.message().contains("cannot overwrite directory \"/src/sub\" with non-directory \"/src\""),
            "{kept:?}"
        );
        assert_eq!(put("").status, 200);
        assert_eq!(rig.ok("exec cc cat /src/sub"), "x");
    });
}

#[test]
fn no_link_leads_cp_out_of_the_container() {
    case(|rig| {
        let secret = rig.file("secret", b"secret\n");
        let outside = rig.scratch().display().to_string();
        rig.ok(&format!(
            "run -d --name cc busybox sh -c 'mkdir /d && ln -s {outside} /d/abs && ln -s ../../../../../../../../..{outside} /d/rel && ln -s /proc/1/root/../../ /d/magic && echo done && exec sleep 1000'"
        ));
        rig.await_log("cc", "done");
        for link in ["/d/abs", "/d/rel"] {
            rig.fails(
                &format!("cp cc:{link}/secret {}/stolen", rig.scratch().display()),
                1,
                &not_there(rig, ""),
            );
            rig.fails(&format!("cp {} cc:{link}/planted", secret.display()), 1, &not_there(rig, ""));
        }
        rig.fails(
            &format!("cp cc:/proc/1/environ {}/stolen", rig.scratch().display()),
            1,
            &not_there(rig, ""),
        );
        assert!(!rig.scratch().join("planted").exists() && !rig.scratch().join("stolen").exists());
        // A tree that a container swaps for a link while it is walked: what is read is the container's.
        rig.ok("exec -d cc sh -c 'while :; do mkdir -p /d/x/etc; echo mine > /d/x/etc/hostname; mv /d/x /d/y; ln -s / /d/x; rm /d/x; mv /d/y /d/x; done'");
        for round in 0..5 {
            let place = rig.scratch().join(format!("round{round}"));
            std::fs::create_dir(&place).unwrap();
            rig.cli(&format!("cp cc:/d/x {}", place.display()));
            // A link that was copied as such leads to what is here.
            if place.join("x").is_symlink() {
                continue;
            }
            if let Ok(text) = std::fs::read_to_string(place.join("x/etc/hostname")) {
                // One that was emptied between its size and its bytes is filled up with zeros.
                let emptied = text.bytes().all(|byte| byte == 0);
                assert!(text == "mine\n" || emptied || text.len() == 13, "{text:?}");
            }
        }
    });
}

#[test]
fn diff_tells_what_was_added_changed_and_deleted() {
    case(|rig| {
        rig.ok("run --name cc busybox sh -c 'echo x > /new; rm /bin/vi; mkdir /dir; touch /dir/in; echo >> /etc/passwd'");
        let text = rig.ok("diff cc");
        let lines: Vec<&str> = text.lines().collect();
        for line in ["A /new", "C /bin", "D /bin/vi", "A /dir", "A /dir/in", "C /etc", "C /etc/passwd"] {
            assert!(lines.contains(&line), "{line} is not in {lines:?}");
        }
        assert_eq!(lines.len(), 7, "{lines:?}");
        rig.ok("run --name same busybox true");
        assert_eq!(rig.ok("diff same"), "");
        assert_eq!(rig.get("/containers/same/changes").json(), json!(null));
        assert_eq!(rig.get("/containers/missing/changes").status, 404);
    });
}

#[test]
fn export_has_the_merged_root_without_mounts() {
    case(|rig| {
        let bind = rig.scratch().join("bind");
        std::fs::create_dir(&bind).unwrap();
        std::fs::write(bind.join("hidden"), "").unwrap();
        rig.ok(&format!("run -d --name cc -v {}:/mnt busybox sh -c 'echo x > /new; rm /bin/vi; echo done; exec sleep 1000'", bind.display()));
        rig.await_log("cc", "done");
        for state in ["running", "exited"] {
            let file = rig.scratch().join("export.tar");
            rig.ok(&format!("export -o {} cc", file.display()));
            let found = names(&std::fs::read(&file).unwrap());
            assert_eq!(found.get("new"), Some(&'0'), "{found:?}");
            assert!(
                found.contains_key("bin/") && found.contains_key("proc/") && found.contains_key("etc/hosts")
            );
            for absent in ["bin/vi", "mnt/hidden", "proc/1/", "dev/null", "./"] {
                assert!(!found.contains_key(absent), "{absent}");
            }
            if state == "running" {
                rig.ok("kill cc");
                rig.ok("wait cc");
            }
        }
        let output = rig.cli("export cc");
        rig.import("again", &output.stdout, &["CMD [\"cat\", \"/new\"]"]);
        assert_eq!(rig.ok("run --rm again"), "x");
        rig.fails("export missing", 1, "No such container: missing");
    });
}

#[test]
fn commit_makes_an_image_of_what_has_changed() {
    case(|rig| {
        rig.ok("run -d --name cc -e A=1 -w /work busybox sh -c 'echo x > /new; rm /bin/vi; rm -r /home; mkdir /home; touch /home/mine; ln /new /linked; echo done; exec sleep 1000'");
        rig.await_log("cc", "done");
        let id = rig.ok("commit -a me -m why -c 'CMD [\"cat\", \"/new\"]' -c 'ENV B=2' -c 'LABEL k=v' -c 'EXPOSE 80' cc made:1");
        assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
        assert_eq!(rig.inspect("cc")["State"]["Running"], true, "it goes on after the pause");
        assert_eq!(rig.ok("run --rm made:1"), "x");
        let script = "ls /bin/vi /home/; echo $A$B; pwd; stat -c %h /linked";
        let output = rig.cli(&format!("run --rm made:1 sh -c '{script}'"));
        assert!(output.stderr.contains("/bin/vi: No such file"), "{}", output.stderr);
        assert_eq!(output.text(), "/home/:\nmine\n12\n/work\n2");
        let image = rig.get("/images/made:1/json").json();
        let busybox = rig.get("/images/busybox/json").json();
        assert_eq!(image["Author"], "me");
        assert_eq!(image["Comment"], "why");
        assert_eq!(image["Config"]["Cmd"], json!(["cat", "/new"]));
        assert_eq!(image["Config"]["Labels"], json!({"k": "v"}));
        assert_eq!(image["Config"]["ExposedPorts"], json!({"80/tcp": {}}));
        assert_eq!(image["RootFS"]["Layers"][0], busybox["RootFS"]["Layers"][0]);
        assert_eq!(image["RootFS"]["Layers"].as_array().map(Vec::len), Some(2));
        let history = rig.get("/images/made:1/history").json();
        assert_eq!(history[0]["Comment"], "why");
        assert!(history[0]["CreatedBy"].as_str().is_some_and(|text| text.starts_with("sh -c")), "{history}");
        rig.ok("commit --pause=false cc");
        rig.ok("create --name untouched busybox");
        rig.ok("commit untouched same");
        let same = rig.get("/images/same/json").json();
        assert_eq!(same["RootFS"]["Layers"], busybox["RootFS"]["Layers"]);
        rig.fails("commit missing", 1, "No such container: missing");
        rig.fails("commit cc BAD", 1, "repository name");
        rig.fails("commit -c 'FROM x' cc", 1, "is not a valid change command");
    });
}

#[test]
fn files_keep_mode_and_owner() {
    case(|rig| {
        rig.ok("run -d --name cc busybox sh -c 'echo x > /f; chmod 4751 /f; chown 1000:1001 /f; echo done; exec sleep 1000'");
        rig.await_log("cc", "done");
        let back = rig.scratch().join("f");
        rig.ok(&format!("cp cc:/f {}", back.display()));
        let found = std::fs::metadata(&back).unwrap();
        assert_eq!((found.mode() & 0o777, found.uid()), (0o751, 0));
        std::os::unix::fs::chown(&back, Some(7), Some(8)).unwrap();
        rig.ok(&format!("cp {} cc:/g", back.display()));
        assert_eq!(rig.ok("exec cc stat -c '%u:%g' /g"), "7:8");
    });
}

#[test]
fn a_large_file_passes_in_bounded_memory() {
    once(|rig| {
        if rig.kind() != EngineKind::Minke {
            return;
        }
        rig.ok("run -d --name cc busybox sleep 1000");
        let file = rig.scratch().join("large");
        std::fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
        rig.ok(&format!("cp {} cc:/large", file.display()));
        assert_eq!(rig.ok("exec cc stat -c %s /large"), (64 << 20).to_string());
        rig.ok(&format!("cp cc:/large {}", rig.scratch().join("back").display()));
        assert_eq!(std::fs::metadata(rig.scratch().join("back")).unwrap().len(), 64 << 20);
        let used = minke_e2e::process::anonymous_kib(rig.engine_pid());
        assert!(used < 48 << 10, "the engine holds {used} KiB");
    });
}
