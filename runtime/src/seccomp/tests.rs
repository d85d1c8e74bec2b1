//! Compiled programs, run by an interpreter and held against an oracle.

mod docker;
pub(crate) mod interpreter;
mod oracle;
mod properties;

use super::arch::{Architecture, X32_BIT};
use super::compile::compile;
use super::table::Table;
use super::{Action, Condition, Operator, Profile, Rule};
use interpreter::{Call, answer};
use std::collections::BTreeMap;
use std::sync::OnceLock;

const X86_64: Architecture = Architecture::X86_64;

/// Made once: the oracle asks often.
fn table(arch: Architecture) -> Option<&'static Table> {
    static TABLES: OnceLock<BTreeMap<Architecture, Table>> = OnceLock::new();
    let tables = TABLES.get_or_init(|| {
        [
            X86_64,
            Architecture::X86,
            Architecture::X32,
            Architecture::Aarch64,
            Architecture::Arm,
            Architecture::S390X,
            Architecture::Ppc64,
            Architecture::Ppc,
            Architecture::Riscv64,
        ]
        .into_iter()
        .filter_map(|arch| Some((arch, Table::of(arch)?)))
        .collect()
    });
    tables.get(&arch)
}

fn profile(default: Action, rules: Vec<Rule>) -> Profile {
    Profile {
        default,
        architectures: Vec::new(),
        rules,
    }
}

fn rule(names: &[&str], action: Action, conditions: &[Condition]) -> Rule {
    Rule {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        action,
        alternatives: vec![conditions.to_vec()],
    }
}

fn arg(index: u8, operator: Operator, value: u64) -> Condition {
    Condition {
        index,
        operator,
        value,
    }
}

/// What `profile` answers to a call of x86_64.
fn on(profile: &Profile, number: u32, args: &[u64]) -> u32 {
    let program = compile(profile, X86_64).unwrap();
    answer(&program, &Call::new(X86_64, number, args)).returned
}

#[test]
fn every_operator_compares_both_halves_without_a_sign() {
    const EDGES: [u64; 10] = [
        0,
        1,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        0x1_0000_0001,
        0x7fff_ffff_ffff_ffff,
        0x8000_0000_0000_0000,
        u64::MAX,
    ];
    for value in EDGES {
        for argument in EDGES {
            for (operator, expected) in [
                (Operator::NotEqual, argument != value),
                (Operator::Less, argument < value),
                (Operator::LessOrEqual, argument <= value),
                (Operator::Equal, argument == value),
                (Operator::GreaterOrEqual, argument >= value),
                (Operator::Greater, argument > value),
                (Operator::MaskedEqual(u64::MAX), argument == value),
                (
                    Operator::MaskedEqual(1 << 32),
                    (argument ^ value) & (1 << 32) == 0,
                ),
            ] {
                let one = rule(&["write"], Action::Trap, &[arg(5, operator, value)]);
                let profile = profile(Action::Allow, vec![one]);
                let answer = on(&profile, 1, &[0, 0, 0, 0, 0, argument]);
                let trapped = answer == Action::Trap.returned();
                assert_eq!(trapped, expected, "{argument:#x} {operator:?} {value:#x}");
            }
        }
    }
}

#[test]
fn every_action_has_its_value() {
    for (action, returned) in [
        (Action::KillProcess, 0x8000_0000),
        (Action::KillThread, 0),
        (Action::Trap, 0x3_0000),
        (Action::Errno(13), 0x5_000d),
        (Action::Notify, 0x7fc0_0000),
        (Action::Trace(7), 0x7ff0_0007),
        (Action::Log, 0x7ffc_0000),
        (Action::Allow, 0x7fff_0000),
    ] {
        let profile = profile(Action::Trap, vec![rule(&["read"], action, &[])]);
        assert_eq!(on(&profile, 0, &[]), returned, "{action:?}");
    }
}

