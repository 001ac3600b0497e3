//! Every exit code of the command line, in one place.

/// All went well.
pub const SUCCESS: i32 = 0;
/// A command failed.
pub const FAILURE: i32 = 1;
/// The template of `inspect --format` can't be parsed.
pub const BAD_TEMPLATE: i32 = 64;
/// The command line was wrong, or the engine could not make or start a container.
pub const REFUSED: i32 = 125;
/// The container's command was found but cannot be run.
pub const CANNOT_RUN: i32 = 126;
/// The container's command was not found.
pub const NOT_FOUND: i32 = 127;

/// The code of a program ended by a signal.
pub fn of_signal(number: i32) -> i32 {
    128 + number
}

/// The code for the engine's reason why a process could not be started; these words are what it is known by.
pub fn of_start_failure(message: &str) -> i32 {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&[
        "executable file not found",
        "no such file or directory",
        "system cannot find the file specified",
    ]) {
        NOT_FOUND
    } else if says(&["permission denied", "is a directory"]) {
        CANNOT_RUN
    } else {
        REFUSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_failure_has_the_code_that_a_shell_gives() {
        let cases = [
            ("exec: \"nope\": executable file not found in $PATH: unknown", 127),
            ("stat /x: no such file or directory: unknown", 127),
            ("exec: \"/etc\": permission denied: unknown", 126),
            ("exec: \"/etc\": is a directory: unknown", 126),
            ("No such image: x:latest", 125),
        ];
        for (message, code) in cases {
            assert_eq!(of_start_failure(message), code);
        }
    }
}
