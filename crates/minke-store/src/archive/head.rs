//! Headers of a tar with everything that a file system has: ustar where it suffices, PAX records for the rest
//! (POSIX.1-2017 pax), as Docker's archives have them. Pure: values in, blocks out.

use super::header::BLOCK;

/// The largest numbers that octal digits hold: seven for ids and modes, eleven for sizes and times.
const SEVEN: u64 = 0o777_7777;
const ELEVEN: u64 = 0o777_7777_7777;

/// One header to write.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head<'a> {
    /// The name; a directory's ends with a slash.
    pub path: &'a [u8],
    /// The target of a link.
    pub link: &'a [u8],
    /// The type flag, `b'0'` and so on.
    pub kind: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The bytes that follow.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    pub device: (u32, u32),
    /// `security.capability`, if there is one.
    pub capability: Option<&'a [u8]>,
}

impl Head<'_> {
    /// Appends the header's blocks.
    pub(crate) fn render(&self, out: &mut Vec<u8>) {
        let mut records = Vec::new();
        if !fits(self.path) {
            record(&mut records, b"path", self.path);
        }
        if !fits(self.link) {
            record(&mut records, b"linkpath", self.link);
        }
        for (key, value, most) in [
            (&b"uid"[..], u64::from(self.uid), SEVEN),
            (b"gid", u64::from(self.gid), SEVEN),
            (b"size", self.size, ELEVEN),
        ] {
            if value > most {
                record(&mut records, key, value.to_string().as_bytes());
            }
        }
        if !(0..=ELEVEN as i64).contains(&self.mtime) {
            record(&mut records, b"mtime", self.mtime.to_string().as_bytes());
        }
        if let Some(value) = self.capability {
            record(&mut records, b"SCHILY.xattr.security.capability", value);
        }
        if !records.is_empty() {
            let head =
                Head { path: b"PaxHeaders.0/x", kind: b'x', size: records.len() as u64, ..Head::default() };
            out.extend_from_slice(&head.block());
            out.extend_from_slice(&records);
            out.resize(out.len().next_multiple_of(BLOCK), 0);
        }
        out.extend_from_slice(&self.block());
    }

    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let text = |block: &mut [u8], bytes: &[u8]| {
            let length = bytes.len().min(block.len());
            block[..length].copy_from_slice(&bytes[..length]);
        };
        text(&mut block[..100], self.path);
        text(&mut block[157..257], self.link);
        octal(&mut block[100..108], u64::from(self.mode), SEVEN);
        octal(&mut block[108..116], u64::from(self.uid), SEVEN);
        octal(&mut block[116..124], u64::from(self.gid), SEVEN);
        octal(&mut block[124..136], self.size, ELEVEN);
        octal(&mut block[136..148], u64::try_from(self.mtime).unwrap_or(0), ELEVEN);
        block[156] = self.kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], u64::from(self.device.0), SEVEN);
        octal(&mut block[337..345], u64::from(self.device.1), SEVEN);
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

fn fits(name: &[u8]) -> bool {
    name.len() <= 100 && name.is_ascii()
}

/// A number that does not fit stands in the PAX records, and here is 0.
fn octal(field: &mut [u8], value: u64, most: u64) {
    let value = if value > most { 0 } else { value };
    let width = field.len() - 1;
    field[..width].copy_from_slice(format!("{value:0width$o}").as_bytes());
}

/// Appends `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::reader::{EntryKind, TarReader};
    use crate::layer::limits::Limits;

    #[test]
    fn what_ustar_cannot_hold_is_read_back_from_pax_records() {
        let (path, link) = ("d/".repeat(80) + "ä", "l".repeat(101));
        let mut bytes = Vec::new();
        let head = Head {
            path: path.as_bytes(),
            link: link.as_bytes(),
            kind: b'2',
            mode: 0o777,
            uid: 3_000_000_000,
            gid: 7,
            mtime: -5,
            capability: Some(b"v\0w"),
            ..Head::default()
        };
        head.render(&mut bytes);
        let limits = Limits::default();
        let entry = TarReader::new(&bytes[..], &limits).next_entry().unwrap().unwrap();
        assert_eq!((entry.path.as_slice(), entry.link.as_slice()), (path.as_bytes(), link.as_bytes()));
        assert_eq!(
            (entry.kind, entry.uid, entry.gid, entry.mtime),
            (EntryKind::Symlink, 3_000_000_000, 7, (-5, 0))
        );
        assert_eq!(entry.xattrs, [(b"security.capability".to_vec(), b"v\0w".to_vec())]);
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for length in [1, 85, 86, 87, 88, 980, 985, 990] {
            let mut out = Vec::new();
            record(&mut out, b"path", &vec![b'x'; length]);
            let space = out.iter().position(|byte| *byte == b' ').unwrap();
            assert_eq!(std::str::from_utf8(&out[..space]).unwrap().parse(), Ok(out.len()));
        }
    }
}
