//! Docker's framing of attached streams: 8 bytes of header (stream, three zeros, big-endian length), then the bytes
//! (wire protocol of the Engine API, "stream format").

use minke_spec::shim::{FRAME_DETACHED, FRAME_EXIT, Framing};

/// The header of a frame.
pub fn header(stream: u8, length: usize) -> [u8; 8] {
    let [a, b, c, d] = (length as u32).to_be_bytes();
    [stream, 0, 0, 0, a, b, c, d]
}

/// The last frame to a client that is told how the process ended; `None` for clients that aren't.
pub fn exit(framing: Framing, code: i32) -> Option<[u8; 12]> {
    (framing == Framing::MultiplexedWithExit).then(|| {
        let mut frame = [0; 12];
        frame[..8].copy_from_slice(&header(FRAME_EXIT, 4));
        frame[8..].copy_from_slice(&code.to_be_bytes());
        frame
    })
}

/// The last frame to a client that has detached itself; `None` for clients that aren't told.
pub fn detached(framing: Framing) -> Option<[u8; 8]> {
    (framing == Framing::MultiplexedWithExit).then(|| header(FRAME_DETACHED, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_has_the_stream_and_the_length_in_network_order() {
        assert_eq!(header(2, 0x0102_0304), [2, 0, 0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn only_our_own_clients_get_the_exit_code() {
        assert_eq!(exit(Framing::Multiplexed, 3), None);
        assert_eq!(exit(Framing::Raw, 3), None);
        assert_eq!(exit(Framing::MultiplexedWithExit, 137), Some([16, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 137]));
        assert_eq!(detached(Framing::MultiplexedWithExit), Some([17, 0, 0, 0, 0, 0, 0, 0]));
    }
}
