//! The reference tools: what is on the PATH, else what tools/peers unpacks below target/.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Returns the project's root folder.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::parent).expect("the crate is in crates/")
}

/// Returns the folder of build results.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| project().join("target"), |dir| project().join(dir))
}

/// Returns the product's program: `MINKE_E2E_PROGRAM`, else the one that `cargo build --release` leaves.
pub fn minke() -> PathBuf {
    std::env::var_os("MINKE_E2E_PROGRAM").map_or_else(|| target().join("release/minke"), PathBuf::from)
}

/// Returns the script that loads and runs reference tools.
pub fn script() -> PathBuf {
    project().join("tools/peers")
}

/// Returns the folder with the unpacked packages, after making sure that `peer` is in it.
pub fn folder(peer: &str) -> PathBuf {
    let folder = target().join("peers");
    // The tests run as root; who calls xtask may be somebody else.
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new(script())
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("--").arg(script());
        sudo
    };
    let status = command.arg("fetch").arg(&folder).arg(peer).status().expect("tools/peers starts");
    assert!(status.success(), "tools/peers fetch {peer} failed");
    folder
}

/// Returns a program of the PATH, else the one that the packages of `peer` bring.
pub fn program(name: &str, peer: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()).unwrap_or_else(
        || {
            let usr = folder(peer).join("usr");
            ["bin", "sbin"]
                .iter()
                .map(|folder| usr.join(folder).join(name))
                .find(|file| file.is_file())
                .expect(name)
        },
    )
}

/// Returns the docker client: `MINKE_E2E_DOCKER`, else the one of the PATH or of the packages.
pub fn docker() -> &'static Path {
    static DOCKER: LazyLock<PathBuf> = LazyLock::new(|| {
        std::env::var_os("MINKE_E2E_DOCKER").map_or_else(|| program("docker", "docker"), PathBuf::from)
    });
    &DOCKER
}

/// Returns the statically linked busybox.
pub fn busybox() -> &'static Path {
    static BUSYBOX: LazyLock<PathBuf> = LazyLock::new(|| folder("busybox").join("usr/bin/busybox"));
    &BUSYBOX
}