#[test]
fn all_conditions_of_a_rule_must_hold_and_one_rule_of_several() {
    let both = [arg(0, Operator::Equal, 1), arg(1, Operator::Equal, 2)];
    let profile = profile(
        Action::Errno(1),
        vec![
            rule(&["read"], Action::Allow, &both),
            rule(&["read"], Action::Log, &[arg(2, Operator::Equal, 3)]),
        ],
    );
    let allow = Action::Allow.returned();
    assert_eq!(on(&profile, 0, &[1, 2]), allow);
    assert_eq!(on(&profile, 0, &[1, 2, 3]), allow, "the first one wins");
    assert_eq!(on(&profile, 0, &[1, 0, 3]), Action::Log.returned());
    assert_eq!(on(&profile, 0, &[1, 0]), Action::Errno(1).returned());
}

#[test]
fn the_first_rule_without_conditions_wins_unless_it_says_the_default() {
    let condition = [arg(0, Operator::Equal, 1)];
    let deny = Action::Errno(1);
    let conditional = rule(&["read"], Action::Allow, &condition);
    let always = rule(&["read"], Action::Errno(5), &[]);
    let later = rule(&["read"], Action::Log, &[]);
    let default = rule(&["read"], deny, &[]);
    let rules = vec![default.clone(), conditional.clone(), always, later];
    let returned = on(&profile(deny, rules), 0, &[1]);
    assert_eq!(returned, Action::Errno(5).returned());
    let returned = on(&profile(deny, vec![default, conditional]), 0, &[1]);
    assert_eq!(returned, Action::Allow.returned());
    // A mask without bits is no condition.
    let any = [arg(0, Operator::MaskedEqual(0), 7)];
    let rules = vec![
        rule(&["read"], Action::Errno(9), &condition),
        rule(&["read"], Action::Allow, &any),
    ];
    let returned = on(&profile(deny, rules), 0, &[1]);
    assert_eq!(returned, Action::Allow.returned());
}

#[test]
fn calls_that_are_newer_than_the_profile_do_not_exist() {
    let named = || vec![rule(&["read", "openat2", "not_a_call"], Action::Allow, &[])];
    let enosys = Action::Errno(38).returned();
    let after = 438;
    for default in [Action::Errno(1), Action::KillProcess, Action::Trap] {
        let profile = profile(default, named());
        assert_eq!(on(&profile, 437, &[]), Action::Allow.returned());
        assert_eq!(on(&profile, after, &[]), enosys, "{default:?}");
        assert_eq!(on(&profile, 436, &[]), default.returned());
        let nothing = Profile {
            rules: Vec::new(),
            ..profile
        };
        assert_eq!(on(&nothing, after, &[]), default.returned());
    }
    for default in [Action::Allow, Action::Log, Action::Trace(1)] {
        let returned = on(&profile(default, named()), after, &[]);
        assert_eq!(returned, default.returned(), "{default:?}");
    }
    // Private calls of ARM lie far above all others and must not count.
    let profile = profile(
        Action::Errno(1),
        vec![rule(&["read", "set_tls"], Action::Allow, &[])],
    );
    let profile = Profile {
        architectures: vec![Architecture::Arm],
        ..profile
    };
    let program = compile(&profile, Architecture::Aarch64).unwrap();
    let on = |number| answer(&program, &Call::new(Architecture::Arm, number, &[])).returned;
    assert_eq!(on(4), enosys);
    assert_eq!(on(0xf_0005), Action::Allow.returned());
    assert_eq!(on(0xf_0004), Action::Errno(1).returned());
}

#[test]
fn other_architectures_are_killed_and_x32_is_one() {
    let killed = Action::KillThread.returned();
    let allow_all = |architectures: &[Architecture]| Profile {
        architectures: architectures.to_vec(),
        ..profile(Action::Allow, Vec::new())
    };
    let run = |profile: &Profile, arch, number| {
        let program = compile(profile, X86_64).unwrap();
        answer(&program, &Call::new(arch, number, &[])).returned
    };
    let native = allow_all(&[Architecture::Aarch64]);
    for (arch, number) in [
        (Architecture::X86, 1),
        (Architecture::Aarch64, 1),
        (X86_64, X32_BIT | 1),
        (X86_64, 0xffff_fffe),
    ] {
        assert_eq!(run(&native, arch, number), killed, "{arch:?} {number:#x}");
    }
    let allowed = Action::Allow.returned();
    assert_eq!(run(&native, X86_64, 1), allowed, "the native one is in");
    assert_eq!(run(&native, X86_64, u32::MAX), allowed, "a skipped call");
    let all = allow_all(&[Architecture::X86, Architecture::X32]);
    assert_eq!(run(&all, Architecture::X86, 1), allowed);
    assert_eq!(run(&all, X86_64, X32_BIT | 1), allowed);
}

