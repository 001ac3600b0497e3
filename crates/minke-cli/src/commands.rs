//! The table of commands: which words lead to which verb.

use std::ffi::OsString;
use std::future::Future;
use std::pin::Pin;

use crate::cmd::{completion, container, context, image, manifest, network, registry, system, volume};
use crate::error::{Failure, Outcome};
use crate::globals::Globals;
use crate::grammar::{self, Parsed, Verb};
use crate::help;
use crate::session::Session;
use crate::suggest;

type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// One row: the forms of a command, and what it does.
pub struct Row {
    /// Every way to type it, the short one first.
    pub forms: &'static [&'static str],
    /// One line about it.
    pub summary: &'static str,
    run: for<'a> fn(&'a Session, Vec<OsString>) -> Running<'a>,
    /// Its flags, for completions and manual pages.
    pub describe: fn(&str) -> clap::Command,
}

const fn row<V: Verb + 'static>(forms: &'static [&'static str]) -> Row {
    Row {
        forms,
        summary: V::SUMMARY,
        run: |session, words| Box::pin(invoke::<V>(session, words)),
        describe: grammar::build::<V>,
    }
}

async fn invoke<V: Verb>(session: &Session, words: Vec<OsString>) -> Outcome {
    match grammar::parse::<V>(&session.program, &session.form, &words)? {
        Parsed::Help(text) => session.print(text).map(|()| crate::exit::SUCCESS),
        Parsed::Run(verb, arguments) => verb.run(arguments, session).await,
    }
}

/// Every command.
pub const COMMANDS: &[Row] = &[
    row::<container::run::Run>(&["run", "container run"]),
    row::<container::exec::Exec>(&["exec", "container exec"]),
    row::<container::ps::Ps>(&["ps", "container ls", "container ps", "container list"]),
    row::<image::ls::Images>(&["images", "image ls", "image list"]),
    row::<image::pull::Pull>(&["pull", "image pull"]),
    row::<image::push::Push>(&["push", "image push"]),
    row::<registry::login::Login>(&["login"]),
    row::<registry::logout::Logout>(&["logout"]),
    row::<system::version::Version>(&["version"]),
    row::<system::info::Info>(&["info", "system info"]),
    row::<container::attach::Attach>(&["attach", "container attach"]),
    row::<container::commit::Commit>(&["commit", "container commit"]),
    row::<container::cp::Copy>(&["cp", "container cp"]),
    row::<container::create::Create>(&["create", "container create"]),
    row::<container::diff::Diff>(&["diff", "container diff"]),
    row::<system::events::Events>(&["events", "system events"]),
    row::<container::export::Export>(&["export", "container export"]),
    row::<image::history::History>(&["history", "image history"]),
    row::<image::import::Import>(&["import", "image import"]),
    row::<system::inspect::Inspect>(&["inspect"]),
    row::<container::inspect::Inspect>(&["container inspect"]),
    row::<image::inspect::Inspect>(&["image inspect"]),
    row::<container::kill::Kill>(&["kill", "container kill"]),
    row::<image::load::Load>(&["load", "image load"]),
    row::<container::logs::Logs>(&["logs", "container logs"]),
    row::<container::pause::Pause>(&["pause", "container pause"]),
    row::<container::rename::Rename>(&["rename", "container rename"]),
    row::<container::stop::Restart>(&["restart", "container restart"]),
    row::<container::rm::Remove>(&["rm", "container rm", "container remove"]),
    row::<image::rm::Remove>(&["rmi", "image rm", "image remove"]),
    row::<registry::search::Search>(&["search"]),
    row::<image::save::Save>(&["save", "image save"]),
    row::<container::start::Start>(&["start", "container start"]),
    row::<container::stats::Stats>(&["stats", "container stats"]),
    row::<container::stop::Stop>(&["stop", "container stop"]),
    row::<image::tag::Tag>(&["tag", "image tag"]),
    row::<container::pause::Unpause>(&["unpause", "container unpause"]),
    row::<container::top::Top>(&["top", "container top"]),
    row::<container::update::Update>(&["update", "container update"]),
    row::<container::wait::Wait>(&["wait", "container wait"]),
    row::<container::prune::Prune>(&["container prune"]),
    row::<image::prune::Prune>(&["image prune"]),
    row::<system::df::DiskUse>(&["system df"]),
    row::<system::prune::Prune>(&["system prune"]),
    row::<image::copy::Copy>(&["image copy"]),
    row::<manifest::annotate::Annotate>(&["manifest annotate"]),
    row::<manifest::create::Create>(&["manifest create"]),
    row::<manifest::inspect::Inspect>(&["manifest inspect"]),
    row::<manifest::push::Push>(&["manifest push"]),
    row::<manifest::rm::Remove>(&["manifest rm"]),
    row::<completion::Completion>(&["completion"]),
    row::<context::create::Create>(&["context create"]),
    row::<context::export::Export>(&["context export"]),
    row::<context::import::Import>(&["context import"]),
    row::<context::inspect::Inspect>(&["context inspect"]),
    row::<context::ls::List>(&["context ls", "context list"]),
    row::<context::rm::Remove>(&["context rm", "context remove"]),
    row::<context::show::Show>(&["context show"]),
    row::<context::update::Update>(&["context update"]),
    row::<context::use_::Use>(&["context use"]),
    row::<container::port::Port>(&["port", "container port"]),
    row::<network::connect::Connect>(&["network connect"]),
    row::<network::create::Create>(&["network create"]),
    row::<network::disconnect::Disconnect>(&["network disconnect"]),
    row::<network::inspect::Inspect>(&["network inspect"]),
    row::<network::ls::List>(&["network ls", "network list"]),
    row::<network::prune::Prune>(&["network prune"]),
    row::<network::rm::Remove>(&["network rm", "network remove"]),
    row::<volume::create::Create>(&["volume create"]),
    row::<volume::inspect::Inspect>(&["volume inspect"]),
    row::<volume::ls::List>(&["volume ls", "volume list"]),
    row::<volume::prune::Prune>(&["volume prune"]),
    row::<volume::rm::Remove>(&["volume rm", "volume remove"]),
    row::<volume::update::Update>(&["volume update"]),
];

