//! Starting the container and its execs, up to the moment where their programs run or have failed to.

use alloc::boxed::Box;
use alloc::vec::Vec;

use minke_spec::shim::{
    AttachRequest, ErrorCode, Event, ExecRequest, HookStage, Reply, ShimError, StartRequest, Started, Stdio,
};
use minke_sys::epoll;
use minke_sys::procfs::Procfs;
use minke_sys::{AsFd, OwnedFd, channel, process as kernel, signal};

use super::foreign::Foreign;
use super::hooks::Hooks;
use super::log::Log;
use super::process::{self, Asked, Phase, Process, Progress};
use super::session::{ClientEvent, Session, Settings};
use super::token::{Kind, Token};
use super::{Container, INIT, Shim, foreign, guard, records};
use crate::enter::{self, ExecContext, Sources};
use crate::failure::{self, Result};

/// Exit codes in the record of a start that has failed, as Docker gives them.
fn failure_code(code: ErrorCode) -> i32 {
    match code {
        ErrorCode::ProgramNotFound | ErrorCode::WorkingDirectory => 127,
        ErrorCode::ProgramNotExecutable => 126,
        _ => 128,
    }
}

impl Shim {
    /// Begins the start; it is answered when the program has been executed.
    pub(super) fn start(&mut self, asked: Asked, request: Box<StartRequest>, descriptors: Vec<OwnedFd>) {
        if self.container.is_some() || self.failed {
            let error = failure::plain(ErrorCode::Other, "this shim has started its container already");
            return self.engines.reply(asked, Reply::Error(error), None);
        }
        if let Err(error) = self.try_start(asked, *request, descriptors) {
            self.give_up(Some(asked), error);
        }
    }

