//! D-Bus messages as bytes: the few types that the service manager's methods take, and the replies and signals that come back.
//! D-Bus specification: "Marshaling (Wire Format)" and "Message Format". Pure; what comes in is parsed with limits.

use std::io;

/// The longest message that is read; the specification allows more, the service manager never sends as much.
pub const LONGEST: usize = 1 << 20;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call of a method.
    Call = 1,
    /// The answer.
    Return = 2,
    /// The refusal.
    Error = 3,
    /// Something that happened.
    Signal = 4,
}

/// A value of a property; each has one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `u`
    U32(u32),
    /// `t`
    U64(u64),
    /// `s`
    Text(String),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Numbers(Vec<u32>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
    /// `a(st)`
    Weights(Vec<(String, u64)>),
}

impl Value {
    /// Reads the text forms of simple values that runc's annotations have: `true`, `'words'`, `uint32 5`, `uint64 5`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        for quote in ['\'', '"'] {
            let inside = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
            if let Some(inside) = inside.filter(|inside| !inside.contains([quote, '\\'])) {
                return Some(Self::Text(inside.to_owned()));
            }
        }
        match text.split_once(char::is_whitespace) {
            None if text == "true" || text == "false" => Some(Self::Bool(text == "true")),
            Some(("uint32", number)) => number.trim().parse().ok().map(Self::U32),
            Some(("uint64", number)) => number.trim().parse().ok().map(Self::U64),
            _ => None,
        }
    }

    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::U32(_) => "u",
            Self::U64(_) => "t",
            Self::Text(_) => "s",
            Self::Bytes(_) => "ay",
            Self::Numbers(_) => "au",
            Self::Pairs(_) => "a(ss)",
            Self::Weights(_) => "a(st)",
        }
    }
}

/// Bytes in the order of little machines, each value at a multiple of its size from the start.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, size: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(size), 0);
    }

    /// `u`, and `b` as 0 or 1.
    pub fn number(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn long(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend(value.to_le_bytes());
    }

    /// `s` and `o`.
    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(text.len() as u8);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    /// An array whose elements start at multiples of `size`.
    pub fn array(&mut self, size: usize, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let length_at = self.bytes.len() - 4;
        // The padding before the first element doesn't count.
        self.align(size);
        let first = self.bytes.len();
        elements(self);
        let length = (self.bytes.len() - first) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// A struct begins.
    pub fn open_struct(&mut self) {
        self.align(8);
    }

    /// `v`.
    pub fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.number(u32::from(*value)),
            Value::U32(value) => self.number(*value),
            Value::U64(value) => self.long(*value),
            Value::Text(text) => self.text(text),
            Value::Bytes(bytes) => self.array(1, |writer| writer.bytes.extend(bytes)),
            Value::Numbers(numbers) => {
                self.array(4, |writer| numbers.iter().for_each(|number| writer.number(*number)));
            }
            Value::Pairs(pairs) => self.array(8, |writer| {
                for (first, second) in pairs {
                    writer.open_struct();
                    writer.text(first);
                    writer.text(second);
                }
            }),
            Value::Weights(pairs) => self.array(8, |writer| {
                for (first, second) in pairs {
                    writer.open_struct();
                    writer.text(first);
                    writer.long(*second);
                }
            }),
        }
    }

    /// `a(sv)`.
    pub fn properties<'a>(&mut self, properties: impl IntoIterator<Item = (&'a str, &'a Value)>) {
        self.array(8, |writer| {
            for (name, value) in properties {
                writer.open_struct();
                writer.text(name);
                writer.variant(value);
            }
        });
    }
}

/// A method and what it is given.
#[derive(Debug)]
pub struct Call<'a> {
    /// Who is called.
    pub destination: &'a str,
    /// Which object.
    pub path: &'a str,
    /// Which of its interfaces.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
    /// The types of the body.
    pub signature: &'a str,
    /// The arguments.
    pub body: Writer,
}

/// Renders a call; `serial` is not 0.
pub fn render(call: &Call<'_>, serial: u32) -> Vec<u8> {
    let mut writer = Writer { bytes: vec![b'l', Kind::Call as u8, 0, 1] };
    writer.number(call.body.bytes.len() as u32);
    writer.number(serial);
    let fields = [
        (1, "o", call.path),
        (2, "s", call.interface),
        (3, "s", call.member),
        (6, "s", call.destination),
        (8, "g", call.signature),
    ];
    writer.array(8, |writer| {
        for (code, signature, text) in fields.into_iter().filter(|(.., text)| !text.is_empty()) {
            writer.open_struct();
            writer.bytes.push(code);
            writer.signature(signature);
            if signature == "g" { writer.signature(text) } else { writer.text(text) }
        }
    });
    writer.align(8);
    writer.bytes.extend(&call.body.bytes);
    writer.bytes
}

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Which call it answers; 0 for none.
    pub reply_to: u32,
    /// A signal's name.
    pub member: String,
    /// A refusal's name.
    pub error: String,
    body: Vec<u8>,
}

/// The size of the part of a message whose length is always the same.
pub const FIXED: usize = 16;

/// The length of the whole message that begins with these bytes.
///
/// # Errors
/// What no service manager sends: another byte order, protocol or an enormous size.
pub fn length(fixed: &[u8; FIXED]) -> io::Result<usize> {
    if fixed[0] != b'l' || fixed[3] != 1 {
        return Err(malformed());
    }
    let number = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let (body, fields) = (number(4) as usize, number(12) as usize);
    if body > LONGEST || fields > LONGEST {
        return Err(malformed());
    }
    Ok((FIXED + fields).next_multiple_of(8) + body)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the service manager's message can't be read")
}

