//! The program `minke-shim`: takes the connection that it was started with (descriptor 3) and runs minke-runtime's shim over it.
//!
//! Built as a freestanding program (see `freestanding.rs`) when it is embedded in minke, as an ordinary one for checks and tests. It must
//! hold no logic.
#![cfg_attr(all(minke_freestanding, not(test)), no_std, no_main)]

#[cfg(all(minke_freestanding, not(test)))]
mod freestanding;

/// Runs the shim; returns the exit code.
fn shim() -> i32 {
    match minke_sys::descriptor::inherited(3) {
        Some(control) => minke_runtime::shim::run(control, env!("CARGO_PKG_VERSION")),
        None if minke_runtime::enter::init::is_called() => minke_runtime::enter::init::alone(),
        // Not started by an engine: it is the program of the embedded image.
        None => minke_runtime::greeting::greet(),
    }
}

#[cfg(not(all(minke_freestanding, not(test))))]
fn main() {
    std::process::exit(shim());
}
