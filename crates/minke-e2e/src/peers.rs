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

/// Lets a command find the libraries of a program that [`program`] gave: the packages' own, where it is from them.
pub fn with_libraries(command: &mut Command, program: &Path) {
    command.envs(libraries(program).map(|folder| ("LD_LIBRARY_PATH", folder)));
}

/// Returns where the libraries of a program are that the packages brought.
pub fn libraries(program: &Path) -> Option<PathBuf> {
    let usr = target().join("peers/usr");
    if !program.starts_with(&usr) {
        return None;
    }
    let folders = std::fs::read_dir(usr.join("lib")).into_iter().flatten().flatten();
    let own = folders.map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with("-linux-gnu"));
    Some(own.unwrap_or_else(|| usr.join("lib")))
}

/// Returns the docker client: `MINKE_E2E_DOCKER`, else the one of the PATH or of the packages.
pub fn docker() -> &'static Path {
    static DOCKER: LazyLock<PathBuf> = LazyLock::new(|| {
        std::env::var_os("MINKE_E2E_DOCKER").map_or_else(|| program("docker", "docker"), PathBuf::from)
    });
    &DOCKER
}

/// Returns the docker client's major version: a distribution may have an old one.
pub fn docker_version() -> u32 {
    static VERSION: LazyLock<u32> = LazyLock::new(|| {
        let output = Command::new(docker()).arg("--version").output().expect("the docker client runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = text.split(' ').nth(2).and_then(|version| version.split('.').next());
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("a version in {text}"))
    });
    *VERSION
}

/// Tells whether the docker client is so new that ours is compared with it word by word; says so where it isn't.
pub fn docker_speaks_as_ours(what: &str) -> bool {
    let new = docker_version() >= 28;
    if !new {
        println!(
            "{what}: not compared, since the docker client is of version {} and ours speaks as 28",
            docker_version()
        );
    }
    new
}

/// Returns the statically linked busybox.
pub fn busybox() -> &'static Path {
    static BUSYBOX: LazyLock<PathBuf> = LazyLock::new(|| folder("busybox").join("usr/bin/busybox"));
    &BUSYBOX
}