impl Message {
    /// Parses a whole message, of which [`length`] has told how long it is.
    pub fn parse(bytes: &[u8]) -> io::Result<Self> {
        let kind = match bytes.get(1) {
            Some(1) => Kind::Call,
            Some(2) => Kind::Return,
            Some(3) => Kind::Error,
            Some(4) => Kind::Signal,
            _ => return Err(malformed()),
        };
        let mut reader = Reader { bytes, at: 12 };
        let end = reader.number()? as usize + FIXED;
        let mut message =
            Self { kind, reply_to: 0, member: String::new(), error: String::new(), body: Vec::new() };
        while reader.at < end {
            reader.align(8);
            let code = reader.take(1)?[0];
            match (code, reader.signature()?.as_str()) {
                (3, "s") => message.member = reader.text()?,
                (4, "s") => message.error = reader.text()?,
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                (5, "u") => message.reply_to = reader.number()?,
                (_, "u") => drop(reader.number()?),
                _ => return Err(malformed()),
            }
        }
        reader.at = end.next_multiple_of(8);
        message.body = bytes.get(reader.at..).ok_or_else(malformed)?.to_vec();
        Ok(message)
    }

    /// Reads the body.
    pub fn body(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0 }
    }
}

/// Reads values in order.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, size: usize) {
        self.at = self.at.next_multiple_of(size);
    }

    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or_else(malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(malformed)?;
        self.at = end;
        Ok(taken)
    }

    /// `u`.
    pub fn number(&mut self) -> io::Result<u32> {
        self.align(4);
        let taken = self.take(4)?;
        Ok(u32::from_le_bytes([taken[0], taken[1], taken[2], taken[3]]))
    }

    /// `s` and `o`.
    pub fn text(&mut self) -> io::Result<String> {
        let length = self.number()? as usize;
        self.ended(length)
    }

    fn signature(&mut self) -> io::Result<String> {
        let length = self.take(1)?[0].into();
        self.ended(length)
    }

    fn ended(&mut self, length: usize) -> io::Result<String> {
        let text = self.take(length)?;
        match self.take(1)? {
            [0] => String::from_utf8(text.to_vec()).map_err(|_| malformed()),
            _ => Err(malformed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(body: Writer, signature: &str) -> Vec<u8> {
        let call = Call { destination: "a.b", path: "/a", interface: "c.d", member: "E", signature, body };
        render(&call, 7)
    }

    #[test]
    fn a_call_has_its_parts_at_their_places() {
        let mut body = Writer::default();
        body.text("hi");
        let bytes = call(body, "s");
        assert_eq!(bytes[..4], *b"l\x01\x00\x01");
        assert_eq!(bytes[4..12], [7, 0, 0, 0, 7, 0, 0, 0], "the body's length and the serial");
        assert_eq!(bytes.len() % 8, 7, "the body starts at a multiple of 8");
        assert!(bytes.ends_with(b"\x02\0\0\0hi\0"));
        let fixed: &[u8; FIXED] = bytes[..FIXED].try_into().unwrap();
        assert_eq!(length(fixed).unwrap(), bytes.len());
        let parsed = Message::parse(&bytes).unwrap();
        assert_eq!((parsed.kind, parsed.member.as_str()), (Kind::Call, "E"));
        assert_eq!(parsed.body().text().unwrap(), "hi");
    }

    #[test]
    fn values_are_aligned_and_arrays_do_not_count_the_padding_before_them() {
        let mut writer = Writer::default();
        writer.properties([("A", &Value::U64(5))]);
        #[rustfmt::skip]
        assert_eq!(writer.bytes, [
            24, 0, 0, 0, 0, 0, 0, 0,
            1, 0, 0, 0, b'A', 0, 1, b't',
            0, 0, 0, 0, 0, 0, 0, 0, // the signature's end, and padding before the number
            5, 0, 0, 0, 0, 0, 0, 0,
        ]);
        let mut empty = Writer::default();
        empty.properties([]);
        assert_eq!(empty.bytes, [0; 8]);
    }

    #[test]
    fn the_text_forms_of_values_are_read() {
        for (text, value) in [
            ("true", Some(Value::Bool(true))),
            ("'inactive-or-failed'", Some(Value::Text("inactive-or-failed".into()))),
            ("uint64 5000000", Some(Value::U64(5_000_000))),
            ("uint32 7", Some(Value::U32(7))),
            ("5 apples", None),
            ("'a' 'b'", None),
        ] {
            assert_eq!(Value::parse(text), value, "{text}");
        }
    }

    #[test]
    fn a_message_that_ends_too_early_or_lies_is_refused() {
        let mut body = Writer::default();
        body.text("hi");
        let bytes = call(body, "s");
        for end in FIXED..bytes.len() {
            let cut = Message::parse(&bytes[..end]).and_then(|message| message.body().text());
            assert!(cut.is_err(), "{end}");
        }
        let mut long = bytes.clone();
        long[4..8].fill(0xff);
        assert!(length(long[..FIXED].try_into().unwrap()).is_err());
        let mut big = bytes;
        big[0] = b'B';
        assert!(length(big[..FIXED].try_into().unwrap()).is_err());
    }
}
