//! Names of devices that vendors describe: `vendor.com/class=name`. Container Device Interface, SPEC.md "Kind" and "Device name".

use crate::{Error, Result};

/// A qualified name, in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceName<'a> {
    /// `vendor.com/class`.
    pub kind: &'a str,
    /// The device among those of its kind.
    pub device: &'a str,
}

impl<'a> DeviceName<'a> {
    /// Reads a qualified name; `None` where it is something else, such as a path.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (kind, device) = text.split_once('=')?;
        (is_kind(kind) && is_name(device, true, "-_.:")).then_some(Self { kind, device })
    }
}

/// Whether `text` is `vendor/class`.
fn is_kind(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(vendor, class)| is_name(vendor, false, "-_.") && is_name(class, false, "-_."))
}

/// Checks the kind of a specification.
///
/// # Errors
/// [`crate::ErrorKind::InvalidParameter`].
pub fn check_kind(kind: &str) -> Result<()> {
    if is_kind(kind) { Ok(()) } else { Err(Error::invalid(format!("invalid CDI kind {kind:?}"))) }
}

/// Letters and digits with `marks` between them; the first is a letter unless a digit may be.
fn is_name(text: &str, digit_first: bool, marks: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let begins = first.is_ascii_alphabetic() || (digit_first && first.is_ascii_digit());
    begins
        && last.is_ascii_alphanumeric()
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || marks.contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qualified_name_has_a_kind_and_a_device() {
        let name = DeviceName::parse("nvidia.com/gpu=0:1").unwrap();
        assert_eq!((name.kind, name.device), ("nvidia.com/gpu", "0:1"));
    }

    #[test]
    fn paths_and_halves_are_no_names() {
        for text in ["/dev/null", "a", "a/b", "a=b", "a/b=", "1a/b=c", "a/b=c-", "/dev/x=/dev/y", "a/b/c=d"] {
            assert_eq!(DeviceName::parse(text), None, "{text}");
        }
    }
}
