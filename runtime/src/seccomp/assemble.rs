//! Classic BPF, written from its end.
//!
//! All jumps lead forward, so what a jump leads to is there before the jump is written: its
//! distance is known, and one that does not fit the 8 bits of a conditional jump gets a stepping
//! stone on the spot.

use std::collections::HashMap;

use super::profile::Action;

/// Offset of the number in `struct seccomp_data`.
pub(super) const NUMBER: u32 = 0;
/// Offset of the architecture.
pub(super) const ARCHITECTURE: u32 = 4;
/// Offset of the first argument, each of eight bytes.
pub(super) const ARGUMENTS: u32 = 16;

/// `BPF_LD | BPF_W | BPF_ABS`.
pub(super) const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`.
pub(super) const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`.
pub(super) const JUMP: u16 = 0x05;
/// `BPF_RET | BPF_K`.
pub(super) const RETURN: u16 = 0x06;

/// Farthest that a conditional jump leads.
const REACH: usize = 255;

/// One instruction, as the kernel takes it (`struct sock_filter`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Operation.
    pub(crate) code: u16,
    /// Instructions to skip if a test is true.
    pub(crate) jt: u8,
    /// Instructions to skip if it is false.
    pub(crate) jf: u8,
    /// Operand.
    pub(crate) k: u32,
}

/// A comparison of the loaded word with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Test {
    /// `BPF_JMP | BPF_JEQ | BPF_K`.
    Equal = 0x15,
    /// `BPF_JMP | BPF_JGT | BPF_K`.
    Greater = 0x25,
    /// `BPF_JMP | BPF_JGE | BPF_K`.
    GreaterOrEqual = 0x35,
}

/// Where a program goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// At an instruction, by how many there are from it to the end, itself included.
    At(usize),
    /// Nowhere: that is the answer.
    Answer(Action),
}

/// A program that grows at its front.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    reversed: Vec<Instruction>,
    answers: HashMap<Action, usize>,
}

impl Assembler {
    /// Loads the word at `offset` and goes on at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Target) -> Target {
        self.follow(LOAD, offset, next)
    }

    /// Keeps the bits of `mask` and goes on at `next`.
    pub(super) fn and(&mut self, mask: u32, next: Target) -> Target {
        self.follow(AND, mask, next)
    }

    /// Goes on at `yes` or at `no`.
    pub(super) fn branch(&mut self, test: Test, k: u32, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        // A stepping stone for `yes` moves `no` away by one.
        let no = self.reach(no, REACH - 1);
        let yes = self.reach(yes, REACH);
        let distance = |at: usize| (self.reversed.len() - at) as u8;
        let (jt, jf) = (distance(yes), distance(no));
        self.push(Instruction {
            code: test as u16,
            jt,
            jf,
            k,
        })
    }

    /// The program, whose first instruction is `start`.
    pub(super) fn finish(mut self, start: Target) -> Vec<Instruction> {
        self.fall_through(start);
        self.reversed.reverse();
        self.reversed
    }

    fn push(&mut self, instruction: Instruction) -> Target {
        self.reversed.push(instruction);
        Target::At(self.reversed.len())
    }

    fn follow(&mut self, code: u16, k: u32, next: Target) -> Target {
        self.fall_through(next);
        let (jt, jf) = (0, 0);
        self.push(Instruction { code, jt, jf, k })
    }

    /// Sees to it that the next instruction is `target`.
    fn fall_through(&mut self, target: Target) {
        match target {
            Target::At(at) if at == self.reversed.len() => {}
            Target::At(at) => {
                self.jump(at);
            }
            Target::Answer(action) => {
                self.answer(action);
            }
        }
    }

    /// An instruction no farther away than `most` that leads to `target`.
    fn reach(&mut self, target: Target, most: usize) -> usize {
        let near = |at: &usize| self.reversed.len() - at <= most;
        match target {
            Target::At(at) if near(&at) => at,
            Target::At(at) => self.jump(at),
            Target::Answer(action) => match self.answers.get(&action).copied().filter(near) {
                Some(at) => at,
                None => self.answer(action),
            },
        }
    }

    fn jump(&mut self, at: usize) -> usize {
        let k = (self.reversed.len() - at) as u32;
        let (jt, jf) = (0, 0);
        let code = JUMP;
        self.push(Instruction { code, jt, jf, k });
        self.reversed.len()
    }

    fn answer(&mut self, action: Action) -> usize {
        let k = action.returned();
        let (jt, jf) = (0, 0);
        let code = RETURN;
        self.push(Instruction { code, jt, jf, k });
        self.answers.insert(action, self.reversed.len());
        self.reversed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::Architecture;
    use crate::seccomp::tests::interpreter::{Call, answer};

    /// Both ways of a branch are right at every distance, also where one stepping stone pushes the
    /// other target out of reach.
    #[test]
    fn jumps_lead_where_they_should_at_any_distance() {
        let (yes, no) = (Action::Errno(1), Action::Errno(2));
        for padding in 240..270 {
            for between in [0, 1, 2, 300] {
                let mut assembler = Assembler::default();
                let mut end = assembler.load(NUMBER, Target::Answer(yes));
                let far = end;
                for _ in 0..between {
                    end = assembler.and(u32::MAX, end);
                }
                let mut near = assembler.load(NUMBER, Target::Answer(no));
                let nearest = near;
                for _ in 0..padding {
                    near = assembler.and(u32::MAX, near);
                }
                for (one, other) in [(far, nearest), (nearest, far)] {
                    let mut assembler = Assembler {
                        reversed: assembler.reversed.clone(),
                        answers: assembler.answers.clone(),
                    };
                    let branch = assembler.branch(Test::Equal, 7, one, other);
                    let start = assembler.load(NUMBER, branch);
                    let program = assembler.finish(start);
                    let run = |number| {
                        let call = Call::new(Architecture::X86_64, number, &[]);
                        answer(&program, &call).returned
                    };
                    let swapped = one == nearest;
                    let expected = if swapped { (no, yes) } else { (yes, no) };
                    let found = (run(7), run(8));
                    let expected = (expected.0.returned(), expected.1.returned());
                    assert_eq!(found, expected, "{padding} {between} {swapped}");
                }
            }
        }
    }
}
