//! `--gpus`: `all`, a number, or comma-separated `driver= count= device= capabilities= options=`, quoted as CSV.

use minke_api::container::DeviceRequest;

/// Reads the flag.
///
/// # Errors
/// In the words of Docker's client.
pub fn parse(text: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest::default();
    let mut capabilities: Vec<String> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for field in fields(text)? {
        let (key, value) = field.split_once('=').unwrap_or(("count", &field));
        if seen.iter().any(|known| known == key) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        seen.push(key.to_owned());
        match key {
            "driver" => request.driver = value.to_owned(),
            "count" if value == "all" => request.count = -1,
            "count" => {
                request.count = value.parse().map_err(|_| {
                    format!("invalid count ({value}): value must be either \"all\" or an integer")
                })?;
            }
            "device" => request.device_ids = Some(value.split(',').map(str::to_owned).collect()),
            "capabilities" => capabilities = value.split(',').map(str::to_owned).collect(),
            "options" => {
                let pairs = value.split(',').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                request.options = Some(pairs.map(|(key, value)| (key.into(), value.into())).collect());
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !seen.iter().any(|key| key == "count") && request.device_ids.is_none() {
        request.count = 1;
    }
    if !capabilities.iter().any(|name| name == "gpu") {
        capabilities.push("gpu".into());
    }
    request.capabilities = Some(vec![capabilities]);
    request.options.get_or_insert_default();
    Ok(request)
}

/// Splits one CSV record: a field in quotes may contain commas.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            letter => fields.last_mut().map(|field| field.push(letter)).unwrap_or_default(),
        }
    }
    if quoted { Err(format!("parse error: extraneous or missing \" in {text}")) } else { Ok(fields) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_devices_are_told_apart() {
        assert_eq!(parse("all").unwrap().count, -1);
        assert_eq!(parse("2").unwrap().count, 2);
        let request = parse("\"device=0,GPU-1\",capabilities=utility").unwrap();
        assert_eq!(request.device_ids, Some(vec!["0".into(), "GPU-1".into()]));
        assert_eq!(request.count, 0);
        assert_eq!(request.capabilities, Some(vec![vec!["utility".into(), "gpu".into()]]));
    }

    #[test]
    fn an_unknown_key_is_refused_in_dockers_words() {
        assert_eq!(parse("x=1").unwrap_err(), "unexpected key 'x' in 'x=1'");
    }
}
