//! Names for containers whose creator gave none: an adjective and the name of somebody who explored seas, skies or numbers.

/// First words.
const ADJECTIVES: [&str; 105] = [
    "able", "agile", "amber", "ample", "ardent", "balmy", "bold", "brave", "breezy", "bright", "brisk",
    "buoyant", "calm", "candid", "careful", "cheery", "civil", "clever", "coastal", "cordial", "cosmic",
    "crisp", "curious", "daring", "deft", "devoted", "dreamy", "eager", "earnest", "easy", "elated", "fair",
    "faithful", "fearless", "fine", "fond", "frank", "fresh", "friendly", "gallant", "genial", "gentle",
    "gifted", "glad", "gleaming", "golden", "graceful", "grand", "happy", "hardy", "hearty", "honest",
    "hopeful", "humble", "jolly", "jovial", "joyful", "keen", "kind", "lively", "loyal", "lucid", "lucky",
    "mellow", "merry", "mighty", "modest", "neat", "nimble", "noble", "patient", "peaceful", "placid",
    "playful", "polite", "proud", "quick", "quiet", "ready", "robust", "serene", "sharp", "silent",
    "sincere", "smart", "snug", "sober", "stable", "steady", "sturdy", "sunny", "swift", "tender",
    "thorough", "tidy", "tranquil", "trusty", "upbeat", "valiant", "vivid", "warm", "wise", "witty",
    "zealous", "zesty",
];

/// Second words.
const SURNAMES: [&str; 86] = [
    "agnesi",
    "alvarez",
    "anning",
    "bernoulli",
    "bose",
    "carson",
    "cavendish",
    "chandra",
    "clarke",
    "cousteau",
    "curie",
    "dana",
    "darwin",
    "delambre",
    "earle",
    "einstein",
    "ekman",
    "euler",
    "fabre",
    "faraday",
    "fermat",
    "fitzroy",
    "forbes",
    "galileo",
    "gauss",
    "germain",
    "goodall",
    "haeckel",
    "halley",
    "harvey",
    "henson",
    "herschel",
    "hopper",
    "humboldt",
    "huxley",
    "hypatia",
    "jemison",
    "johnson",
    "joule",
    "kepler",
    "kovalevsky",
    "lagrange",
    "lamarck",
    "leavitt",
    "linnaeus",
    "lovelace",
    "lyell",
    "mawson",
    "maxwell",
    "meitner",
    "mendel",
    "mercator",
    "mirzakhani",
    "monge",
    "nansen",
    "newton",
    "noether",
    "ohm",
    "pasteur",
    "payne",
    "piccard",
    "planck",
    "poincare",
    "ptolemy",
    "ramanujan",
    "ride",
    "rubin",
    "sabine",
    "sagan",
    "scott",
    "shackleton",
    "somerville",
    "sverdrup",
    "swan",
    "tharp",
    "thomson",
    "tereshkova",
    "turing",
    "volta",
    "wallace",
    "watt",
    "wegener",
    "wilkins",
    "wu",
    "yonath",
    "zhang",
];

/// The name that `random` chooses; from the second `attempt` on, with a digit that makes it rarer.
pub fn generate(random: u64, attempt: u32) -> String {
    let adjective = ADJECTIVES[(random % ADJECTIVES.len() as u64) as usize];
    let surname = SURNAMES[(random / ADJECTIVES.len() as u64 % SURNAMES.len() as u64) as usize];
    match attempt {
        0 => format!("{adjective}_{surname}"),
        _ => format!("{adjective}_{surname}{}", (random >> 32) % 10),
    }
}

/// Whether Docker accepts `name` (without a leading slash): `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub fn is_valid(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() >= 2
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_valid() {
        for random in (0..u64::MAX).step_by(usize::MAX / 1000) {
            assert!(is_valid(&generate(random, 0)));
            assert!(is_valid(&generate(random, 1)));
        }
    }

    #[test]
    fn names_are_accepted_as_docker_does() {
        for (name, expected) in
            [("ab", true), ("a", false), ("a_b.c-1", true), ("-ab", false), ("a b", false), ("", false)]
        {
            assert_eq!(is_valid(name), expected, "{name:?}");
        }
    }
}
