//! Usage texts and versions.

use std::fmt::Write as _;

use super::flags::{Flag, GLOBAL, VERBS, Verb};
use super::state::OCI_VERSION;

/// Renders the usage of all, or of one command.
pub fn render(program: &str, verb: Option<&Verb>) -> String {
    let mut text = String::new();
    match verb {
        None => {
            let _ = write!(
                text,
                "NAME:\n   {program} - Open Container Initiative runtime\n\nUSAGE:\n   {program}"
            );
            text.push_str(" [OPTION...] COMMAND [ARG...]\n\nCOMMANDS:\n");
            for verb in VERBS {
                let _ = writeln!(text, "   {:<12}{}", verb.name, verb.about);
            }
            text.push_str("\nOPTIONS:\n");
            flags(&mut text, GLOBAL);
        }
        Some(verb) => {
            let _ = write!(
                text,
                "NAME:\n   {program} {} - {}\n\nUSAGE:\n   {program} {}",
                verb.name, verb.about, verb.name
            );
            let _ = writeln!(text, " [OPTION...] {}\n\nOPTIONS:", verb.words);
            flags(&mut text, verb.flags);
            text.push_str("   --help, -h                     print this\n");
        }
    }
    text
}

fn flags(text: &mut String, flags: &[Flag]) {
    for flag in flags {
        let names = flag
            .names
            .iter()
            .map(|name| if name.len() == 1 { format!("-{name}") } else { format!("--{name}") });
        let mut left = names.collect::<Vec<_>>().join(", ");
        if let Some(value) = flag.value {
            left.push(' ');
            left.push_str(value);
        }
        let _ = writeln!(text, "   {left:<30} {}", flag.about);
    }
}

/// Renders the versions, as those who look for a runtime's read them.
pub fn versions(program: &str) -> String {
    format!(
        "{program} version {}\ncommit: {}\nspec: {OCI_VERSION}",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_VERSION")
    )
}
