//! Where clients connect: unix sockets, TCP with and without TLS, sockets passed by the service manager.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use minke_model::{Context as _, Error, Result};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::tls::TlsSettings;

/// Groups that may use a unix socket, the first that exists.
const SOCKET_GROUPS: [&str; 2] = ["minke", "docker"];
/// Owner and group read and write.
const SOCKET_MODE: u32 = 0o660;

/// An open place for clients to connect to.
pub struct Listener {
    pub(crate) socket: Socket,
    address: String,
    _file: Option<SocketFile>,
}

/// The kinds of listening socket.
pub(crate) enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
    Tls(TcpListener, TlsAcceptor),
}

/// A client that has connected; with TLS the handshake is still to come.
pub(crate) enum Client {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(TcpStream, TlsAcceptor),
}

impl Listener {
    /// Opens `unix://PATH`, `tcp://HOST:PORT` (with `tls`, only for clients that pass it) or `fd://` (the first socket
    /// passed by the service manager; `fd://N` the one with that number). A unix socket left by an engine that is gone
    /// is replaced; one that still answers is an error.
    pub async fn bind(host: &str, tls: Option<TlsSettings>) -> Result<Self> {
        Self::bind_for_group(host, tls, None).await
    }

    /// As [`Listener::bind`]; the unix socket belongs to `group` (a name or a number, which must exist; empty for the
    /// caller's own) instead of `minke` or `docker`.
    pub async fn bind_for_group(host: &str, tls: Option<TlsSettings>, group: Option<&str>) -> Result<Self> {
        match host.split_once("://") {
            Some(("unix", path)) => Self::bind_unix(Path::new(path), group).await,
            Some(("tcp", address)) => Self::bind_tcp(address, tls).await,
            Some(("fd", number)) => Self::take_passed(number),
            _ => Err(Error::invalid(format!("invalid bind address ({host}): use unix://, tcp:// or fd://"))),
        }
    }

    /// The address as the user may write it; a TCP port of 0 is resolved.
    pub fn address(&self) -> &str {
        &self.address
    }

    async fn bind_unix(path: &Path, group: Option<&str>) -> Result<Self> {
        let group = socket_group(&fs::read_to_string("/etc/group").unwrap_or_default(), group)?;
        if !path.is_absolute() {
            return Err(Error::invalid(format!(
                "invalid bind address (unix://{}): the path must be absolute",
                path.display()
            )));
        }
        if UnixStream::connect(path).await.is_ok() {
            return Err(Error::conflict(format!("another engine is listening on {}", path.display())));
        }
        if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(Error::conflict(format!("{} exists and is not a socket", path.display())));
        }
        let (socket, file) = bind_socket_file(path, group)
            .with_context(|| format!("can't create unix socket {}", path.display()))?;
        Ok(Self {
            socket: Socket::Unix(socket),
            address: format!("unix://{}", path.display()),
            _file: Some(file),
        })
    }

    async fn bind_tcp(address: &str, tls: Option<TlsSettings>) -> Result<Self> {
        let address = with_default_port(address, tls.is_some())?;
        let acceptor = tls.map(|settings| settings.acceptor()).transpose()?;
        let socket =
            TcpListener::bind(&address).await.with_context(|| format!("can't listen on tcp://{address}"))?;
        let bound = socket.local_addr().context("listening address")?;
        let socket = match acceptor {
            Some(acceptor) => Socket::Tls(socket, acceptor),
            None => {
                tracing::warn!(
                    "tcp://{bound} is open without client certificates: whoever reaches it is root on this host"
                );
                Socket::Tcp(socket)
            }
        };
        Ok(Self { socket, address: format!("tcp://{bound}"), _file: None })
    }

    /// Opens `HOST:PORT` for what nobody can do harm by.
    pub(crate) async fn bind_plain(address: &str) -> Result<Self> {
        let socket =
            TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
        let bound = socket.local_addr().context("listening address")?;
        Ok(Self { socket: Socket::Tcp(socket), address: format!("tcp://{bound}"), _file: None })
    }

    fn take_passed(number: &str) -> Result<Self> {
        let socket = passed_socket(number).with_context(|| format!("can't take the socket fd://{number}"))?;
        Ok(Self { socket: Socket::Unix(socket), address: format!("fd://{number}"), _file: None })
    }

    /// Whether only processes of this host can connect, as a file's mode says.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.socket, Socket::Unix(_))
    }

    pub(crate) async fn accept(&self) -> io::Result<Client> {
        Ok(match &self.socket {
            Socket::Unix(socket) => Client::Unix(socket.accept().await?.0),
            Socket::Tcp(socket) => Client::Tcp(socket.accept().await?.0),
            Socket::Tls(socket, acceptor) => Client::Tls(socket.accept().await?.0, acceptor.clone()),
        })
    }
}

