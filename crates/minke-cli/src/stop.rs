//! `minke daemon stop`: asks the engine to end and waits until it has. Containers go on, unless they are to end too.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use minke_api::container::{ContainerListQuery, ContainerStopQuery};
use minke_client::{Client, Config, Introduction};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cmd::container::create::reason;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{self, Arity, Parsed, Verb};
use crate::places;
use crate::session::Session;

const FORM: &str = "daemon stop";

/// Flags of `daemon stop`.
#[derive(Args, Debug)]
struct DaemonStop {
    /// Stop the containers first; without it they keep running
    #[arg(long)]
    containers: bool,
    /// Directory of the engine's runtime files
    #[arg(long, value_name = "string", default_value = places::EXEC_ROOT)]
    exec_root: PathBuf,
    /// File with the engine's process id (default is minke.pid in the directory of runtime files)
    #[arg(long, short = 'p', value_name = "string")]
    pidfile: Option<PathBuf>,
    /// Engine to ask for its containers
    #[arg(long, short = 'H', value_name = "list")]
    host: Vec<String>,
    /// Seconds to wait for the engine's end
    #[arg(long, short = 't', value_name = "int", default_value = "60", value_parser = grammar::parse_int)]
    timeout: i64,
}

impl Verb for DaemonStop {
    const SUMMARY: &'static str = "Stop the engine; its containers keep running";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let pidfile = self.pidfile.clone().unwrap_or_else(|| self.exec_root.join(places::PID_FILE));
        let pid = read_pid(&pidfile).map_err(Failure::Plain)?;
        if self.containers {
            self.stop_containers(session).await?;
        }
        end(pid, self.timeout).map_err(Failure::Plain)?;
        Ok(exit::SUCCESS)
    }
}

impl DaemonStop {
    async fn stop_containers(&self, session: &Session) -> Result<(), Failure> {
        let hosts = match &self.host[..] {
            [] => vec![format!("unix://{}", self.exec_root.join("minke.sock").display())],
            hosts => hosts.to_vec(),
        };
        let request = minke_client::HostRequest { hosts, ..Default::default() };
        let endpoint = request.resolve(&|_| None, &Config::default())?;
        let client = Client::connect(endpoint, &Config::default(), Introduction::default()).await?;
        client.agree().await?;
        let running = client.container_list(&ContainerListQuery::default()).await?;
        let query = ContainerStopQuery::default();
        let stops = running.iter().map(|container| client.container_stop(&container.id, &query));
        for result in futures_util::future::join_all(stops).await {
            if let Err(error) = result {
                session.complain(error);
            }
        }
        Ok(())
    }
}

fn read_pid(path: &Path) -> Result<Pid, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("No engine runs here: {}: {}", path.display(), reason(&error)))?;
    let number = text.trim().parse().ok().filter(|pid| *pid > 1);
    number.and_then(Pid::from_raw).ok_or_else(|| format!("{} holds no process id", path.display()))
}

fn end(pid: Pid, timeout_s: i64) -> Result<(), String> {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => {
            return Err(format!("No engine runs here: process {} is gone", pid.as_raw_nonzero()));
        }
        Err(error) => return Err(format!("cannot watch the engine: {error}")),
    };
    if !is_engine(pid) {
        return Err(format!("Process {} is not a minke engine; its file is left over", pid.as_raw_nonzero()));
    }
    pidfd_send_signal(&process, Signal::TERM).map_err(|error| format!("cannot stop the engine: {error}"))?;
    let timeout = Timespec { tv_sec: timeout_s.max(0), tv_nsec: 0 };
    match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout)) {
        Ok(0) => Err(format!("The engine has not ended within {timeout_s} s")),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("cannot wait for the engine: {error}")),
    }
}

/// A process id outlives its process: the words of its command line tell whether it is one of ours.
fn is_engine(pid: Pid) -> bool {
    let words = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    words.split(|byte| *byte == 0).any(|word| word == b"daemon" || word.ends_with(b"dockerd"))
}

/// Runs `daemon stop` with the words after it, and gives the exit code.
pub fn daemon_stop(args: Vec<OsString>) -> i32 {
    let run = || -> Outcome {
        let stop = match grammar::parse::<DaemonStop>("minke", FORM, &args)? {
            Parsed::Help(text) => {
                print!("{text}");
                return Ok(exit::SUCCESS);
            }
            Parsed::Run(stop, _) => stop,
        };
        let session = Session::new("minke", FORM, Default::default())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| Failure::Plain(error.to_string()))?.block_on(stop.run(Vec::new(), &session))
    };
    run().unwrap_or_else(|failure| {
        eprint!("{}", failure.render("minke"));
        failure.code()
    })
}
