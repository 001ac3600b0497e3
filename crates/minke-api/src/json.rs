//! JSON as Docker's clients write it: keys match without regard to case, `null` is the zero of any type, fields may be
//! missing, arrays of fixed length may be shorter or longer. One deserializer holds these rules for all types.
//!
//! It never reads more than it was given; nesting is limited by serde_json (128 levels).

use std::fmt;

use minke_model::Error;
use serde::Serialize;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde_json::{Map, Value};

/// Reads a value from a request's or an answer's body; an error is a `400` in the words of Docker's decoder.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> minke_model::Result<T> {
    let value = serde_json::from_slice(body).map_err(|error| Error::invalid(syntax_message(body, &error)))?;
    decode_value(value)
}

/// As [`decode`], from JSON that has been parsed already.
pub fn decode_value<T: DeserializeOwned>(value: Value) -> minke_model::Result<T> {
    T::deserialize(Decoder(value)).map_err(|error| Error::invalid(error.to_string()))
}

/// Renders a value as an answer's body, with the line feed that ends each of Docker's.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut body = serde_json::to_vec(value).expect("the API's types have string keys only");
    body.push(b'\n');
    body
}

/// Docker's words for JSON that can't be parsed, found from where the parser stopped.
fn syntax_message(body: &[u8], error: &serde_json::Error) -> String {
    if body.iter().all(u8::is_ascii_whitespace) {
        return "EOF".into();
    }
    if error.is_eof() {
        return "unexpected EOF".into();
    }
    let reason = error.to_string();
    let line = body.split(|&b| b == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let stop = error.column().saturating_sub(1).min(line.len().saturating_sub(1));
    let found = line.get(stop).copied().unwrap_or(b'\n').escape_ascii();
    if reason.starts_with("trailing characters") {
        return "unexpected content after JSON".into();
    }
    if reason.starts_with("expected ident") {
        let start = line[..stop].iter().rposition(|b| !b.is_ascii_lowercase()).map_or(0, |before| before + 1);
        for literal in ["null", "true", "false"] {
            if let Some(expected) =
                literal.as_bytes().strip_prefix(&line[start..stop]).and_then(|rest| rest.first())
            {
                return format!(
                    "invalid character '{found}' in literal {literal} (expecting '{}')",
                    *expected as char
                );
            }
        }
    }
    let place = match reason.split(" at line").next().unwrap_or_default() {
        "expected `:`" => "after object key",
        "expected `,` or `}`" => "after object key:value pair",
        "expected `,` or `]`" => "after array element",
        "key must be a string" | "trailing comma"
            if !line.get(..=stop).unwrap_or_default().ends_with(b"]") =>
        {
            "looking for beginning of object key string"
        }
        _ => "looking for beginning of value",
    };
    format!("invalid character '{found}' {place}")
}

/// What did not fit, and where.
#[derive(Debug)]
pub struct DecodeError {
    message: String,
    /// Where a value of a wrong type stands; of other errors that is not told.
    place: Option<Place>,
}

/// The innermost struct, and the names of the fields from the outermost one on, as Go tells them.
#[derive(Debug, Default)]
struct Place {
    structure: &'static str,
    path: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(Place { structure, path }) if !structure.is_empty() => {
                let place = format!("Go struct field {structure}.{path}");
                f.write_str(&self.message.replacen("Go value", &place, 1))
            }
            _ => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), place: None }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "bool".to_owned(),
            // The number itself is only told where a number was wanted.
            Unexpected::Unsigned(n) if wants_number(expected) => format!("number {n}"),
            Unexpected::Signed(n) if wants_number(expected) => format!("number {n}"),
            Unexpected::Float(n) if wants_number(expected) => format!("number {n}"),
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "number".to_owned(),
            Unexpected::Str(_) | Unexpected::Char(_) => "string".to_owned(),
            Unexpected::Seq => "array".to_owned(),
            Unexpected::Map => "object".to_owned(),
            other => other.to_string(),
        };
        Self {
            message: format!("json: cannot unmarshal {found} into Go value of type {}", type_name(expected)),
            place: Some(Place::default()),
        }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

impl DecodeError {
    /// Adds a field on the way outwards.
    fn at(mut self, structure: &'static str, field: &str) -> Self {
        match &mut self.place {
            Some(place) if place.structure.is_empty() => *place = Place { structure, path: field.to_owned() },
            Some(place) => place.path = format!("{field}.{}", place.path),
            None => {}
        }
        self
    }
}

