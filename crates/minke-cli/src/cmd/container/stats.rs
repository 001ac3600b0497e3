//! `stats`: shows what containers use, once or as it changes.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use minke_api::Filters;
use minke_api::container::{ContainerListQuery, ContainerStats, StatsQuery};
use minke_api::event::EventsQuery;
use minke_client::Client;
use minke_model::{Error, ErrorKind};
use tokio::sync::mpsc;

use super::usage::{KIND, Known};
use crate::error::Outcome;
use crate::exit;
use crate::format::list::Format;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// The time between the two samples that `--no-stream` takes: one period of a processor limit, so that a limited load
/// is seen as what it is.
const SHORT: Duration = Duration::from_millis(100);
/// How often the table is printed anew.
const REFRESH: Duration = Duration::from_millis(500);
/// Goes to the first line of the terminal, and clears what was there.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Flags of `stats`.
#[derive(Args, Clone, Debug)]
pub struct Stats {
    /// Show containers that do not run too
    #[arg(long, short = 'a')]
    all: bool,
    /// Template, json, table, or table with a template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Show what is used now, and end
    #[arg(long)]
    no_stream: bool,
    /// Print everything in full
    #[arg(long)]
    no_trunc: bool,
}

impl Verb for Stats {
    const SUMMARY: &'static str = "Show what containers use";
    const USAGE: &'static str = "[OPTIONS] [CONTAINER...]";
    const ARITY: Arity = Arity::AtLeast(0);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let format = Format::choose(&KIND, &self.format, &session.config.stats_format, false);
        let client = session.client().await?;
        if self.no_stream {
            return self.once(arguments, &format, client, session).await;
        }
        self.follow(arguments, &format, client, session).await
    }
}

impl Stats {
    /// The containers to show, newest first, if none were named.
    async fn listed(&self, client: &Client) -> Result<Vec<String>, Error> {
        let query = ContainerListQuery { all: self.all, ..ContainerListQuery::default() };
        Ok(client.container_list(&query).await?.into_iter().map(|container| container.id).collect())
    }

    async fn once(&self, names: Vec<String>, format: &Format, client: &Client, session: &Session) -> Outcome {
        let listed = names.is_empty();
        let names = if listed { self.listed(client).await? } else { names };
        let mut failures = Vec::new();
        let mut known: Vec<Known> = Vec::new();
        let firsts = all(client, &names).await;
        if firsts.iter().any(|first| first.as_ref().is_ok_and(|sample| !sample.read.is_zero())) {
            tokio::time::sleep(SHORT).await;
        }
        for ((name, first), second) in names.iter().zip(firsts).zip(all(client, &names).await) {
            match first.and_then(|first| second.map(|second| (first, second))) {
                Ok((first, mut second)) => {
                    (second.preread, second.precpu_stats) = (first.read, first.cpu_stats);
                    known.push(Known { asked: asked(listed, name), sample: Some(second) });
                }
                // One that has gone away since it was listed is no failure.
                Err(error) if listed && error.kind() == ErrorKind::NotFound => {}
                Err(error) => failures.push(error),
            }
        }
        if listed || !known.is_empty() {
            session.print(format.render(&KIND, known.iter().map(|one| one.row(self.no_trunc)).collect())?)?;
        }
        for error in &failures {
            session.complain(error);
        }
        Ok(if failures.is_empty() { exit::SUCCESS } else { exit::FAILURE })
    }

    async fn follow(
        &self,
        names: Vec<String>,
        format: &Format,
        client: &Client,
        session: &Session,
    ) -> Outcome {
        let listed = names.is_empty();
        let (sender, mut heard) = mpsc::unbounded_channel();
        // Before the list, so that none begins between the two.
        let mut events = if listed {
            let mut filters = Filters::default();
            filters.add("type", "container");
            Some(client.system_events(&EventsQuery { filters, ..EventsQuery::default() }).await?)
        } else {
            None
        };
        let mut shown: Vec<String> = if listed { self.listed(client).await? } else { names };
        let mut known: BTreeMap<String, Known> = BTreeMap::new();
        for name in &shown {
            known.insert(name.clone(), Known { asked: asked(listed, name), sample: None });
            listen(client, name, &sender).await;
        }
        let mut failures = Vec::new();
        let mut refresh = tokio::time::interval(REFRESH);
        loop {
            let event = async {
                match &mut events {
                    Some(events) => events.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                said = heard.recv() => match said {
                    Some((name, Ok(sample))) => {
                        if let Some(one) = known.get_mut(&name) {
                            one.sample = Some(sample);
                        }
                    }
                    Some((name, Err(error))) => {
                        known.remove(&name);
                        shown.retain(|other| *other != name);
                        if !listed && error.is_some() {
                            failures.extend(error);
                        }
                    }
                    None => {}
                },
                event = event => {
                    let Some(event) = event? else { return Ok(exit::SUCCESS) };
                    let id = event.actor.id;
                    let begins = if self.all { event.action == "create" } else { event.action == "start" };
                    let ends = if self.all { event.action == "destroy" } else { event.action == "die" };
                    if begins && !known.contains_key(&id) {
                        known.insert(id.clone(), Known { asked: asked(true, &id), sample: None });
                        listen(client, &id, &sender).await;
                        shown.insert(0, id);
                    } else if ends {
                        known.remove(&id);
                        shown.retain(|other| *other != id);
                    }
                }
                _ = refresh.tick() => {
                    if shown.is_empty() && !listed {
                        return ended(&failures, session);
                    }
                    let rows = shown.iter().filter_map(|name| known.get(name)).map(|one| one.row(self.no_trunc));
                    session.print(screen(&format.render(&KIND, rows.collect())?))?;
                }
            }
        }
    }
}

fn ended(failures: &[Error], session: &Session) -> Outcome {
    for error in failures {
        session.complain(error);
    }
    Ok(if failures.is_empty() { exit::SUCCESS } else { exit::FAILURE })
}

/// As the caller named it; by the short id where nobody has.
fn asked(listed: bool, name: &str) -> String {
    if listed { crate::format::text::short_id(name) } else { name.to_owned() }
}

/// One sample of each, all at once.
async fn all(client: &Client, names: &[String]) -> Vec<Result<ContainerStats, Error>> {
    let query = StatsQuery { stream: false, one_shot: true };
    let asked = names.iter().map(|name| async {
        let mut samples = client.container_stats(name, &query).await?;
        samples.next().await?.ok_or_else(|| Error::system("the engine gave no sample"))
    });
    futures_util::future::join_all(asked).await
}

/// What is heard of one container: a sample, or that no more come.
type Said = (String, Result<ContainerStats, Option<Error>>);

/// Hands a container's samples on for as long as they come.
async fn listen(client: &Client, name: &str, sender: &mpsc::UnboundedSender<Said>) {
    let (name, sender) = (name.to_owned(), sender.clone());
    match client.container_stats(&name, &StatsQuery { stream: true, one_shot: false }).await {
        Err(error) => {
            let _ = sender.send((name, Err(Some(error))));
        }
        Ok(mut samples) => {
            tokio::spawn(async move {
                loop {
                    let said = match samples.next().await {
                        Ok(Some(sample)) => Ok(sample),
                        Ok(None) => Err(None),
                        Err(error) => Err(Some(error)),
                    };
                    let over = said.is_err();
                    if sender.send((name.clone(), said)).is_err() || over {
                        return;
                    }
                }
            });
        }
    }
}

/// A table over the last one, in a terminal.
fn screen(text: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    let lines: String = text.lines().map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
    format!("{HOME}{lines}{CLEAR_BELOW}")
}
