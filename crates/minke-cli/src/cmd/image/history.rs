//! `history`: lists the steps that made an image.

use clap::Args;
use minke_api::image::{ImageHistoryItem, ImageHistoryQuery};
use minke_model::size;

use super::load::platform_query;
use crate::error::Outcome;
use crate::exit;
use crate::format::list::{Format, Kind, Row, row};
use crate::format::text::{ago, ellipsis, local_rfc3339, short_id};
use crate::grammar::{self, Arity, Verb};
use crate::session::Session;

const STEP_CHARS: usize = 45;

const HEADINGS: &[(&str, &str)] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

const KIND: Kind = Kind {
    table: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    quiet: "{{.ID}}",
    go_type: "*image.historyContext",
    headings: HEADINGS,
};

const EXACT: Kind = Kind {
    table: "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    quiet: "{{.ID}}",
    go_type: "*image.historyContext",
    headings: HEADINGS,
};

/// Flags of `history`.
#[derive(Args, Clone, Debug)]
pub struct History {
    /// Template, json, table, or table with a template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Print sizes and times for people
    #[arg(long, short = 'H', default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = grammar::parse_bool, action = clap::ArgAction::Set)]
    human: bool,
    /// Print everything in full
    #[arg(long)]
    no_trunc: bool,
    /// List the steps of the image for this platform: linux/amd64
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Print ids only
    #[arg(long, short = 'q')]
    quiet: bool,
}

impl Verb for History {
    const SUMMARY: &'static str = "List the steps that made an image";
    const USAGE: &'static str = "[OPTIONS] IMAGE";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let kind = if self.human { &KIND } else { &EXACT };
        let format = Format::choose(kind, &self.format, "", self.quiet);
        let query = ImageHistoryQuery {
            platform: platform_query(self.platform.as_deref())?.pop().unwrap_or_default(),
        };
        let steps = session.client().await?.image_history(&arguments[0], &query).await?;
        let rows = steps.iter().map(|step| self.describe(step)).collect();
        session.print(format.render(kind, rows)?)?;
        Ok(exit::SUCCESS)
    }
}

impl History {
    fn describe(&self, step: &ImageHistoryItem) -> Row {
        let command = step.created_by.replace('\t', " ");
        row([
            ("ID", if self.no_trunc { step.id.clone() } else { short_id(&step.id) }),
            ("CreatedSince", if self.human { ago(step.created) } else { local_rfc3339(step.created) }),
            ("CreatedAt", local_rfc3339(step.created)),
            ("CreatedBy", if self.no_trunc { command } else { ellipsis(&command, STEP_CHARS) }),
            (
                "Size",
                if self.human { size::render_decimal_short(step.size as f64) } else { step.size.to_string() },
            ),
            ("Comment", step.comment.clone()),
        ])
    }
}