    fn try_start(
        &mut self,
        asked: Asked,
        request: StartRequest,
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<()> {
        let StartRequest {
            container_id,
            generation,
            runtime_dir,
            mut plan,
            stdio,
            log,
            attach,
            sources,
            network,
            hooks,
            bundle,
            foreign,
        } = request;
        let foreign = foreign.then(|| bundle.clone());
        let hooks = Hooks::new(hooks, bundle, &container_id);
        let oom_score = guard::take();
        plan.process.oom_score_adj = plan.process.oom_score_adj.or(oom_score);
        rustix::process::chdir(runtime_dir.as_str())
            .map_err(failure::setup(alloc::format!("error entering {runtime_dir:?}")))?;
        self.container = Some(Container {
            id: container_id.clone(),
            generation,
            context: ExecContext {
                namespaces: enter::namespace_kinds(&plan.namespaces) | u64::from(kernel::CLONE_NEWNS),
                v2: plan.cgroup.v2.clone(),
                v1: plan.cgroup.v1.clone(),
                exactly: false,
            },
            oom_score,
            owner: enter::root_outside(&plan.namespaces),
            root: None,
            started_at_ns: 0,
            exited: None,
            hooks: None,
            foreign: None,
        });
        self.listen()?;
        let clients = descriptors.split_off(descriptors.len().saturating_sub(attach.len()));
        let foreign = foreign.and_then(|bundle| Some(Foreign::new(descriptors.pop()?, bundle, oom_score)));
        let mut own = None;
        if foreign.is_none() {
            let given = descriptors.split_off(descriptors.len().saturating_sub(sources.len()));
            let given = sources.into_iter().zip(given).collect();
            let network = if network { descriptors.pop() } else { None };
            let mut sources = Sources::open(&plan, descriptors.pop(), given)?;
            if let Some(network) = network {
                sources.join_network(network, &mut plan.namespaces);
            }
            sources.give_net_devices(&mut plan)?;
            if let Some(container) = &mut self.container {
                container.root = sources.keep_root();
            }
            own = Some(sources);
        }
        let log = Log::open(log)?;
        let (mut session, streams) = Session::new(Settings { stdio, unseen: false, log })
            .map_err(failure::setup("making the standard streams"))?;
        streams.give_to(enter::root_outside(&plan.namespaces));
        self.attach_all(&mut session, stdio, &attach, clients)?;
        let attendant: &dyn enter::Attendant = match &hooks {
            Some(hooks) => hooks,
            None => &enter::Alone,
        };
        let launched = match (own, &foreign) {
            (Some(sources), _) => enter::launch(&plan, sources, streams, attendant)?,
            (None, Some(foreign)) => foreign.launch("create", &container_id, streams, &descriptors)?,
            (None, None) => return Err(failure::plain(ErrorCode::Other, "no helper was given")),
        };
        if let Some(container) = &mut self.container {
            container.hooks = hooks;
            container.foreign = foreign;
        }
        self.keep_process(asked, None, session, launched, stdio)?;
        if self.processes.iter().any(|process| process.number == INIT && process.pid().is_some()) {
            self.write_state();
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<()> {
        let words = "error listening at shim.sock";
        let listener = channel::listen_here("shim.sock").map_err(failure::setup(words))?;
        let token = Token { kind: Kind::Listener, process: 0, client: 0 }.pack();
        self.epoll.add(&listener, epoll::IN, token).map_err(failure::setup(words))?;
        self.listener = Some(listener);
        Ok(())
    }

    fn attach_all(
        &mut self,
        session: &mut Session,
        stdio: Stdio,
        requests: &[AttachRequest],
        sockets: Vec<OwnedFd>,
    ) -> Result<()> {
        for (request, socket) in requests.iter().zip(sockets) {
            let event = session
                .attach(socket, request, stdio.open_stdin)
                .map_err(failure::setup("error attaching"))?;
            if event == ClientEvent::Detached {
                self.engines.tell(&Event::Detached { exec_id: None });
            }
        }
        Ok(())
    }

    fn keep_process(
        &mut self,
        asked: Asked,
        exec_id: Option<alloc::string::String>,
        session: Session,
        launched: enter::Launched,
        stdio: Stdio,
    ) -> Result<()> {
        let number = self.next_process;
        self.next_process += 1;
        let mut process =
            Process::new(number, exec_id, session, launched).map_err(failure::setup("watching a process"))?;
        process.asked = Some(asked);
        process.open_stdin = stdio.open_stdin;
        process.quiet = self.container.as_ref().is_some_and(|container| container.foreign.is_some());
        self.processes.push(process);
        Ok(())
    }

    /// Starts one more process.
    pub(super) fn exec(&mut self, asked: Asked, request: Box<ExecRequest>, descriptors: Vec<OwnedFd>) {
        if let Err(error) = self.try_exec(asked, *request, descriptors) {
            self.engines.reply(asked, Reply::Error(error), None);
        }
    }

    fn try_exec(&mut self, asked: Asked, request: ExecRequest, mut descriptors: Vec<OwnedFd>) -> Result<()> {
        let ExecRequest { exec_id, process: mut plan, stdio, attach } = request;
        let not_running = || failure::plain(ErrorCode::NotRunning, "container is not running");
        let init = self.processes.iter().find(|process| process.number == INIT).ok_or_else(not_running)?;
        let (Phase::Running, Some(pidfd)) = (&init.phase, init.pidfd()) else { return Err(not_running()) };
        let pidfd = pidfd.try_clone().map_err(|_| failure::plain(ErrorCode::Other, "duplicating a pidfd"))?;
        let container = self.container.as_ref().ok_or_else(not_running)?;
        plan.oom_score_adj = plan.oom_score_adj.or(container.oom_score);
        // An exec's input always ends with the one client that it can have.
        let wants_stdin = attach.as_ref().is_some_and(|attach| attach.stdin) && stdio.open_stdin;
        let stdio = Stdio { open_stdin: wants_stdin, stdin_once: true, ..stdio };
        let (mut session, streams) = Session::new(Settings { stdio, unseen: attach.is_none(), log: None })
            .map_err(failure::other("making the standard streams"))?;
        streams.give_to(container.owner);
        let launched = match &container.foreign {
            Some(foreign) => foreign.launch("exec", &exec_id, streams, &[])?,
            None => enter::launch_exec(&container.context, &pidfd, &plan, streams, &enter::Alone)?,
        };
        if let (Some(attach), Some(socket)) = (&attach, descriptors.pop()) {
            let event = session
                .attach(socket, attach, stdio.open_stdin)
                .map_err(failure::other("error attaching"))?;
            if event == ClientEvent::Detached {
                self.engines.tell(&Event::Detached { exec_id: Some(exec_id.clone()) });
            }
        }
        self.keep_process(asked, Some(exec_id), session, launched, stdio)
    }

    /// A starting process has reported something.
    pub(super) fn status_ready(&mut self, number: u32) {
        let Some(process) = process::find(&mut self.processes, number) else { return };
        if !process.is_starting() {
            return;
        }
        match process.progress() {
            Progress::Pending => {}
            Progress::Created => match self.run_hooks(&[HookStage::Prestart, HookStage::CreateRuntime]) {
                Ok(()) => self.go_on(number),
                Err(error) => self.start_failed(number, Some(error)),
            },
            Progress::Ready => {
                let asked = process.asked.take();
                self.answer_started(number, asked);
            }
            Progress::Started => self.process_started(number),
            Progress::Failed(error) => self.start_failed(number, Some(error)),
        }
    }

    fn process_started(&mut self, number: u32) {
        if number == INIT
            && let Err(error) = self.run_hooks(&[HookStage::Poststart])
        {
            return self.start_failed(number, Some(error));
        }
        let Some(process) = process::find(&mut self.processes, number) else { return };
        process.phase = Phase::Running;
        let asked = process.asked.take();
        if let (INIT, Some(pid), Some(container)) = (number, process.pid(), &mut self.container)
            && container.foreign.is_some()
        {
            container.root = foreign::root_of(pid);
        }
        self.answer_started(number, asked);
        self.take_early_end(number);
    }

    fn run_hooks(&mut self, stages: &[HookStage]) -> Result<()> {
        let init = self.processes.iter().find(|process| process.number == INIT);
        let pid = init.and_then(|init| init.pid()).unwrap_or(0);
        let hooks = self.container.as_ref().and_then(|container| container.hooks.as_ref());
        for stage in stages {
            hooks.map_or(Ok(()), |hooks| hooks.run(*stage, pid))?;
        }
        Ok(())
    }

    /// Lets a process go on that waited for the hooks.
    fn go_on(&mut self, number: u32) {
        let Some(process) = process::find(&mut self.processes, number) else { return };
        if let Err(errno) = process.go() {
            let error = failure::setup("releasing the container's init")(errno);
            self.start_failed(number, Some(error));
        }
    }

    /// A process that is made in two steps may have been reaped before its pid was known.
    fn take_early_end(&mut self, number: u32) {
        let Some(pid) = process::find(&mut self.processes, number).and_then(|process| process.pid()) else {
            return;
        };
        if let Some(place) = self.unknown.iter().position(|ended| ended.pid == pid) {
            let ended = self.unknown.swap_remove(place);
            self.process_ended(number, ended);
        }
    }

    fn answer_started(&mut self, number: u32, asked: Option<Asked>) {
        let Some(process) = process::find(&mut self.processes, number) else { return };
        let pid = process.pid().unwrap_or(0);
        if number != INIT {
            if let Some(asked) = asked {
                self.engines.reply(asked, Reply::ExecStarted { pid }, None);
            }
            return;
        }
        let pidfd = process.pidfd().and_then(|fd| fd.try_clone().ok());
        self.write_state();
        if let (Some(asked), Some(started)) = (asked, self.started()) {
            self.engines.reply(asked, Reply::Started(started), pidfd);
        } else if let Some(asked) = asked {
            self.engines.reply(asked, Reply::Ok, None);
        }
    }

    /// The start as engines are told of it.
    pub(super) fn started(&self) -> Option<Started> {
        let container = self.container.as_ref().filter(|container| container.started_at_ns > 0)?;
        let init = self.processes.iter().find(|process| process.number == INIT)?;
        (!init.is_starting() || init.ready)
            .then(|| Started { pid: init.pid().unwrap_or(0), started_at_ns: container.started_at_ns })
    }

    /// Writes the `state` record, once the init's pid is known.
    fn write_state(&mut self) {
        let pid = self.processes.iter().find(|process| process.number == INIT).and_then(Process::pid);
        let (Some(container), Some(pid)) = (&mut self.container, pid) else { return };
        if container.started_at_ns > 0 {
            return;
        }
        container.started_at_ns = kernel::now_ns();
        let pid_start_ticks = Procfs::host().and_then(|procfs| procfs.start_time_ticks(pid)).unwrap_or(0);
        let record = records::State {
            container_id: &container.id,
            generation: container.generation,
            shim_pid: kernel::pid(),
            pid,
            pid_start_ticks,
            started_at_ns: container.started_at_ns,
        };
        let _ = records::write("state", &record.render());
    }

    /// A process will never execute its program.
    pub(super) fn start_failed(&mut self, number: u32, error: Option<ShimError>) {
        let Some(process) = process::find(&mut self.processes, number) else { return };
        process.phase = Phase::Failing;
        let error = error.unwrap_or_else(|| {
            failure::plain(ErrorCode::Setup, "the process ended before its program was executed")
        });
        if let Some(pidfd) = process.pidfd() {
            let _ = kernel::pidfd_signal(pidfd, signal::KILL);
        }
        let asked = process.asked.take();
        process.session.abandon(&self.epoll);
        if number == INIT {
            self.give_up(asked, error);
        } else if let Some(asked) = asked {
            self.engines.reply(asked, Reply::Error(error), None);
        }
    }

    /// The container can't be started: that is recorded for an engine that comes too late for the answer.
    fn give_up(&mut self, asked: Option<Asked>, error: ShimError) {
        self.failed = true;
        // Nothing of the container may be left when the engine takes its groups and its root away.
        while kernel::reap(true).is_ok() {}
        self.listener = None;
        if let Some(container) = &mut self.container {
            container.root = None;
            if let Some(hooks) = &container.hooks {
                hooks.run_last();
            }
            let record = records::Exit {
                container_id: &container.id,
                generation: container.generation,
                code: failure_code(error.code),
                finished_at_ns: kernel::now_ns(),
                error: Some(&error.message),
            };
            let _ = records::write("exit", &record.render());
        }
        if let Some(asked) = asked {
            self.engines.reply(asked, Reply::Error(error), None);
        }
    }
}

impl Sources {
    /// A second descriptor of the root, for those who want to read the container's files later.
    fn keep_root(&self) -> Option<OwnedFd> {
        self.root_fd().as_fd().try_clone_to_owned().ok()
    }
}
