//! A place like a host of its own: a network namespace, and a distribution's package laid over the machine's programs and settings;
//! with neighbours, which are other hosts beside it. All of it ends with its value.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use crate::neighbour::ip_in;
use crate::{Output, peers, process, within};

/// How long is waited for what must not come. Nothing fails where it is too short: what comes comes at once.
pub const NEVER: Duration = Duration::from_millis(250);
/// How long is waited for what must come.
const SOON: Duration = Duration::from_secs(5);

/// Lays a package's files over the machine's: `$1` has the package, `$2` keeps what is changed of /etc.
const LAY_OVER: &str = "set -e
mkdir -p $2/upper $2/work
mount -t overlay -o ro,lowerdir=$1/usr:/usr place /usr
mount -t overlay -o lowerdir=$1/etc:/etc,upperdir=$2/upper,workdir=$2/work place /etc
mount -t tmpfs -o mode=755 place /run
ip link set lo up
echo ready
exec cat >/dev/null";

/// A host.
#[derive(Debug)]
pub struct Place {
    holder: Child,
    services: Mutex<Vec<Child>>,
}

impl Place {
    /// Makes one with the packages of this peer; what is changed there is kept below `scratch`.
    pub fn with(peer: &str, scratch: &Path) -> Self {
        let folder = peers::folder(peer).canonicalize().expect("the folder of packages is there");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--propagation", "private", "sh", "-c", LAY_OVER, "sh"]);
        command.arg(folder).arg(scratch.join("etc"));
        Self { holder: hold(command), services: Mutex::default() }
    }

    /// The process that holds its namespaces.
    pub fn pid(&self) -> i32 {
        self.holder.id() as i32
    }

    /// Returns the command that executes another one there.
    pub fn inside(&self) -> Vec<String> {
        let pid = self.holder.id().to_string();
        ["nsenter", "--target", &pid, "--mount", "--net"].map(str::to_string).into()
    }

    /// Runs a line of a shell there, and returns how it ended.
    pub fn run(&self, line: &str) -> Output {
        let inside = self.inside();
        let mut command = Command::new(&inside[0]);
        command.args(&inside[1..]).args(["sh", "-c", line]).stdin(Stdio::null());
        // The machine's own programs, not what somebody has put before them.
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let output = command.output().unwrap_or_else(|error| panic!("{error}: {command:?}"));
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a line of a shell there that has to succeed, and returns its output.
    pub fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.code, 0, "{line}\nstdout: {}\nstderr: {}", output.text(), output.stderr);
        output.text()
    }

    /// Starts a program there that goes on until it is stopped, or the place ends; what it says goes to `log`.
    pub fn start(&self, line: &str, log: &Path) {
        let inside = self.inside();
        let log = File::options().create(true).append(true).open(log).expect("a log");
        let mut command = Command::new(&inside[0]);
        command.args(&inside[1..]).args(["sh", "-c", &format!("exec {line}")]).stdin(Stdio::null());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{error}: {command:?}"));
        self.services.lock().expect("nobody panics with it").push(child);
    }

    /// Asks the program that was started last to end, and waits for that.
    pub fn stop_last(&self) {
        let last = self.services.lock().expect("nobody panics with it").pop();
        let mut child = last.expect("a program was started");
        process::signal(child.id() as i32, process::Signal::TERM);
        let _ = child.wait();
    }

    /// Makes a neighbour at the interface `name`, with the addresses of both sides.
    pub fn neighbour(&self, name: &str, here: &[&str], there: &[&str]) -> Neighbour {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo ready; exec cat >/dev/null"]);
        let neighbour = Neighbour { holder: hold(command) };
        let pid = neighbour.holder.id();
        self.ok(&format!("ip link add {name} type veth peer name eth0 netns {pid} && ip link set {name} up"));
        let there_too = format!("nsenter --target {pid} --net ip");
        let mut lines = vec![format!("{there_too} link set lo up; {there_too} link set eth0 up")];
        lines.extend(here.iter().map(|net| format!("ip addr add {net} dev {name} {}", nodad(net))));
        lines.extend(there.iter().map(|net| format!("{there_too} addr add {net} dev eth0 {}", nodad(net))));
        self.ok(&lines.join(" && "));
        neighbour
    }
}

fn nodad(net: &str) -> &'static str {
    if net.contains(':') { "nodad" } else { "" }
}

/// Starts a process that holds namespaces, until its input ends, and waits for its word.
fn hold(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{error}: {command:?}"));
    let mut word = String::new();
    BufReader::new(child.stdout.take().expect("it is a pipe")).read_line(&mut word).expect("it speaks");
    assert_eq!(word.trim(), "ready", "{command:?} does not get ready");
    child
}

fn release(holder: &mut Child) {
    drop(holder.stdin.take());
    let _ = holder.wait();
}

impl Drop for Place {
    fn drop(&mut self) {
        for child in self.services.get_mut().into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        release(&mut self.holder);
    }
}

/// Another host.
#[derive(Debug)]
pub struct Neighbour {
    holder: Child,
}

impl Neighbour {
    /// Lets it send what is for `net` by way of `gateway`.
    pub fn route(&self, net: &str, gateway: &str) {
        ip_in(self.holder.id() as i32, &format!("route add {net} via {gateway}"));
    }

    /// Connects, and returns the connection; none where it does not come about in this time.
    pub fn connect(&self, to: &str, wait: Duration) -> Option<TcpStream> {
        let to: SocketAddr = to.parse().unwrap_or_else(|error| panic!("{error}: {to}"));
        let pid = self.holder.id() as i32;
        let thread = std::thread::spawn(move || {
            process::enter_network(pid).expect("the neighbour is there");
            TcpStream::connect_timeout(&to, wait).ok()
        });
        thread.join().expect("the thread only connects")
    }

    /// Whether somebody says at once that a connection is refused.
    pub fn is_refused(&self, to: &str) -> bool {
        let to: SocketAddr = to.parse().unwrap_or_else(|error| panic!("{error}: {to}"));
        let pid = self.holder.id() as i32;
        let thread = std::thread::spawn(move || {
            process::enter_network(pid).expect("the neighbour is there");
            TcpStream::connect_timeout(&to, SOON)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        });
        thread.join().expect("the thread only connects")
    }

    /// Whether a web server answers there in this time.
    pub fn gets(&self, to: &str, wait: Duration) -> bool {
        let Some(mut stream) = self.connect(to, wait) else { return false };
        let _ = stream.set_read_timeout(Some(SOON));
        let asked = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
        let mut answer = String::new();
        asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.contains("hello")
    }

    /// Waits until a web server answers there.
    pub fn await_answer(&self, to: &str) {
        within(10, &format!("{to} answers"), || self.gets(to, SOON).then_some(()));
    }

    /// Waits until what is to be reached is, and what isn't to be is not.
    pub fn expect(&self, to: &str, reached: bool, why: &str) {
        within(10, &format!("{to} is reached: {reached}; {why}"), || {
            (self.gets(to, if reached { SOON } else { NEVER }) == reached).then_some(())
        });
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        release(&mut self.holder);
    }
}
