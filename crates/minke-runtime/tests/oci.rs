//! `minke oci` over a bundle with a static busybox. Needs root. The command must be a process of its own with one thread, so this test
//! is a program that calls itself.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::{Duration, Instant};

type Case = (&'static str, fn(&Bundle));

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "oci") {
        let code = minke_runtime::oci::main("minke oci", words[2..].to_vec());
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    let filter = words.iter().skip(1).find(|word| !word.starts_with('-'));
    let cases: [Case; 8] = [
        ("run_gives_output_and_exit_code_and_leaves_nothing", run_gives_output_and_exit_code),
        ("the_life_of_a_container_is_that_of_the_specification", life_of_a_container),
        ("a_program_that_is_not_there_fails_at_create", missing_program_fails_at_create),
        ("signals_reach_the_container_through_run", signals_are_passed_on),
        ("a_terminal_goes_to_the_console_socket", terminal_goes_to_the_console_socket),
        ("a_read_only_root_refuses_writing", read_only_root),
        ("a_failure_is_logged_as_json", failure_is_logged),
        ("the_program_can_not_be_written_to_from_inside", program_is_out_of_reach),
    ];
    for (name, case) in cases {
        if filter.is_none_or(|filter| name.contains(filter.as_str())) {
            let bundle = Bundle::new();
            case(&bundle);
            bundle.census();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

struct Bundle {
    directory: tempfile::TempDir,
    id: String,
}

impl Bundle {
    fn new() -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let directory = tempfile::Builder::new().prefix("minke-oci-").tempdir().unwrap();
        let root = directory.path().join("rootfs");
        for name in ["bin", "proc", "dev", "sys", "tmp"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::copy(busybox(), root.join("bin/busybox")).unwrap();
        for name in ["sh", "true", "echo", "sleep", "cat", "hostname", "tty", "id", "touch"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        Self { directory, id: format!("oci-test-{}-{number}", std::process::id()) }
    }

    fn configure(&self, args: &[&str], change: impl FnOnce(&mut serde_json::Value)) {
        let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
        let secure = ["nosuid", "noexec", "nodev"];
        let mut config = serde_json::json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "args": args,
                "env": ["PATH=/bin"],
                "cwd": "/",
                "capabilities": { "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"] },
                "noNewPrivileges": true
            },
            "root": { "path": "rootfs", "readonly": false },
            "hostname": "bundle",
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                  "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
                { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                  "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
                { "destination": "/sys", "type": "sysfs", "source": "sysfs",
                  "options": [secure[0], secure[1], secure[2], "ro"] }
            ],
            "linux": {
                "namespaces": namespaces.map(|kind| serde_json::json!({ "type": kind })),
                "maskedPaths": ["/proc/keys", "/sys/firmware"],
                "readonlyPaths": ["/proc/sys"]
            }
        });
        change(&mut config);
        std::fs::write(self.directory.path().join("config.json"), config.to_string()).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("oci").arg("--root").arg(self.directory.path().join("state")).args(words);
        command.current_dir(self.directory.path()).stdin(std::process::Stdio::null());
        command
    }

    fn output(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn good(&self, words: &[&str]) -> String {
        let output = self.output(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn status(&self) -> String {
        let text = self.good(&["state", &self.id]);
        let state: serde_json::Value = serde_json::from_str(&text).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    fn census(self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.directory.path().to_str().unwrap()), "a mount is left");
        for entry in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            assert!(!entry.path().join(format!("minke-{}", self.id)).exists(), "{:?}", entry.path());
        }
        assert!(!self.directory.path().join("state").join(&self.id).exists());
    }
}

/// Busybox from the distribution, unpacked once.
fn busybox() -> PathBuf {
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("busybox");
    if !cache.exists() {
        let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let script = "apt-get download busybox-static && dpkg -x busybox-static*.deb unpacked";
        let status = Command::new("sh").args(["-c", script]).current_dir(work.path()).status().unwrap();
        assert!(status.success());
        let found = ["bin/busybox", "usr/bin/busybox"].map(|name| work.path().join("unpacked").join(name));
        let found = found.iter().find(|path| path.exists()).unwrap();
        std::fs::copy(found, &cache).unwrap();
    }
    cache
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn run_gives_output_and_exit_code(bundle: &Bundle) {
    bundle.configure(&["sh", "-c", "hostname; echo $$; cat /proc/keys; id -u; exit 7"], |_| {});
    let output = bundle.output(&["run", &bundle.id]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "bundle\n1\n0\n", "{:?}", output);
    assert_eq!(output.status.code(), Some(7));
}

fn life_of_a_container(bundle: &Bundle) {
    bundle.configure(&["sleep", "1000"], |_| {});
    let pid_file = bundle.directory.path().join("pid");
    // The container keeps the streams of `create`: they must not be pipes that this test waits for.
    let created = bundle
        .command(&["create", "--pid-file", pid_file.to_str().unwrap(), &bundle.id])
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(created.success());
    assert_eq!(bundle.status(), "created");
    let pid: i32 = std::fs::read_to_string(pid_file).unwrap().parse().unwrap();
    assert!(pid > 0);
    bundle.good(&["start", &bundle.id]);
    assert_eq!(bundle.status(), "running");
    assert!(!bundle.output(&["start", &bundle.id]).status.success());
    assert!(!bundle.output(&["delete", &bundle.id]).status.success());
    bundle.good(&["kill", &bundle.id, "KILL"]);
    until("the container stops", || bundle.status() == "stopped");
    assert!(!bundle.output(&["kill", &bundle.id, "KILL"]).status.success());
    bundle.good(&["delete", &bundle.id]);
    assert!(!bundle.output(&["state", &bundle.id]).status.success());
}

fn missing_program_fails_at_create(bundle: &Bundle) {
    bundle.configure(&["nope"], |_| {});
    let output = bundle.output(&["create", &bundle.id]);
    assert_eq!(output.status.code(), Some(1));
    let words = "exec: \"nope\": executable file not found in $PATH";
    assert!(String::from_utf8_lossy(&output.stderr).contains(words), "{output:?}");
}

fn signals_are_passed_on(bundle: &Bundle) {
    bundle.configure(&["sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"], |_| {});
    let mut child =
        bundle.command(&["run", &bundle.id]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    minke_sys::process::kill(child.id() as i32, 15).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

fn terminal_goes_to_the_console_socket(bundle: &Bundle) {
    bundle.configure(&["tty"], |config| config["process"]["terminal"] = true.into());
    let path = bundle.directory.path().join("console");
    let listener = UnixListener::bind(&path).unwrap();
    let run = ["run", "--console-socket", path.to_str().unwrap(), &bundle.id];
    let mut child = bundle.command(&run).spawn().unwrap();
    let (socket, _) = listener.accept().unwrap();
    let limits = minke_sys::channel::Limits { inline: 4096, message: 4096, large_mark: 0xff };
    let received = minke_sys::channel::receive(&socket, limits).unwrap().unwrap();
    let terminal = received.descriptors.into_iter().next().unwrap();
    let mut text = [0; 64];
    let count = minke_sys::descriptor::read(&terminal, &mut text).unwrap().unwrap();
    assert_eq!(&text[..count], b"/dev/pts/0\r\n");
    assert!(child.wait().unwrap().success());
}

fn read_only_root(bundle: &Bundle) {
    bundle.configure(&["sh", "-c", "touch /x || exit 3"], |config| config["root"]["readonly"] = true.into());
    assert_eq!(bundle.output(&["run", &bundle.id]).status.code(), Some(3));
    assert!(!Path::new(&bundle.directory.path().join("rootfs/x")).exists());
}

fn failure_is_logged(bundle: &Bundle) {
    let log = bundle.directory.path().join("log");
    let output =
        bundle.output(&["--log", log.to_str().unwrap(), "--log-format", "json", "create", &bundle.id]);
    assert_eq!(output.status.code(), Some(1));
    let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(log).unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("config.json"), "{line}");
}

/// CVE-2019-5736: whoever opens the init's `/proc/<pid>/exe` finds it on a read-only mount that is attached nowhere.
fn program_is_out_of_reach(bundle: &Bundle) {
    bundle.configure(&["true"], |_| ());
    let mut create = bundle.command(&["create", &bundle.id]);
    assert!(create.stdout(std::process::Stdio::null()).status().unwrap().success());
    let state: serde_json::Value = serde_json::from_str(&bundle.good(&["state", &bundle.id])).unwrap();
    let program = std::fs::File::open(format!("/proc/{}/exe", state["pid"])).unwrap();
    let flags = rustix::fs::fstatvfs(&program).unwrap().f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{flags:?}");
    bundle.good(&["delete", "--force", &bundle.id]);
}
