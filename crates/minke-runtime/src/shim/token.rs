//! What an event of the shim's loop is about, packed into the number that the kernel gives back.

/// The kind of descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The signal descriptor.
    Signals,
    /// The listening socket.
    Listener,
    /// An engine's connection; its number is the token's client.
    Engine,
    /// A starting process's reports.
    Status,
    /// A process's standard input.
    Stdin,
    /// A process's standard output or terminal.
    Stdout,
    /// A process's standard error.
    Stderr,
    /// A client of a process.
    Client,
}

const KINDS: [Kind; 8] = [
    Kind::Signals,
    Kind::Listener,
    Kind::Engine,
    Kind::Status,
    Kind::Stdin,
    Kind::Stdout,
    Kind::Stderr,
    Kind::Client,
];

/// A token; the numbers have 28 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The kind.
    pub kind: Kind,
    /// The process's number; 0 is the container's init.
    pub process: u32,
    /// The client's or engine's number.
    pub client: u32,
}

const NUMBER: u64 = (1 << 28) - 1;

impl Token {
    /// Packs it.
    pub fn pack(self) -> u64 {
        let kind = KINDS.iter().position(|kind| *kind == self.kind).unwrap_or(0) as u64;
        kind << 56 | (u64::from(self.process) & NUMBER) << 28 | u64::from(self.client) & NUMBER
    }

    /// Unpacks it.
    pub fn unpack(packed: u64) -> Option<Self> {
        let kind = *KINDS.get((packed >> 56) as usize)?;
        Some(Self { kind, process: (packed >> 28 & NUMBER) as u32, client: (packed & NUMBER) as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_packing() {
        for kind in KINDS {
            let token = Token { kind, process: 5, client: (1 << 28) - 1 };
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
    }
}
