//! Single attributes, for the few that the library numbers otherwise than the kernel (`linux/netfilter/nf_tables.h`): those of
//! lookups, and of elements from the object on; and for those that it lacks.

/// `NFTA_LOOKUP_SET`.
pub(super) const LOOKUP_SET: u16 = 1;
/// `NFTA_LOOKUP_SREG`.
pub(super) const LOOKUP_KEY: u16 = 2;
/// `NFTA_LOOKUP_DREG`.
pub(super) const LOOKUP_VALUE: u16 = 3;
/// `NFTA_LOOKUP_FLAGS`.
pub(super) const LOOKUP_FLAGS: u16 = 5;
/// `NFTA_EXPR_DATA`.
pub(super) const EXPRESSION_DATA: u16 = 2;
/// `NFTA_SET_ELEM_KEY_END`.
pub(super) const ELEMENT_TO: u16 = 10;
/// `NFTA_DATA_VALUE`.
pub(super) const VALUE: u16 = 1;

/// `NFTA_EXPR_NAME`.
pub(super) const EXPRESSION_NAME: u16 = 1;
/// `NFTA_DYNSET_SET_NAME`.
pub(super) const DYNAMIC_SET: u16 = 1;
/// `NFTA_DYNSET_OP`.
pub(super) const DYNAMIC_OPERATION: u16 = 3;
/// `NFTA_DYNSET_SREG_KEY`.
pub(super) const DYNAMIC_KEY: u16 = 4;
/// `NFTA_DYNSET_EXPR`.
pub(super) const DYNAMIC_EXPRESSION: u16 = 7;
/// `NFT_DYNSET_OP_UPDATE`.
pub(super) const DYNAMIC_UPDATE: u32 = 1;
/// `NFTA_LIMIT_RATE`.
pub(super) const LIMIT_RATE: u16 = 1;
/// `NFTA_LIMIT_UNIT`.
pub(super) const LIMIT_UNIT: u16 = 2;
/// `NFTA_LIMIT_BURST`.
pub(super) const LIMIT_BURST: u16 = 3;
/// `NFTA_LIMIT_FLAGS`.
pub(super) const LIMIT_FLAGS: u16 = 5;
/// `NFT_LIMIT_F_INV`.
pub(super) const LIMIT_OVER: u32 = 1;

const NESTED: u16 = 1 << 15;
const HEADER: usize = 4;

/// Appends an attribute.
pub(crate) fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    pad(bytes);
    bytes.extend_from_slice(&((HEADER + value.len()) as u16).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    pad(bytes);
}

/// Appends an attribute that holds others.
pub(super) fn put_nested(bytes: &mut Vec<u8>, kind: u16, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inside = Vec::new();
    write(&mut inside);
    put(bytes, kind | NESTED, &inside);
}

/// The bits of an attribute's number that say what it is.
pub(super) const KIND: u16 = 0x3fff;

/// The attributes in a message, or in another.
pub(crate) fn all(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    all_as_they_are(bytes).map(|(kind, value)| (kind & KIND, value))
}

/// The same, with the bits that say how each is written.
pub(super) fn all_as_they_are(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.get(..HEADER)?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = bytes.get(HEADER..length)?;
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn pad(bytes: &mut Vec<u8>) {
    while !bytes.len().is_multiple_of(4) {
        bytes.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_written_and_read_again() {
        let mut bytes = vec![1, 2];
        put(&mut bytes, 7, b"abcde");
        put_nested(&mut bytes, 8, |inside| put(inside, 1, &[9]));
        let read: Vec<_> = all(&bytes[4..]).collect();
        assert_eq!(read[0], (7, &b"abcde"[..]));
        assert_eq!(all(read[1].1).next(), Some((1, &[9][..])));
        assert_eq!(all(&[200, 0, 1, 0]).count(), 0);
    }
}
