//! What all prunes share: the question, the filters that the configuration adds, and the report.

use std::io::BufRead as _;

use clap::Args;
use minke_api::Filters;
use minke_model::size;

use crate::cmd::{filters, parse_filter};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::session::Session;

/// Flags that every prune has.
#[derive(Args, Clone, Debug, Default)]
pub struct Selection {
    /// Remove only what fits: label=a=b, label!=a, and, but for volumes, until=24h
    #[arg(long, value_name = "filter", value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
}

impl Selection {
    /// Returns what to ask the engine for: the command line's filters and the configuration's.
    pub fn filters(&self, session: &Session) -> Filters {
        with_configured(session, filters(&self.filter))
    }

    /// Asks whether to go on, unless the command line says so.
    ///
    /// # Errors
    /// The question can't be printed.
    pub fn is_agreed(&self, session: &Session, warning: &str) -> Result<bool, Failure> {
        Ok(self.force || confirm(session, warning)?)
    }
}

/// What one kind of prune has removed.
pub struct Pruned {
    /// The line above the list.
    pub heading: &'static str,
    /// A line for each thing removed.
    pub lines: Vec<String>,
    /// How much space there is again, in bytes; none where such things take none.
    pub reclaimed: Option<u64>,
}

/// Asks whether to go on; everything but `y` is a no, after which a command ends well and in silence, as Docker's does.
fn confirm(session: &Session, warning: &str) -> Result<bool, Failure> {
    session.print(format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    // Input that ends, or can't be read, is a no.
    let _ = std::io::stdin().lock().read_line(&mut answer);
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// Adds the filters of the configuration's `pruneFilters`, unless the command line says the opposite.
fn with_configured(session: &Session, mut filters: Filters) -> Filters {
    for text in &session.config.prune_filters {
        let Some((key, value)) = text.split_once('=') else { continue };
        let opposite = match key {
            "label" => "label!",
            "label!" => "label",
            _ => "",
        };
        let contradicted = filters.values(opposite).any(|given| given == value);
        if !contradicted {
            filters.add(key, value);
        }
    }
    filters
}

/// Prints what was removed and how much that was.
pub fn report(session: &Session, parts: &[Pruned]) -> Outcome {
    let mut text = String::new();
    for part in parts.iter().filter(|part| !part.lines.is_empty()) {
        text.push_str(part.heading);
        text.push('\n');
        for line in &part.lines {
            text.push_str(line);
            text.push('\n');
        }
        text.push('\n');
    }
    // As Docker's client: where nothing was removed, nothing was reclaimed.
    let reclaimed = |part: &Pruned| part.reclaimed.map(|bytes| if part.lines.is_empty() { 0 } else { bytes });
    if let Some(reclaimed) = parts.iter().filter_map(reclaimed).reduce(|sum, bytes| sum + bytes) {
        text.push_str(&format!("Total reclaimed space: {}\n", size::render_decimal(reclaimed as f64)));
    }
    session.print(text)?;
    Ok(exit::SUCCESS)
}