const NOUNS: &[(&str, &str)] = &[
    ("container", "Work with containers"),
    ("context", "Work with named engines"),
    ("image", "Work with images"),
    ("manifest", "Work with lists of manifests"),
    ("network", "Work with networks"),
    ("system", "Work with the engine"),
    ("volume", "Work with volumes"),
];

/// What the words after the global flags ask for.
pub enum Found<'a> {
    /// This command in this form, with the words that follow it.
    Command(&'static Row, String, &'a [String]),
    /// A list of commands, asked for.
    Help(String),
    /// A list of commands, because none was named: for standard error.
    Missing(String),
}

/// Finds the command that `words` begin with.
pub fn find<'a>(program: &str, words: &'a [String]) -> Result<Found<'a>, Failure> {
    let Some((first, rest)) = words.split_first() else { return Ok(Found::Missing(overview(program))) };
    if first == "help" {
        return match rest {
            [] => Ok(Found::Help(overview(program))),
            _ => match find(program, rest) {
                Ok(Found::Command(row, form, _)) => Ok(Found::Help(describe(program, row, &form))),
                Ok(Found::Missing(text)) => Ok(Found::Help(text)),
                Ok(help) => Ok(help),
                Err(_) => Err(Failure::Plain(format!("unknown help topic: {}", rest.join(" ")))),
            },
        };
    }
    if NOUNS.iter().any(|(noun, _)| noun == first) {
        let Some((verb, rest)) = rest.split_first() else {
            return Ok(Found::Missing(noun_overview(program, first)));
        };
        if matches!(verb.as_str(), "--help" | "-h") {
            return Ok(Found::Help(noun_overview(program, first)));
        }
        let form = format!("{first} {verb}");
        return match row_of(&form) {
            Some(row) => Ok(Found::Command(row, form, rest)),
            None => Err(unknown(verb, first)),
        };
    }
    match row_of(first) {
        Some(row) => Ok(Found::Command(row, first.clone(), rest)),
        None => Err(unknown(first, "")),
    }
}

impl Row {
    /// Runs the command.
    pub async fn run(&self, session: &Session, words: Vec<OsString>) -> Outcome {
        (self.run)(session, words).await
    }
}

fn row_of(form: &str) -> Option<&'static Row> {
    COMMANDS.iter().find(|row| row.forms.contains(&form))
}

fn unknown(name: &str, noun: &str) -> Failure {
    let prefix = if noun.is_empty() { String::new() } else { format!("{noun} ") };
    let forms = COMMANDS
        .iter()
        .flat_map(|row| row.forms)
        .filter_map(|form| form.strip_prefix(&prefix))
        .filter(|verb| !verb.contains(' '));
    let nouns = NOUNS.iter().map(|(noun, _)| *noun).filter(|_| noun.is_empty());
    let similar = suggest::similar(name, forms.chain(nouns))
        .into_iter()
        .map(|word| format!("{prefix}{word}"))
        .collect();
    Failure::UnknownCommand { name: name.into(), similar, noun: noun.into() }
}

fn describe(program: &str, row: &Row, form: &str) -> String {
    let command = (row.describe)(form);
    format!("Usage:  {program} {form}\n\n{}\n{}", row.summary, help::options(&command, "Options"))
}

/// The text of `--help` alone.
pub fn overview(program: &str) -> String {
    let mut text = format!("Usage:  {program} {}\n\n{}\n\nCommands:\n", Globals::USAGE, Globals::SUMMARY);
    let short = COMMANDS.iter().filter(|row| !row.forms[0].contains(' '));
    for (name, summary) in short
        .map(|row| (row.forms[0], row.summary))
        .chain([("daemon", "Run the engine, or stop it"), ("oci", "Run a bundle, as an OCI runtime does")])
    {
        text.push_str(&format!("  {name:11} {summary}\n"));
    }
    text.push_str("\nBy noun:\n");
    for (noun, summary) in NOUNS {
        text.push_str(&format!("  {noun:11} {summary}\n"));
    }
    text.push_str(&help::options(&grammar::build::<Globals>(""), "Global Options"));
    text.push_str(&format!("\nRun '{program} COMMAND --help' for more about a command.\n"));
    text
}

fn noun_overview(program: &str, noun: &str) -> String {
    let summary = NOUNS.iter().find(|(known, _)| *known == noun).map_or("", |(_, summary)| summary);
    let mut text = format!("Usage:  {program} {noun} COMMAND\n\n{summary}\n\nCommands:\n");
    let prefix = format!("{noun} ");
    let mut verbs: Vec<(&str, &str)> = COMMANDS
        .iter()
        .filter_map(|row| {
            row.forms.iter().find_map(|form| form.strip_prefix(&prefix)).map(|verb| (verb, row.summary))
        })
        .collect();
    verbs.sort();
    for (verb, summary) in verbs {
        text.push_str(&format!("  {verb:11} {summary}\n"));
    }
    text.push_str(&format!("\nRun '{program} {noun} COMMAND --help' for more about a command.\n"));
    text
}
