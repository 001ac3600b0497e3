//! Hostile images, made from a seed: the same seed and number are the same bytes.
//!
//! Every image is the smallest that runs, a program that ends with 0, with a few tricks before, after and around it. The tricks aim at one
//! folder of the host, whose path is given; nothing there may ever change.

mod archive;
mod tar;
mod tricks;

use std::path::Path;

/// One image that wants something else than to be an image.
pub struct Hostile {
    /// The names of its tricks.
    pub what: String,
    /// Whether it is to be loaded, and not to be imported.
    pub is_archive: bool,
    /// The bytes that are sent.
    pub body: Vec<u8>,
}

/// Makes an image that aims at the folder `aim`.
pub fn image(seed: u64, number: u64, aim: &Path) -> Hostile {
    let mut random =
        Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let aim = aim.to_str().expect("a scratch folder's name is text");
    if random.below(5) < 2 {
        let (what, body) = archive::archive(&mut random, number, aim);
        return Hostile { what, is_archive: true, body };
    }
    let (what, body) = tricks::layer(&mut random, aim, true);
    Hostile { what, is_archive: false, body }
}

/// Numbers that a seed decides (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// One of several.
    pub(crate) fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// So many bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// The smallest program: it ends with 0.
pub(crate) fn program() -> Vec<u8> {
    #[cfg(target_arch = "x86_64")]
    let (machine, code): (u16, &[u8]) = (62, &[0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]);
    #[cfg(target_arch = "aarch64")]
    let (machine, code): (u16, &[u8]) = (183, &[0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4]);
    const AT: u64 = 0x40_0000;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |elf: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| elf.extend(v.to_le_bytes()));
    half(&mut elf, &[2, machine]);
    elf.extend(1u32.to_le_bytes());
    [AT + 120, 64, 0].iter().for_each(|value: &u64| elf.extend(value.to_le_bytes()));
    elf.extend(0u32.to_le_bytes());
    half(&mut elf, &[64, 56, 1, 64, 0, 0]);
    [1u32, 5].iter().for_each(|value| elf.extend(value.to_le_bytes()));
    let size = 120 + code.len() as u64;
    [0, AT, AT, size, size, 4096].iter().for_each(|value: &u64| elf.extend(value.to_le_bytes()));
    elf.extend(code);
    elf
}
