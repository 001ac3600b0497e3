//! What `--log-opt labels`, `labels-regex`, `env`, `env-regex` and `tag` add to every line of a container's log. Pure.

use std::collections::BTreeMap;

use minke_model::{Error, Result};
use regex_lite::Regex;

use super::record::Record;

/// The facts of a container as the JSON object that stands in each line; `None` without any.
///
/// # Errors
/// A pattern that isn't one, a tag that names what there isn't.
pub fn of(record: &Record, options: &BTreeMap<String, String>) -> Result<Option<String>> {
    let facts = choose(record, options)?;
    if facts.is_empty() {
        return Ok(None);
    }
    let text = serde_json::to_string(&facts)
        .map_err(|error| Error::system("a log's facts can't be written").with_source(error))?;
    // As Go writes JSON: safe to be shown in a page.
    let escaped = [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")];
    Ok(Some(escaped.iter().fold(text, |text, (character, code)| text.replace(*character, code))))
}

/// Checks the options that need no container to be checked.
///
/// # Errors
/// As [`of`].
pub fn check(options: &BTreeMap<String, String>) -> Result<()> {
    for key in ["labels-regex", "env-regex"] {
        pattern(options, key)?;
    }
    match options.get("tag") {
        Some(tag) => render_tag(tag, &|_| Some(String::new())).map(|_| ()),
        None => Ok(()),
    }
}

/// The facts that the options choose.
///
/// # Errors
/// As [`of`].
pub fn choose(record: &Record, options: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let config = &record.config;
    let labels = config.labels.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()));
    let variables = config.env.iter().flatten().filter_map(|variable| variable.split_once('='));
    let mut facts = BTreeMap::new();
    facts.extend(chosen(labels, options, "labels", "labels-regex")?);
    facts.extend(chosen(variables, options, "env", "env-regex")?);
    if let Some(tag) = options.get("tag") {
        let tag = render_tag(tag, &|field| field_of(record, field))?;
        if !tag.is_empty() {
            facts.insert("tag".into(), tag);
        }
    }
    Ok(facts)
}

fn chosen<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    options: &BTreeMap<String, String>,
    names: &str,
    names_pattern: &str,
) -> Result<Vec<(String, String)>> {
    let named: Vec<&str> = options.get(names).map(|names| names.split(',').collect()).unwrap_or_default();
    let pattern = pattern(options, names_pattern)?;
    Ok(pairs
        .filter(|(name, _)| {
            named.contains(name) || pattern.as_ref().is_some_and(|pattern| pattern.is_match(name))
        })
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

fn pattern(options: &BTreeMap<String, String>, key: &str) -> Result<Option<Regex>> {
    let Some(text) = options.get(key).filter(|text| !text.is_empty()) else { return Ok(None) };
    Regex::new(text)
        .map(Some)
        .map_err(|error| Error::invalid(format!("invalid log opt '{key}': {text:?}: {error}")))
}

/// What a field of Docker's tag templates means.
fn field_of(record: &Record, field: &str) -> Option<String> {
    let short = |text: &str| text.get(..12).unwrap_or(text).to_owned();
    Some(match field {
        "ID" => short(&record.id),
        "FullID" => record.id.clone(),
        "Name" => record.name.clone(),
        "ImageID" => short(&record.image_id),
        "ImageFullID" => record.image_id.clone(),
        "ImageName" => record.config.image.clone(),
        "DaemonName" => "docker".into(),
        "Command" => record.command().join(" "),
        _ => return None,
    })
}

/// Fills in `{{.Field}}`.
fn render_tag(tag: &str, field: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    const FIELDS: [&str; 8] =
        ["ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName", "Command"];
    let bad = |why: String| Error::invalid(format!("template: log-tag:1: {why}"));
    let mut out = String::new();
    let mut rest = tag;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let (action, after) = after.split_once("}}").ok_or_else(|| bad("unclosed action".into()))?;
        let name = action.trim().strip_prefix('.').ok_or_else(|| {
            bad(format!(
                "{:?}: a tag takes fields only: {}",
                action.trim(),
                FIELDS.map(|f| format!(".{f}")).join(" ")
            ))
        })?;
        let value = FIELDS.contains(&name).then(|| field(name)).flatten();
        out.push_str(&value.ok_or_else(|| bad(format!("can't evaluate field {name} in type logger.Info")))?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let text = include_str!("record-v1.json");
        let (mut record, _) = Record::parse(text.as_bytes()).unwrap();
        record.config.labels =
            Some([("tier", "front"), ("team", "a&b")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        record.config.env = Some(vec!["A=1".into(), "APP=x".into(), "B=2".into()]);
        record
    }

    fn facts(options: &[(&str, &str)]) -> Result<Option<String>> {
        of(&record(), &options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn facts_are_chosen_by_name_and_by_pattern() {
        for (options, expected) in [
            (&[("max-size", "1m")][..], None),
            (&[("labels", "tier,none")], Some(r#"{"tier":"front"}"#)),
            (&[("labels-regex", "^te")], Some(r#"{"team":"a\u0026b"}"#)),
            (&[("env", "B"), ("env-regex", "^A.")], Some(r#"{"APP":"x","B":"2"}"#)),
            (&[("tag", "{{.Name}}/{{ .ID }}")], Some(r#"{"tag":"web/0123456789ab"}"#)),
            (&[("tag", "plain"), ("labels", "none")], Some(r#"{"tag":"plain"}"#)),
        ] {
            assert_eq!(facts(options).unwrap().as_deref(), expected, "{options:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for option in [("env-regex", "("), ("tag", "{{.Nope}}"), ("tag", "{{.ID"), ("tag", "{{upper .ID}}")] {
            assert!(facts(&[option]).is_err(), "{option:?}");
            let options = [(option.0.to_owned(), option.1.to_owned())].into();
            assert!(check(&options).is_err(), "{option:?}");
        }
    }
}
