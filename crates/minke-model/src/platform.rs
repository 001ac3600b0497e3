//! Platforms (`linux/arm64/v8`): parsed, normalised and compared (image-spec `image-index.md`).

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The operating system and processor that an image is made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Go's name of the processor architecture.
    pub architecture: String,
    /// Go's name of the operating system.
    pub os: String,
    /// The version of the operating system, where it matters.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Features that the operating system must have.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The variant of the processor: `v7`, `v8`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// The platform that this program was built for.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, "")
    }

    /// Makes a normalised platform.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let (architecture, variant) = normalize(&architecture.to_lowercase(), &variant.to_lowercase());
        let os = if os == "macos" { "darwin" } else { os }.to_lowercase();
        Self { architecture, os, variant, ..Self::default() }
    }

    /// Reads `os`, `arch`, `os/arch` or `os/arch/variant`; what is missing is the host's.
    pub fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_part = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        if !parts.iter().all(is_part) {
            return Err(Error::invalid(format!(
                "{text:?} is an invalid component of {text:?}: platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
            )));
        }
        let host = Self::host();
        match parts[..] {
            ["linux" | "windows" | "darwin" | "macos" | "freebsd"] => {
                Ok(Self::new(parts[0], &host.architecture, ""))
            }
            [architecture] => Ok(Self::new(&host.os, architecture, "")),
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(Error::invalid(format!("{text:?}: cannot parse platform specifier: invalid argument"))),
        }
    }

    /// How well `candidate` runs where this platform is wanted: none at all, or a rank of which the
    /// greatest is best.
    pub fn rank(&self, candidate: &Self) -> Option<u32> {
        let candidate = Self::new(&candidate.os, &candidate.architecture, &candidate.variant);
        if candidate.os != self.os {
            return None;
        }
        if candidate.architecture == self.architecture {
            let wanted = variant_number(&self.architecture, &self.variant);
            let found = variant_number(&self.architecture, &candidate.variant);
            return (found <= wanted).then_some(100 + found);
        }
        match (self.architecture.as_str(), candidate.architecture.as_str()) {
            ("amd64", "386") => Some(1),
            ("arm64", "arm") => Some(1 + variant_number("arm", &candidate.variant)),
            _ => None,
        }
    }
}

fn normalize(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "i486" | "i586" | "i686" | "x86" | "386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        ("powerpc64le", variant) => ("ppc64le", variant),
        ("loongarch64", variant) => ("loong64", variant),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

fn variant_number(architecture: &str, variant: &str) -> u32 {
    let base = match architecture {
        "amd64" => 1,
        "arm64" => 8,
        _ => 0,
    };
    variant.strip_prefix('v').and_then(|digits| digits.parse().ok()).unwrap_or(base)
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specifier_is_normalised() {
        let check =
            |text: &str, expected: &str| assert_eq!(Platform::parse(text).unwrap().to_string(), expected);
        check("linux/x86_64", "linux/amd64");
        check("linux/arm64/v8", "linux/arm64");
        check("linux/arm", "linux/arm/v7");
        check("linux/armel", "linux/arm/v6");
        check("aarch64", "linux/arm64");
        assert!(Platform::parse("linux/a/b/c").is_err());
        assert!(Platform::parse("linux/").is_err());
    }

    #[test]
    fn the_same_architecture_wins_over_one_that_also_runs() {
        let amd64 = Platform::parse("linux/amd64").unwrap();
        let rank = |text: &str| amd64.rank(&Platform::parse(text).unwrap());
        assert!(rank("linux/amd64") > rank("linux/386"));
        assert_eq!(rank("linux/arm64"), None);
        assert_eq!(rank("linux/amd64/v3"), None);
        assert_eq!(rank("windows/amd64"), None);
    }
}
