//! What engines ask for.

use alloc::string::String;
use alloc::vec::Vec;

use minke_spec::shim::{AttachRequest, ErrorCode, Event, PROTOCOL, Packet, Reply, Request, ShimError};
use minke_sys::epoll;
use minke_sys::{AsFd, OwnedFd, channel, process as kernel};

use super::process::{self, Asked, Phase};
use super::session::ClientEvent;
use super::{INIT, Shim, kill};
use crate::failure::{self, Result};

fn not_running() -> ShimError {
    failure::plain(ErrorCode::NotRunning, "container is not running")
}

impl Shim {
    /// Something happened to an engine's connection.
    pub(super) fn engine_ready(&mut self, number: u32, events: u32) {
        if events & epoll::OUT != 0 {
            self.engines.flush(number);
        }
        if events & (epoll::IN | epoll::HANGUP | epoll::ERROR) != 0 {
            while let Some(received) = self.engines.receive(number) {
                self.request(number, received);
            }
        }
    }

    fn request(&mut self, engine: u32, received: channel::Received) {
        let channel::Received { body, descriptors } = received;
        match minke_spec::shim::decode::<Request>(&body) {
            Ok(Packet { id, body: request }) => {
                // The message's bytes may be many: they go before the work begins.
                drop(body);
                self.answer(Asked { engine, request: id }, request, descriptors);
            }
            Err(_) => {
                let request = minke_spec::shim::decode_id(&body).unwrap_or(0);
                let error = failure::plain(ErrorCode::Unsupported, "this shim doesn't know the request");
                self.engines.reply(Asked { engine, request }, Reply::Error(error), None);
            }
        }
    }

    fn answer(&mut self, asked: Asked, request: Request, mut descriptors: Vec<OwnedFd>) {
        let reply = match request {
            Request::Start(request) => return self.start(asked, request, descriptors),
            Request::Exec(request) => return self.exec(asked, request, descriptors),
            Request::Status => return self.answer_status(asked),
            Request::OpenRoot => return self.answer_root(asked),
            Request::AttachHeld(request) => return self.attach_held(asked, &request, descriptors.pop()),
            Request::Release { client } => self.release(client).map(|()| Reply::Ok),
            Request::Hello { .. } => Ok(Reply::Hello { protocol: PROTOCOL, version: self.version.clone() }),
            Request::Kill { signal, all } => self.kill(signal, all).map(|()| Reply::Ok),
            Request::Attach(request) => self.attach(&request, descriptors.pop()).map(|()| Reply::Ok),
            Request::ExecKill { exec_id, signal } => self.exec_kill(&exec_id, signal).map(|()| Reply::Ok),
            Request::Resize { exec_id, rows, columns } => {
                self.resize(exec_id.as_deref(), rows, columns).map(|()| Reply::Ok)
            }
            Request::Continue => self.go().map(|()| Reply::Ok),
            Request::WatchLog => {
                self.rotation_told = false;
                Ok(Reply::Ok)
            }
            Request::ReplaceLog { packed } => {
                self.replace_log(descriptors.pop(), &packed).map(|()| Reply::Ok)
            }
        };
        self.engines.reply(asked, reply.unwrap_or_else(Reply::Error), None);
    }

    fn answer_status(&mut self, asked: Asked) {
        let init = self.processes.iter().find(|process| process.number == INIT);
        let pidfd = init
            .filter(|process| !matches!(process.phase, Phase::Ended(_)))
            .and_then(|process| process.pidfd()?.try_clone().ok());
        match self.status() {
            Some(status) => self.engines.reply(asked, Reply::Status(status), pidfd),
            None => self.engines.reply(asked, Reply::Error(not_running()), None),
        }
    }

    fn answer_root(&mut self, asked: Asked) {
        let root = self.container.as_ref().and_then(|container| container.root.as_ref());
        match root.and_then(|root| root.as_fd().try_clone_to_owned().ok()) {
            Some(root) => self.engines.reply(asked, Reply::Root, Some(root)),
            None => self.engines.reply(asked, Reply::Error(not_running()), None),
        }
    }

