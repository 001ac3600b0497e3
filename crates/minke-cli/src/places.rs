//! Where the engine that this command line starts and stops has its files. The same defaults as the engine's own.

/// The engine's data.
pub const DATA_ROOT: &str = "/var/lib/minke";
/// The engine's runtime files.
pub const EXEC_ROOT: &str = "/run/minke";
/// The engine's own process, below the runtime files.
pub const PID_FILE: &str = "minke.pid";
