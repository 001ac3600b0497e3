//! `--storage-opt size=`: how much a container may write into its own layer. Held in the virtual machine, whose kernel has project
//! quotas; elsewhere it is refused in Docker's words.

use std::process::Command;

use minke_e2e::{Client, Rig, once};

const REFUSED: &str = "--storage-opt is supported only for overlay over xfs with 'pquota' mount option";

#[test]
fn a_size_that_cannot_be_held_is_refused() {
    once(|rig| {
        rig.fails("create --storage-opt size=1g busybox", 1, REFUSED);
        rig.fails("create --storage-opt size=x busybox", 1, REFUSED);
        rig.fails("create --storage-opt other=1 busybox", 1, "nknown option other");
        assert_eq!(rig.ok("ps -aq"), "");
    });
}

/// A file system in a file, unmounted with the value.
struct Disk(tempfile::TempDir);

impl Disk {
    fn make(limits: bool) -> Self {
        let disk = Self(tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a folder"));
        let (file, place) = (disk.0.path().join("disk"), disk.0.path().join("data"));
        std::fs::create_dir(&place).expect("a folder");
        let file = file.to_str().expect("in ASCII");
        let place = place.to_str().expect("in ASCII");
        run("modprobe", &["-a", "loop", "quota_v2"]);
        run("truncate", &["-s", "400M", file]);
        run("mkfs.ext4", &["-q", "-O", "project,quota", "-E", "quotatype=prjquota", file]);
        run("mount", &["-o", if limits { "loop,prjquota" } else { "loop" }, file, place]);
        disk
    }

    fn path(&self) -> String {
        self.0.path().join("data").display().to_string()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.path()]).status();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let path = format!(
        "{}:{}/usr/sbin",
        std::env::var("PATH").unwrap_or_default(),
        minke_e2e::peers::target().join("peers").display()
    );
    let status = Command::new(program).args(arguments).env("PATH", path).status();
    assert!(status.is_ok_and(|status| status.success()), "{program} {arguments:?}");
}

#[test]
fn a_layer_takes_no_more_than_its_size() {
    if std::env::var_os("MINKE_VM").is_none() {
        return println!("not here: only the virtual machine's kernel is known to have project quotas");
    }
    let disk = Disk::make(true);
    Rig::run(Client::Minke, &["--data-root", &disk.path()], |rig| {
        let info = rig.get("/info").json()["DriverStatus"].to_string();
        assert!(info.contains(r#"["Project Quota","true"]"#), "{info}");
        rig.ok("run -d --name one --storage-opt size=20m busybox sleep 1000");
        rig.ok("run -d --name two --storage-opt size=60m busybox sleep 1000");
        rig.ok("run -d --name free busybox sleep 1000");
        let write = |name: &str, megabytes: u32| {
            rig.cli(&format!("exec {name} dd if=/dev/zero of=/big bs=1M count={megabytes}"))
        };
        let full = write("one", 40);
        assert_eq!(full.code, 1, "{full:?}");
        assert!(full.stderr.contains("quota exceeded") || full.stderr.contains("No space left"), "{full:?}");
        let size: u64 = rig.ok("exec one stat -c %s /big").parse().expect("a number");
        assert!((10 << 20..=20 << 20).contains(&size), "{size}");
        rig.ok("exec one rm /big");
        assert_eq!(write("one", 10).code, 0);
        assert_eq!(write("two", 40).code, 0);
        assert_eq!(write("free", 80).code, 0);
        // It holds for every start.
        rig.ok("restart -t 0 one");
        assert_eq!(write("one", 40).code, 1);
        rig.ok("rm -f one");
        rig.ok("run -d --name one --storage-opt SIZE=30m busybox sleep 1000");
        assert_eq!(write("one", 25).code, 0);
        rig.fails("create --storage-opt size=x busybox", 1, "invalid size: 'x'");
    });
}
