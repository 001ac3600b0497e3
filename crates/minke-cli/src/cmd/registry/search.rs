//! `search`: looks for images at Docker's registry, or at the one that the term names.

use clap::Args;
use minke_api::registry::{ImageSearchQuery, SearchResult};
use minke_client::credentials;

use crate::cmd::{filters, parse_filter};
use crate::error::Outcome;
use crate::exit;
use crate::format::list::{Format, Kind, Row, row};
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// The letters of a description that fit into the table.
const DESCRIPTION: usize = 45;

const KIND: Kind = Kind {
    table: "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
    quiet: "{{.Name}}",
    go_type: "*formatter.searchContext",
    headings: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("IsAutomated", "AUTOMATED"),
    ],
};

/// Flags of `search`.
#[derive(Args, Clone, Debug)]
pub struct Search {
    /// List only what fits: is-official=true, stars=3
    #[arg(long, short = 'f', value_name = "filter", value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Template, json, table, or table with a template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// List at most so many
    #[arg(long, value_name = "int", value_parser = crate::grammar::parse_int, default_value = "0", hide_default_value = true)]
    limit: i64,
    /// Print descriptions in full
    #[arg(long)]
    no_trunc: bool,
}

impl Verb for Search {
    const SUMMARY: &'static str = "Look for images at a registry";
    const USAGE: &'static str = "[OPTIONS] TERM";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let term = arguments.into_iter().next().unwrap_or_default();
        let host = term.split('/').next().filter(|host| term.contains('/') && host.contains(['.', ':']));
        let auth = credentials::get(&session.config, &credentials::server_named(host.unwrap_or_default()))?;
        let query = ImageSearchQuery { term, limit: self.limit, filters: filters(&self.filter) };
        let found = session.client().await?.image_search(&query, &auth).await?;
        let rows = found.iter().map(|found| describe(found, !self.no_trunc)).collect();
        session.print(Format::choose(&KIND, &self.format, "", false).render(&KIND, rows)?)?;
        Ok(exit::SUCCESS)
    }
}

fn describe(found: &SearchResult, short: bool) -> Row {
    let yes = |is: bool| if is { "[OK]".to_owned() } else { String::new() };
    let description = found.description.replace(['\n', '\r'], " ");
    let is_long = short && description.chars().count() > DESCRIPTION;
    let description = match is_long {
        true => description.chars().take(DESCRIPTION - 1).collect::<String>() + "…",
        false => description,
    };
    row([
        ("Name", found.name.clone()),
        ("Description", description),
        ("StarCount", found.star_count.to_string()),
        ("IsOfficial", yes(found.is_official)),
        ("IsAutomated", yes(found.is_automated)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_cut_where_the_table_ends() {
        let found = SearchResult {
            name: "me/x".into(),
            description: format!("one\ntwo {}", "ö".repeat(60)),
            star_count: 7,
            is_official: true,
            is_automated: false,
        };
        let print = |short| {
            let rows = vec![describe(&found, short)];
            Format::choose(&KIND, "{{.Name}}|{{.Description}}|{{.StarCount}}|{{.IsOfficial}}", "", false)
                .render(&KIND, rows)
                .unwrap()
        };
        assert_eq!(print(true), format!("me/x|one two {}…|7|[OK]\n", "ö".repeat(36)));
        assert!(print(false).contains(&"ö".repeat(60)));
    }
}
