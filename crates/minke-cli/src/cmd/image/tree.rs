//! `images --tree`: each image with its platforms below it, and what is here of them.

use std::fmt::Write as _;

use minke_api::image::ImageSummary;
use minke_api::manifest::ManifestSummary;
use minke_model::size;

use crate::error::Failure;
use crate::format::table;
use crate::format::text::short_id;

/// What a row says at its end of an image that containers use.
const IN_USE: &str = "U";

/// Refuses flags that a tree has no use for, in Docker's words.
pub fn check(quiet: bool, no_trunc: bool, digests: bool, format: &str) -> Result<(), Failure> {
    let given = [
        ("--quiet", quiet),
        ("--no-trunc", no_trunc),
        ("--show-digest", digests),
        ("--format", !format.is_empty()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Failure::Plain(format!("{flag} is not yet supported with --tree"))),
        None => Ok(()),
    }
}

/// The images as a tree. Attestations are no platforms, and are left out.
pub fn render(images: &[ImageSummary]) -> String {
    let mut text = "IMAGE\tID\tDISK USAGE\tCONTENT SIZE\tEXTRA\n".to_owned();
    // Another platform of what has a name stands below that.
    let is_below = |image: &&ImageSummary| {
        image.repo_tags.as_ref().is_none_or(Vec::is_empty)
            && image.manifests.iter().any(|own| {
                images.iter().any(|other| {
                    other.id != image.id && other.manifests.iter().any(|manifest| manifest.id == own.id)
                })
            })
    };
    for image in images.iter().filter(|image| !is_below(image)) {
        let platforms: Vec<&ManifestSummary> =
            image.manifests.iter().filter(|manifest| manifest.kind == "image").collect();
        top(&mut text, image, &platforms);
        for (number, manifest) in platforms.iter().enumerate() {
            let branch = if number + 1 == platforms.len() { "└─" } else { "├─" };
            let data = manifest.image_data.clone().unwrap_or_default();
            let used = !data.containers.is_empty();
            let name = platform(&data.platform);
            row(&mut text, &format!("{branch} {name}"), &manifest.id, sizes(manifest), used);
        }
    }
    let aligned = table::align(&text);
    aligned.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn top(text: &mut String, image: &ImageSummary, platforms: &[&ManifestSummary]) {
    let tags: Vec<&str> = image.repo_tags.iter().flatten().map(String::as_str).collect();
    let id = image.descriptor.as_ref().map_or(image.id.as_str(), |target| target.digest.as_str());
    let sum = |of: fn(&ManifestSummary) -> i64| platforms.iter().map(|manifest| of(manifest)).sum();
    let (total, content) = match platforms {
        [] => (image.size, 0),
        _ => (sum(|manifest| manifest.size.total), sum(|manifest| manifest.size.content)),
    };
    let used = image.containers > 0 || platforms.iter().any(|manifest| is_used(manifest));
    let (first, others) = tags.split_first().map_or(("<untagged>", &[][..]), |(first, rest)| (*first, rest));
    row(text, first, id, (total, content), used);
    for name in others {
        let _ = writeln!(text, "{name}");
    }
}

fn is_used(manifest: &ManifestSummary) -> bool {
    manifest.image_data.as_ref().is_some_and(|data| !data.containers.is_empty())
}

fn row(text: &mut String, name: &str, id: &str, (total, content): (i64, i64), used: bool) {
    let size = |bytes: i64| size::render_decimal_short(bytes as f64);
    let extra = if used { IN_USE } else { "" };
    let _ = writeln!(text, "{name}\t{}\t{}\t{}\t{extra}", short_id(id), size(total), size(content));
}

fn sizes(manifest: &ManifestSummary) -> (i64, i64) {
    (manifest.size.total, manifest.size.content)
}

fn platform(platform: &minke_api::image::Platform) -> String {
    let mut text = format!("{}/{}", platform.os, platform.architecture);
    if !platform.variant.is_empty() {
        text = format!("{text}/{}", platform.variant);
    }
    text
}

#[cfg(test)]
mod tests {
    use minke_api::image::{Descriptor, Platform};
    use minke_api::manifest::{ManifestImage, ManifestSize};

    use super::*;

    fn manifest(architecture: &str, total: i64, containers: &[&str]) -> ManifestSummary {
        ManifestSummary {
            id: format!("sha256:{}", architecture.repeat(8)),
            size: ManifestSize { total, content: total / 2 },
            kind: "image".into(),
            image_data: Some(ManifestImage {
                platform: Platform {
                    os: "linux".into(),
                    architecture: architecture.into(),
                    ..Platform::default()
                },
                containers: containers.iter().map(|id| id.to_string()).collect(),
                ..ManifestImage::default()
            }),
            ..ManifestSummary::default()
        }
    }

    #[test]
    fn platforms_stand_below_their_image() {
        let image = ImageSummary {
            repo_tags: Some(vec!["a:1".into(), "a:2".into()]),
            descriptor: Some(Descriptor {
                digest: "sha256:0123456789abcdef".into(),
                ..Descriptor::default()
            }),
            manifests: vec![manifest("amd64", 3_000_000, &["c"]), manifest("arm64", 0, &[])],
            ..ImageSummary::default()
        };
        let expected = "\
IMAGE            ID             DISK USAGE   CONTENT SIZE   EXTRA
a:1              0123456789ab   3MB          1.5MB          U
a:2
├─ linux/amd64   amd64amd64am   3MB          1.5MB          U
└─ linux/arm64   arm64arm64ar   0B           0B
";
        assert_eq!(render(&[image]), expected);
    }

    #[test]
    fn what_a_tree_cannot_show_is_refused() {
        assert!(check(false, false, false, "").is_ok());
        let Err(Failure::Plain(words)) = check(false, true, false, "json") else { panic!("accepted") };
        assert_eq!(words, "--no-trunc is not yet supported with --tree");
    }
}
