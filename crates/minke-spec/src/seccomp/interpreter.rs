//! The kernel's reading of a classic BPF program over `struct seccomp_data`, for tests.

/// One system call as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) audit: u32,
    pub(super) args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            16..=60 => {
                let argument = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
            _ => panic!("load from offset {offset}"),
        }
    }
}

/// Runs a program; panics on what the kernel would refuse.
pub(super) fn run(program: &[u64], call: &Call) -> u32 {
    let (mut place, mut accumulator) = (0usize, 0u32);
    loop {
        let bits = program[place];
        let (when, otherwise, value) = ((bits >> 16) as u8, (bits >> 24) as u8, (bits >> 32) as u32);
        place += 1;
        let holds = match bits as u16 {
            0x20 => {
                assert!(value.is_multiple_of(4));
                accumulator = call.word(value);
                continue;
            }
            0x54 => {
                accumulator &= value;
                continue;
            }
            0x05 => {
                place += value as usize;
                continue;
            }
            0x06 => return value,
            0x15 => accumulator == value,
            0x25 => accumulator > value,
            0x35 => accumulator >= value,
            0x45 => accumulator & value != 0,
            code => panic!("unknown instruction {code:#x}"),
        };
        place += usize::from(if holds { when } else { otherwise });
    }
}
