//! `manifest annotate`: says for which platform a manifest of a list is.

use clap::Args;
use minke_model::Platform;

use super::name;
use super::store::Lists;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;

/// The pairs of operating system and processor that Go knows, and so Docker takes.
const KNOWN: &[(&str, &[&str])] = &[
    ("darwin", &["386", "amd64", "arm", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm"]),
    ("linux", &["386", "amd64", "arm", "arm64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x"]),
    ("netbsd", &["386", "amd64", "arm"]),
    ("openbsd", &["386", "amd64", "arm"]),
    ("plan9", &["386", "amd64"]),
    ("solaris", &["amd64"]),
    ("windows", &["386", "amd64", "arm", "arm64"]),
];

/// Flags of `manifest annotate`.
#[derive(Args, Clone, Debug)]
pub struct Annotate {
    /// The processor: arm64
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    arch: String,
    /// The operating system: linux
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    os: String,
    /// What the operating system has to have
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    os_features: Vec<String>,
    /// The operating system's version
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    os_version: String,
    /// The processor's variant: v7
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    variant: String,
}

impl Verb for Annotate {
    const SUMMARY: &'static str = "Say for which platform a manifest of a list is";
    const USAGE: &'static str = "[OPTIONS] MANIFEST_LIST MANIFEST";
    const ARITY: Arity = Arity::Exactly(2);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let refused = |what: &str, text: &str, error: minke_model::Error| {
            Failure::Plain(format!("annotate: error parsing name for {what} {text}: {error}"))
        };
        let list = name(&arguments[0]).map_err(|error| refused("manifest list", &arguments[0], error))?;
        let image = name(&arguments[1]).map_err(|error| refused("manifest", &arguments[1], error))?;
        let lists = Lists::of(&session.config);
        let Some(mut entry) = lists.find(&list, &image)? else {
            return Err(Failure::Plain(format!(
                "manifest for image {} does not exist in {}",
                arguments[1], arguments[0]
            )));
        };
        let mut platform = entry.descriptor.platform.take().unwrap_or_else(|| Platform::new("", "", ""));
        self.change(&mut platform);
        if !is_known(&platform) {
            return Err(Failure::Plain(format!(
                "manifest entry for image has unsupported os/arch combination: {}/{}",
                self.os, self.arch
            )));
        }
        entry.descriptor.platform = Some(platform);
        lists.save(&list, &image, &entry)?;
        Ok(exit::SUCCESS)
    }
}

impl Annotate {
    fn change(&self, platform: &mut Platform) {
        for (said, field) in [
            (&self.os, &mut platform.os),
            (&self.arch, &mut platform.architecture),
            (&self.variant, &mut platform.variant),
            (&self.os_version, &mut platform.os_version),
        ] {
            if !said.is_empty() {
                field.clone_from(said);
            }
        }
        for feature in &self.os_features {
            if !platform.os_features.contains(feature) {
                platform.os_features.push(feature.clone());
            }
        }
    }
}

fn is_known(platform: &Platform) -> bool {
    let of_system = KNOWN.iter().find(|(os, _)| *os == platform.os);
    of_system.is_some_and(|(_, processors)| processors.contains(&platform.architecture.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_replaces_and_a_pair_has_to_be_known() {
        let flags = Annotate {
            arch: "arm".into(),
            os: String::new(),
            os_features: vec!["a".into(), "a".into()],
            os_version: String::new(),
            variant: "v7".into(),
        };
        let mut platform = Platform::new("linux", "amd64", "");
        flags.change(&mut platform);
        assert_eq!(platform.to_string(), "linux/arm/v7");
        assert_eq!(platform.os_features, ["a"]);
        assert!(is_known(&platform) && !is_known(&Platform::new("linux", "z80", "")));
    }
}
