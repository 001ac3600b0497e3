//! A whole distribution: a Debian root file system made by debootstrap runs as it should.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use minke_e2e::{Rig, case, once, peers};

/// Returns the root file system as a tar archive, made once and kept beside the reference tools.
fn debian() -> &'static [u8] {
    static TAR: LazyLock<Vec<u8>> = LazyLock::new(load_or_build);
    &TAR
}

fn load_or_build() -> Vec<u8> {
    let folder = peers::folder("debootstrap");
    let (mirror, release) = source();
    let tar = folder.join(format!(".peers/debian-{release}.tar"));
    if !tar.exists() {
        build(&folder, &mirror, &release, &tar);
    }
    std::fs::read(tar).expect("the archive is readable")
}

/// Asks apt where it gets this machine's packages from.
fn source() -> (String, String) {
    let words =
        ["indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(SITE) $(CODENAME)", "Created-By: Packages"];
    let output = Command::new("apt-get").args(words).output().expect("apt-get runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut rows =
        rows.filter(|row| row.len() == 4 && matches!(row[0], "Debian" | "Ubuntu") && row[1] == "main");
    let row =
        rows.find(|row| !row[3].contains('-')).expect("apt has a source of the distribution's main packages");
    (row[2].to_string(), row[3].to_string())
}

fn build(folder: &std::path::Path, mirror: &str, release: &str, tar: &PathBuf) {
    let scratch = tempfile::tempdir().expect("a folder");
    let root = scratch.path().join("root");
    // It loads by wget, which is beside it where the machine has none.
    let programs = scratch.path().join("bin");
    std::fs::create_dir(&programs).expect("a folder");
    let wget = folder.join("usr/bin/wget");
    if wget.exists() {
        let script = format!(
            "#!/bin/sh\nLD_LIBRARY_PATH={0}/usr/lib/x86_64-linux-gnu exec {0}/usr/bin/wget \"$@\"\n",
            folder.display()
        );
        let file = programs.join("wget");
        std::fs::write(&file, script).expect("a script");
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    }
    let path =
        format!("{}:{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default(), programs.display());
    let mut debootstrap = Command::new("sh");
    debootstrap
        .arg(folder.join("usr/sbin/debootstrap"))
        .arg("--variant=minbase")
        .arg(release)
        .arg(&root)
        .arg(mirror);
    debootstrap.env("DEBOOTSTRAP_DIR", folder.join("usr/share/debootstrap")).env("PATH", path);
    let output = debootstrap.output().expect("debootstrap runs");
    assert!(output.status.success(), "debootstrap: {}", String::from_utf8_lossy(&output.stdout));
    let made = tar.with_extension("new");
    let status = Command::new("tar")
        .arg("-C")
        .arg(&root)
        .arg("--numeric-owner")
        .arg("-cf")
        .arg(&made)
        .arg(".")
        .status();
    assert!(status.expect("tar runs").success());
    std::fs::rename(made, tar).expect("the archive gets its name");
}

fn import(rig: &Rig) {
    rig.import("debian", debian(), &["CMD [\"bash\"]"]);
}

#[test]
fn its_programs_run() {
    once(|rig| {
        import(rig);
        assert!(rig.ok("run --rm debian apt --version").starts_with("apt "));
        assert!(rig.ok("run --rm debian cat /etc/os-release").contains("ID="));
        assert_eq!(rig.ok("run --rm debian su nobody -s /bin/sh -c 'id -un'"), "nobody");
        assert_eq!(rig.ok("run --rm -u nobody debian id -un"), "nobody");
        assert_eq!(rig.ok("run --rm debian dpkg --audit"), "");
        assert_eq!(rig.ok("run --rm debian stat -c %a /tmp /usr/bin/su"), "1777\n4755");
        rig.ok("run --rm debian sh -c 'useradd -m somebody && su somebody -c \"touch ~/file\" && test -O /root && rm -rf /usr/share/doc'");
    });
}

#[test]
fn a_loop_of_five_thousand_processes_ends() {
    once(|rig| {
        import(rig);
        let script = "i=0; while [ $i -lt 5000 ]; do /bin/true || exit 1; i=$((i+1)); done; echo $i";
        assert_eq!(rig.ok(&format!("run --rm debian sh -c '{script}'")), "5000");
    });
}

#[test]
fn its_shell_has_job_control() {
    case(|rig| {
        import(rig);
        let mut shell = rig.terminal("run --rm -it debian bash --norc");
        shell.expect("# ");
        shell.send("sleep 1000 &\n");
        shell.expect("[1] ");
        shell.expect("# ");
        shell.send("fg\n");
        shell.expect("sleep 1000");
        // The shell prints the command before it hands over the terminal; ^Z may come too early once.
        minke_e2e::within(20, "the job is stopped", || {
            shell.send("\u{1a}");
            std::thread::sleep(std::time::Duration::from_millis(50));
            shell.screen().contains("Stopped").then_some(())
        });
        shell.send("bg; jobs\n");
        shell.expect("Running");
        shell.send("kill %1; wait; tty; exit 9\n");
        shell.expect("/dev/pts/0");
        assert_eq!(shell.wait(), 9);
    });
}
