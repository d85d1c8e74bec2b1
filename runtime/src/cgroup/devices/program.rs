//! The rules as a program: the last one that matches decides, for each way of access by itself.
//!
//! The kernel calls it with `struct bpf_cgroup_dev_ctx` (`include/uapi/linux/bpf.h`) whenever a
//! process of the group, or of one below it, opens a device or makes a node. 1 allows, 0 denies.
//!
//! The rules are tested from the last to the first. What a rule allows is taken out of what was
//! asked for; the access is allowed when nothing is left. What a rule denies ends it, if any of it
//! is still asked for. Both are what "the last rule holds" says, without looking at a rule twice.

use crate::spec::{Access, DeviceClass, DeviceRule};
use crate::sys::bpf::Instruction;

/// Registers: the context comes in `R1`, the verdict goes out in `R0`.
const R0: u8 = 0;
const CONTEXT: u8 = 1;
const ACCESS: u8 = 2;
const CLASS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// `BPF_LDX | BPF_W | BPF_MEM`: `dst = *(u32 *)(src + off)`.
const LOAD_WORD: u8 = 0x61;
/// `BPF_ALU | BPF_MOV | BPF_K`, and so on: 32-bit operations with a constant.
const MOVE: u8 = 0xb4;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
/// `BPF_ALU | BPF_MOV | BPF_X`.
const COPY: u8 = 0xbc;
/// `BPF_JMP32 | BPF_JEQ | BPF_K`, `BPF_JMP32 | BPF_JNE | BPF_K`.
const IF_EQUAL: u8 = 0x16;
const IF_NOT_EQUAL: u8 = 0x56;
/// `BPF_JMP | BPF_EXIT`.
const EXIT: u8 = 0x95;

/// `BPF_DEVCG_DEV_*`.
fn class_number(class: DeviceClass) -> u32 {
    match class {
        DeviceClass::Block => 1,
        DeviceClass::Char => 2,
    }
}

/// The program for a sequence of rules; what none of them speaks of is denied.
pub(super) fn assemble(rules: &[DeviceRule]) -> Vec<Instruction> {
    let load = |dst, offset| Instruction::new(LOAD_WORD, dst, CONTEXT, offset, 0);
    let mut program = vec![
        // `access_type`: the class in the low half, the access in the high one.
        load(ACCESS, 0),
        Instruction::new(COPY, CLASS, ACCESS, 0, 0),
        constant(AND, CLASS, 0xffff),
        constant(SHIFT_RIGHT, ACCESS, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules.iter().rev() {
        if rule.is_about_all() {
            program.extend(verdict(rule.allow));
            return program;
        }
        program.extend(block(rule));
    }
    program.extend(verdict(false));
    program
}

/// The test of one rule, which goes on behind its last instruction if the rule does not decide.
fn block(rule: &DeviceRule) -> Vec<Instruction> {
    let mut tests = Vec::new();
    let class = rule.class.map(class_number);
    for (register, wanted) in [(CLASS, class), (MAJOR, rule.major), (MINOR, rule.minor)] {
        tests.extend(wanted.map(|wanted| constant(IF_NOT_EQUAL, register, wanted)));
    }
    let ways = u32::from(rule.access.bits());
    match (rule.access == Access::ALL, rule.allow) {
        (true, _) => {}
        (false, true) => {
            tests.push(constant(AND, ACCESS, !ways));
            tests.push(constant(IF_NOT_EQUAL, ACCESS, 0));
        }
        (false, false) => {
            tests.push(Instruction::new(COPY, SCRATCH, ACCESS, 0, 0));
            tests.push(constant(AND, SCRATCH, ways));
            tests.push(constant(IF_EQUAL, SCRATCH, 0));
        }
    }
    tests.extend(verdict(rule.allow));
    let length = tests.len();
    for (at, instruction) in tests.iter_mut().enumerate() {
        if instruction.is_jump() {
            // At most nine instructions.
            instruction.offset = i16::try_from(length - at - 1).unwrap_or(i16::MAX);
        }
    }
    tests
}

fn verdict(allow: bool) -> [Instruction; 2] {
    [
        constant(MOVE, R0, u32::from(allow)),
        Instruction::new(EXIT, 0, 0, 0, 0),
    ]
}

fn constant(code: u8, register: u8, value: u32) -> Instruction {
    Instruction::new(code, register, 0, 0, value.cast_signed())
}

impl Instruction {
    fn is_jump(&self) -> bool {
        matches!(self.code, IF_EQUAL | IF_NOT_EQUAL)
    }
}

#[cfg(test)]
mod tests;
