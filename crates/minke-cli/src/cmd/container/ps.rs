//! `ps`: lists containers.

use std::sync::Arc;

use clap::Args;
use gotmpl::Value;
use minke_api::container::{ContainerListQuery, ContainerSummary};
use minke_model::size;

use super::ports;
use crate::cmd::{filters, parse_filter};
use crate::error::Outcome;
use crate::exit;
use crate::format::list::{Format, Kind, Row, row};
use crate::format::template::method;
use crate::format::text::{ago, ellipsis, local_time, quote, short_id};
use crate::grammar::{Arity, Verb, parse_int};
use crate::session::Session;

const COMMAND_CHARS: usize = 20;
const MOUNT_CHARS: usize = 15;

const KIND: Kind = Kind {
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    quiet: "{{.ID}}",
    go_type: "*formatter.ContainerContext",
    headings: HEADINGS,
};

const WITH_SIZE: Kind = Kind {
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    quiet: "{{.ID}}",
    go_type: "*formatter.ContainerContext",
    headings: HEADINGS,
};

/// Field and column heading of a container's row.
pub const HEADINGS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

/// What `raw` stands for.
const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}{{println}}";
const RAW_WITH_SIZE: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\nsize: {{.Size}}{{println}}";

/// Flags of `ps`.
#[derive(Args, Clone, Debug)]
pub struct Ps {
    /// List containers that do not run too
    #[arg(long, short = 'a')]
    all: bool,
    /// List only what fits: status=exited, name=web, label=a=b
    #[arg(long, short = 'f', value_name = "filter", value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Template, json, table, or table with a template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// List this many of the newest, running or not
    #[arg(long, short = 'n', value_name = "int", default_value = "-1", value_parser = parse_int)]
    last: i64,
    /// List the newest only, running or not
    #[arg(long, short = 'l')]
    latest: bool,
    /// Print everything in full
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Print the size of the containers' files
    #[arg(long, short = 's')]
    size: bool,
}

impl Verb for Ps {
    const SUMMARY: &'static str = "List containers";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let kind = if self.size { &WITH_SIZE } else { &KIND };
        let asked = match self.format.as_str() {
            "raw" if self.size => RAW_WITH_SIZE,
            "raw" => RAW,
            other => other,
        };
        let asked = match (self.quiet, self.format.as_str()) {
            (true, "") => "",
            (true, _) => {
                session
                    .complain("WARNING: Ignoring custom format, because both --format and --quiet are set.");
                ""
            }
            (false, _) => asked,
        };
        let format = Format::choose(kind, asked, &session.config.ps_format, self.quiet);
        let limit = if self.latest { 1 } else { self.last.max(0) };
        let query = ContainerListQuery {
            all: self.all || limit > 0,
            limit,
            size: self.size || (!self.quiet && format.uses("Size")),
            filters: filters(&self.filter),
        };
        let containers = session.client().await?.container_list(&query).await?;
        let rows = containers.iter().map(|container| describe(container, !self.no_trunc)).collect();
        session.print(format.render(kind, rows)?)?;
        Ok(exit::SUCCESS)
    }
}

/// A container's row.
pub fn describe(container: &ContainerSummary, short: bool) -> Row {
    let labels: Vec<String> = container.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mounts = container.mounts.iter().map(|mount| {
        let name = if mount.name.is_empty() { &mount.source } else { &mount.name };
        if short { ellipsis(name, MOUNT_CHARS) } else { name.clone() }
    });
    let networks: Vec<&str> = container.network_settings.networks.keys().map(String::as_str).collect();
    let local = container.mounts.iter().filter(|mount| mount.driver == "local").count();
    let mut fields = row([
        ("ID", if short { short_id(&container.id) } else { container.id.clone() }),
        ("Names", names(&container.names, short)),
        ("Image", image(container, short)),
        (
            "Command",
            quote(&if short {
                ellipsis(&container.command, COMMAND_CHARS)
            } else {
                container.command.clone()
            }),
        ),
        ("CreatedAt", local_time(container.created)),
        ("RunningFor", ago(container.created)),
        ("Ports", ports::render(&container.ports)),
        ("State", container.state.clone()),
        ("Status", container.status.clone()),
        ("Size", files_size(container)),
        ("Labels", labels.join(",")),
        ("Mounts", mounts.collect::<Vec<_>>().join(",")),
        ("LocalVolumes", local.to_string()),
        ("Networks", networks.join(",")),
    ]);
    let platform =
        container.image_manifest_descriptor.as_ref().and_then(|descriptor| descriptor.platform.as_ref());
    fields.insert(
        "Platform".into(),
        platform.map_or(Value::Nil, |platform| {
            Value::String(format!("{}/{}", platform.os, platform.architecture).into())
        }),
    );
    let labels: Arc<minke_api::StringMap> = Arc::new(container.labels.clone());
    fields.insert("Label".into(), method(move |name| labels.get(name).cloned().unwrap_or_default()));
    fields
}

/// The names without slash; those that links give are left out of the short form.
fn names(names: &[String], short: bool) -> String {
    let bare = names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
    bare.filter(|name| !short || !name.contains('/')).collect::<Vec<_>>().join(",")
}

fn image(container: &ContainerSummary, short: bool) -> String {
    let name = &container.image;
    match name.as_str() {
        "" => "<no image>".into(),
        id if short && short_id(&container.image_id) == short_id(id) => short_id(id),
        _ if short => match name.split_once('@') {
            Some((tagged, _)) if tagged.rsplit('/').next().is_some_and(|last| last.contains(':')) => {
                tagged.to_string()
            }
            _ => name.clone(),
        },
        _ => name.clone(),
    }
}

fn files_size(container: &ContainerSummary) -> String {
    let own = size::render_decimal_short(container.size_rw as f64);
    match container.size_root_fs {
        0 => own,
        all => format!("{own} (virtual {})", size::render_decimal_short(all as f64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(flag: &str) -> String {
        let container = ContainerSummary {
            id: "40b57570c9eb196c79f561710a8db94affd6ddd8e1333a34bf9dbb794842ea66".into(),
            names: vec!["/web".into(), "/other/alias".into()],
            image: "busybox".into(),
            command: "sh -c 'echo \"<&>\" ; sleep 1000'".into(),
            created: jiff::Timestamp::now().as_second() - 120,
            state: "running".into(),
            status: "Up 2 minutes".into(),
            labels: [("a".to_string(), "b".to_string()), ("c".to_string(), "d".to_string())].into(),
            ..ContainerSummary::default()
        };
        Format::choose(&KIND, flag, "", false).render(&KIND, vec![describe(&container, true)]).unwrap()
    }

    #[test]
    fn the_table_is_dockers() {
        assert_eq!(
            table(""),
            "CONTAINER ID   IMAGE     COMMAND                    CREATED         STATUS         PORTS     NAMES\n\
             40b57570c9eb   busybox   \"sh -c 'echo \\\"<&>\\\" ;…\"   2 minutes ago   Up 2 minutes             web\n"
        );
    }

    #[test]
    fn templates_reach_every_field() {
        assert_eq!(table("{{.Names}} {{.Labels}} {{.Label \"c\"}} {{.Platform}}"), "web a=b,c=d d <nil>\n");
        assert_eq!(table("table {{.ID}}\\t{{.Label \"a\"}}"), "CONTAINER ID   a\n40b57570c9eb   b\n");
    }
}
