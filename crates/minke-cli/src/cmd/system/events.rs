//! `events`: prints what happens in the engine as it happens.

use clap::Args;
use minke_api::event::{EventMessage, EventsQuery};

use crate::cmd::{filters, parse_filter, parse_time};
use crate::error::Outcome;
use crate::exit;
use crate::format::document::Document;
use crate::format::template::{Program, Subject};
use crate::format::text::local_rfc3339_nanos;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// Flags of `events`.
#[derive(Args, Clone, Debug)]
pub struct Events {
    /// Print only what fits: container=web, event=start, type=image
    #[arg(long, short = 'f', value_name = "filter", value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Template, or json
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Begin with what happened after this time, or this long ago
    #[arg(long, value_name = "string", default_value = "")]
    since: String,
    /// Stop at this time
    #[arg(long, value_name = "string", default_value = "")]
    until: String,
}

impl Verb for Events {
    const SUMMARY: &'static str = "Print events of the engine as they happen";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let template = match self.format.as_str() {
            "" => None,
            "json" => Some("{{json .}}"),
            other => Some(other),
        };
        let program = template.map(|text| Program::new(text, Subject::Typed("*events.Message"), ""));
        if let Some(program) = &program {
            let sample = serde_json::to_vec(&EventMessage::default()).unwrap_or_default();
            // Which attributes there are is each event's; all else is known before any comes.
            let checked = program.check().and_then(|()| match self.format.contains(".Attributes") {
                true => Ok(String::new()),
                false => program.run(&Document::parse(&sample)?),
            });
            if let Err(error) = checked {
                session.complain(format_args!("Error parsing format: {error}"));
                return Ok(exit::BAD_TEMPLATE);
            }
        }
        let query = EventsQuery {
            since: parse_time("", &self.since)?,
            until: parse_time("", &self.until)?,
            filters: filters(&self.filter),
        };
        let mut events = session.client().await?.system_events(&query).await?;
        while let Some(event) = events.next().await? {
            let line = match &program {
                None => render(&event),
                Some(program) => {
                    let json = serde_json::to_vec(&event).unwrap_or_default();
                    program.run(&Document::parse(&json)?)?
                }
            };
            session.print(format!("{line}\n"))?;
        }
        Ok(exit::SUCCESS)
    }
}

/// `2026-11-22T07:44:07.069327630Z container start 2b1c… (image=busybox, name=web)`
fn render(event: &EventMessage) -> String {
    let time = match (event.time_nano, event.time) {
        (0, 0) => String::new(),
        (0, seconds) => local_rfc3339_nanos(seconds.saturating_mul(1_000_000_000)) + " ",
        (nanos, _) => local_rfc3339_nanos(nanos) + " ",
    };
    let mut line = format!("{time}{} {} {}", event.kind, event.action, event.actor.id);
    if !event.actor.attributes.is_empty() {
        let attributes: Vec<String> =
            event.actor.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        line.push_str(&format!(" ({})", attributes.join(", ")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event: EventMessage = minke_api::json::decode(
            br#"{"Type":"image","Action":"tag","Actor":{"ID":"sha256:96","Attributes":{"name":"busybox"}},"time":1795333447,"timeNano":1795333447069327630}"#,
        )
        .unwrap();
        assert!(render(&event).ends_with(" image tag sha256:96 (name=busybox)"));
    }
}
