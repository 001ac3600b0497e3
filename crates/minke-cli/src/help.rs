//! Help texts, laid out as Docker's are; the words come from the flags' own comments.

use clap::{Arg, Command};

/// The help of one verb.
pub fn of_verb(program: &str, form: &str, summary: &str, usage: &str, command: &Command) -> String {
    let usage = format!("Usage:  {program} {form} {usage}").trim_end().to_string();
    format!("{usage}\n\n{summary}\n{}", options(command, "Options"))
}

/// A titled block of a command's flags, sorted by name; nothing where there are none.
pub fn options(command: &Command, title: &str) -> String {
    let mut flags: Vec<&Arg> =
        command.get_arguments().filter(|flag| !flag.is_hide_set() && flag.get_id() != "help").collect();
    flags.sort_by_key(|flag| flag.get_long().unwrap_or_default().to_string());
    let rows: Vec<(String, String)> =
        flags.into_iter().map(|flag| (names(flag), description(flag))).collect();
    let width = rows.iter().map(|(names, _)| names.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    if !rows.is_empty() {
        text.push_str(&format!("\n{title}:\n"));
    }
    for (names, description) in rows {
        text.push_str(&format!("  {names:width$}   {description}\n"));
    }
    text
}

fn names(flag: &Arg) -> String {
    let short = flag.get_short().map_or("    ".to_string(), |short| format!("-{short}, "));
    let long = flag.get_long().unwrap_or_default();
    let value = if flag.is_require_equals_set() {
        String::new()
    } else {
        flag.get_value_names()
            .and_then(|names| names.first())
            .map(|name| format!(" {}", name.to_lowercase()))
            .unwrap_or_default()
    };
    format!("{short}--{long}{value}")
}

fn description(flag: &Arg) -> String {
    let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
    let default = flag.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
    let shown = |value: &String| value != "false" && !value.is_empty() && !flag.is_hide_default_value_set();
    match default.filter(shown) {
        Some(value) => format!("{help} (default {value})"),
        None => help,
    }
}
