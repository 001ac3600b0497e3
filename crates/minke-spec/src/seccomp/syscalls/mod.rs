//! System call numbers by name, and what a filter must know about each calling convention. Tables, one file per architecture.

mod aarch64;
mod arm;
mod x32;
mod x86;
mod x86_64;

use oci_spec::runtime::Arch;

use crate::host::Architecture;

/// A calling convention that a filter covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
}

/// The bit that marks an x32 call among those of x86-64.
pub(super) const X32_BIT: u32 = 0x4000_0000;

impl Abi {
    /// The kernel's own convention.
    pub(super) fn native(architecture: Architecture) -> Self {
        match architecture {
            Architecture::X86_64 => Self::X86_64,
            Architecture::Aarch64 => Self::Aarch64,
        }
    }

    /// The convention of a name in a filter, where the host's kernel can meet it.
    pub(super) fn of(arch: Arch, host: Architecture) -> Option<Self> {
        match (host, arch) {
            (Architecture::X86_64, Arch::ScmpArchX86_64) => Some(Self::X86_64),
            (Architecture::X86_64, Arch::ScmpArchX86) => Some(Self::X86),
            (Architecture::X86_64, Arch::ScmpArchX32) => Some(Self::X32),
            (Architecture::Aarch64, Arch::ScmpArchAarch64) => Some(Self::Aarch64),
            (Architecture::Aarch64, Arch::ScmpArchArm) => Some(Self::Arm),
            _ => None,
        }
    }

    /// The value in `seccomp_data.arch`: linux/audit.h.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether arguments have 32 bits.
    pub(super) fn is_32_bit(self) -> bool {
        matches!(self, Self::X86 | Self::X32 | Self::Arm)
    }

    /// The names and numbers, sorted by name.
    pub(super) fn table(self) -> &'static [(&'static str, u32)] {
        match self {
            Self::X86_64 => x86_64::TABLE,
            Self::X86 => x86::TABLE,
            Self::X32 => x32::TABLE,
            Self::Aarch64 => aarch64::TABLE,
            Self::Arm => arm::TABLE,
        }
    }

    /// Finds a call's number.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let table = self.table();
        table.binary_search_by_key(&name, |(known, _)| known).ok().map(|index| table[index].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_sorted_by_name() {
        for abi in [Abi::X86_64, Abi::X86, Abi::X32, Abi::Aarch64, Abi::Arm] {
            assert!(abi.table().is_sorted_by(|a, b| a.0 < b.0), "{abi:?}");
        }
    }

    #[test]
    fn numbers_are_the_kernel_s() {
        assert_eq!(Abi::X86_64.number("execve"), Some(59));
        assert_eq!(Abi::X86.number("execve"), Some(11));
        assert_eq!(Abi::X32.number("execve"), Some(X32_BIT | 520));
        assert_eq!(Abi::Aarch64.number("execve"), Some(221));
        assert_eq!(Abi::Arm.number("set_tls"), Some(0xf_0005));
        assert_eq!(Abi::Aarch64.number("open"), None);
    }
}
