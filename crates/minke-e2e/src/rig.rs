//! What one test works with: an engine, a client, a scratch folder, the test image.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;
use tempfile::TempDir;

use crate::census;
use crate::cli::{Cli, Client, Output};
use crate::engine::{Dockerd, Engine, EngineKind, Minke, NETWORKS};
use crate::http::{self, Response};
use crate::rootfs::busybox_tar;
use crate::session::Session;
use crate::terminal::Terminal;
use crate::{peers, within};

/// Runs a test once for each client of the engine chosen.
pub fn case(body: impl Fn(&Rig)) {
    for client in clients() {
        Rig::run(client, &[], &body);
    }
}

/// Runs a test once, for one where the client makes no difference.
pub fn once(body: impl Fn(&Rig)) {
    Rig::run(clients()[0], &[], body);
}

/// Runs a test by the docker client, which is what it is about.
pub fn by_docker(body: impl Fn(&Rig)) {
    Rig::run(Client::Docker, &[], body);
}

/// Runs a test of networks, by each client: the engine has a network namespace of its own, in which nothing may be left.
pub fn networked(body: impl Fn(&Rig)) {
    for client in clients() {
        Rig::run(client, &[NETWORKS], |rig| {
            body(rig);
            rig.remove_all();
            if rig.kind == EngineKind::Minke {
                within(10, "no link of a container is left", || {
                    let links = rig.on_host(&["ip", "-o", "link"]).text();
                    (!links.contains(": mkv")).then_some(())
                });
            }
        });
    }
}

fn engine_kind() -> EngineKind {
    match std::env::var("MINKE_E2E_ENGINE").as_deref() {
        Ok("dockerd") => EngineKind::Dockerd,
        Ok("minke") | Err(_) => EngineKind::Minke,
        Ok(other) => panic!("MINKE_E2E_ENGINE={other}: it is minke or dockerd"),
    }
}

/// Returns the clients that a test is run by.
pub fn clients() -> Vec<Client> {
    match (engine_kind(), std::env::var("MINKE_E2E_CLIENT").as_deref()) {
        (EngineKind::Dockerd, _) | (_, Ok("docker")) => vec![Client::Docker],
        (_, Ok("minke")) => vec![Client::Minke],
        _ => vec![Client::Minke, Client::Docker],
    }
}

/// A private engine with the test image `busybox`, and a client of it.
pub struct Rig {
    engine: Mutex<Box<dyn Engine>>,
    flags: Vec<String>,
    kind: EngineKind,
    client: Client,
    socket: PathBuf,
    cli: Cli,
    scratch: TempDir,
}

impl Rig {
    /// Starts an engine with `flags`, runs `body`, removes all containers, ends the engine and takes the census.
    ///
    /// When `body` panics, everything is swept away by force, and the engine's log is shown.
    pub fn run(client: Client, flags: &[&str], body: impl Fn(&Rig)) {
        Self::run_inside(client, &[], flags, body);
    }

