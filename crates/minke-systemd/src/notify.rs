//! The word to the service manager that a service is ready: sd_notify(3).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells whoever started this process by `NOTIFY_SOCKET` that it serves; does nothing where nobody asked to be told.
///
/// # Errors
/// The socket is named but can't be used.
pub fn ready() -> std::io::Result<()> {
    match std::env::var("NOTIFY_SOCKET") {
        Ok(socket) => tell(&socket, b"READY=1"),
        Err(_) => Ok(()),
    }
}

fn tell(socket: &str, words: &[u8]) -> std::io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(words, &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_socket_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("minke-notify-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        tell(path.to_str().unwrap(), b"READY=1").unwrap();
        tell(&format!("@{name}"), b"READY=1").unwrap();
        for socket in [by_path, by_name] {
            let mut bytes = [0; 16];
            let count = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..count], b"READY=1");
        }
    }
}