#[test]
fn arguments_of_32_bits_are_compared_as_such() {
    let profile = |operator, value| Profile {
        architectures: vec![Architecture::X86],
        ..profile(
            Action::Allow,
            vec![rule(&["read"], Action::Trap, &[arg(0, operator, value)])],
        )
    };
    let trapped = |operator, value, argument| {
        let program = compile(&profile(operator, value), X86_64).unwrap();
        let call = Call::new(Architecture::X86, 3, &[argument]);
        answer(&program, &call).returned == Action::Trap.returned()
    };
    assert!(trapped(Operator::Equal, u64::MAX, 0xffff_ffff), "-1 is -1");
    assert!(!trapped(Operator::Equal, 1 << 32, 0));
    assert!(trapped(Operator::NotEqual, 1 << 32, 0));
    assert!(trapped(Operator::Less, 1 << 32, 0xffff_ffff));
    assert!(!trapped(Operator::Greater, 1 << 32, 0xffff_ffff));
    assert!(trapped(Operator::LessOrEqual, 5, 5));
}

#[test]
fn what_goes_through_socketcall_is_never_wider_than_the_profile() {
    let (allow, deny) = (Action::Allow, Action::Errno(1));
    let run = |default, rules, call: u64| {
        let profile = Profile {
            architectures: vec![Architecture::X86],
            ..profile(default, rules)
        };
        let program = compile(&profile, X86_64).unwrap();
        answer(&program, &Call::new(Architecture::X86, 102, &[call])).returned
    };
    let condition = [arg(0, Operator::Equal, 40)];
    let always = |action| vec![rule(&["socket"], action, &[])];
    let sometimes = |action| vec![rule(&["socket"], action, &condition)];
    assert_eq!(run(deny, always(allow), 1), allow.returned());
    assert_eq!(run(deny, always(allow), 2), deny.returned());
    assert_eq!(run(deny, sometimes(allow), 1), deny.returned());
    assert_eq!(run(allow, sometimes(deny), 1), deny.returned());
    assert_eq!(run(allow, sometimes(deny), 2), allow.returned());
    let high = 0x5_0000_0000 | 1;
    assert_eq!(run(allow, always(deny), high), deny.returned());
}

#[test]
fn a_program_that_is_too_long_is_refused_and_one_of_any_other_length_is_right() {
    let names: Vec<String> = syscalls::x86_64::Sysno::iter()
        .map(|call| call.name().to_owned())
        .collect();
    let rules = |conditions: usize| -> Vec<Rule> {
        let numbered = names.iter().enumerate();
        let all = numbered.map(|(at, name)| {
            let value = |index: u8| ((at as u64) << 40) + u64::from(index);
            let conditions: Vec<Condition> = (0..conditions as u8)
                .map(|index| arg(index, Operator::Greater, value(index)))
                .collect();
            rule(&[name.as_str()], Action::Errno(at as u16 + 1), &conditions)
        });
        all.collect()
    };
    let error = compile(&profile(Action::Allow, rules(6)), X86_64).unwrap_err();
    assert!(error.instructions > 4096);
    let profile = profile(Action::Allow, rules(1));
    let program = compile(&profile, X86_64).unwrap();
    assert!(program.len() > 1000, "no long jumps: {}", program.len());
    for (at, name) in names.iter().enumerate() {
        let number = table(X86_64).unwrap().number(name);
        for (argument, action) in [
            ((at as u64) << 40, Action::Allow),
            (((at as u64) << 40) + 1, Action::Errno(at as u16 + 1)),
        ] {
            let call = Call::new(X86_64, number.unwrap(), &[argument]);
            assert_eq!(
                answer(&program, &call).returned,
                action.returned(),
                "{name}"
            );
        }
    }
}
