//! Other machines beside an engine's host, as network namespaces: a cable to each, and commands that run there.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cli::Output;
use crate::{peers, within};

/// The program that makes interfaces.
fn ip() -> PathBuf {
    peers::program("ip", "docker")
}

/// Runs a command in the network namespace of a process.
pub fn run_in(pid: i32, program: &Path, words: &[&str]) -> Output {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{pid}/ns/net")).arg(program).args(words);
    peers::with_libraries(&mut command, program);
    let output = command.output().unwrap_or_else(|error| panic!("{error}: {command:?}"));
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs `ip` with a line in the network namespace of a process; it has to succeed.
pub fn ip_in(pid: i32, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = run_in(pid, &ip(), &words);
    assert_eq!(output.code, 0, "ip {line}: {}", output.stderr);
    output.text()
}

/// Another machine; it ends with this value.
#[derive(Debug)]
pub struct Neighbour {
    child: Child,
}

impl Neighbour {
    /// Starts one, with a cable from the interface `here` in the namespace of `host` to its own `there`; both are up.
    pub fn start(host: i32, here: &str, there: &str) -> Self {
        let mut command = Command::new("unshare");
        command.arg("--net").arg(peers::busybox()).args(["sleep", "1000"]);
        let child =
            command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{error}: {command:?}"));
        let neighbour = Self { child };
        let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        let place = format!("/proc/{}/ns/net", neighbour.pid());
        within(10, "the neighbour has a network namespace", || {
            std::fs::read_link(&place).ok().filter(|found| *found != own)
        });
        let pid = neighbour.pid();
        ip_in(host, &format!("link add {here} type veth peer name {there} netns {pid}"));
        ip_in(host, &format!("link set {here} up"));
        neighbour.ip("link set lo up");
        neighbour.ip(&format!("link set {there} up"));
        neighbour
    }

    /// The process that holds its namespace.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Runs `ip` with a line there; it has to succeed.
    pub fn ip(&self, line: &str) -> String {
        ip_in(self.pid(), line)
    }

    /// Runs an applet of busybox there.
    pub fn run(&self, words: &[&str]) -> Output {
        run_in(self.pid(), peers::busybox(), words)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says whether this kernel has links of a kind.
pub fn kernel_has(kind: &str) -> bool {
    let mut command = Command::new("unshare");
    let words: &[&str] = match kind {
        "vlan" | "ipvlan" | "macvlan" => &["link", "add", "probe0", "link", "lo", "type"],
        _ => &["link", "add", "probe0", "type"],
    };
    let program = ip();
    command.arg("--net").arg(&program).args(words).arg(kind);
    peers::with_libraries(&mut command, &program);
    if kind == "vlan" {
        command.args(["id", "1"]);
    }
    let output = command.output().unwrap_or_else(|error| panic!("{error}: {command:?}"));
    // One below lo may be refused for other reasons; what is unknown is said in these words.
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    !(words.contains("Unknown device type") || words.contains("Operation not supported"))
}

/// Does something in the network namespace of a process, on a thread of its own.
pub fn within_network<T: Send>(pid: i32, work: impl FnOnce() -> T + Send) -> T {
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).expect("a network namespace");
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).expect("it can be entered");
            work()
        });
        thread.join().expect("the thread does not panic")
    })
}

/// Whether who is in the network of a process gets a page with `word` at an address; not waiting longer than `limit`.
pub fn gets_page(pid: i32, address: SocketAddr, word: &str, limit: Duration) -> bool {
    within_network(pid, || {
        let fetch = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&address, limit)?;
            stream.set_read_timeout(Some(limit))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut page = String::new();
            stream.read_to_string(&mut page)?;
            Ok(page)
        };
        fetch().is_ok_and(|page| page.contains(word))
    })
}
