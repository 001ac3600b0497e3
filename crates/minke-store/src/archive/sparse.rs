//! The maps of sparse files, in GNU tar's three PAX forms and its old one: checked, so that
//! whoever writes the file may trust offsets and sums.

use minke_model::{Error, Result};
use std::io::Read;

/// Where a sparse file's data lies; everything else is a hole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SparseMap {
    /// Offset and length of each piece, ascending, not overlapping.
    pub segments: Vec<(u64, u64)>,
    /// The size of the whole file.
    pub size: u64,
}

fn invalid() -> Error {
    Error::invalid("archive/tar: invalid tar header: bad sparse map")
}

impl SparseMap {
    /// Checks that segments ascend, lie inside the file and hold `data_size` bytes together.
    pub(crate) fn checked(pairs: &[(i64, i64)], size: i64, data_size: u64) -> Result<Self> {
        let size = u64::try_from(size).map_err(|_| invalid())?;
        let (mut end, mut sum) = (0_u64, 0_u64);
        let mut segments = Vec::with_capacity(pairs.len());
        for (offset, length) in pairs {
            let (Ok(offset), Ok(length)) = (u64::try_from(*offset), u64::try_from(*length)) else {
                return Err(invalid());
            };
            if offset < end {
                return Err(invalid());
            }
            end = offset.checked_add(length).filter(|end| *end <= size).ok_or_else(invalid)?;
            sum += length;
            if length > 0 {
                segments.push((offset, length));
            }
        }
        if sum != data_size {
            return Err(invalid());
        }
        Ok(Self { segments, size })
    }
}

/// Forms 0.0 and 0.1: a comma-separated list of offsets and lengths.
pub(crate) fn parse_pairs(text: &str, max: usize) -> Result<Vec<(i64, i64)>> {
    let numbers: Vec<i64> = text
        .split(',')
        .filter(|number| !number.is_empty())
        .take(2 * max + 1)
        .map(|number| number.parse().map_err(|_| invalid()))
        .collect::<Result<_>>()?;
    if !numbers.len().is_multiple_of(2) || numbers.len() > 2 * max {
        return Err(invalid());
    }
    Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// Form 1.0: the map stands before the data, one decimal number a line, padded to a block.
/// Gives the pairs and the number of bytes that the map took.
pub(crate) fn read_map(reader: &mut impl Read, max: usize) -> Result<(Vec<(i64, i64)>, u64)> {
    let mut lines = MapLines { reader, block: Vec::new(), position: 0, read: 0 };
    let count = usize::try_from(lines.number()?).ok().filter(|count| *count <= max).ok_or_else(invalid)?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((lines.number()?, lines.number()?));
    }
    Ok((pairs, lines.read))
}

struct MapLines<'a, R> {
    reader: &'a mut R,
    block: Vec<u8>,
    position: usize,
    read: u64,
}

impl<R: Read> MapLines<'_, R> {
    fn number(&mut self) -> Result<i64> {
        let mut digits = String::new();
        loop {
            if self.position == self.block.len() {
                self.block.resize(super::header::BLOCK, 0);
                self.reader.read_exact(&mut self.block).map_err(|error| invalid().with_source(error))?;
                self.position = 0;
                self.read += self.block.len() as u64;
            }
            let byte = self.block[self.position];
            self.position += 1;
            match byte {
                b'\n' => return digits.parse().map_err(|_| invalid()),
                b'0'..=b'9' if digits.len() < 19 => digits.push(byte as char),
                _ => return Err(invalid()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_must_ascend_and_sum_up() {
        assert_eq!(SparseMap::checked(&[(0, 1), (8, 2), (20, 0)], 20, 3).unwrap().segments, [(0, 1), (8, 2)]);
        for (pairs, size, data) in
            [(&[(0, 5), (3, 1)][..], 20, 6), (&[(0, 5)], 4, 5), (&[(0, 5)], 10, 4), (&[(-1, 5)], 10, 5)]
        {
            assert!(SparseMap::checked(pairs, size, data).is_err());
        }
        assert!(SparseMap::checked(&[(i64::MAX, i64::MAX)], i64::MAX, i64::MAX as u64).is_err());
    }

    #[test]
    fn a_map_before_the_data_is_read_in_whole_blocks() {
        let mut data = b"2\n0\n1\n8\n2\n".to_vec();
        data.resize(512, 0);
        data.extend(b"abc");
        let mut reader = &data[..];
        assert_eq!(read_map(&mut reader, 10).unwrap(), (vec![(0, 1), (8, 2)], 512));
        assert_eq!(reader, b"abc");
        assert!(read_map(&mut &data[..], 1).is_err());
    }
}
