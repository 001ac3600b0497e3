//! `system df`: how much space images, containers and volumes take.

use clap::Args;
use minke_api::disk_usage::{DiskUsage, DiskUsageQuery, Usage};
use minke_api::image::ImageSummary;
use minke_model::size;

use crate::cmd::{container, volume};
use crate::error::Outcome;
use crate::exit;
use crate::format::list::{Format, Kind, Row, row};
use crate::format::text::{ago, short_id};
use crate::grammar::{Arity, Verb};
use crate::session::Session;

const KIND: Kind = Kind {
    table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "{{.Type}}",
    go_type: "*formatter.diskUsageImagesContext",
    headings: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
};

const IMAGES: Kind = Kind {
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
    quiet: "{{.ID}}",
    go_type: "*formatter.imageContext",
    headings: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
};

const CONTAINERS: Kind = Kind {
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
    quiet: "{{.ID}}",
    go_type: "*formatter.ContainerContext",
    headings: container::ps::HEADINGS,
};

const VOLUMES: Kind = Kind {
    table: "{{.Name}}\t{{.Links}}\t{{.Size}}",
    quiet: "{{.Name}}",
    go_type: "*formatter.volumeContext",
    headings: volume::ls::HEADINGS,
};

const BUILD_CACHE: Kind = Kind {
    table: "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}",
    quiet: "{{.ID}}",
    go_type: "*formatter.buildCacheContext",
    headings: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ],
};

/// Flags of `system df`.
#[derive(Args, Clone, Debug)]
pub struct DiskUse {
    /// Template, json, table, or table with a template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// List each image, container and volume
    #[arg(long, short = 'v')]
    verbose: bool,
}

impl Verb for DiskUse {
    const SUMMARY: &'static str = "Print how much space is used";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, _arguments: Vec<String>, session: &Session) -> Outcome {
        let query = DiskUsageQuery { kinds: Vec::new(), verbose: self.verbose };
        let usage = session.client().await?.disk_usage(&query).await?.by_kind();
        let text = if self.verbose { details(usage, &self.format)? } else { sums(&usage, &self.format)? };
        session.print(text)?;
        Ok(exit::SUCCESS)
    }
}

fn sums(usage: &DiskUsage, format: &str) -> minke_model::Result<String> {
    let rows = vec![
        sum("Images", &usage.image_usage, true),
        sum("Containers", &usage.container_usage, true),
        sum("Local Volumes", &usage.volume_usage, true),
        sum("Build Cache", &usage.build_cache_usage, false),
    ];
    Format::choose(&KIND, format, "", false).render(&KIND, rows)
}

fn sum<T: Clone>(kind: &str, usage: &Option<Usage<T>>, with_part: bool) -> Row {
    let usage = usage.clone().unwrap_or_default();
    let mut reclaimable = size::render_decimal(usage.reclaimable as f64);
    if with_part && usage.total_size > 0 {
        let part = i128::from(usage.reclaimable) * 100 / i128::from(usage.total_size);
        reclaimable.push_str(&format!(" ({part}%)"));
    }
    row([
        ("Type", kind.to_string()),
        ("TotalCount", usage.total_count.to_string()),
        ("Active", usage.active_count.to_string()),
        ("Size", size::render_decimal(usage.total_size as f64)),
        ("Reclaimable", reclaimable),
    ])
}