fn wants_number(expected: &dyn Expected) -> bool {
    matches!(expected.to_string().as_str(), "i64" | "u64" | "i32" | "u32" | "u16")
}

fn type_name(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "a boolean" => "bool".into(),
        "a string" => "string".into(),
        "a sequence" => "[]string".into(),
        "a map" => "map[string]string".into(),
        "i64" => "int64".into(),
        "u64" => "uint64".into(),
        "i32" => "int".into(),
        "u32" => "uint".into(),
        "u16" => "uint16".into(),
        _ => text.strip_prefix("struct ").map(|name| format!("container.{name}")).unwrap_or(text),
    }
}

struct Decoder(Value);

impl<'de> IntoDeserializer<'de, DecodeError> for Decoder {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

/// `null` becomes the given zero; everything else goes to the visitor as it is.
macro_rules! zero_on_null {
    ($($method:ident => $visit:ident($zero:expr)),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            match self.0 {
                Value::Null => visitor.$visit($zero),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Decoder {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(b),
            Value::String(s) => visitor.visit_string(s),
            Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
                (Some(n), _, _) => visitor.visit_u64(n),
                (_, Some(n), _) => visitor.visit_i64(n),
                (_, _, Some(n)) => visitor.visit_f64(n),
                _ => Err(de::Error::custom(format!("json: cannot unmarshal number {n}"))),
            },
            Value::Array(values) => visitor.visit_seq(Elements { rest: values.into_iter(), wanted: None }),
            Value::Object(map) => visitor.visit_map(Entries::all(map)),
        }
    }

    zero_on_null! {
        deserialize_bool => visit_bool(false),
        deserialize_i8 => visit_u64(0), deserialize_i16 => visit_u64(0), deserialize_i32 => visit_u64(0), deserialize_i64 => visit_u64(0),
        deserialize_u8 => visit_u64(0), deserialize_u16 => visit_u64(0), deserialize_u32 => visit_u64(0), deserialize_u64 => visit_u64(0),
        deserialize_f32 => visit_f64(0.0), deserialize_f64 => visit_f64(0.0),
        deserialize_str => visit_str(""), deserialize_string => visit_str(""),
        deserialize_seq => visit_seq(Elements { rest: Vec::new().into_iter(), wanted: None }),
        deserialize_map => visit_map(Entries::all(Map::new())),
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Null => visitor.visit_seq(Elements { rest: Vec::new().into_iter(), wanted: Some(len) }),
            Value::Array(values) => {
                visitor.visit_seq(Elements { rest: values.into_iter(), wanted: Some(len) })
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Null => visitor.visit_map(Entries::all(Map::new())),
            Value::Object(map) => visitor.visit_map(Entries::of_struct(map, name, fields)),
            // A derived visitor would take an array for the fields in order.
            Value::Array(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::String(variant) => visitor.visit_enum(variant.into_deserializer()),
            Value::Null => visitor.visit_enum(String::new().into_deserializer()),
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple_struct identifier ignored_any
    }
}

struct Elements {
    rest: std::vec::IntoIter<Value>,
    wanted: Option<usize>,
}

impl<'de> SeqAccess<'de> for Elements {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let value = match &mut self.wanted {
            Some(0) => return Ok(None),
            Some(left) => {
                *left -= 1;
                self.rest.next().unwrap_or(Value::Null)
            }
            None => match self.rest.next() {
                Some(value) => value,
                None => return Ok(None),
            },
        };
        seed.deserialize(Decoder(value)).map(Some)
    }
}

struct Entries {
    structure: &'static str,
    rest: std::vec::IntoIter<(String, Value)>,
    current: Option<(String, Value)>,
}

impl Entries {
    fn all(map: Map<String, Value>) -> Self {
        Self { structure: "", rest: map.into_iter().collect::<Vec<_>>().into_iter(), current: None }
    }

    /// The entries that have a field, under the field's own spelling; `null` counts as missing, a later spelling of
    /// the same field replaces an earlier one, and the exact spelling wins.
    fn of_struct(map: Map<String, Value>, structure: &'static str, fields: &'static [&'static str]) -> Self {
        let mut kept: Vec<(String, Value)> = Vec::new();
        for (key, value) in map {
            let exact = fields.contains(&key.as_str());
            let Some(field) = fields
                .iter()
                .find(|field| if exact { **field == key } else { field.eq_ignore_ascii_case(&key) })
            else {
                continue;
            };
            if value.is_null() {
                continue;
            }
            match kept.iter_mut().find(|(known, _)| known == field) {
                Some(known) if exact => known.1 = value,
                Some(_) => {}
                None => kept.push(((*field).to_owned(), value)),
            }
        }
        Self { structure, rest: kept.into_iter(), current: None }
    }
}

impl<'de> MapAccess<'de> for Entries {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        let read = seed.deserialize(Decoder(Value::String(key.clone())))?;
        self.current = Some((key, value));
        Ok(Some(read))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, DecodeError> {
        let (key, value) = self.current.take().unwrap_or_default();
        seed.deserialize(Decoder(value)).map_err(|error| match self.structure {
            "" => error,
            structure => error.at(structure, &key),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Sample {
        tty: bool,
        memory: i64,
        env: Option<Vec<String>>,
        labels: BTreeMap<String, String>,
        console_size: [u32; 2],
        inner: Option<Box<Sample>>,
    }

    fn read(text: &str) -> Sample {
        decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn keys_match_in_any_case() {
        assert_eq!(read(r#"{"tTy":true,"MEMORY":7,"inner":{"tty":true}}"#).memory, 7);
        assert!(read(r#"{"INNER":{"TTY":true}}"#).inner.unwrap().tty);
    }

    #[test]
    fn the_exact_spelling_wins() {
        assert_eq!(read(r#"{"Memory":1,"memory":2}"#).memory, 1);
        assert_eq!(read(r#"{"MEMORY":2,"Memory":1}"#).memory, 1);
    }

    #[test]
    fn null_is_the_zero_of_every_type() {
        assert_eq!(
            read(r#"{"Tty":null,"Memory":null,"Env":null,"Labels":null,"ConsoleSize":null,"Inner":null}"#),
            Sample::default()
        );
        assert_eq!(
            read(r#"{"Env":[null,"A=1"],"Labels":{"a":null}}"#).env,
            Some(vec![String::new(), "A=1".into()])
        );
        assert_eq!(read("null"), Sample::default());
    }

    #[test]
    fn fixed_arrays_are_padded_and_cut() {
        assert_eq!(read(r#"{"ConsoleSize":[24]}"#).console_size, [24, 0]);
        assert_eq!(read(r#"{"ConsoleSize":[24,80,3]}"#).console_size, [24, 80]);
    }

    #[test]
    fn a_wrong_type_names_its_field() {
        let check = |text: &str, expected: &str| {
            let message = decode::<Sample>(text.as_bytes()).unwrap_err().to_string();
            assert_eq!(message, format!("json: cannot unmarshal {expected}"));
        };
        check(r#"{"Tty":"yes"}"#, "string into Go struct field Sample.Tty of type bool");
        check("[true]", "array into Go value of type container.Sample");
        check(r#"{"Tty":1}"#, "number into Go struct field Sample.Tty of type bool");
        check(r#"{"Memory":1.5}"#, "number 1.5 into Go struct field Sample.Memory of type int64");
        check(r#"{"Inner":{"Tty":1}}"#, "number into Go struct field Sample.Inner.Tty of type bool");
        check(r#"{"Env":"x"}"#, "string into Go struct field Sample.Env of type []string");
        check(r#"{"Labels":["x"]}"#, "array into Go struct field Sample.Labels of type map[string]string");
    }

    #[test]
    fn broken_json_is_reported_in_gos_words() {
        let message = |text: &str| decode::<Sample>(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(message(""), "EOF");
        assert_eq!(message("{"), "unexpected EOF");
        assert_eq!(message("nope"), "invalid character 'o' in literal null (expecting 'u')");
        assert_eq!(message(r#"{"a":trux}"#), "invalid character 'x' in literal true (expecting 'e')");
        assert_eq!(message("hello"), "invalid character 'h' looking for beginning of value");
        assert_eq!(message(r#"{"a" 1}"#), "invalid character '1' after object key");
        assert_eq!(message(r#"{"a":1 2}"#), "invalid character '2' after object key:value pair");
        assert_eq!(message("[1 2]"), "invalid character '2' after array element");
        assert_eq!(message("{a:1}"), "invalid character 'a' looking for beginning of object key string");
        assert_eq!(message("{}{}"), "unexpected content after JSON");
    }
}
