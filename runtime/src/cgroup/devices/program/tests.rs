//! The program, run by a small emulator and compared with the rules read one after the other.

use super::*;

/// What the kernel would answer.
fn run(
    program: &[Instruction],
    class: DeviceClass,
    major: u32,
    minor: u32,
    access: Access,
) -> bool {
    let context = [
        class_number(class) | u32::from(access.bits()) << 16,
        major,
        minor,
    ];
    let mut registers: [Option<u32>; 10] = [None; 10];
    let mut at = 0;
    for _ in 0..=program.len() {
        let one = program[at];
        let dst = usize::from(one.dst());
        let value = one.constant.cast_unsigned();
        let now = || registers[dst].expect("a register that was set");
        at += 1;
        match one.code {
            LOAD_WORD => {
                assert_eq!(one.src(), CONTEXT);
                assert_eq!(one.offset % 4, 0);
                registers[dst] = Some(context[usize::try_from(one.offset / 4).unwrap()]);
            }
            MOVE => registers[dst] = Some(value),
            COPY => registers[dst] = registers[usize::from(one.src())],
            AND => registers[dst] = Some(now() & value),
            SHIFT_RIGHT => registers[dst] = Some(now() >> value),
            IF_EQUAL | IF_NOT_EQUAL => {
                assert!(one.offset > 0);
                if (now() == value) == (one.code == IF_EQUAL) {
                    at += usize::try_from(one.offset).unwrap();
                }
            }
            EXIT => return registers[0].expect("a verdict") == 1,
            other => panic!("instruction {other:#x}"),
        }
    }
    panic!("the program does not end");
}

/// "The last rule that matches holds", for each way of access.
fn expected(
    rules: &[DeviceRule],
    class: DeviceClass,
    major: u32,
    minor: u32,
    access: Access,
) -> bool {
    let mut allowed = Access::NONE;
    for rule in rules {
        let matches = rule.class.is_none_or(|only| only == class)
            && rule.major.is_none_or(|only| only == major)
            && rule.minor.is_none_or(|only| only == minor);
        if matches && rule.allow {
            allowed = allowed.union(rule.access);
        } else if matches {
            allowed = allowed.without(rule.access);
        }
    }
    access.without(allowed).is_empty()
}

/// A generator of numbers that is the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn rule(&mut self) -> DeviceRule {
        let number = |from: u64| u32::try_from(from).ok().filter(|from| *from < 3);
        let ways = [Access::MAKE, Access::READ, Access::WRITE];
        let mut access = ways[usize::try_from(self.below(3)).unwrap()];
        for way in ways {
            if self.below(2) == 0 {
                access = access.union(way);
            }
        }
        DeviceRule {
            allow: self.below(2) == 0,
            class: [None, Some(DeviceClass::Block), Some(DeviceClass::Char)]
                [usize::try_from(self.below(3)).unwrap()],
            major: number(self.below(5)),
            minor: number(self.below(5)),
            access,
        }
    }
}

#[test]
fn the_program_says_what_the_rules_say() {
    let mut numbers = Numbers(0x5eed);
    for _ in 0..2_000 {
        let rules: Vec<_> = (0..numbers.below(8)).map(|_| numbers.rule()).collect();
        let program = assemble(&rules);
        for class in [DeviceClass::Block, DeviceClass::Char] {
            for major in 0..4 {
                for minor in 0..4 {
                    for bits in 1..8 {
                        let ways = [Access::MAKE, Access::READ, Access::WRITE];
                        let access = ways
                            .into_iter()
                            .filter(|way| way.bits() & bits != 0)
                            .fold(Access::NONE, Access::union);
                        assert_eq!(
                            run(&program, class, major, minor, access),
                            expected(&rules, class, major, minor, access),
                            "{class:?} {major}:{minor} {access} of {rules:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn an_empty_list_denies() {
    let program = assemble(&[]);
    assert!(!run(&program, DeviceClass::Char, 1, 3, Access::READ));
}

#[test]
fn the_instructions_are_those_of_the_kernel() {
    let rule = DeviceRule {
        allow: true,
        class: Some(DeviceClass::Char),
        major: Some(10),
        minor: None,
        access: Access::READ,
    };
    let program = assemble(&[rule]);
    let raw: Vec<_> = program
        .iter()
        .map(|one| (one.code, one.registers, one.offset, one.constant))
        .collect();
    assert_eq!(
        raw,
        [
            (0x61, 0x12, 0, 0),
            (0xbc, 0x23, 0, 0),
            (0x54, 0x03, 0, 0xffff),
            (0x74, 0x02, 0, 16),
            (0x61, 0x14, 4, 0),
            (0x61, 0x15, 8, 0),
            (0x56, 0x03, 5, 2),
            (0x56, 0x04, 4, 10),
            (0x54, 0x02, 0, !2),
            (0x56, 0x02, 2, 0),
            (0xb4, 0x00, 0, 1),
            (0x95, 0x00, 0, 0),
            (0xb4, 0x00, 0, 0),
            (0x95, 0x00, 0, 0),
        ]
    );
}
