//! What the tests stand on: an engine's hold on netd in a folder of its own, containers that are a process in a namespace, and
//! somebody in there who asks.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use minke_engine::ShimHome;
use minke_engine::network::netd::Netd;
use minke_network::names::Neighbour;
use minke_network::netd::{Change, Given, Named, Network, Process, Resolver, Sandbox, Upstream};
use minke_sys::process::{CLONE_NEWNET, join_namespaces};
use minke_sys::procfs::Procfs;

/// Where containers ask.
pub const ASK: &str = "127.0.0.11:53";
/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What the program does as a container: it has a namespace, says so, and ends when it is told nothing more.
pub fn sandbox() -> ExitCode {
    let _namespace = minke_sys::link::enter_new_network().unwrap();
    println!("ready");
    let _ = std::io::stdin().read(&mut [0]);
    ExitCode::SUCCESS
}

/// A process in a namespace of its own.
pub struct Container {
    /// Its id.
    pub id: String,
    child: Child,
}

impl Container {
    /// Starts one.
    pub fn start(id: &str) -> Self {
        let mut child = Command::new("/proc/self/exe")
            .arg("sandbox")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { id: id.into(), child }
    }

    /// Which process it is.
    pub fn process(&self) -> Process {
        let pid = self.child.id() as i32;
        Process { pid, start_ticks: Procfs::host().unwrap().start_time_ticks(pid).unwrap() }
    }

    /// Does something in its namespace.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let pidfd = minke_sys::process::pidfd_open(self.child.id() as i32).unwrap();
        std::thread::scope(|scope| {
            let work = || {
                join_namespaces(&pidfd, u64::from(CLONE_NEWNET)).unwrap();
                act()
            };
            scope.spawn(work).join().unwrap()
        })
    }

    /// Its sandbox with a resolver for the network `n`, which asks these outside.
    pub fn sandbox(&self, upstreams: &[Upstream]) -> Sandbox {
        let resolver = Resolver {
            networks: vec!["n".into()],
            upstreams: upstreams.to_vec(),
            may_forward: true,
            ..Resolver::default()
        };
        Sandbox { run: 1, process: Some(self.process()), resolver: Some(resolver), ports: Vec::new() }
    }

    /// The addresses of a name, as asked in it by datagram.
    pub fn resolve(&self, name: &str) -> Option<Vec<IpAddr>> {
        let answer = self.inside(|| ask(&question(name, RecordType::A)))?;
        Some(addresses(&answer))
    }

    /// Ends it.
    pub fn end(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An engine's exec root, and its hold.
pub struct Engine {
    /// The runtime that the hold lives in.
    pub runtime: Option<tokio::runtime::Runtime>,
    /// The hold.
    pub netd: Netd,
    /// The exec root.
    pub root: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Engine {
    /// One that serves nothing yet.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut engine = Self::at(folder.path().into());
        engine._folder = Some(folder);
        engine.netd_replace(Change::default());
        engine
    }

    /// The next engine of an exec root, which has said nothing yet.
    pub fn at(root: PathBuf) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let netd = Netd::new(&root, Box::new(|| Ok(ShimHome::default())));
        Self { runtime: Some(runtime), netd, root, _folder: None }
    }

    fn runtime(&self) -> &tokio::runtime::Runtime {
        self.runtime.as_ref().unwrap()
    }

    /// Says what all of it is.
    pub fn netd_replace(&self, change: Change) {
        let mut snapshot = minke_network::netd::Snapshot::default();
        snapshot.apply(change);
        self.wait(|netd| netd.replace(snapshot, Vec::new()));
    }

    /// Changes it.
    pub fn change(&self, change: Change, given: Vec<Given>) {
        self.wait(|netd| netd.change(change, given));
    }

    fn wait(&self, act: impl FnOnce(&Netd) -> minke_engine::network::netd::Applied) {
        let _inside = self.runtime().enter();
        let applied = act(&self.netd);
        self.runtime().block_on(tokio::time::timeout(PATIENCE, applied.wait())).unwrap().unwrap();
    }

    /// The pid of its netd.
    pub fn pid(&self) -> Option<i32> {
        let text = std::fs::read_to_string(self.root.join("netd/process")).ok()?;
        let pid = text.split("\"pid\":").nth(1)?.split(',').next()?.parse().ok()?;
        is_netd(pid).then_some(pid)
    }

    /// Has netd serve what was kept, before anything is said.
    pub fn wake(&self) {
        let _inside = self.runtime().enter();
        self.netd.wake();
    }

    /// Keeps the folder for the next engine.
    pub fn hand_folder_to(&mut self, next: &mut Engine) {
        next._folder = self._folder.take();
    }

    /// Ends it as a crash does: nothing is said, the connection goes.
    pub fn crash(&mut self) -> PathBuf {
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(1));
        self.root.clone()
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        let runtime = self.runtime.take().unwrap();
        runtime.block_on(self.netd.shutdown());
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.runtime.is_some() {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.netd_replace(Change::default());
                self.stop();
            }));
        }
    }
}

/// Whether a pid is a netd that runs.
pub fn is_netd(pid: i32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.contains("(minke-netd)") && !state.contains(") Z")
}

/// Waits for something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The network `n` with names, each with its address.
pub fn names(all: &[(&str, &[&str], &str)]) -> Change {
    let named = all.iter().map(|(sandbox, names, address)| {
        let neighbour = Neighbour {
            name: names[0].into(),
            names: names.iter().map(|name| (*name).into()).collect(),
            addresses: vec![address.parse().unwrap()],
        };
        let named = Named { network: "n".into(), sandbox: (*sandbox).into(), neighbour };
        (format!("e-{}", names[0]), Some(named))
    });
    Change {
        networks: BTreeMap::from([("n".into(), Some(Network { name: "front".into() }))]),
        named: named.collect(),
        sandboxes: BTreeMap::new(),
    }
}

/// The change of one sandbox.
pub fn sandboxes(all: Vec<(&Container, Sandbox)>) -> Change {
    let sandboxes = all.into_iter().map(|(container, sandbox)| (container.id.clone(), Some(sandbox)));
    Change { sandboxes: sandboxes.collect(), ..Change::default() }
}

/// A question.
pub fn question(name: &str, kind: RecordType) -> Message {
    let id = (Instant::now().elapsed().as_nanos() as u16) ^ 0x55aa;
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    message
}

/// Asks by datagram, here; `None`: nobody is there.
pub fn ask(message: &Message) -> Option<Message> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(ASK).unwrap();
    socket.send(&message.to_vec().unwrap()).ok()?;
    let mut answer = [0; 65536];
    let length = socket.recv(&mut answer).ok()?;
    Some(Message::from_vec(&answer[..length]).unwrap())
}

/// Asks by connection, here.
pub fn ask_connected(message: &Message) -> Message {
    let mut stream = TcpStream::connect(ASK).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let bytes = message.to_vec().unwrap();
    stream.write_all(&[&(bytes.len() as u16).to_be_bytes(), &bytes[..]].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    Message::from_vec(&answer).unwrap()
}

/// The addresses of an answer.
pub fn addresses(message: &Message) -> Vec<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    message.answers.iter().filter_map(|record| address(&record.data)).collect()
}

/// A port that nobody has.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An address of the loopback.
pub fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// An address at a port.
pub fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}
