//! Volumes on a file server. In the virtual machine (`MINKE_VM`) the kernel's own NFS server serves the scratch folder on the loopback;
//! elsewhere nothing is changed in the kernel, and the mount has to fail in Docker's words.

use std::fs;
use std::path::Path;
use std::process::Command;

use minke_e2e::{EngineKind, Rig, once};

/// The kernel's NFS server, version 4, with one export: what `rpc.nfsd` and `exportfs` would tell it is written by hand.
struct Server;

impl Server {
    /// Serves `folder` as `:/`; `None` where this is no machine of ours, or its kernel has no server.
    fn start(folder: &Path) -> Option<Self> {
        std::env::var_os("MINKE_VM")?;
        let loaded = Command::new("modprobe").args(["-a", "nfsd", "nfsv4"]).status();
        loaded.ok().filter(|status| status.success())?;
        let control = Path::new("/proc/fs/nfsd");
        if !control.join("threads").exists() {
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("nfsd", control, "nfsd", flags, None).expect("the server's files");
        }
        let write = |path: &str, text: String| {
            fs::write(path, text).unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        let (folder, until) = (folder.display(), u32::MAX / 2);
        write("/proc/fs/nfsd/nfsv4gracetime", "10".into());
        // Version 3 would have to be announced to a program that isn't there.
        write("/proc/fs/nfsd/versions", "-3 +4 +4.1 +4.2".into());
        // Who asks from where is of the domain `all`; its export is writable, for root as well, and the root of them all.
        write("/proc/net/rpc/auth.unix.ip/channel", format!("nfsd 127.0.0.1 {until} all\n"));
        write("/proc/net/rpc/nfsd.export/channel", format!("all {folder} {until} 9218 65534 65534 0\n"));
        write("/proc/net/rpc/nfsd.fh/channel", format!("all 1 \\x00000000 {until} {folder}\n"));
        write("/proc/fs/nfsd/portlist", "tcp 2049".into());
        write("/proc/fs/nfsd/threads", "2".into());
        let _ = fs::write("/proc/fs/nfsd/v4_end_grace", "Y");
        Some(Self)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::write("/proc/fs/nfsd/threads", "0");
        for cache in ["nfsd.fh", "nfsd.export", "auth.unix.ip"] {
            let _ = fs::write(format!("/proc/net/rpc/{cache}/flush"), "4294967295");
        }
    }
}

fn create(rig: &Rig, name: &str, options: &str, device: &str) {
    rig.ok(&format!("volume create -o type=nfs -o o={options} -o device={device} {name}"));
}

/// Panics where something of NFS is still mounted for the engine.
fn nothing_is_mounted(rig: &Rig) {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("a table");
    let of_it = table
        .lines()
        .find(|line| line.contains(&*rig.scratch().to_string_lossy()) && line.contains(" - nfs"));
    assert_eq!(of_it, None);
}

#[test]
fn a_volume_of_a_file_server_is_mounted_while_it_is_used() {
    once(|rig| {
        if rig.kind() == EngineKind::Dockerd {
            return;
        }
        let export = rig.scratch().join("export");
        fs::create_dir(&export).expect("a folder");
        fs::write(export.join("file"), "of the server").expect("a file");
        let server = Server::start(&export);
        create(rig, "far", "addr=127.0.0.1,rw,nfsvers=4", ":/");
        let failed = "failed to mount local volume: mount :/";
        if server.is_none() {
            rig.fails("run --rm -v far:/v busybox true", 125, failed);
            nothing_is_mounted(rig);
            return;
        }
        rig.ok("run -d --name main -v far:/v busybox sleep 1000");
        assert_eq!(rig.ok("exec main cat /v/file"), "of the server");
        assert_eq!(rig.ok("run --rm -v far:/v:ro busybox cat /v/file"), "of the server");
        rig.ok("exec main sh -c 'echo back >/v/answer'");
        assert_eq!(fs::read_to_string(export.join("answer")).expect("it was written"), "back\n");
        rig.fails("volume rm far", 1, "volume is in use");
        rig.ok("rm -f main");
        nothing_is_mounted(rig);
        rig.ok("volume rm far");
        // A folder that the server doesn't have, and a machine that isn't one.
        create(rig, "nowhere", "addr=127.0.0.1,rw,nfsvers=4", ":/nosuch");
        rig.fails(
            "run --rm --name none -v nowhere:/v busybox true",
            125,
            "nfsvers=4: no such file or directory",
        );
        create(rig, "nobody", "addr=127.0.0.1,rw,nfsvers=4,port=2050", ":/");
        rig.fails("run --rm --name none -v nobody:/v busybox true", 125, "connection refused");
        assert_eq!(rig.ok("ps -aq"), "");
        nothing_is_mounted(rig);
    });
}
