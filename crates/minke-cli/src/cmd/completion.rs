//! `completion`: prints a script that completes this program's commands and flags in a shell. The script has every command and
//! flag in it, and asks the engine for names only.

use clap::Args;

use crate::commands::{COMMANDS, Row};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// `completion` has no flags.
#[derive(Args, Clone, Debug)]
pub struct Completion {}

/// What names a command takes, by its words or the last of them, and how the program lists them.
const NAMES: &[(&[&str], &str)] = &[
    (&["start"], "ps -a -f status=created -f status=exited --format {{.Names}}"),
    (&["attach", "exec", "kill", "pause", "stop", "top"], "ps --format {{.Names}}"),
    (
        &[
            "commit", "cp", "diff", "export", "logs", "port", "rename", "restart", "rm", "stats", "unpause",
            "update", "wait",
        ],
        "ps -a --format {{.Names}}",
    ),
    (&["container inspect", "inspect"], "ps -a --format {{.Names}}"),
    (&["create", "history", "run", "rmi", "save", "tag"], "images --format {{.Repository}}:{{.Tag}}"),
    (&["image inspect", "image rm", "image remove"], "images --format {{.Repository}}:{{.Tag}}"),
    (&["volume inspect", "volume rm", "volume remove"], "volume ls -q"),
    (
        &[
            "context export",
            "context inspect",
            "context rm",
            "context remove",
            "context update",
            "context use",
        ],
        "context ls -q",
    ),
];

/// Commands below a noun that only look as if they took a container's or an image's name.
const NAMELESS: [&str; 3] = ["context create", "volume create", "network create"];

impl Verb for Completion {
    const SUMMARY: &'static str = "Print a script that completes commands in a shell";
    const USAGE: &'static str = "bash|zsh|fish";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let script = match arguments[0].as_str() {
            "bash" => bash(&session.program),
            "zsh" => zsh(&session.program),
            "fish" => fish(&session.program),
            other => return Err(Failure::Plain(format!("unknown shell {other:?}: it is bash, zsh or fish"))),
        };
        session.print(script)?;
        Ok(exit::SUCCESS)
    }
}

/// How the names that a command takes are listed.
fn names_of(form: &str) -> Option<&'static str> {
    if NAMELESS.contains(&form) {
        return None;
    }
    let verb = form.strip_prefix("container ").or_else(|| form.strip_prefix("image ")).unwrap_or(form);
    let find = |word: &str| NAMES.iter().find(|(forms, _)| forms.contains(&word)).map(|(_, list)| *list);
    find(form).or_else(|| find(verb))
}

fn flags_of(row: &Row, form: &str) -> Vec<(String, String)> {
    let command = (row.describe)(form);
    let flags = command.get_arguments().filter(|flag| !flag.is_hide_set());
    flags
        .filter_map(|flag| {
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            Some((flag.get_long()?.to_string(), help))
        })
        .collect()
}

fn forms() -> impl Iterator<Item = (&'static Row, &'static str)> {
    COMMANDS.iter().flat_map(|row| row.forms.iter().map(move |form| (row, *form)))
}

/// The first words, each once.
fn first_words() -> Vec<&'static str> {
    let mut words: Vec<&str> = forms().filter_map(|(_, form)| form.split(' ').next()).collect();
    words.extend(["daemon", "oci"]);
    words.sort_unstable();
    words.dedup();
    words
}

/// The words that follow a noun.
fn verbs_of(noun: &str) -> Vec<&'static str> {
    let mut verbs: Vec<&str> =
        forms().filter_map(|(_, form)| form.strip_prefix(noun)?.strip_prefix(' ')).collect();
    verbs.sort_unstable();
    verbs
}

fn nouns() -> Vec<&'static str> {
    let mut nouns: Vec<&str> =
        forms().filter_map(|(_, form)| form.split_once(' ')).map(|(noun, _)| noun).collect();
    nouns.sort_unstable();
    nouns.dedup();
    nouns
}

/// The rows of a shell's `case` that set `flags` and `names` for a command.
fn cases() -> String {
    let mut text = String::new();
    for (row, form) in forms() {
        let flags: Vec<String> =
            flags_of(row, form).into_iter().map(|(name, _)| format!("--{name}")).collect();
        let names = names_of(form).unwrap_or_default();
        text.push_str(&format!("    '{form}') flags='{}' names='{names}' ;;\n", flags.join(" ")));
    }
    for noun in nouns() {
        text.push_str(&format!("    '{noun}') words='{}' ;;\n", verbs_of(noun).join(" ")));
    }
    text
}

