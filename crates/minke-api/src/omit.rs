//! When a field is left out of an answer, and the readings that several fields share.

use serde::{Deserialize, Deserializer};

/// Whether a value is its type's zero, which Docker leaves out where the field says so.
pub fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads a list of words that a client may also write as one string; `null` and `""` give none.
pub fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Many(Vec<Option<String>>),
        One(String),
    }
    Ok(match Option::<Words>::deserialize(deserializer)? {
        None => None,
        Some(Words::One(word)) => Some(vec![word]),
        Some(Words::Many(words)) => Some(words.into_iter().map(Option::unwrap_or_default).collect()),
    })
}