    /// The same with our engine in a surrounding that `inside` makes, a command that executes another one.
    pub fn run_inside(client: Client, inside: &[&str], flags: &[&str], body: impl Fn(&Rig)) {
        let rig = Self::start(client, inside, flags);
        eprintln!("--- {:?} engine, {:?} client, in {}", rig.kind, rig.client, rig.scratch().display());
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            body(&rig);
            rig.finish();
        }));
        if let Err(cause) = outcome {
            let mut engine = rig.engine.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            eprintln!("--- the engine's log:\n{}", engine.log());
            engine.sweep();
            drop(engine);
            resume_unwind(cause);
        }
    }

    fn start(client: Client, inside: &[&str], flags: &[&str]) -> Self {
        assert!(rustix::process::geteuid().is_root(), "an end-to-end test needs root");
        let scratch = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a scratch folder");
        let mut engine: Box<dyn Engine> = match engine_kind() {
            EngineKind::Minke => Box::new(Minke::new(scratch.path()).inside(inside)),
            EngineKind::Dockerd => Box::new(Dockerd::new(scratch.path())),
        };
        engine.start(flags);
        let (kind, socket) = (engine.kind(), engine.socket().to_path_buf());
        let cli = Cli::new(client, &socket, &scratch.path().join("home"));
        let flags = flags.iter().map(|flag| flag.to_string()).collect();
        let rig = Self { engine: Mutex::new(engine), flags, kind, client, socket, cli, scratch };
        rig.import("busybox", busybox_tar(), &["CMD [\"sh\"]", "ENV PATH=/bin"]);
        rig
    }

    fn finish(&self) {
        self.remove_all();
        let mut engine = self.engine.lock().expect("no test panics with the engine held");
        engine.stop();
        if self.kind == EngineKind::Minke {
            census::take(&engine.marks());
            engine.sweep(); // the subtree of cgroups itself, which an engine keeps for its next start
        }
    }

    /// Removes all containers by force.
    pub fn remove_all(&self) {
        self.remove_all_but(&[]);
    }

    /// Removes all containers by force but those of these names.
    pub fn remove_all_but(&self, names: &[&str]) {
        let stays = |container: &Value| {
            let of_it = container["Names"].as_array().into_iter().flatten().filter_map(Value::as_str);
            of_it.into_iter().any(|name| names.contains(&name.trim_start_matches('/')))
        };
        for container in self.get("/containers/json?all=1").json().as_array().into_iter().flatten() {
            if stays(container) {
                continue;
            }
            let id = container["Id"].as_str().unwrap_or_default();
            let answer = self.delete(&format!("/containers/{id}?force=1&v=1"));
            assert!(matches!(answer.status, 204 | 404 | 409), "{answer:?}");
        }
        within(30, "all containers are removed", || {
            self.get("/containers/json?all=1")
                .json()
                .as_array()
                .is_some_and(|all| all.iter().all(stays))
                .then_some(())
        });
    }

    /// Tells which engine this is.
    pub fn kind(&self) -> EngineKind {
        self.kind
    }

    /// Tells whether engine and client behave as Docker `major` and later: ours always do, Docker's by their versions.
    pub fn is_like(&self, major: u32) -> bool {
        self.engine_is_like(major) && self.client_is_like(major)
    }

    /// The same of the engine alone: for words that are its own, whoever asks.
    pub fn engine_is_like(&self, major: u32) -> bool {
        let version = self.get("/version").json()["Version"].as_str().unwrap_or_default().to_string();
        let found: Option<u32> = version.split('.').next().and_then(|number| number.parse().ok());
        self.kind == EngineKind::Minke || found.is_some_and(|found| found >= major)
    }

    /// The same of the client alone: for what it says itself, and the flags that it knows.
    pub fn client_is_like(&self, major: u32) -> bool {
        self.client == Client::Minke || peers::docker_version() >= major
    }

    /// Tells which client `ok`, `cli`, `spawn` and `terminal` use.
    pub fn client(&self) -> Client {
        self.client
    }

    /// Returns the folder that goes away with the test.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Returns the engine's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns the command line itself, for what the shorter forms here do not cover.
    pub fn command_line(&self) -> &Cli {
        &self.cli
    }

    /// Returns the engine's pid.
    pub fn engine_pid(&self) -> i32 {
        self.engine.lock().expect("no test panics with the engine held").pid().expect("the engine runs")
    }

    /// Returns what names the engine's belongings.
    pub fn marks(&self) -> census::Marks {
        self.engine.lock().expect("no test panics with the engine held").marks()
    }

    /// Kills the engine, as `kill -9` does; its containers go on.
    pub fn kill_engine(&self) {
        self.engine.lock().expect("no test panics with the engine held").kill();
    }

    /// Asks the engine to end, and waits for it.
    pub fn stop_engine(&self) {
        self.engine.lock().expect("no test panics with the engine held").stop();
    }

    /// Starts the engine again, with the flags of its first start.
    pub fn start_engine(&self) {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.engine.lock().expect("no test panics with the engine held").start(&flags);
    }

    /// Starts the engine again, with other flags.
    pub fn start_engine_with(&self, flags: &[&str]) {
        self.engine.lock().expect("no test panics with the engine held").start(flags);
    }

    /// Runs an applet of busybox where the engine's host is: in its network namespace.
    pub fn on_host(&self, words: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.engine_pid())).arg(peers::busybox()).args(words);
        let output = command.output().unwrap_or_else(|error| panic!("{error}: {command:?}"));
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    // --- the command line

    /// Runs a line and returns how it ended.
    pub fn cli(&self, line: &str) -> Output {
        self.cli.run(line, &[], 60)
    }

    /// Runs a line that has to succeed, and returns its output.
    pub fn ok(&self, line: &str) -> String {
        let output = self.cli(line);
        assert_eq!(output.code, 0, "{line}\nstdout: {}\nstderr: {}", output.text(), output.stderr);
        output.text()
    }

    /// Runs a line that has to fail with `code` and with `words` in its error.
    pub fn fails(&self, line: &str, code: i32, words: &str) {
        let output = self.cli(line);
        assert_eq!(output.code, code, "{line}\nstdout: {}\nstderr: {}", output.text(), output.stderr);
        assert!(output.stderr.contains(words), "{line}\nexpected: {words}\nstderr: {}", output.stderr);
    }

    /// Runs a line with standard input.
    pub fn with_input(&self, line: &str, input: &[u8]) -> Output {
        self.cli.run(line, input, 60)
    }

    /// Starts a line that runs beside the test, with standard input open.
    pub fn spawn(&self, line: &str) -> Session {
        let mut command = self.cli.command(line);
        command.stdin(Stdio::piped());
        Session::start(command, line)
    }

    /// Starts a line in a terminal.
    pub fn terminal(&self, line: &str) -> Terminal {
        Terminal::start(&self.cli.command(line), line)
    }

    // --- the API

    /// Sends a GET request.
    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path, "application/json", &[])
    }

    /// Sends a POST request with a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.request("POST", path, "application/json", body.as_bytes())
    }

    /// Sends a DELETE request.
    pub fn delete(&self, path: &str) -> Response {
        self.request("DELETE", path, "application/json", &[])
    }

    /// Sends a request.
    pub fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Response {
        let answer = http::request(&self.socket, method, path, kind, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Imports a root file system as `name`, with changes in the Dockerfile's words.
    pub fn import(&self, name: &str, tar: &[u8], changes: &[&str]) {
        let changes: String = changes.iter().map(|change| format!("&changes={}", escape(change))).collect();
        let path = format!("/images/create?fromSrc=-&repo={name}{changes}");
        let answer = self.request("POST", &path, "application/x-tar", tar);
        assert!(answer.status == 200 && !answer.text().contains("\"error\""), "import: {answer:?}");
    }

    /// Returns what `inspect` says of a container.
    pub fn inspect(&self, container: &str) -> Value {
        let answer = self.get(&format!("/containers/{container}/json"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Waits until a container's state is `status`, and returns what `inspect` says then.
    pub fn await_status(&self, container: &str, status: &str) -> Value {
        let mut last = Value::Null;
        within(30, &format!("{container} is {status}"), || {
            last = self.inspect(container);
            (last["State"]["Status"] == status).then_some(())
        });
        last
    }

    /// Waits until a container's log contains `text`.
    pub fn await_log(&self, container: &str, text: &str) {
        within(30, &format!("{container} logs {text:?}"), || {
            let output = self.cli(&format!("logs {container}"));
            (output.text() + "\n" + &output.stderr).contains(text).then_some(())
        });
    }

    /// Writes a file into the scratch folder, and returns its path.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.scratch().join(name);
        std::fs::write(&path, content).expect("the scratch folder takes a file");
        path
    }

    /// Makes an empty file in the scratch folder for writing, and returns it with its path.
    pub fn new_file(&self, name: &str) -> (File, PathBuf) {
        let path = self.scratch().join(name);
        (File::create(&path).expect("the scratch folder takes a file"), path)
    }
}

/// Writes text so that it can stand in the query of an address.
pub fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => (byte as char).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
