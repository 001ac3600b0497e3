//! A connection to the service manager: its own socket, which only root may use, else the system's message bus.
//! D-Bus specification: "Authentication Protocol". One call at a time; waits with a deadline.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::message::{Call, FIXED, Kind, Message, Writer, length, render};

const OWN_SOCKET: &str = "/run/systemd/private";
const BUS_SOCKET: &str = "/run/dbus/system_bus_socket";
/// How long the service manager may take for a call, or for a job that it was given.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many signals may wait for somebody to ask for them.
const SIGNALS: usize = 1024;

/// The object that has all the methods.
pub const MANAGER: (&str, &str, &str) =
    ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager");
const BUS: (&str, &str, &str) = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus");

/// Why a call has failed.
#[derive(Debug)]
pub enum Failure {
    /// The service manager refused, by a name of an error and in its words.
    Refused {
        /// Such as `org.freedesktop.systemd1.UnitExists`.
        name: String,
        /// For people.
        words: String,
    },
    /// It can't be talked to.
    Unreachable(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { words, .. } => f.write_str(words),
            Self::Unreachable(error) => write!(f, "systemd can't be reached: {error}"),
        }
    }
}

/// An open connection.
pub struct Connection {
    stream: UnixStream,
    serial: u32,
    signals: VecDeque<Message>,
}

impl Connection {
    /// Connects, to be told when jobs are done.
    pub fn open() -> Result<Self, Failure> {
        if let Ok(own) = Self::connect(Path::new(OWN_SOCKET)) {
            return Ok(own);
        }
        let mut bus = Self::bus()?;
        let mut rule = Writer::default();
        rule.text("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
        bus.call(BUS, "AddMatch", "s", rule)?;
        bus.call(MANAGER, "Subscribe", "", Writer::default())?;
        Ok(bus)
    }

    /// Connects with the system's message bus.
    pub fn bus() -> Result<Self, Failure> {
        let mut bus = Self::connect(&bus_socket(std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok()))?;
        bus.call(BUS, "Hello", "", Writer::default())?;
        Ok(bus)
    }

    /// Whether somebody has this name on the bus.
    pub fn is_there(&mut self, name: &str) -> Result<bool, Failure> {
        let mut argument = Writer::default();
        argument.text(name);
        Ok(self.call(BUS, "NameHasOwner", "s", argument)?.body().number()? != 0)
    }

    fn connect(path: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let uid = rustix::process::geteuid().as_raw().to_string();
        let digits: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {digits}\r\n").as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            answer.push(byte[0]);
            if answer.len() > 1024 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        if !answer.starts_with(b"OK ") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        stream.write_all(b"BEGIN\r\n")?;
        Ok(Self { stream, serial: 0, signals: VecDeque::new() })
    }

    /// Calls a method and waits for its answer.
    pub fn call(
        &mut self,
        (destination, path, interface): (&str, &str, &str),
        member: &str,
        signature: &str,
        body: Writer,
    ) -> Result<Message, Failure> {
        self.serial += 1;
        let serial = self.serial;
        let call = Call { destination, path, interface, member, signature, body };
        self.stream.write_all(&render(&call, serial))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.read(deadline)?;
            match message.kind {
                Kind::Return if message.reply_to == serial => return Ok(message),
                Kind::Error if message.reply_to == serial => {
                    let words = message.body().text().unwrap_or_default();
                    return Err(Failure::Refused { name: message.error, words });
                }
                Kind::Signal if self.signals.len() < SIGNALS => self.signals.push_back(message),
                _ => {}
            }
        }
    }

    /// Waits until the job with that path is done, and returns how: `done` is good.
    pub fn wait_for_job(&mut self, path: &str) -> Result<String, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = match self.signals.pop_front() {
                Some(message) => message,
                None => self.read(deadline)?,
            };
            if message.kind != Kind::Signal || message.member != "JobRemoved" {
                continue;
            }
            let mut body = message.body();
            let (_, job, _) = (body.number()?, body.text()?, body.text()?);
            if job == path {
                return Ok(body.text()?);
            }
        }
    }

    fn read(&mut self, deadline: Instant) -> io::Result<Message> {
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut fixed = [0; FIXED];
        self.stream.read_exact(&mut fixed)?;
        let mut bytes = vec![0; length(&fixed)?];
        bytes[..FIXED].copy_from_slice(&fixed);
        self.stream.read_exact(&mut bytes[FIXED..])?;
        Message::parse(&bytes)
    }
}

/// Where the message bus listens: the usual place, or a path that the environment names.
fn bus_socket(address: Option<String>) -> PathBuf {
    let named = address.as_deref().and_then(|address| address.strip_prefix("unix:path="));
    let path = named.and_then(|rest| rest.split([',', ';']).next());
    path.unwrap_or(BUS_SOCKET).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_bus_is_where_the_environment_says() {
        assert_eq!(bus_socket(None), Path::new(BUS_SOCKET));
        assert_eq!(bus_socket(Some("unix:path=/x/y,guid=1".into())), Path::new("/x/y"));
        assert_eq!(bus_socket(Some("tcp:host=a".into())), Path::new(BUS_SOCKET));
    }

    #[test]
    fn who_is_not_let_in_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        let served = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut bytes = [0; 64];
            let count = client.read(&mut bytes).unwrap();
            client.write_all(b"REJECTED EXTERNAL\r\n").unwrap();
            bytes[..count].to_vec()
        });
        let refused = Connection::connect(&path).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(served.join().unwrap().starts_with(b"\0AUTH EXTERNAL "));
    }
}