/// Each thing by its own; a format other than a table has the four lists as fields, which is printed as JSON.
fn details(usage: DiskUsage, format: &str) -> minke_model::Result<String> {
    let images = usage.image_usage.unwrap_or_default().items.unwrap_or_default();
    let containers = usage.container_usage.unwrap_or_default().items.unwrap_or_default();
    let volumes = usage.volume_usage.unwrap_or_default().items.unwrap_or_default();
    let build_cache = usage.build_cache_usage.unwrap_or_default();
    let rows = [
        (&IMAGES, "Images space usage:\n\n".to_string(), images.iter().map(image).collect::<Vec<Row>>()),
        (
            &CONTAINERS,
            "\nContainers space usage:\n\n".to_string(),
            containers
                .iter()
                .map(|container| {
                    let mut shown = container.clone();
                    // Without the image's part.
                    shown.size_root_fs = 0;
                    container::ps::describe(&shown, true)
                })
                .collect(),
        ),
        (
            &VOLUMES,
            "\nLocal Volumes space usage:\n\n".to_string(),
            volumes.iter().map(volume::ls::describe).collect(),
        ),
        (
            &BUILD_CACHE,
            format!("\nBuild cache usage: {}\n\n", size::render_decimal(build_cache.total_size as f64)),
            Vec::new(),
        ),
    ];
    if !matches!(format, "" | "table") {
        return lists(rows.map(|(_, _, rows)| rows), format);
    }
    let mut text = String::new();
    for (kind, heading, rows) in rows {
        text.push_str(&heading);
        text.push_str(&Format::choose(kind, "", "", false).render(kind, rows)?);
    }
    Ok(text)
}

/// The four lists under a template of the user's.
fn lists(rows: [Vec<Row>; 4], format: &str) -> minke_model::Result<String> {
    use gotmpl::Value;
    const LISTS: Kind = Kind { table: "", quiet: "", go_type: "*formatter.diskUsageContext", headings: &[] };
    let names = ["Images", "Containers", "Volumes", "BuildCache"];
    let list = |rows: Vec<Row>| {
        Value::List(rows.into_iter().map(|row| Value::Map(row.into())).collect::<Vec<Value>>().into())
    };
    let fields = names.into_iter().zip(rows).map(|(name, rows)| (name.into(), list(rows))).collect();
    Format::choose(&LISTS, format, "", false).render(&LISTS, vec![fields])
}

fn image(image: &ImageSummary) -> Row {
    let tag = image.repo_tags.iter().flatten().find(|tag| *tag != "<none>:<none>");
    let (repository, tag) = tag.and_then(|tag| tag.rsplit_once(':')).unwrap_or(("<none>", "<none>"));
    row([
        ("Repository", repository.to_string()),
        ("Tag", tag.to_string()),
        ("ID", short_id(&image.id)),
        ("CreatedSince", ago(image.created)),
        ("Size", size::render_decimal_short(image.size as f64)),
        ("SharedSize", size::render_decimal(image.shared_size as f64)),
        ("UniqueSize", size::render_decimal((image.size - image.shared_size) as f64)),
        ("Containers", image.containers.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> DiskUsage {
        let image = ImageSummary {
            id: "sha256:96fa6c56c4808a79".into(),
            repo_tags: Some(vec!["busybox:latest".into()]),
            size: 1_984_234,
            shared_size: 0,
            ..ImageSummary::default()
        };
        DiskUsage {
            image_usage: Some(Usage::of_images(vec![image], 1_984_234)),
            container_usage: Some(Usage::default()),
            volume_usage: Some(Usage::default()),
            build_cache_usage: Some(Usage::default()),
            lists: None,
        }
    }

    #[test]
    fn the_sums_are_dockers() {
        assert_eq!(
            sums(&usage(), "").unwrap(),
            "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n\
             Images          1         0         1.984MB   1.984MB (100%)\n\
             Containers      0         0         0B        0B\n\
             Local Volumes   0         0         0B        0B\n\
             Build Cache     0         0         0B        0B\n"
        );
        assert_eq!(
            sums(&usage(), "{{.Type}}: {{.TotalCount}}").unwrap(),
            "Images: 1\nContainers: 0\nLocal Volumes: 0\nBuild Cache: 0\n"
        );
    }

    #[test]
    fn each_thing_has_a_row() {
        let text = details(usage(), "").unwrap();
        assert!(text.starts_with("Images space usage:\n\nREPOSITORY   TAG       IMAGE ID "), "{text}");
        assert!(
            text.contains(
                "\nLocal Volumes space usage:\n\nVOLUME NAME   LINKS     SIZE\n\nBuild cache usage: 0B\n\n"
            ),
            "{text}"
        );
        assert_eq!(details(usage(), "{{range .Images}}{{.Repository}}{{end}}").unwrap(), "busybox\n");
    }
}
