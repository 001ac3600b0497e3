//! How the shim is started: every way to keep its program, and what it does when nobody tells it what to start. Needs root.

mod support;

use std::os::fd::AsFd;
use std::path::Path;

use minke_sys::spawn::{Image, Keeping, Start, reap_child};
use minke_sys::{channel, process};
use support::until;

fn image(keeping: Keeping) -> Image {
    let path = std::env::var("MINKE_SHIM_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_minke-shim").into());
    Image::kept(&std::fs::read(path).unwrap(), Path::new(env!("CARGO_TARGET_TMPDIR")), keeping).unwrap()
}

fn check_end_without_start(keeping: Keeping) {
    let image = image(keeping);
    let (ours, theirs) = channel::pair().unwrap();
    let start = Start {
        control: theirs.as_fd(),
        arguments: &["minke-shim"],
        cgroup: None,
        v1_tasks: &[],
        namespaces: 0,
        users: None,
    };
    let started = image.start(start).unwrap();
    drop(theirs);
    assert_eq!(reap_child(started.pid), None);
    drop(ours);
    let mut code = None;
    until("the shim ends", || {
        code = reap_child(started.pid);
        code.is_some()
    });
    assert_eq!(code, Some(0));
    assert_eq!(process::pidfd_exit_code(&started.pidfd), Some(0));
}

#[test]
fn a_shim_from_memory_ends_with_its_engine_before_the_start() {
    check_end_without_start(Keeping::Memory);
}

#[test]
fn a_shim_from_a_detached_file_ends_with_its_engine_before_the_start() {
    check_end_without_start(Keeping::DetachedFile);
}

#[test]
fn the_kept_program_cannot_be_written() {
    for keeping in [Keeping::Memory, Keeping::DetachedFile] {
        let image = image(keeping);
        let path = minke_sys::descriptor::magic_path(&image);
        let opened = std::fs::OpenOptions::new().write(true).open(&path);
        let refused = match opened {
            Err(_) => true,
            Ok(mut file) => std::io::Write::write(&mut file, b"x").is_err(),
        };
        assert!(refused, "{keeping:?}");
    }
}
