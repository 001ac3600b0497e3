//! Looking at many bytes with one instruction.

/// How many bytes at the beginning of `text` are ASCII that stands for itself in a JSON string as Go writes it: none of the control
/// characters, `"`, `\\`, `<`, `>` and `&`. Counts whole blocks and then up to the first other byte of a block; the last bytes,
/// less than a block, are left to the caller.
pub fn plain_json(text: &[u8]) -> usize {
    let mut done = 0;
    for block in text.as_chunks::<BLOCK_BYTES>().0 {
        let special = special_bytes(block);
        if special != 0 {
            return done + special.trailing_zeros() as usize / BITS_PER_BYTE;
        }
        done += BLOCK_BYTES;
    }
    done
}

#[cfg(target_arch = "x86_64")]
const BLOCK_BYTES: usize = 16;
#[cfg(target_arch = "x86_64")]
const BITS_PER_BYTE: usize = 1;

/// A bit for each byte that is special.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn special_bytes(block: &[u8; BLOCK_BYTES]) -> u32 {
    use core::arch::x86_64::*;
    // SAFETY: every processor of this architecture has these instructions; the load stays within the block.
    unsafe {
        let all = _mm_loadu_si128(block.as_ptr().cast());
        let equal = |to: __m128i, byte: u8| _mm_cmpeq_epi8(to, _mm_set1_epi8(byte as i8));
        // `<` and `>` differ in one bit, and so do `"` and `&`.
        let angles = equal(_mm_or_si128(all, _mm_set1_epi8(2)), b'>');
        let quotes = equal(_mm_or_si128(all, _mm_set1_epi8(4)), b'&');
        // Seen as signed, what is not ASCII is less than a space as well.
        let outside = _mm_cmplt_epi8(all, _mm_set1_epi8(0x20));
        let found = _mm_or_si128(_mm_or_si128(angles, quotes), _mm_or_si128(outside, equal(all, b'\\')));
        _mm_movemask_epi8(found) as u32
    }
}

#[cfg(not(target_arch = "x86_64"))]
const BLOCK_BYTES: usize = 8;
#[cfg(not(target_arch = "x86_64"))]
const BITS_PER_BYTE: usize = 8;

/// The high bit of the first byte that is special (and perhaps of later ones).
#[cfg(not(target_arch = "x86_64"))]
fn special_bytes(block: &[u8; BLOCK_BYTES]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(*block);
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    let equal = |byte: u8| zero(word ^ (ONES * u64::from(byte)));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (word | control | equal(b'"') | equal(b'\\') | equal(b'<') | equal(b'>') | equal(b'&')) & HIGHS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_special_byte_is_found_wherever_it_stands() {
        for byte in 0..=255u8 {
            let plain = (0x20..0x80).contains(&byte) && !b"\"\\<>&".contains(&byte);
            for place in 0..32 {
                let mut text = [b'~'; 32];
                text[place] = byte;
                assert_eq!(plain_json(&text), if plain { 32 } else { place }, "{byte} at {place}");
            }
        }
    }
}
