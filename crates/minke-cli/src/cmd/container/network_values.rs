//! Values of flags about networks, looked at as they come: wrong ones are refused in the words of Docker's client.

use std::net::IpAddr;

/// An address.
pub fn address(text: &str) -> Result<String, String> {
    let text = text.trim();
    text.parse::<IpAddr>()
        .map(|address| address.to_string())
        .map_err(|_| format!("IP address is not correctly formatted: {text}"))
}

/// A line of /etc/hosts: `name:address` or `name=address`, an IPv6 address also in brackets.
pub fn extra_host(text: &str) -> Result<String, String> {
    let wrong = || format!("bad format for add-host: {text:?}");
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(wrong)?;
    if name.is_empty() {
        return Err(wrong());
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if bare != "host-gateway" && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {bare:?}"));
    }
    Ok(format!("{name}:{bare}"))
}

/// A domain to search; `.` for none.
pub fn domain(text: &str) -> Result<String, String> {
    let text = text.trim();
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let labels = text.strip_suffix('.').unwrap_or(text);
    let fits = text.len() < 255
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && labels.split('.').all(label);
    match text == "." || fits {
        true => Ok(text.to_owned()),
        false => Err(format!("{text} is not a valid domain")),
    }
}

/// A container, and what it is called here.
pub fn link(text: &str) -> Result<String, String> {
    match text {
        "" => Err("invalid string specified for links".into()),
        _ if text.matches(':').count() > 1 => Err(format!("bad format for links: {text}")),
        _ => Ok(text.to_owned()),
    }
}

/// A port.
pub fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        format!("strconv.ParseUint: parsing {text:?}: {why}")
    })
}

/// A port, or the first and last of several.
pub fn port_range(text: &str) -> Result<(u16, u16), String> {
    if text.is_empty() {
        return Err("empty string specified for ports".into());
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    match first <= last {
        true => Ok((first, last)),
        false => Err(format!("invalid range specified for port: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_are_refused_in_the_words_of_dockers_client() {
        assert_eq!(address("x").unwrap_err(), "IP address is not correctly formatted: x");
        assert_eq!(extra_host("x").unwrap_err(), "bad format for add-host: \"x\"");
        assert_eq!(extra_host("a:1.2.3").unwrap_err(), "invalid IP address in add-host: \"1.2.3\"");
        assert_eq!(domain("a_b").unwrap_err(), "a_b is not a valid domain");
        assert_eq!(domain("-a.b").unwrap_err(), "-a.b is not a valid domain");
        assert_eq!(link("a:b:c").unwrap_err(), "bad format for links: a:b:c");
        assert_eq!(port_range("x").unwrap_err(), "strconv.ParseUint: parsing \"x\": invalid syntax");
        assert_eq!(
            port_range("1-99999").unwrap_err(),
            "strconv.ParseUint: parsing \"99999\": value out of range"
        );
    }

    #[test]
    fn right_values_pass() {
        assert_eq!(address(" ::1 ").unwrap(), "::1");
        assert_eq!(extra_host("a=[::1]").unwrap(), "a:::1");
        assert_eq!(extra_host("a:host-gateway").unwrap(), "a:host-gateway");
        assert_eq!(domain("a.b-c.").unwrap(), "a.b-c.");
        assert_eq!(domain(".").unwrap(), ".");
        assert_eq!(port_range("8-9").unwrap(), (8, 9));
    }
}
