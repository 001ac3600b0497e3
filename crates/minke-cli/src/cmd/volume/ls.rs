//! `volume ls`: lists volumes.

use std::sync::Arc;

use clap::Args;
use minke_api::volume::{Volume, VolumeListQuery};
use minke_model::size;

use crate::cmd::{filters, parse_filter};
use crate::error::Outcome;
use crate::exit;
use crate::format::list::{Format, Kind, Row, row};
use crate::format::template::method;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

const KIND: Kind = Kind {
    table: "{{.Driver}}\t{{.Name}}",
    quiet: "{{.Name}}",
    go_type: "*formatter.volumeContext",
    headings: HEADINGS,
};

/// Field and column heading of a volume's row.
pub const HEADINGS: &[(&str, &str)] = &[
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Availability", "AVAILABILITY"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Group", "GROUP"),
    ("Status", "STATUS"),
];

/// Flags of `volume ls`.
#[derive(Args, Clone, Debug)]
pub struct List {
    /// List only what fits: dangling=true, driver=local, label=a=b, name=data
    #[arg(long, short = 'f', value_name = "filter", value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Template, json, table, or table with a template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Print names only
    #[arg(long, short = 'q')]
    quiet: bool,
}

impl Verb for List {
    const SUMMARY: &'static str = "List volumes";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;
    const NOT_OFFERED: &'static [(&'static str, &'static str)] =
        &[("--cluster", "Cluster volumes need a swarm, which this engine is not part of.")];

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let format = Format::choose(&KIND, &self.format, &session.config.volumes_format, self.quiet);
        let query = VolumeListQuery { filters: filters(&self.filter) };
        let found = session.client().await?.volume_list(&query).await?;
        for warning in found.warnings.iter().flatten() {
            session.complain(warning);
        }
        let rows = found.volumes.iter().flatten().map(describe).collect();
        session.print(format.render(&KIND, rows)?)?;
        Ok(exit::SUCCESS)
    }
}

/// A volume's row.
pub fn describe(volume: &Volume) -> Row {
    let labels = volume.labels.clone().unwrap_or_default();
    let shown: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let usage = volume.usage_data.as_ref();
    let mut fields = row([
        ("Name", volume.name.clone()),
        ("Driver", volume.driver.clone()),
        ("Scope", volume.scope.clone()),
        ("Availability", "N/A".into()),
        ("Mountpoint", volume.mountpoint.clone()),
        ("Labels", shown.join(",")),
        ("Links", usage.map_or_else(|| "N/A".into(), |usage| usage.ref_count.to_string())),
        ("Size", usage.map_or_else(|| "N/A".into(), |usage| size::render_decimal(usage.size as f64))),
        ("Group", "N/A".into()),
        ("Status", "N/A".into()),
    ]);
    let labels = Arc::new(labels);
    fields.insert("Label".into(), method(move |name| labels.get(name).cloned().unwrap_or_default()));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_dockers() {
        let volume = Volume {
            name: "data".into(),
            driver: "local".into(),
            labels: Some([("a".to_owned(), "b".to_owned())].into()),
            ..Volume::default()
        };
        let print = |flag: &str| {
            Format::choose(&KIND, flag, "", false).render(&KIND, vec![describe(&volume)]).unwrap()
        };
        assert_eq!(print(""), "DRIVER    VOLUME NAME\nlocal     data\n");
        assert_eq!(
            print("{{.Name}} {{.Labels}} {{.Label \"a\"}} {{.Size}} {{.Links}}"),
            "data a=b b N/A N/A\n"
        );
    }
}
