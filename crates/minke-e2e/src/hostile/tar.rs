//! A tar archive of which every byte can be wrong.

/// An archive in the making.
#[derive(Default)]
pub(super) struct Tar(pub(super) Vec<u8>);

/// What of a header is not as usual.
#[derive(Clone, Copy)]
pub(super) struct Header<'a> {
    pub(super) mode: &'a [u8],
    pub(super) owner: &'a [u8],
    pub(super) size: Option<&'a [u8]>,
    pub(super) time: &'a [u8],
    pub(super) device: (u32, u32),
    pub(super) is_sound: bool,
}

impl Default for Header<'_> {
    fn default() -> Self {
        Self {
            mode: b"0000755",
            owner: b"0000000",
            size: None,
            time: b"13727602400",
            device: (0, 0),
            is_sound: true,
        }
    }
}

impl Tar {
    /// Adds an entry; names that are too long for the header come before it, as GNU's tar writes them.
    pub(super) fn put(&mut self, kind: u8, name: &[u8], link: &[u8], content: &[u8]) {
        for (kind, text) in [(b'L', name), (b'K', link)] {
            if text.len() > 100 {
                self.odd(kind, b"././@LongLink", b"", &[text, b"\0"].concat(), Header::default());
            }
        }
        self.odd(kind, name, link, content, Header::default());
    }

    /// Adds a folder, a file, a symbolic link.
    pub(super) fn folder(&mut self, name: &str) {
        self.put(b'5', name.as_bytes(), b"", b"");
    }

    pub(super) fn file(&mut self, name: &str, content: &[u8]) {
        self.put(b'0', name.as_bytes(), b"", content);
    }

    pub(super) fn link(&mut self, name: &str, target: &str) {
        self.put(b'2', name.as_bytes(), target.as_bytes(), b"");
    }

    /// Adds a PAX header for the entry that follows.
    pub(super) fn pax(&mut self, key: &str, value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        let record = [format!("{length} {key}=").as_bytes(), value, b"\n"].concat();
        self.odd(b'x', b"PaxHeaders/0", b"", &record, Header::default());
    }

    /// Adds an entry with the header as given, cut to what fits.
    pub(super) fn odd(&mut self, kind: u8, name: &[u8], link: &[u8], content: &[u8], header: Header<'_>) {
        let mut block = [0u8; 512];
        let mut set = |at: usize, room: usize, text: &[u8]| {
            let count = text.len().min(room);
            block[at..at + count].copy_from_slice(&text[..count]);
        };
        let size = format!("{:011o}", content.len());
        set(0, 100, name);
        set(100, 8, header.mode);
        set(108, 8, header.owner);
        set(116, 8, header.owner);
        set(124, 12, header.size.unwrap_or(size.as_bytes()));
        set(136, 12, header.time);
        set(148, 8, b"        ");
        set(156, 1, &[kind]);
        set(157, 100, link);
        set(257, 8, b"ustar\x0000");
        set(329, 8, format!("{:07o}", header.device.0).as_bytes());
        set(337, 8, format!("{:07o}", header.device.1).as_bytes());
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        let sum = if header.is_sound { sum } else { sum + 1 };
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(block);
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    /// Returns the archive with its end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}
