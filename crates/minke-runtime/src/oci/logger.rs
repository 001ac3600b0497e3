//! Failures as engines read them from `--log`.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use super::arguments::Global;
use crate::shim::render_time;

/// Appends a failure to the log, if there is one.
pub fn report(global: &Global, message: &str) {
    let Some(path) = &global.log else { return };
    let time = render_time(minke_sys::process::now_ns());
    let line = if global.log_json {
        serde_json::json!({ "level": "error", "msg": message, "time": time }).to_string()
    } else {
        format!("time=\"{time}\" level=error msg={message:?}")
    };
    let opened = std::fs::OpenOptions::new().create(true).append(true).mode(0o644).open(path);
    if let Ok(mut file) = opened {
        let _ = writeln!(file, "{line}");
    }
}
