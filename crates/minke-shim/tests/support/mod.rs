//! Containers from a static busybox, started through the real shim by hand-made plans. Needs root; the census at the end of each
//! container says what was left behind.
#![allow(dead_code, missing_docs)]

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use minke_spec::plan::*;
use minke_spec::shim::*;
use minke_sys::cgroup::Group;
use minke_sys::process::*;
use minke_sys::{channel, host, overlay, process, spawn};

pub const LIMITS: channel::Limits =
    channel::Limits { inline: INLINE_LIMIT, message: MESSAGE_LIMIT, large_mark: LARGE };

pub const DEADLINE: Duration = Duration::from_secs(20);

/// Capabilities of a Docker container by default.
pub const DOCKER_CAPABILITIES: u64 = 0xa804_25fb;

/// A root file system with busybox and its names in /bin.
fn base_root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("busybox-root");
        if cache.join("bin/busybox").exists() {
            return cache;
        }
        let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).current_dir(work.path()).status().unwrap();
            assert!(status.success(), "{program} {arguments:?}");
        };
        run("apt-get", &["download", "busybox-static"]);
        run("sh", &["-c", "dpkg -x busybox-static*.deb unpacked"]);
        let root = work.path().join("root");
        for name in ["bin", "etc", "tmp", "root", "proc", "sys", "dev", "usr/bin"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        let unpacked = work.path().join("unpacked");
        let found = ["bin/busybox", "usr/bin/busybox"]
            .iter()
            .map(|name| unpacked.join(name))
            .find(|path| path.exists());
        std::fs::copy(found.unwrap(), root.join("bin/busybox")).unwrap();
        run(
            "sh",
            &[
                "-c",
                "for n in $(root/bin/busybox --list); do ln -s busybox root/bin/$n 2>/dev/null || true; done",
            ],
        );
        let _ = std::fs::rename(&root, &cache);
        cache
    })
}

fn shim_image() -> &'static spawn::Image {
    static IMAGE: OnceLock<spawn::Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let path =
            std::env::var("MINKE_SHIM_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_minke-shim").into());
        spawn::Image::new(&std::fs::read(path).unwrap(), Path::new("/tmp")).unwrap()
    })
}

pub struct Container {
    pub directory: tempfile::TempDir,
    pub plan: StartPlan,
    pub network: Option<OwnedFd>,
    pub stdio: Stdio,
    pub log: LogSettings,
    pub group: Group,
    pub control: Option<OwnedFd>,
    pub shim: Option<spawn::Started>,
    pub started: Option<Started>,
    pub pidfd: Option<OwnedFd>,
    pub events: Vec<Event>,
    next_request: u32,
}

fn fs(fstype: &str, target: &str, options: &[(&str, &str)], attributes: u64) -> MountStep {
    MountStep::Filesystem {
        fstype: fstype.into(),
        source: fstype.into(),
        options: options
            .iter()
            .map(|(key, value)| ((*key).into(), (!value.is_empty()).then(|| (*value).into())))
            .collect(),
        attributes,
        target: target.into(),
        propagation: 0,
        copy_up: false,
    }
}

fn device(path: &str, major: u32, minor: u32) -> DeviceNode {
    DeviceNode { path: path.into(), kind: 'c', major, minor, mode: 0o666, uid: 0, gid: 0, bind: None }
}

pub fn process(args: &[&str]) -> ProcessPlan {
    let capabilities = CapabilitySets {
        bounding: DOCKER_CAPABILITIES,
        effective: DOCKER_CAPABILITIES,
        permitted: DOCKER_CAPABILITIES,
        ..Default::default()
    };
    ProcessPlan {
        args: args.iter().map(|arg| (*arg).into()).collect(),
        env: vec!["PATH=/usr/local/bin:/usr/bin:/bin".into(), "HOME=/root".into()],
        cwd: "/".into(),
        capabilities,
        ..Default::default()
    }
}

