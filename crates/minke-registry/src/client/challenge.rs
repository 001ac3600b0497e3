//! WWW-Authenticate, as registries write it (RFC 9110 section 11.6.1, and what deviates from it): pure.

/// One way to authenticate that a place offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// In lower case: `bearer`, `basic`.
    pub(crate) scheme: String,
    parameters: Vec<(String, String)>,
}

/// The most that are read; who offers more is not serious.
const MAX_CHALLENGES: usize = 16;
const MAX_PARAMETERS: usize = 32;

impl Challenge {
    /// A parameter's value; its name in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// Reads all values of the header, each of which may hold several challenges.
pub(crate) fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    for value in values {
        let mut rest = value;
        let first = challenges.len();
        loop {
            rest = rest.trim_start_matches([',', ' ', '\t']);
            let word = &rest[..rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len())];
            rest = &rest[word.len()..];
            let after = rest.trim_start_matches([' ', '\t']);
            let is_parameter = after.starts_with('=') && challenges.len() > first;
            if is_parameter {
                let (text, left) = parameter_value(after[1..].trim_start_matches([' ', '\t']));
                rest = left;
                let parameters = &mut challenges.last_mut().expect("there is one").parameters;
                if parameters.len() < MAX_PARAMETERS {
                    parameters.push((word.to_ascii_lowercase(), text));
                }
            } else if word.is_empty() {
                // The end, or nothing that means something.
                break;
            } else if challenges.len() < MAX_CHALLENGES {
                challenges.push(Challenge { scheme: word.to_ascii_lowercase(), ..Challenge::default() });
            } else {
                return challenges;
            }
        }
    }
    challenges
}

/// A value, quoted or not, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            letter => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_challenge_has_realm_service_and_a_scope_with_commas() {
        let read = parse([
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
        ]);
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].scheme, "bearer");
        assert_eq!(read[0].get("realm"), Some("https://auth.example/token"));
        assert_eq!(read[0].get("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(read[0].get("error"), None);
    }

    #[test]
    fn challenges_come_together_or_apart_in_any_spelling() {
        let together = parse([r#"BEARER Realm=https://a/t , Service = "x\"y", basic realm="r, s=t""#]);
        assert_eq!(together.len(), 2);
        assert_eq!(together[0].get("realm"), Some("https://a/t"));
        assert_eq!(together[0].get("service"), Some("x\"y"));
        assert_eq!((together[1].scheme.as_str(), together[1].get("realm")), ("basic", Some("r, s=t")));
        let apart = parse(["Negotiate", "Basic realm=\"\"", "Bearer realm=\"unfinished"]);
        assert_eq!(
            apart.iter().map(|one| one.scheme.as_str()).collect::<Vec<_>>(),
            ["negotiate", "basic", "bearer"]
        );
        assert_eq!(apart[2].get("realm"), Some("unfinished"));
    }

    #[test]
    fn what_is_none_ends_without_harm() {
        for nonsense in ["", ",,,", "=", "= =", "Bearer =x", "\"", "Bearer realm=\\"] {
            parse([nonsense]);
        }
        assert_eq!(parse([&*"A ,".repeat(1000)]).len(), MAX_CHALLENGES);
    }
}
