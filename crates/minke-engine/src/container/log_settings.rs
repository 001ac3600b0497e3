//! Log drivers and their options: checked at creation, handed to the shim at the start. Pure.

use std::collections::BTreeMap;

use minke_api::container::LogConfig;
use minke_model::size;
use minke_model::{Error, Result, strconv};
use minke_spec::shim::LogSettings;

use super::log_facts;
use super::paths::ContainerPaths;
use super::record::Record;

/// A log is rotated at this size unless its options say otherwise, so that it can't fill the disk, bytes.
const DEFAULT_MAX_SIZE: u64 = 20 << 20;
/// How many files of that size are kept.
const DEFAULT_MAX_FILE: u32 = 5;

/// What both formats take.
const OPTIONS: [&str; 10] = [
    "max-size",
    "max-file",
    "compress",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
    "mode",
    "max-buffer-size",
];

/// Refuses an unknown driver, option or value.
pub fn check(log: &LogConfig) -> Result<()> {
    match log.driver.as_str() {
        "none" => Ok(()),
        "json-file" => {
            let options = log.config.clone().unwrap_or_default();
            if let Some(key) = options.keys().find(|key| !OPTIONS.contains(&key.as_str())) {
                return Err(Error::invalid(format!("unknown log opt '{key}' for json-file log driver")));
            }
            check_mode(&options)?;
            log_facts::check(&options)?;
            limits(log)?;
            if compression(&options)? == Some(true)
                && !(files_asked(&options) > 1 && options.contains_key("max-size"))
            {
                return Err(Error::invalid(
                    "compress cannot be true when max-file is less than 2 or max-size is not set",
                ));
            }
            Ok(())
        }
        "local" => {
            let options = log.config.clone().unwrap_or_default();
            if let Some(key) = options.keys().find(|key| !OPTIONS.contains(&key.as_str())) {
                return Err(Error::invalid(format!("unknown log opt '{key}' for log driver local")));
            }
            check_mode(&options)?;
            log_facts::check(&options)?;
            let compress = compression(&options)
                .map_err(|error| Error::invalid(format!("error reading compress log option: {error}")))?;
            match local_limits(&options)? {
                (_, ..=1) if compress != Some(false) => {
                    Err(Error::invalid("compression cannot be enabled when max file count is 1"))
                }
                _ => Ok(()),
            }
        }
        other => Err(Error::invalid(format!("logger: no log driver named '{other}' is registered"))),
    }
}

/// How lines come into the log. A shim writes them itself, and never waits for anything but the disk; so the mode changes nothing.
fn check_mode(options: &BTreeMap<String, String>) -> Result<()> {
    let mode = options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(Error::invalid(format!("logger: logging mode not supported: {mode}")));
    }
    match options.get("max-buffer-size") {
        None => Ok(()),
        Some(_) if mode != "non-blocking" => {
            Err(Error::invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'"))
        }
        Some(size) => size::parse_binary(size).map(|_| ()),
    }
}

/// Whether older files are to be packed, where that is said.
fn compression(options: &BTreeMap<String, String>) -> Result<Option<bool>> {
    options.get("compress").map(|text| strconv::parse_bool(text).map_err(Error::invalid)).transpose()
}

/// Whether a log's older files are packed: with `local` unless it says no, with json-file if it says so.
pub fn packs(log: &LogConfig) -> bool {
    let compress = log.config.as_ref().and_then(|options| compression(options).ok().flatten());
    match log.driver.as_str() {
        "local" => compress != Some(false),
        "json-file" => compress == Some(true),
        _ => false,
    }
}

/// How many files of a log are kept.
///
/// # Errors
/// As [`check`].
pub fn files(log: &LogConfig) -> Result<u32> {
    match log.driver.as_str() {
        "local" => local_limits(log.config.as_ref().unwrap_or(&BTreeMap::new())).map(|(_, files)| files),
        _ => limits(log).map(|(_, files)| files),
    }
}

/// What `max-file` says, once it is checked.
fn files_asked(options: &BTreeMap<String, String>) -> u32 {
    options.get("max-file").and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The size at which a file is rotated and how many are kept.
fn limits(log: &LogConfig) -> Result<(Option<u64>, u32)> {
    let option = |name: &str| log.config.as_ref().and_then(|config| config.get(name));
    let max_size = match option("max-size") {
        None if option("max-file").is_none() => return Ok((Some(DEFAULT_MAX_SIZE), DEFAULT_MAX_FILE)),
        None => Some(DEFAULT_MAX_SIZE),
        Some(text) => match size::parse_binary_or_unlimited(text)? {
            -1 => None,
            size if size <= 0 => return Err(Error::invalid("max-size must be a positive number")),
            size => Some(size.unsigned_abs()),
        },
    };
    let max_file = match option("max-file") {
        None => 1,
        Some(text) => {
            let number: u32 = text
                .parse()
                .map_err(|_| Error::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))?;
            if number < 1 {
                return Err(Error::invalid("max-file cannot be less than 1"));
            }
            number
        }
    };
    if max_file > 1 && max_size.is_none() {
        return Err(Error::invalid("max-file cannot be greater than 1 when max-size is unlimited"));
    }
    Ok((max_size, max_file))
}

