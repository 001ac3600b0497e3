//! Messages: failures, warnings and stages, to `--log` or standard error, as engines and people read them.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use super::arguments::Global;
use crate::shim::render_time;

/// Tells a failure: always on standard error too, where callers without a log look.
pub fn error(global: &Global, message: &str) {
    if global.log.is_some() {
        log(global, "error", message);
    }
    eprintln!("{}: {message}", global.name);
}

/// Tells what the user should know and may ignore.
pub fn warning(global: &Global, message: &str) {
    log(global, "warning", message);
}

/// Tells a stage, if that was asked for (`--debug`). The stages have the names by which people find them in the field's logs.
pub fn debug(global: &Global, message: &str) {
    if global.debug {
        log(global, "debug", message);
    }
}

fn log(global: &Global, level: &str, message: &str) {
    let time = render_time(minke_sys::process::now_ns());
    let line = if global.log_json {
        serde_json::json!({ "level": level, "msg": message, "time": time }).to_string()
    } else {
        format!("time=\"{time}\" level={level} msg={message:?}")
    };
    let Some(path) = &global.log else {
        eprintln!("{line}");
        return;
    };
    let opened = std::fs::OpenOptions::new().create(true).append(true).mode(0o644).open(path);
    if let Ok(mut file) = opened {
        let _ = writeln!(file, "{line}");
    }
}
