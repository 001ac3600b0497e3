//! JSON from an engine as a template's data that remembers the order of its keys, so that `json` prints them as they came; and
//! JSON printed as Go prints it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use gotmpl::Value;
use minke_model::{Error, Result};
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::fields::{self, Zero};

/// What a value cannot say of itself, by where it lies in memory; valid as long as the document's value lives.
#[derive(Default)]
struct Order {
    /// The keys of every object, as they came.
    keys: HashMap<usize, Vec<Arc<str>>>,
    /// Empty lists and objects that were `null`.
    nulls: HashSet<usize>,
}

/// Parsed JSON.
#[derive(Clone)]
pub struct Document {
    /// What a template sees.
    pub value: Value,
    order: Arc<Order>,
}

impl Document {
    /// Parses one JSON value.
    ///
    /// # Errors
    /// It is not JSON, or is nested more than 128 levels deep.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut order = Order::default();
        let mut parser = serde_json::Deserializer::from_slice(bytes);
        let parsed = Builder { order: &mut order, within: "" }
            .deserialize(&mut parser)
            .and_then(|value| parser.end().map(|()| value));
        let value =
            parsed.map_err(|error| Error::system("the engine's answer is not JSON").with_source(error))?;
        Ok(Self { value, order: Arc::new(order) })
    }

    /// Makes a document of a list's row; its keys are sorted.
    pub fn of_row(row: BTreeMap<Arc<str>, Value>) -> Self {
        Self { value: Value::Map(Arc::new(row)), order: Arc::default() }
    }

    /// Renders a value of this document; `escape_html` as Go's plain marshalling does.
    pub fn render(&self, value: &Value, escape_html: bool) -> String {
        let mut out = String::new();
        write_value(value, &self.order, escape_html, &mut out);
        out
    }
}

/// Builds the value of the field `within`.
struct Builder<'a> {
    order: &'a mut Order,
    within: &'a str,
}

impl Builder<'_> {
    /// The zero of a field's Go type, which templates print otherwise than JSON does.
    fn zero(&mut self, kind: Zero) -> Value {
        match kind {
            Zero::Pointer => Value::Nil,
            Zero::Text => Value::String("".into()),
            Zero::Bool => Value::Bool(false),
            Zero::List => {
                let list: Arc<[Value]> = Vec::new().into();
                self.order.nulls.insert(list.as_ptr() as usize);
                Value::List(list)
            }
            Zero::Map => {
                let map = Arc::new(BTreeMap::new());
                self.order.nulls.insert(Arc::as_ptr(&map) as usize);
                Value::Map(map)
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Builder<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Builder<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(mut self) -> Result<Value, E> {
        let kind = fields::null(self.within);
        Ok(self.zero(kind))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Uint(value), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Builder { order: self.order, within: "" })? {
            values.push(value);
        }
        Ok(Value::List(values.into()))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut keys: Vec<Arc<str>> = Vec::new();
        let mut entries = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let key: Arc<str> = key.into();
            let value = map.next_value_seed(Builder { order: self.order, within: &key })?;
            if entries.insert(key.clone(), value).is_none() {
                keys.push(key);
            }
        }
        for (field, kind) in fields::omitted(self.within, &entries) {
            let zero = self.zero(kind);
            entries.entry(field.into()).or_insert(zero);
        }
        let entries = Arc::new(entries);
        self.order.keys.insert(Arc::as_ptr(&entries) as usize, keys);
        Ok(Value::Map(entries))
    }
}

fn write_value(value: &Value, order: &Order, escape_html: bool, out: &mut String) {
    match value {
        Value::Nil | Value::Function(_) => out.push_str("null"),
        Value::String(text) => write_string(text, escape_html, out),
        Value::Float(number) => out.push_str(
            &serde_json::Number::from_f64(*number).map_or("null".into(), |number| number.to_string()),
        ),
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) => out.push_str(&value.to_string()),
        Value::List(values) if order.nulls.contains(&(values.as_ptr() as usize)) => out.push_str("null"),
        Value::Map(entries) if order.nulls.contains(&(Arc::as_ptr(entries) as usize)) => out.push_str("null"),
        Value::List(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(value, order, escape_html, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            let sorted: Vec<Arc<str>>;
            let keys = match order.keys.get(&(Arc::as_ptr(entries) as usize)) {
                Some(keys) => keys,
                None => {
                    sorted = entries.keys().cloned().collect();
                    &sorted
                }
            };
            out.push('{');
            let data = keys
                .iter()
                .filter_map(|key| entries.get_key_value(key))
                .filter(|(_, value)| !value.is_function());
            for (index, (key, value)) in data.enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(key, escape_html, out);
                out.push(':');
                write_value(value, order, escape_html, out);
            }
            out.push('}');
        }
    }
}

fn write_string(text: &str, escape_html: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' if escape_html => out.push_str(&format!("\\u{:04x}", c as u32)),
            '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Indents JSON by four spaces without parsing its values, so that they stay byte for byte.
pub fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut opened = false;
    let new_line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', 4 * depth));
    };
    for &byte in json {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        if byte.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(byte, b'}' | b']');
        if opened && !closes {
            new_line(&mut out, depth);
        }
        if closes {
            depth = depth.saturating_sub(1);
            if !opened {
                new_line(&mut out, depth);
            }
        }
        opened = matches!(byte, b'{' | b'[');
        depth += usize::from(opened);
        out.push(byte);
        match byte {
            b',' => new_line(&mut out, depth),
            b':' => out.push(b' '),
            b'"' => in_string = true,
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_and_numbers_their_form() {
        let json = r#"{"b":1,"a":{"z":null,"y":[true,-2,18446744073709551615]},"c":"<&\n"}"#;
        let document = Document::parse(json.as_bytes()).unwrap();
        assert_eq!(document.render(&document.value, false), json);
        let escaped = document.render(&Value::String("<&".into()), true);
        assert_eq!(escaped, "\"\\u003c\\u0026\"");
    }

    #[test]
    fn a_null_list_is_empty_to_a_template_and_null_in_json() {
        let json =
            r#"{"Config":{"Env":[],"Entrypoint":null,"Volumes":null},"Restart":null,"State":{"Status":"x"}}"#;
        let document = Document::parse(json.as_bytes()).unwrap();
        assert_eq!(document.render(&document.value, false), json);
        let config = document.value.field("Config").unwrap();
        assert_eq!(config.field("Entrypoint").unwrap().to_string(), "[]");
        assert_eq!(config.field("Volumes").unwrap().to_string(), "map[]");
        assert!(
            document.value.field("State").unwrap().field("Health").is_some(),
            "left out of JSON, but known to templates"
        );
    }

    #[test]
    fn json_is_indented_as_go_does() {
        let json = br#"[{"a":{},"b":[],"c":[1,2],"d":"x\"{,"}]"#;
        let expected = "[\n    {\n        \"a\": {},\n        \"b\": [],\n        \"c\": [\n            1,\n            2\n        ],\n        \"d\": \"x\\\"{,\"\n    }\n]";
        assert_eq!(String::from_utf8(indent(json)).unwrap(), expected);
        assert_eq!(indent(b"[ ]"), b"[]");
    }
}