fn bash(program: &str) -> String {
    let (first, cases, nouns) = (first_words().join(" "), cases(), nouns().join("|"));
    format!(
        r#"# Completion of {program} in bash: source this, or put it into /etc/bash_completion.d.
_{program}() {{
  local typed=${{COMP_WORDS[COMP_CWORD]}} form='' word flags='' names='' words='{first}'
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    [[ $word != -* ]] || continue
    case $form in
      '') form=$word; words='' ;;
      {nouns}) form="$form $word"; words='' ;;
    esac
  done
  case $form in
{cases}  esac
  if [[ $typed == -* ]]; then
    words=$flags
  elif [[ -n $names ]]; then
    words=$({program} $names 2>/dev/null)
  fi
  COMPREPLY=($(compgen -W "$words" -- "$typed"))
  if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$typed"; fi
}}
complete -o default -F _{program} {program}
"#
    )
}

fn zsh(program: &str) -> String {
    let (first, cases, nouns) = (first_words().join(" "), cases(), nouns().join("|"));
    format!(
        r#"#compdef {program}
# Completion of {program} in zsh: put it into a folder of $fpath as _{program}, or source it after compinit.
_{program}() {{
  local form='' word flags='' names='' words_here='{first}'
  for word in "${{(@)words[2,CURRENT-1]}}"; do
    [[ $word != -* ]] || continue
    case $form in
      '') form=$word; words_here='' ;;
      {nouns}) form="$form $word"; words_here='' ;;
    esac
  done
  case $form in
{}  esac
  if [[ $words[CURRENT] == -* ]]; then
    compadd -- ${{=flags}}
  elif [[ -n $names ]]; then
    compadd -- ${{(f)"$({program} ${{=names}} 2>/dev/null)"}}
    _files
  elif [[ -n $words_here ]]; then
    compadd -- ${{=words_here}}
  else
    _files
  fi
}}
if [[ $funcstack[1] == _{program} ]]; then _{program} "$@"; else compdef _{program} {program}; fi
"#,
        cases.replace(" words='", " words_here='")
    )
}

fn fish(program: &str) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let mut text = format!(
        "# Completion of {program} in fish: put it into ~/.config/fish/completions/{program}.fish.\n"
    );
    for word in first_words() {
        let summary = COMMANDS.iter().find(|row| row.forms.contains(&word)).map_or("", |row| row.summary);
        text.push_str(&format!(
            "complete -c {program} -f -n __fish_use_subcommand -a {word} -d {}\n",
            quote(summary)
        ));
    }
    for noun in nouns() {
        let verbs = verbs_of(noun).join(" ");
        text.push_str(&format!(
            "complete -c {program} -f -n '__fish_seen_subcommand_from {noun}; and not __fish_seen_subcommand_from {verbs}' -a '{verbs}'\n"
        ));
    }
    for (row, form) in forms() {
        let seen = form.split(' ').map(|word| format!("__fish_seen_subcommand_from {word}"));
        let seen = seen.collect::<Vec<_>>().join("; and ");
        for (flag, help) in flags_of(row, form) {
            text.push_str(&format!("complete -c {program} -n '{seen}' -l {flag} -d {}\n", quote(&help)));
        }
        if let Some(names) = names_of(form) {
            text.push_str(&format!(
                "complete -c {program} -n '{seen}' -a '({program} {} 2>/dev/null)'\n",
                names.replace('{', "\\{").replace('}', "\\}")
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_every_script() {
        for script in [bash("minke"), zsh("minke")] {
            for (_, form) in forms() {
                assert!(script.contains(&format!("'{form}') flags=")), "{form}");
            }
        }
        assert!(fish("minke").contains(
            "-n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from ls' -l quiet"
        ));
    }

    #[test]
    fn names_are_asked_for_where_a_command_takes_one() {
        assert!(names_of("container rm").unwrap().starts_with("ps -a"));
        assert!(names_of("run").unwrap().starts_with("images"));
        assert_eq!(names_of("volume rm"), Some("volume ls -q"));
        assert_eq!(names_of("context create"), None);
        assert_eq!(names_of("version"), None);
    }
}