/// The same of the `local` format, whose defaults are Docker's.
fn local_limits(options: &BTreeMap<String, String>) -> Result<(u64, u32)> {
    let bad = |name: &str, text: &str, why: &str| {
        Error::invalid(format!("invalid value for {name}: {text}: {why}"))
    };
    let max_size = match options.get("max-size") {
        None => DEFAULT_MAX_SIZE,
        Some(text) => match size::parse_binary(text) {
            Ok(size) if size > 0 => size as u64,
            Ok(_) => return Err(Error::invalid("max size should be a positive number")),
            Err(error) => return Err(bad("max-size", text, error.message())),
        },
    };
    let max_file = match options.get("max-file") {
        None => DEFAULT_MAX_FILE,
        Some(text) => match text.parse::<u32>() {
            Ok(0) => return Err(Error::invalid("max file count must be at least 1")),
            Ok(number) => number,
            Err(_) => {
                let why = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
                return Err(bad("max-file", text, &why));
            }
        },
    };
    Ok((max_size, max_file))
}

/// What the shim is to do.
pub fn settings(record: &Record, paths: &ContainerPaths) -> Result<LogSettings> {
    let log = &record.host_config.log_config;
    if log.driver == "none" {
        return Ok(LogSettings::None);
    }
    let path = paths.log_of(&log.driver);
    if log.driver == "local" {
        let options = log.config.as_ref().unwrap_or(&BTreeMap::new()).clone();
        let (max_size, max_file) = local_limits(&options)?;
        return Ok(LogSettings::Local {
            path: path.to_string_lossy().into_owned(),
            max_size,
            max_file,
            attributes: log_facts::choose(record, &options)?.into_iter().collect(),
            compress: packs(log),
        });
    }
    let (max_size, max_file) = limits(log)?;
    Ok(LogSettings::JsonFile {
        path: path.to_string_lossy().into_owned(),
        max_size,
        max_file,
        attributes: log_facts::of(record, log.config.as_ref().unwrap_or(&BTreeMap::new()))?,
        compress: packs(log),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(options: &[(&str, &str)]) -> LogConfig {
        let config = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        LogConfig { driver: "json-file".into(), config: Some(config) }
    }

    #[test]
    fn limits_are_read_and_bounded_by_default() {
        for (options, expected) in [
            (&[][..], (Some(20 << 20), 5)),
            (&[("max-size", "10m")], (Some(10 << 20), 1)),
            (&[("max-size", "10k"), ("max-file", "3")], (Some(10 << 10), 3)),
            (&[("max-size", "-1")], (None, 1)),
            (&[("max-file", "3")], (Some(20 << 20), 3)),
        ] {
            assert_eq!(limits(&log(options)).unwrap(), expected);
        }
    }

    #[test]
    fn local_has_docker_s_limits_and_words() {
        let local = |options: &[(&str, &str)]| LogConfig { driver: "local".into(), ..log(options) };
        assert!(check(&local(&[("tag", "x"), ("compress", "false")])).is_ok());
        assert_eq!(local_limits(&BTreeMap::new()).unwrap(), (20 << 20, 5));
        for (options, expected) in [
            (("bogus", "1"), "unknown log opt 'bogus' for log driver local"),
            (("max-size", "x"), "invalid value for max-size: x: invalid size: 'x'"),
            (("max-file", "x"), "invalid value for max-file: x: strconv.Atoi: parsing \"x\": invalid syntax"),
        ] {
            assert_eq!(check(&local(&[options])).unwrap_err().message(), expected);
        }
        assert!(check(&local(&[("compress", "true")])).is_ok());
        assert!(check(&local(&[("max-file", "1"), ("compress", "false")])).is_ok());
        assert_eq!(
            check(&local(&[("max-file", "1")])).unwrap_err().message(),
            "compression cannot be enabled when max file count is 1"
        );
    }

    #[test]
    fn bad_options_are_refused() {
        for (options, expected) in [
            (("max-file", "0"), "max-file cannot be less than 1"),
            (("max-size", "x"), "invalid size: 'x'"),
            (("compress", "perhaps"), "strconv.ParseBool: parsing \"perhaps\": invalid syntax"),
            (("mode", "odd"), "logger: logging mode not supported: odd"),
            (
                ("max-buffer-size", "1m"),
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            (("bogus", "1"), "unknown log opt 'bogus' for json-file log driver"),
        ] {
            assert_eq!(check(&log(&[options])).unwrap_err().message(), expected);
        }
        for options in [&[("compress", "1")][..], &[("compress", "true"), ("max-file", "3")]] {
            assert_eq!(
                check(&log(options)).unwrap_err().message(),
                "compress cannot be true when max-file is less than 2 or max-size is not set"
            );
        }
        let packed = log(&[("compress", "true"), ("max-file", "3"), ("max-size", "1m")]);
        assert!(check(&packed).is_ok() && packs(&packed) && !packs(&log(&[("max-file", "3")])));
        let unlimited = log(&[("max-size", "-1"), ("max-file", "2")]);
        assert_eq!(
            check(&unlimited).unwrap_err().message(),
            "max-file cannot be greater than 1 when max-size is unlimited"
        );
    }
}
