//! The one installed program: hands over by its first word, or by the name it was called with. Holds no logic.

mod shim_image;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use minke_server::daemon::{self, Build, Embedded, Places};

/// What the engine finds in this program.
const EMBEDDED: Embedded = Embedded {
    shim: shim_image::SHIM,
    build: Build {
        commit: match option_env!("MINKE_BUILD") {
            Some(commit) => commit,
            None => "",
        },
        time: env!("MINKE_BUILD_TIME"),
    },
};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().map(|name| Path::new(name).file_name().unwrap_or_default().to_owned());
    let name = name.unwrap_or_default();
    let word = |index: usize| arguments.get(index).and_then(|word| word.to_str()).unwrap_or_default();
    match name.to_str().unwrap_or_default() {
        "dockerd" => daemon::main("dockerd", rest(&arguments, 1), &Places::dockerd(), EMBEDDED),
        "runc" => exit_code(minke_runtime::oci::main("runc", rest(&arguments, 1))),
        _ => match word(1) {
            "daemon" if word(2) == "stop" => exit_code(minke_cli::daemon_stop(rest(&arguments, 3))),
            "daemon" => daemon::main("minke daemon", rest(&arguments, 2), &Places::minke(), EMBEDDED),
            "bundle" => exit_code(minke_runtime::bundle::main(rest(&arguments, 2))),
            "netd" => exit_code(minke_network::netd::main(&rest(&arguments, 2))),
            "oci" => exit_code(minke_runtime::oci::main("minke oci", rest(&arguments, 2))),
            _ => exit_code(minke_cli::main(arguments)),
        },
    }
}

fn rest(arguments: &[OsString], from: usize) -> Vec<OsString> {
    arguments.iter().skip(from).cloned().collect()
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