/// Makes the socket beside its place, gives it mode and group, and moves it there: nobody sees it half made.
fn bind_socket_file(path: &Path, group: Option<u32>) -> io::Result<(UnixListener, SocketFile)> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push("~");
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(&beside)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(SOCKET_MODE))?;
    if group.is_some() {
        // Without root the socket stays with the caller's own group.
        let _ = std::os::unix::fs::chown(&beside, None, group);
    }
    fs::rename(&beside, path)?;
    let found = fs::symlink_metadata(path)?;
    Ok((socket, SocketFile { path: path.to_owned(), identity: (found.dev(), found.ino()) }))
}

/// The group of the socket, from the text of the group file; `None` is the caller's own.
fn socket_group(groups: &str, wanted: Option<&str>) -> Result<Option<u32>> {
    let find = |name: &str| {
        groups.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
        })
    };
    match wanted {
        None => Ok(SOCKET_GROUPS.into_iter().find_map(find)),
        Some("") => Ok(None),
        Some(name) => match find(name).or_else(|| name.parse().ok()) {
            Some(gid) => Ok(Some(gid)),
            None => Err(Error::invalid(format!("group {name} not found"))),
        },
    }
}

/// Completes `HOST:PORT` as Docker does: localhost, and 2375 or, with TLS, 2376.
fn with_default_port(address: &str, tls: bool) -> Result<String> {
    let address = address.trim_end_matches('/');
    let default_port = if tls { 2376 } else { 2375 };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (address, ""),
    };
    let port = match port {
        "" => default_port,
        text => text.parse().map_err(|_| {
            Error::invalid(format!("invalid bind address (tcp://{address}): invalid port {text:?}"))
        })?,
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok(format!("{host}:{port}"))
}

/// Takes a socket passed by the service manager (`LISTEN_PID`, `LISTEN_FDS`; the first has number 3).
fn passed_socket(number: &str) -> io::Result<UnixListener> {
    let variable = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<i32>().ok());
    let own_pid = rustix::process::getpid();
    let count =
        variable("LISTEN_FDS").filter(|_| variable("LISTEN_PID") == Some(own_pid.as_raw_nonzero().get()));
    let wanted = if number.is_empty() || number == "/" { Some(3) } else { number.parse().ok() };
    let wanted = wanted.filter(|wanted| (3..3 + count.unwrap_or(0)).contains(wanted));
    let Some(wanted) = wanted else {
        return Err(io::Error::other("no such socket was passed to this process"));
    };
    let own = rustix::process::pidfd_open(own_pid, rustix::process::PidfdFlags::empty())?;
    let socket = rustix::process::pidfd_getfd(&own, wanted, rustix::process::PidfdGetfdFlags::empty())?;
    let socket = std::os::unix::net::UnixListener::from(socket);
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket)
}

/// The file of a unix socket, removed with its listener unless another has taken its place.
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_group_that_exists_gets_the_socket() {
        let all = "root:x:0:\ndocker:x:999:a\nminke:x:998:\n";
        let check = |groups, wanted, expected| assert_eq!(socket_group(groups, wanted).unwrap(), expected);
        check(all, None, Some(998));
        check("root:x:0:\ndocker:x:999:a\n", None, Some(999));
        check("root:x:0:\n", None, None);
        check(all, Some("docker"), Some(999));
        check(all, Some("1234"), Some(1234));
        check(all, Some(""), None);
        assert_eq!(socket_group(all, Some("nope")).unwrap_err().to_string(), "group nope not found");
    }

    #[test]
    fn ports_and_hosts_have_dockers_defaults() {
        let check =
            |address, tls, expected: &str| assert_eq!(with_default_port(address, tls).unwrap(), expected);
        check("", false, "127.0.0.1:2375");
        check("0.0.0.0", true, "0.0.0.0:2376");
        check(":4243", false, "127.0.0.1:4243");
        check("[::1]:80/", false, "[::1]:80");
        check("[::1]", true, "[::1]:2376");
        assert!(with_default_port("x:nope", false).is_err());
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/minke.sock");
        let host = format!("unix://{}", path.display());
        let first = Listener::bind(&host, None).await.unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let refusal = Listener::bind(&host, None).await.err().unwrap();
        assert!(refusal.to_string().starts_with("another engine is listening on "), "{refusal}");
        drop(first);
        assert!(!path.exists());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let second = Listener::bind(&host, None).await.unwrap();
        assert_eq!(second.address(), host);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        drop(second);
        assert!(path.exists());
        assert!(Listener::bind(&host, None).await.is_err());
    }
}