/// The plan that Docker's defaults give, without a filter.
pub fn plan(args: &[&str]) -> StartPlan {
    const SECURE: u64 = 0x2 | 0x4 | 0x8;
    let new = [CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP, CLONE_NEWNET];
    let mounts = vec![
        fs("proc", "/proc", &[], SECURE),
        fs("tmpfs", "/dev", &[("mode", "755"), ("size", "65536k")], 0x2),
        fs(
            "devpts",
            "/dev/pts",
            &[("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")],
            0xa,
        ),
        fs("sysfs", "/sys", &[], SECURE | 1),
        MountStep::Cgroup {
            target: "/sys/fs/cgroup".into(),
            v1: host::probe()
                .unwrap()
                .cgroup1
                .iter()
                .map(|h| {
                    let options = h.controllers.join(",");
                    (options.trim_start_matches("name=").to_owned(), options)
                })
                .collect(),
            links: vec![],
            readonly: true,
            binds: vec![],
        },
        fs("mqueue", "/dev/mqueue", &[], SECURE),
        fs("tmpfs", "/dev/shm", &[("mode", "1777"), ("size", "65536k")], SECURE),
    ];
    StartPlan {
        namespaces: NamespacePlan {
            new: new.iter().fold(0, |set, kind| set | u64::from(*kind)),
            loopback_up: true,
            ..Default::default()
        },
        mounts,
        devices: vec![
            device("/dev/null", 1, 3),
            device("/dev/zero", 1, 5),
            device("/dev/full", 1, 7),
            device("/dev/random", 1, 8),
            device("/dev/urandom", 1, 9),
            device("/dev/tty", 5, 0),
        ],
        links: [
            ("/dev/fd", "/proc/self/fd"),
            ("/dev/stdin", "/proc/self/fd/0"),
            ("/dev/stdout", "/proc/self/fd/1"),
            ("/dev/stderr", "/proc/self/fd/2"),
            ("/dev/ptmx", "pts/ptmx"),
        ]
        .iter()
        .map(|(path, target)| ((*path).into(), (*target).into()))
        .collect(),
        sysctls: vec![("net.ipv4.ip_unprivileged_port_start".into(), "0".into())],
        masked_paths: [
            "/proc/kcore",
            "/proc/keys",
            "/proc/timer_list",
            "/proc/acpi",
            "/sys/firmware",
            "/proc/scsi",
        ]
        .map(String::from)
        .to_vec(),
        readonly_paths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
            .map(String::from)
            .to_vec(),
        hostname: Some("box".into()),
        process: process(args),
        ..Default::default()
    }
}

