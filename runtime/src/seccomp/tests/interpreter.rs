//! Classic BPF as the kernel runs it for seccomp, with its checks.

use crate::seccomp::arch::Architecture;
use crate::seccomp::assemble::Instruction;

/// What a filter sees (`struct seccomp_data`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) number: u32,
    pub(crate) audit: u32,
    pub(crate) args: [u64; 6],
    pub(crate) big_endian: bool,
}

impl Call {
    /// Arguments that are left out are 0.
    pub(crate) fn new(arch: Architecture, number: u32, given: &[u64]) -> Self {
        let mut args = [0; 6];
        args[..given.len()].copy_from_slice(given);
        Self {
            number,
            audit: arch.audit(),
            args,
            big_endian: arch.big_endian(),
        }
    }

    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            16..64 if offset.is_multiple_of(4) => {
                let argument = self.args[(offset as usize - 16) / 8];
                let second = offset % 8 == 4;
                if second != self.big_endian {
                    (argument >> 32) as u32
                } else {
                    argument as u32
                }
            }
            _ => panic!("no word of the call is at {offset}"),
        }
    }
}

/// What a filter answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    /// `SECCOMP_RET_*` and data.
    pub(crate) returned: u32,
    /// Instructions executed, the return included.
    pub(crate) executed: usize,
}

/// Runs `program`. Panics on what the kernel would not have installed.
pub(crate) fn answer(program: &[Instruction], call: &Call) -> Answer {
    let (mut at, mut executed, mut word) = (0, 0, None);
    loop {
        let instruction = program.get(at).expect("the program runs off its end");
        let Instruction { code, jt, jf, k } = *instruction;
        executed += 1;
        at += 1;
        let loaded = || word.expect("nothing loaded");
        let tested = match code {
            0x20 => {
                word = Some(call.word(k));
                continue;
            }
            0x54 => {
                word = Some(loaded() & k);
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => {
                let returned = k;
                return Answer { returned, executed };
            }
            0x15 => loaded() == k,
            0x25 => loaded() > k,
            0x35 => loaded() >= k,
            _ => panic!("no such instruction: {code:#x}"),
        };
        at += usize::from(if tested { jt } else { jf });
    }
}
