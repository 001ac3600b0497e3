//! Booleans and numbers as Go's `strconv` reads them, with its words: programs that speak to Docker know both.

/// Reads a boolean.
///
/// # Errors
/// The words of Go's `ParseBool`.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// Reads a whole number; `function` is the one of Go whose words are wanted, as `ParseInt` or `Atoi`.
///
/// # Errors
/// The words of that function.
pub fn parse_int(function: &str, text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let numeric = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let reason = if numeric { "value out of range" } else { "invalid syntax" };
    text.parse().map_err(|_| format!("strconv.{function}: parsing {text:?}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_reads_is_read_and_the_rest_refused_in_its_words() {
        assert_eq!(parse_bool("T"), Ok(true));
        assert_eq!(parse_bool("0"), Ok(false));
        assert_eq!(parse_bool("yes"), Err("strconv.ParseBool: parsing \"yes\": invalid syntax".into()));
        assert_eq!(parse_int("Atoi", "+7"), Ok(7));
        assert_eq!(parse_int("Atoi", "x"), Err("strconv.Atoi: parsing \"x\": invalid syntax".into()));
        assert_eq!(
            parse_int("ParseInt", "99999999999999999999"),
            Err("strconv.ParseInt: parsing \"99999999999999999999\": value out of range".into())
        );
    }
}