    fn kill(&mut self, number: i32, all: bool) -> Result<()> {
        let init = process::find(&mut self.processes, INIT).ok_or_else(not_running)?;
        if matches!(init.phase, Phase::Ended(_) | Phase::Failing) {
            return Err(not_running());
        }
        if all {
            let container = self.container.as_ref().ok_or_else(not_running)?;
            kill::all(&container.context, number);
            return Ok(());
        }
        let pidfd = init.pidfd().ok_or_else(not_running)?;
        kernel::pidfd_signal(pidfd, number).map_err(|errno| match errno {
            minke_sys::Errno::SRCH => not_running(),
            errno => failure::other("error sending the signal")(errno),
        })
    }

    fn exec_number(&self, exec_id: &str) -> Result<u32> {
        let found = self.processes.iter().find(|process| {
            process.exec_id.as_deref() == Some(exec_id)
                && matches!(process.phase, Phase::Running | Phase::Starting)
        });
        found
            .map(|process| process.number)
            .ok_or_else(|| failure::plain(ErrorCode::NotRunning, "exec process is not running"))
    }

    fn exec_kill(&mut self, exec_id: &str, number: i32) -> Result<()> {
        let process = self.exec_number(exec_id)?;
        let pidfd = process::find(&mut self.processes, process).and_then(|process| process.pidfd());
        kernel::pidfd_signal(pidfd.ok_or_else(not_running)?, number)
            .map_err(failure::other("error sending the signal"))
    }

    fn attach(&mut self, request: &AttachRequest, socket: Option<OwnedFd>) -> Result<()> {
        let socket = socket.ok_or_else(|| failure::plain(ErrorCode::Other, "no socket was given"))?;
        let init = process::find(&mut self.processes, INIT).ok_or_else(not_running)?;
        if matches!(init.phase, Phase::Ended(_) | Phase::Failing) {
            return Err(not_running());
        }
        let has_stdin = if init.is_starting() { init.open_stdin } else { init.session.has_stdin() };
        let event =
            init.session.attach(socket, request, has_stdin).map_err(failure::other("error attaching"))?;
        if event == ClientEvent::Detached {
            self.engines.tell(&Event::Detached { exec_id: None });
        }
        Ok(())
    }

    fn attach_held(&mut self, asked: Asked, request: &AttachRequest, socket: Option<OwnedFd>) {
        if let Err(error) = self.attach(request, socket) {
            return self.engines.reply(asked, Reply::Error(error), None);
        }
        let Some(init) = process::find(&mut self.processes, INIT) else { return };
        let (client, file, log_bytes) = init.session.hold_last(asked.engine);
        self.engines.reply(asked, Reply::Held { client, log_bytes }, file);
    }

    fn release(&mut self, client: u32) -> Result<()> {
        let init = process::find(&mut self.processes, INIT).ok_or_else(not_running)?;
        match init.session.release(client, &self.epoll) {
            true => Ok(()),
            false => Err(failure::plain(ErrorCode::Other, "the client is gone")),
        }
    }

    fn replace_log(&mut self, older: Option<OwnedFd>, packed: &str) -> Result<()> {
        let older = older.ok_or_else(|| failure::plain(ErrorCode::Other, "no file was given"))?;
        let init = process::find(&mut self.processes, INIT).ok_or_else(not_running)?;
        let log = init.session.log().ok_or_else(not_running)?;
        log.replace(&older, packed).map_err(failure::other("error replacing a file of the log"))
    }

    fn resize(&mut self, exec_id: Option<&str>, rows: u16, columns: u16) -> Result<()> {
        let number = exec_id.map_or(Ok(INIT), |exec_id| self.exec_number(exec_id))?;
        let process = process::find(&mut self.processes, number).ok_or_else(not_running)?;
        match process.session.resize(rows, columns) {
            Ok(true) => Ok(()),
            Ok(false) => Err(failure::plain(ErrorCode::Other, String::from("the process has no terminal"))),
            Err(errno) => Err(failure::other("error resizing the terminal")(errno)),
        }
    }

    fn go(&mut self) -> Result<()> {
        let init = process::find(&mut self.processes, INIT).ok_or_else(not_running)?;
        if !init.ready {
            return Err(failure::plain(ErrorCode::Other, "the container doesn't wait for its start"));
        }
        init.go().map_err(failure::other("releasing the container's init"))
    }
}
