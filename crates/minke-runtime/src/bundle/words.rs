//! Why a runtime has failed. All that it gives is text, so here, and only here, the kind is taken from that, as Docker does.

use minke_spec::shim::{ErrorCode, ShimError};
use serde_json::Value;

use crate::failure;

/// What the field's runtime writes before the reason; our own callers write it themselves.
const BEFORE: &str = "unable to start container process: ";

/// The error that stands last in a runtime's log of JSON lines; `otherwise` if none does.
pub fn error(log: &str, otherwise: &str) -> ShimError {
    let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let said = |line: &Value| line["level"] == "error" || line["level"] == "fatal";
    let text = lines.filter(said).find_map(|line| line["msg"].as_str().map(str::to_owned));
    let text = text.unwrap_or_else(|| otherwise.to_owned());
    let words = text.split_once(BEFORE).map_or(text.as_str(), |(_, reason)| reason);
    let words = as_docker(words.trim());
    failure::plain(code(&words), words)
}

/// Another runtime's words for what Docker's users, and programs that read its errors, know by others.
fn as_docker(words: &str) -> String {
    let missing =
        words.strip_prefix("executable file `").and_then(|rest| rest.split_once("` not found in $PATH"));
    match missing {
        Some((name, _)) => format!("exec: {name:?}: executable file not found in $PATH"),
        None => words
            .replace(": No such file or directory", ": no such file or directory")
            .replace(": Permission denied", ": permission denied"),
    }
}

fn code(words: &str) -> ErrorCode {
    let words = words.to_lowercase();
    let says = |list: &[&str]| list.iter().any(|text| words.contains(text));
    match () {
        () if !says(&["exec", "chdir", "cwd"]) => ErrorCode::Setup,
        () if says(&["executable file not found", "no such file or directory", "not found in"]) => {
            ErrorCode::ProgramNotFound
        }
        () if says(&["permission denied", "exec format error", "is a directory"]) => {
            ErrorCode::ProgramNotExecutable
        }
        () => ErrorCode::Setup,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_log_is_the_reason() {
        let log = "{\"level\":\"warning\",\"msg\":\"x\"}\n{\"level\":\"error\",\"msg\":\"runc create failed: unable to start container process: exec: \\\"no\\\": executable file not found in $PATH\"}\n";
        let found = error(log, "otherwise");
        assert_eq!(found.code, ErrorCode::ProgramNotFound);
        assert_eq!(found.message, "exec: \"no\": executable file not found in $PATH");
        let log = "{\"msg\":\"executable file `no` not found in $PATH: No such file or directory\",\"level\":\"error\"}";
        assert_eq!(error(log, "").message, "exec: \"no\": executable file not found in $PATH");
        let denied = "{\"level\":\"error\",\"msg\":\"open executable: Permission denied\"}";
        assert_eq!(error(denied, "").code, ErrorCode::ProgramNotExecutable);
        assert_eq!(error(denied, "").message, "open executable: permission denied");
        let found = error("", "crun create: exit status: 1");
        assert_eq!((found.code, found.message.as_str()), (ErrorCode::Setup, "crun create: exit status: 1"));
    }
}