impl Container {
    pub fn new(args: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = tempfile::Builder::new().prefix("minke-shim-").tempdir().unwrap();
        for name in ["upper", "work", "run"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let name =
            format!("minke-shim-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let host = host::probe().unwrap();
        let group = Group {
            v2: host.cgroup2.map(|unified| unified.mount.join(&name)),
            v1: host.cgroup1.iter().map(|hierarchy| hierarchy.mount.join(&name)).collect(),
        };
        for path in &group.v1 {
            minke_sys::cgroup::make_v1(path).unwrap();
        }
        if let Some(path) = &group.v2 {
            std::fs::create_dir(path).unwrap();
        }
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut plan = plan(args);
        plan.cgroup.v2 = group.v2.as_deref().map(text);
        plan.cgroup.v1 = group.v1.iter().map(|path| text(path)).collect();
        let log = LogSettings::JsonFile {
            path: text(&directory.path().join("log")),
            max_size: None,
            max_file: 1,
            attributes: None,
            compress: false,
        };
        Self {
            directory,
            plan,
            network: None,
            stdio: Stdio::default(),
            log,
            group,
            control: None,
            shim: None,
            started: None,
            pidfd: None,
            events: Vec::new(),
            next_request: 1,
        }
    }

    pub fn runtime_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub fn overlay(&self) -> overlay::Overlay {
        overlay::Overlay {
            lower: vec![base_root().to_owned()],
            upper: Some((self.directory.path().join("upper"), self.directory.path().join("work"))),
            volatile: true,
            ..overlay::Overlay::default()
        }
    }

    pub fn spawn_shim(&mut self) {
        let (ours, theirs) = channel::pair().unwrap();
        let start = spawn::Start {
            control: theirs.as_fd(),
            arguments: &["minke-shim", "test"],
            cgroup: None,
            v1_tasks: &[],
            namespaces: 0,
            users: None,
        };
        self.shim = Some(shim_image().start(start).unwrap());
        self.control = Some(ours);
    }

    /// Starts it and waits for the answer.
    pub fn start(&mut self) -> Result<Started, ShimError> {
        self.start_attached(&[])
    }

    pub fn start_attached(
        &mut self,
        clients: &[(AttachRequest, BorrowedFd<'_>)],
    ) -> Result<Started, ShimError> {
        self.spawn_shim();
        self.send_start(clients);
        match self.reply(1) {
            (Reply::Started(started), mut fds) => {
                self.started = Some(started);
                self.pidfd = fds.pop();
                Ok(started)
            }
            (Reply::Error(error), _) => Err(error),
            (other, _) => panic!("{other:?}"),
        }
    }

    pub fn send_start(&mut self, clients: &[(AttachRequest, BorrowedFd<'_>)]) {
        let network = self.network.take();
        let root = overlay::mount(&self.overlay()).unwrap();
        let request = StartRequest {
            container_id: "test".into(),
            generation: 1,
            runtime_dir: self.runtime_dir().to_str().unwrap().into(),
            plan: self.plan.clone(),
            stdio: self.stdio,
            log: self.log.clone(),
            attach: clients.iter().map(|(request, _)| request.clone()).collect(),
            sources: Vec::new(),
            hooks: Vec::new(),
            bundle: String::new(),
            foreign: false,
            network: network.is_some(),
        };
        let mut fds = vec![root.as_fd()];
        fds.extend(network.as_ref().map(|fd| fd.as_fd()));
        fds.extend(clients.iter().map(|(_, fd)| *fd));
        let id = self.send(&Request::Start(Box::new(request)), &fds);
        assert_eq!(id, 1);
    }

    pub fn send(&mut self, request: &Request, fds: &[BorrowedFd<'_>]) -> u32 {
        let id = self.next_request;
        self.next_request += 1;
        channel::send(self.control.as_ref().unwrap(), &encode(id, request).unwrap(), fds, LIMITS).unwrap();
        id
    }

    fn receive(&mut self) -> Option<(u32, Message, Vec<OwnedFd>)> {
        let received = channel::receive(self.control.as_ref().unwrap(), LIMITS).ok()??;
        let packet: Packet<Message> = decode(&received.body).unwrap();
        Some((packet.id, packet.body, received.descriptors))
    }

    pub fn reply(&mut self, id: u32) -> (Reply, Vec<OwnedFd>) {
        loop {
            match self.receive().expect("the shim has gone") {
                (got, Message::Reply(reply), fds) if got == id => return (reply, fds),
                (_, Message::Reply(reply), _) => panic!("unexpected {reply:?}"),
                (_, Message::Event(event), _) => self.events.push(event),
            }
        }
    }

    pub fn ask(&mut self, request: &Request, fds: &[BorrowedFd<'_>]) -> (Reply, Vec<OwnedFd>) {
        let id = self.send(request, fds);
        self.reply(id)
    }

    /// Waits for an event that `choose` takes.
    pub fn event<T>(&mut self, choose: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            if let Some(place) = self.events.iter().position(|event| choose(event).is_some()) {
                return choose(&self.events.remove(place)).unwrap();
            }
            match self.receive().expect("the shim has gone") {
                (_, Message::Event(event), _) => self.events.push(event),
                (_, Message::Reply(reply), _) => panic!("unexpected {reply:?}"),
            }
        }
    }

    pub fn wait(&mut self) -> i32 {
        self.event(|event| match event {
            Event::Exited(exited) => Some(exited.code),
            _ => None,
        })
    }

    /// The log's texts of one stream, joined.
    pub fn logged(&self, stream: &str) -> String {
        let text = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        text.lines()
            .filter(|line| line.contains(&format!("\"stream\":\"{stream}\"")))
            .map(|line| {
                line.trim_start_matches("{\"log\":\"")
                    .split("\",\"stream\"")
                    .next()
                    .unwrap()
                    .replace("\\n", "\n")
            })
            .collect()
    }

    pub fn record(&self, name: &str) -> String {
        std::fs::read_to_string(self.runtime_dir().join(name)).unwrap_or_default()
    }

    /// Waits until the shim has ended.
    pub fn shim_ends(&mut self) {
        let shim = self.shim.take().unwrap();
        until("the shim ends", || spawn::reap_child(shim.pid).is_some());
    }

    /// Asserts that nothing is left, once the shim has ended.
    pub fn census(mut self) {
        self.control = None;
        if self.shim.is_some() {
            self.shim_ends();
        }
        until("the control groups are empty", || self.group.remove().is_empty());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let directory = self.directory.path().to_str().unwrap();
        assert!(!mounts.contains(directory), "a mount of {directory} is left");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(shim) = &self.shim {
            let _ = process::pidfd_signal(&shim.pidfd, 9);
            spawn::reap_child(shim.pid);
        }
        let _ = self.group.kill();
        let end = Instant::now() + Duration::from_secs(2);
        while !self.group.remove().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A client's end and the shim's.
pub fn client() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    (ours, theirs)
}

pub fn attach(framing: Framing) -> AttachRequest {
    AttachRequest { stdin: true, stdout: true, stderr: true, framing, ..Default::default() }
}

/// Everything a client gets until the end.
pub fn read_all(mut client: UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The payloads of frames: (stream, bytes), neighbours of one stream joined.
pub fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut out: Vec<(u8, Vec<u8>)> = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        let (stream, payload) = (bytes[0], &bytes[8..8 + length]);
        match out.last_mut() {
            Some((last, joined)) if *last == stream => joined.extend_from_slice(payload),
            _ => out.push((stream, payload.to_vec())),
        }
        bytes = &bytes[8 + length..];
    }
    out
}
