//! Why a start fails, in the words that Docker's users know.

use alloc::format;
use alloc::string::String;

use minke_spec::shim::{ErrorCode, ShimError};
use minke_sys::Errno;

/// The result of a step of a start.
pub type Result<T, E = ShimError> = core::result::Result<T, E>;

/// Makes the error of a failed step: `what` was being done to what.
pub fn setup(what: impl Into<String>) -> impl FnOnce(Errno) -> ShimError {
    coded(ErrorCode::Setup, what)
}

/// Makes the error of something that isn't part of a start.
pub fn other(what: impl Into<String>) -> impl FnOnce(Errno) -> ShimError {
    coded(ErrorCode::Other, what)
}

/// Makes an error of any class.
pub fn coded(code: ErrorCode, what: impl Into<String>) -> impl FnOnce(Errno) -> ShimError {
    move |errno| ShimError {
        code,
        errno: errno.raw_os_error(),
        message: format!("{}: {}", what.into(), words(errno)),
    }
}

/// Makes an error that no system call has caused.
pub fn plain(code: ErrorCode, message: impl Into<String>) -> ShimError {
    ShimError { code, errno: 0, message: message.into() }
}

/// The C library's words for an error number, beginning with a small letter as Go prints them.
pub fn words(errno: Errno) -> String {
    let text = match errno {
        Errno::PERM => "operation not permitted",
        Errno::NOENT => "no such file or directory",
        Errno::SRCH => "no such process",
        Errno::INTR => "interrupted system call",
        Errno::IO => "input/output error",
        Errno::NXIO => "no such device or address",
        Errno::TOOBIG => "argument list too long",
        Errno::NOEXEC => "exec format error",
        Errno::BADF => "bad file descriptor",
        Errno::CHILD => "no child processes",
        Errno::AGAIN => "resource temporarily unavailable",
        Errno::NOMEM => "cannot allocate memory",
        Errno::ACCESS => "permission denied",
        Errno::BUSY => "device or resource busy",
        Errno::EXIST => "file exists",
        Errno::XDEV => "invalid cross-device link",
        Errno::NODEV => "no such device",
        Errno::NOTDIR => "not a directory",
        Errno::ISDIR => "is a directory",
        Errno::INVAL => "invalid argument",
        Errno::NFILE => "too many open files in system",
        Errno::MFILE => "too many open files",
        Errno::TXTBSY => "text file busy",
        Errno::FBIG => "file too large",
        Errno::NOSPC => "no space left on device",
        Errno::ROFS => "read-only file system",
        Errno::MLINK => "too many links",
        Errno::PIPE => "broken pipe",
        Errno::NAMETOOLONG => "file name too long",
        Errno::NOSYS => "function not implemented",
        Errno::LOOP => "too many levels of symbolic links",
        Errno::MSGSIZE => "message too long",
        Errno::OPNOTSUPP => "operation not supported",
        Errno::ADDRINUSE => "address already in use",
        Errno::CONNREFUSED => "connection refused",
        Errno::DQUOT => "disk quota exceeded",
        other => return format!("errno {}", other.raw_os_error()),
    };
    text.into()
}
