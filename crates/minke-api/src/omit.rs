//! When a field is left out of an answer, and the readings that several fields share.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, Visitor};

/// Whether a value is its type's zero, which Docker leaves out where the field says so.
pub fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads a list of words that a client may also write as one string; `null` and `""` give none.
pub fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    deserializer.deserialize_any(Words)
}

struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = Option<Vec<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
        Ok(Some(vec![word.to_owned()]))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = list.next_element::<Option<String>>()? {
            words.push(word.unwrap_or_default());
        }
        Ok(Some(words))
    }
}
