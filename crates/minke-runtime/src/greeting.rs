//! What the program says that is the one file of the embedded image. It is the shim's own program, started without an engine.

use minke_sys::descriptor;

const TEXT: &str = "\
Hello from a container of minke!

This program is the only file of its image, which comes inside minke: no network was
needed. It ran as process 1 of its own namespaces, on a root file system of its own,
behind a system call filter, and its output came to you through the container's shim.

Next, bring an image of your own and run it:
    minke load -i image.tar
    minke run -it IMAGE sh
";

/// Greets on standard output; returns the exit code.
pub fn greet() -> i32 {
    match descriptor::write_all(descriptor::standard(1), TEXT.as_bytes()) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}
