//! The shims that this engine has started are its children: each is reaped when it ends.

use minke_sys::spawn::Started;

use crate::readiness;

/// Sees to it that no zombie stays of a shim. Must be called inside the runtime.
pub fn adopt(shim: Started) {
    let Started { pid, pidfd } = shim;
    tokio::spawn(async move {
        if let Ok(pidfd) = readiness::watch_reading(pidfd) {
            let _ = pidfd.readable().await;
        }
        minke_sys::spawn::reap_child(pid);
    });
}
