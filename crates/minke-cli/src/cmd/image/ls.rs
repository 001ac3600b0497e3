//! `images`: lists images, a row per name.

use clap::Args;
use minke_api::image::{ImageListQuery, ImageSummary};
use minke_model::size;

use super::tree;
use crate::cmd::{filters, parse_filter};
use crate::error::Outcome;
use crate::exit;
use crate::format::list::{Format, Kind, Row, row};
use crate::format::text::{ago, local_time, short_id};
use crate::grammar::{Arity, Verb};
use crate::session::Session;

const NONE: &str = "<none>";

const HEADINGS: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

const KIND: Kind = Kind {
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
    go_type: "*formatter.imageContext",
    headings: HEADINGS,
};

const WITH_DIGESTS: Kind = Kind {
    table: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
    go_type: "*formatter.imageContext",
    headings: HEADINGS,
};

/// What `raw` stands for.
const RAW: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}{{println}}";
const RAW_WITH_DIGESTS: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\ndigest: {{.Digest}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}{{println}}";

/// Flags of `images`.
#[derive(Args, Clone, Debug)]
pub struct Images {
    /// List images that only others are built on too
    #[arg(long, short = 'a')]
    all: bool,
    /// Print digests
    #[arg(long)]
    digests: bool,
    /// List only what fits: dangling=true, reference=a*, label=a=b
    #[arg(long, short = 'f', value_name = "filter", value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Template, json, table, or table with a template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Print everything in full
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(long, short = 'q')]
    quiet: bool,
    /// List the platforms of each image below it
    #[arg(long)]
    tree: bool,
}

impl Verb for Images {
    const SUMMARY: &'static str = "List images";
    const USAGE: &'static str = "[OPTIONS] [REPOSITORY[:TAG]]";
    const ARITY: Arity = Arity::AtMost(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        if self.tree {
            return self.tree(arguments.first(), session).await;
        }
        let kind = if self.digests { &WITH_DIGESTS } else { &KIND };
        let asked = match self.format.as_str() {
            "raw" if self.quiet => "image_id: {{.ID}}",
            "raw" if self.digests => RAW_WITH_DIGESTS,
            "raw" => RAW,
            other => other,
        };
        let format = Format::choose(kind, asked, &session.config.images_format, self.quiet);
        let query = self.query(arguments.first());
        let images = session.client().await?.image_list(&query).await?;
        let by_digest = self.digests || format.uses("Digest");
        let rows = images.iter().flat_map(|image| describe(image, !self.no_trunc, by_digest)).collect();
        session.print(format.render(kind, rows)?)?;
        Ok(exit::SUCCESS)
    }
}

impl Images {
    fn query(&self, reference: Option<&String>) -> ImageListQuery {
        let mut wanted = filters(&self.filter);
        if let Some(reference) = reference {
            wanted.add("reference", reference);
        }
        ImageListQuery { all: self.all, filters: wanted, ..ImageListQuery::default() }
    }

    async fn tree(&self, reference: Option<&String>, session: &Session) -> Outcome {
        tree::check(self.quiet, self.no_trunc, self.digests, &self.format)?;
        let query = ImageListQuery { manifests: true, ..self.query(reference) };
        let images = session.client().await?.image_list(&query).await?;
        session.print(tree::render(&images))?;
        Ok(exit::SUCCESS)
    }
}

/// A row for each name; an image without one has one row of its own.
fn describe(image: &ImageSummary, short: bool, by_digest: bool) -> Vec<Row> {
    let named = |list: &Option<Vec<String>>, empty: &str| -> Vec<String> {
        list.iter().flatten().filter(|name| name.as_str() != empty).cloned().collect()
    };
    let tags = named(&image.repo_tags, "<none>:<none>");
    let digests = named(&image.repo_digests, "<none>@<none>");
    let mut names: Vec<(String, String, String)> = Vec::new();
    for name in &tags {
        let Some((repository, tag)) = name.rsplit_once(':') else { continue };
        let digest =
            digests.iter().find_map(|digest| digest.strip_prefix(&format!("{repository}@"))).unwrap_or(NONE);
        names.push((repository.into(), tag.into(), if by_digest { digest.into() } else { NONE.into() }));
    }
    if names.is_empty() {
        for name in &digests {
            let Some((repository, digest)) = name.split_once('@') else { continue };
            names.push((repository.into(), NONE.into(), digest.into()));
        }
    }
    if names.is_empty() {
        names.push((NONE.into(), NONE.into(), NONE.into()));
    }
    names.into_iter().map(|name| describe_name(image, short, name)).collect()
}

fn describe_name(
    image: &ImageSummary,
    short: bool,
    (repository, tag, digest): (String, String, String),
) -> Row {
    let known = |value: i64, text: String| if value < 0 { "N/A".to_string() } else { text };
    let shared = image.shared_size;
    row([
        ("ID", if short { short_id(&image.id) } else { image.id.clone() }),
        ("Repository", repository),
        ("Tag", tag),
        ("Digest", digest),
        ("CreatedSince", ago(image.created)),
        ("CreatedAt", local_time(image.created)),
        ("Size", size::render_decimal_short(image.size as f64)),
        ("Containers", known(image.containers, image.containers.to_string())),
        ("VirtualSize", size::render_decimal(image.size as f64)),
        ("SharedSize", known(shared, size::render_decimal(shared as f64))),
        ("UniqueSize", known(shared, size::render_decimal((image.size - shared) as f64))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_row_per_name() {
        let image = ImageSummary {
            id: "sha256:96fa6c56c4808a7903377e26b7d8f569".into(),
            repo_tags: Some(vec!["a:1".into(), "h:5000/b:2".into()]),
            repo_digests: Some(vec!["a@sha256:ff".into()]),
            created: jiff::Timestamp::now().as_second() - 960,
            size: 1_984_234,
            containers: -1,
            shared_size: -1,
            ..ImageSummary::default()
        };
        let print = |kind: &Kind, flag: &str, digests| {
            Format::choose(kind, flag, "", false).render(kind, describe(&image, true, digests)).unwrap()
        };
        assert_eq!(
            print(&KIND, "", false),
            "REPOSITORY   TAG       IMAGE ID       CREATED          SIZE\na            1         96fa6c56c480   16 minutes ago   1.98MB\nh:5000/b     2         96fa6c56c480   16 minutes ago   1.98MB\n"
        );
        assert_eq!(
            print(&WITH_DIGESTS, "{{.Digest}} {{.VirtualSize}} {{.Containers}}", true),
            "sha256:ff 1.984MB N/A\n<none> 1.984MB N/A\n"
        );
    }
}
