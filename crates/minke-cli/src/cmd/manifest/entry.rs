//! One manifest of a list: what the registry gave, and for which platform it is. Brought from registries here.

use minke_model::image::{Descriptor, ImageConfig, Manifest, media_type};
use minke_model::{Context as _, Error, Reference, Result, base64};
use minke_registry::client::{ErrorKind, Registry, Repository, TagOrDigest};
use serde::{Deserialize, Serialize};

use super::missing;
use crate::registries;
use crate::session::Session;

/// The longest configuration that is read.
const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// As Docker's client keeps it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    /// The name that it was asked for by.
    #[serde(rename = "Ref")]
    pub reference: String,
    /// What stands in the list.
    pub descriptor: Descriptor,
    /// Its bytes, in base64.
    #[serde(default)]
    raw: String,
}

/// What a registry has under a name.
pub enum Brought {
    /// One image.
    Image(Box<Entry>),
    /// An index, with its bytes.
    Index(Vec<u8>),
}

impl Entry {
    /// The manifest's bytes.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        base64::parse_either(&self.raw)
            .ok_or_else(|| Error::invalid("a manifest that was kept cannot be read"))
    }

    /// The text that Docker's client keeps and prints: with the manifest itself, as it came.
    pub fn render(&self) -> Result<String> {
        let bytes = self.bytes()?;
        let shown = std::str::from_utf8(&bytes).context("a manifest that was kept cannot be read")?;
        let kind = match self.descriptor.media_type.as_str() {
            media_type::OCI_MANIFEST => "OCIManifest",
            _ => "SchemaV2Manifest",
        };
        let (name, raw) = (compact(&self.reference)?, compact(&self.raw)?);
        let descriptor = compact(&self.descriptor)?;
        Ok(format!(r#"{{"Ref":{name},"Descriptor":{descriptor},"Raw":{raw},"{kind}":{shown}}}"#))
    }

    /// The manifest.
    pub fn manifest(&self) -> Result<Manifest> {
        serde_json::from_slice(&self.bytes()?).context("a manifest that was kept cannot be read")
    }
}

/// Asks a registry for what a name stands for, and for the platform of an image.
///
/// # Errors
/// `no such manifest: ...`, or what the registry refuses.
pub async fn bring(registry: &Registry, session: &Session, reference: &Reference) -> Result<Brought> {
    let repository = registries::repository(registry, &session.config, reference)?;
    let found = match repository.manifest(&TagOrDigest::from(reference)).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::not_found(format!("no such manifest: {}", reference.canonical())));
        }
        found => found?,
    };
    if media_type::is_index(&found.media_type) {
        return Ok(Brought::Index(found.bytes.to_vec()));
    }
    let parsed: Manifest = serde_json::from_slice(&found.bytes).context("the manifest cannot be read")?;
    let config = config_of(&repository, &parsed).await?;
    let mut descriptor = Descriptor::new(&found.media_type, found.digest.clone(), found.bytes.len() as u64);
    descriptor.platform = Some(config.platform());
    Ok(Brought::Image(Box::new(Entry {
        reference: reference.canonical(),
        descriptor,
        raw: base64::render(&found.bytes),
    })))
}

async fn config_of(repository: &Repository, manifest: &Manifest) -> Result<ImageConfig> {
    if manifest.config.size > MAX_CONFIG_BYTES {
        return Err(Error::invalid("the image configuration is too long"));
    }
    let mut stream = repository.blob(&manifest.config.digest, manifest.config.size, 0).await?.verified();
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await? {
        bytes.extend_from_slice(&part);
    }
    serde_json::from_slice(&bytes).context("the image configuration cannot be read")
}

fn compact(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).context("JSON cannot be written")
}

/// JSON with an indent, its members in their order.
pub fn indented(json: &str, indent: &str) -> String {
    let (mut out, mut depth) = (String::with_capacity(json.len() * 2), 0);
    let (mut in_text, mut escaped) = (false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(indent, depth));
    };
    let mut opened = false;
    for letter in json.chars() {
        if in_text {
            out.push(letter);
            in_text = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            continue;
        }
        if letter.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(letter, '}' | ']');
        if opened && !closes {
            line(&mut out, depth);
        }
        if closes {
            depth = depth.saturating_sub(1);
            if !opened {
                line(&mut out, depth);
            }
        }
        out.push(letter);
        opened = matches!(letter, '{' | '[');
        match letter {
            '{' | '[' => depth += 1,
            ',' => line(&mut out, depth),
            ':' => out.push(' '),
            '"' => in_text = true,
            _ => {}
        }
    }
    out
}

/// The index over manifests, in the bytes that Docker's client makes of them.
pub fn index_of(entries: &[Entry]) -> Result<(&'static str, Vec<u8>)> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        schema_version: u32,
        media_type: &'static str,
        manifests: Vec<Row<'a>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Row<'a> {
        media_type: &'a str,
        size: u64,
        digest: &'a str,
        platform: &'a Option<minke_model::Platform>,
    }
    if entries.is_empty() {
        return Err(missing(""));
    }
    let is_oci = |entry: &Entry| entry.descriptor.media_type == media_type::OCI_MANIFEST;
    let kind = if entries.iter().all(is_oci) { media_type::OCI_INDEX } else { media_type::DOCKER_LIST };
    let rows = entries.iter().map(|entry| Row {
        media_type: &entry.descriptor.media_type,
        size: entry.descriptor.size,
        digest: entry.descriptor.digest.as_str(),
        platform: &entry.descriptor.platform,
    });
    let list = List { schema_version: 2, media_type: kind, manifests: rows.collect() };
    Ok((kind, indented(&compact(&list)?, "   ").into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_order_and_texts() {
        let json = r#"{"b": {}, "a":[1,"x\"{,",[]],"c":null}"#;
        let expected =
            "{\n  \"b\": {},\n  \"a\": [\n    1,\n    \"x\\\"{,\",\n    []\n  ],\n  \"c\": null\n}";
        assert_eq!(indented(json, "  "), expected);
    }
}
