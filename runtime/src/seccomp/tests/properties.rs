//! Random profiles and calls: the program and the oracle say the same.

use proptest::prelude::*;

use super::interpreter::{Call, answer};
use super::oracle::decide;
use super::table;
use crate::seccomp::arch::{Architecture, X32_BIT};
use crate::seccomp::compile::compile;
use crate::seccomp::{Action, Condition, Operator, Profile, Rule};

/// Few, so that rules meet: first and last numbers, calls of one architecture only, multiplexed
/// ones, and one that no architecture has.
const NAMES: &[&str] = &[
    "read",
    "write",
    "open",
    "execve",
    "ioctl",
    "socket",
    "sendmsg",
    "shmget",
    "socketcall",
    "ipc",
    "clone",
    "clone3",
    "personality",
    "set_tls",
    "pwritev2",
    "file_setattr",
    "no_such_call",
];

const FAMILIES: &[(Architecture, &[Architecture])] = &[
    (
        Architecture::X86_64,
        &[Architecture::X86, Architecture::X32, Architecture::Arm],
    ),
    (
        Architecture::Aarch64,
        &[Architecture::Arm, Architecture::Aarch64],
    ),
    (Architecture::S390X, &[Architecture::S390X]),
    (
        Architecture::Ppc64,
        &[Architecture::Ppc, Architecture::Ppc64],
    ),
    (Architecture::Riscv64, &[]),
];

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::KillProcess),
        Just(Action::KillThread),
        Just(Action::Trap),
        Just(Action::Notify),
        Just(Action::Log),
        Just(Action::Allow),
        prop_oneof![Just(1u16), Just(38)].prop_map(Action::Errno),
        Just(Action::Trace(1)),
    ]
}

/// Values whose halves and signs are at an edge, so that arguments meet them.
fn value() -> impl Strategy<Value = u64> {
    let half = || prop_oneof![Just(0u32), Just(1), Just(0x8000_0000), Just(u32::MAX)];
    prop_oneof![
        4 => (half(), half()).prop_map(|(high, low)| u64::from(high) << 32 | u64::from(low)),
        1 => 0..32u64,
        1 => any::<u64>(),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let operator = prop_oneof![
        Just(Operator::NotEqual),
        Just(Operator::Less),
        Just(Operator::LessOrEqual),
        Just(Operator::Equal),
        Just(Operator::GreaterOrEqual),
        Just(Operator::Greater),
        value().prop_map(Operator::MaskedEqual),
    ];
    (0..6u8, operator, value()).prop_map(|(index, operator, value)| Condition {
        index,
        operator,
        value,
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let names = prop::collection::vec(prop::sample::select(NAMES), 1..4);
    let conditions = prop::collection::vec(condition(), 0..4);
    let alternatives = prop::collection::vec(conditions, 1..3);
    (names, action(), alternatives).prop_map(|(names, action, alternatives)| Rule {
        names: names.into_iter().map(str::to_owned).collect(),
        action,
        alternatives,
    })
}

fn case() -> impl Strategy<Value = (Architecture, Profile, Vec<Call>)> {
    prop::sample::select(FAMILIES).prop_flat_map(|(native, family)| {
        let architectures = prop::sample::subsequence(family.to_vec(), 0..=family.len());
        let rules = prop::collection::vec(rule(), 0..12);
        let profile =
            (action(), architectures, rules).prop_map(|(default, architectures, rules)| Profile {
                default,
                architectures,
                rules,
            });
        let calls = prop::collection::vec(call(native, family), 64);
        (Just(native), profile, calls)
    })
}

fn call(native: Architecture, family: &[Architecture]) -> impl Strategy<Value = Call> + use<> {
    let mut all = family.to_vec();
    all.push(native);
    let number = prop_oneof![
        8 => prop::sample::select(NAMES).prop_map(Ok),
        2 => (0..700u32).prop_map(Err),
        1 => prop_oneof![Just(X32_BIT), Just(u32::MAX), Just(0xf_0000), any::<u32>()]
            .prop_map(Err),
    ];
    let args = prop::array::uniform6(value());
    let x32 = any::<bool>();
    let arch = prop::sample::select(all);
    (arch, number, x32, args).prop_map(|(arch, number, x32, args)| {
        let number = match number {
            Ok(name) => table(arch)
                .and_then(|table| table.number(name))
                .unwrap_or(9999),
            Err(number) if x32 && arch == Architecture::X86_64 => number | X32_BIT,
            Err(number) => number,
        };
        let args = args.map(|arg| {
            if arch.narrow() {
                arg & 0xffff_ffff
            } else {
                arg
            }
        });
        Call::new(arch, number, &args)
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_program_says_what_the_profile_says((native, profile, calls) in case()) {
        let program = compile(&profile, native).unwrap();
        for call in calls {
            let expected = decide(&profile, native, &call);
            let found = answer(&program, &call).returned;
            prop_assert_eq!(found, expected.returned(), "{:?} for {:?}", expected, call);
        }
    }
}
