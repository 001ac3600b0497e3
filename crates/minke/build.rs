//! Builds minke-shim with its own profile, freestanding, and hands its path to `shim_image.rs`
//! (`docs/design` has the measurements behind the flags).
//!
//! `MINKE_SHIM_BIN` names a shim that is built already.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What makes the shim freestanding: no relocation, no libc, no unwinding, as few pages as possible.
const FLAGS: [&str; 9] = [
    "--cfg=minke_freestanding",
    "-Crelocation-model=static",
    "-Ctarget-feature=+crt-static",
    "-Cforce-unwind-tables=no",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nodefaultlibs",
    "-Clink-arg=-static",
    "-Clink-arg=-no-pie",
    "-Clink-arg=-Wl,--build-id=none,-z,norelro,-z,noseparate-code,--no-eh-frame-hdr",
];

/// What the outer build has set for itself.
const FOREIGN: [&str; 7] = [
    "RUSTFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER_ARGS",
    "CLIPPY_ARGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "CARGO_MAKEFLAGS",
];
const FOREIGN_PREFIXES: [&str; 5] =
    ["CARGO_FEATURE_", "CARGO_CFG_", "CARGO_PKG_", "CARGO_PROFILE_", "CARGO_MANIFEST_"];

fn main() {
    let crates = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..");
    let root = crates.join("..");
    for name in ["minke-shim", "minke-runtime", "minke-spec", "minke-sys"] {
        rerun_if_changed(&crates.join(name).join("src"));
        rerun_if_changed(&crates.join(name).join("Cargo.toml"));
    }
    rerun_if_changed(&root.join("Cargo.toml"));
    rerun_if_changed(&root.join("Cargo.lock"));
    println!("cargo::rerun-if-env-changed=MINKE_SHIM_BIN");
    let built = match env::var_os("MINKE_SHIM_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(&root),
    };
    let image = PathBuf::from(variable("OUT_DIR")).join("minke-shim");
    std::fs::copy(&built, &image).unwrap_or_else(|error| panic!("copying {}: {error}", built.display()));
    println!("cargo::rustc-env=MINKE_SHIM_IMAGE={}", image.display());
    println!("cargo::rustc-env=MINKE_BUILD_TIME={}", build_time());
    at_a_fixed_address();
}

/// The program is linked to be loaded at one address: 31,000 relocations and the pages that they write to are what a short
/// command would spend most of its time on.
fn at_a_fixed_address() {
    if variable("CARGO_CFG_TARGET_OS") == "linux" && variable("CARGO_CFG_TARGET_ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}

/// The time of this build, or the one that a reproducible build is told to take.
fn build_time() -> String {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let told = env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let now = || jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(told.unwrap_or_else(now))
        .map_or_else(|_| String::new(), |time| time.to_string())
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

fn rerun_if_changed(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}

/// Runs cargo in a target directory of its own: in the outer one it would wait for itself.
fn build(root: &Path) -> PathBuf {
    let target = variable("TARGET");
    let directory = target_directory().join("minke-shim-build");
    let mut cargo = Command::new(variable("CARGO"));
    cargo.current_dir(root).args(["build", "--profile", "shim", "-p", "minke-shim", "--locked"]);
    // With a target, the flags stay away from build scripts and macros.
    cargo.arg("--target").arg(&target).arg("--target-dir").arg(&directory);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if FOREIGN.contains(&&*text) || FOREIGN_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}")).env("CARGO_BUILD_BUILD_DIR", &directory);
    let status = cargo.status().unwrap_or_else(|error| panic!("running cargo: {error}"));
    assert!(status.success(), "minke-shim could not be built");
    directory.join(target).join("shim").join("minke-shim")
}

/// `OUT_DIR` is `<target directory>[/<target>]/<profile>/build/<package>/out`.
fn target_directory() -> PathBuf {
    let out = PathBuf::from(variable("OUT_DIR"));
    let marked = out.ancestors().find(|path| path.join("CACHEDIR.TAG").exists());
    marked.or_else(|| out.ancestors().nth(4)).map(Path::to_path_buf).unwrap_or(out.clone())
}
