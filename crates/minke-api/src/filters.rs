//! The parameter `filters` of lists, prunes and events: from a key to the values asked for.

use std::collections::{BTreeMap, BTreeSet};

use minke_model::{Error, Result};
use serde_json::Value;

use crate::StringMap;

/// Filters as a client gave them; the values of one key are alternatives, except for labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    map: BTreeMap<String, BTreeSet<String>>,
}

impl Filters {
    /// Reads `{"key":["value"]}` and `{"key":{"value":true}}`; the empty string is none.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let refused = || Error::invalid("invalid filter");
        let Ok(Value::Object(keys)) = serde_json::from_str(text) else { return Err(refused()) };
        let mut filters = Self::default();
        for (key, values) in keys {
            let values: BTreeSet<String> = match values {
                Value::Null => BTreeSet::new(),
                Value::Object(values) if values.values().all(Value::is_boolean) => {
                    values.into_iter().map(|(value, _)| value).collect()
                }
                Value::Array(values) => values
                    .into_iter()
                    .map(|value| match value {
                        Value::String(value) => Ok(value),
                        _ => Err(refused()),
                    })
                    .collect::<Result<_>>()?,
                _ => return Err(refused()),
            };
            filters.map.insert(key, values);
        }
        Ok(filters)
    }

    /// Renders the form that every version reads.
    pub fn render(&self) -> String {
        let map: BTreeMap<&str, BTreeMap<&str, bool>> = self
            .map
            .iter()
            .map(|(key, values)| (key.as_str(), values.iter().map(|value| (value.as_str(), true)).collect()))
            .collect();
        serde_json::to_string(&map).expect("the map has string keys only")
    }

    /// Adds a value.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.map.entry(key.into()).or_default().insert(value.into());
    }

    /// Whether nothing is filtered.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether a key was given.
    pub fn contains(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// The values of a key, sorted.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.map.get(key).into_iter().flatten().map(String::as_str)
    }

    /// The keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.map.keys().map(String::as_str)
    }

    /// Refuses keys that an endpoint does not know.
    pub fn check(&self, accepted: &[&str]) -> Result<()> {
        match self.keys().find(|key| !accepted.contains(key)) {
            Some(key) => Err(Error::invalid(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// Whether `value` is among those of a key, or the key was not given.
    pub fn allows(&self, key: &str, value: &str) -> bool {
        match self.map.get(key) {
            None => true,
            Some(values) => values.is_empty() || values.contains(value),
        }
    }

    /// A key's one boolean; more than one value, or another word, is refused in Docker's words.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        let values: Vec<&str> = self.values(key).collect();
        match values.as_slice() {
            [] if !self.contains(key) => Ok(None),
            ["1" | "true"] => Ok(Some(true)),
            ["0" | "false"] => Ok(Some(false)),
            _ => Err(Error::invalid(
                format!("invalid filter '{key}={values:?}'").replace('"', "").replace(", ", " "),
            )),
        }
    }

    /// Whether all `name` or `name=value` entries of a key hold for these labels.
    pub fn allows_labels(&self, key: &str, labels: &StringMap) -> bool {
        self.values(key).all(|wanted| match wanted.split_once('=') {
            None => labels.contains_key(wanted),
            Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let new = Filters::parse(r#"{"label":["a=1","b"],"name":["x"]}"#).unwrap();
        let old = Filters::parse(r#"{"label":{"a=1":true,"b":false},"name":{"x":true}}"#).unwrap();
        assert_eq!(new, old);
        assert_eq!(Filters::parse(&new.render()).unwrap(), new);
    }

    #[test]
    fn malformed_and_unknown_filters_are_refused() {
        assert_eq!(Filters::parse("nope").unwrap_err().to_string(), "invalid filter");
        assert_eq!(Filters::parse(r#"{"a":[1]}"#).unwrap_err().to_string(), "invalid filter");
        let filters = Filters::parse(r#"{"nope":["1"]}"#).unwrap();
        assert_eq!(filters.check(&["name"]).unwrap_err().to_string(), "invalid filter 'nope'");
    }

    #[test]
    fn labels_must_all_hold() {
        let labels = StringMap::from([("a".into(), "1".into()), ("b".into(), "".into())]);
        let allows = |text: &str| Filters::parse(text).unwrap().allows_labels("label", &labels);
        assert!(allows(r#"{"label":["a=1","b"]}"#));
        assert!(!allows(r#"{"label":["a=2"]}"#));
        assert!(!allows(r#"{"label":["a","c"]}"#));
        assert!(allows("{}"));
    }
}
