//! What a profile says about one call, found out slowly: no ranges, no tree, no halves.

use super::interpreter::Call;
use super::table;
use crate::seccomp::arch::{Architecture, X32_BIT};
use crate::seccomp::table::Table;
use crate::seccomp::{Action, Condition, Operator, Profile, Rule};

/// Decides on `call` for a kernel of the architecture `native`.
pub(super) fn decide(profile: &Profile, native: Architecture, call: &Call) -> Action {
    if call.audit == native.audit() && native == Architecture::X86_64 && call.number == u32::MAX {
        return profile.default;
    }
    let Some(arch) = architecture(profile, native, call) else {
        return Action::KillThread;
    };
    let table = table(arch).expect("a table");
    let saying: Vec<&Rule> = profile
        .rules
        .iter()
        .filter(|rule| rule.action != profile.default)
        .collect();
    let about = |rule: &&&Rule| {
        let mut names = rule.names.iter();
        names.any(|name| table.number(name) == Some(call.number))
    };
    let named: Vec<&&Rule> = saying.iter().filter(about).collect();
    if let Some(rule) = named.iter().find(|rule| unconditional(rule)) {
        return rule.action;
    }
    if let Some(rule) = named.iter().find(|rule| holds(rule, arch, call)) {
        return rule.action;
    }
    if let Some(rule) = saying
        .iter()
        .find(|rule| through_multiplexer(rule, profile, table, call))
    {
        return rule.action;
    }
    if is_newer(profile, table, arch, call.number) {
        return Action::Errno(38);
    }
    profile.default
}

fn architecture(profile: &Profile, native: Architecture, call: &Call) -> Option<Architecture> {
    let all = profile.architectures.iter().copied().chain([native]);
    let mut all = all.filter(|arch| arch.runs_on(native) && arch.audit() == call.audit);
    all.find(|arch| match arch {
        Architecture::X32 => call.number >= X32_BIT,
        Architecture::X86_64 => call.number < X32_BIT,
        _ => true,
    })
}

fn unconditional(rule: &Rule) -> bool {
    let void = |condition: &Condition| condition.operator == Operator::MaskedEqual(0);
    let mut alternatives = rule.alternatives.iter();
    alternatives.any(|conditions| conditions.iter().all(void))
}

fn holds(rule: &Rule, arch: Architecture, call: &Call) -> bool {
    let compares = |condition: &Condition| compares(condition, arch, call);
    let mut alternatives = rule.alternatives.iter();
    alternatives.any(|conditions| conditions.iter().all(compares))
}

fn compares(condition: &Condition, arch: Architecture, call: &Call) -> bool {
    let mut argument = call.args[usize::from(condition.index)];
    let mut value = condition.value;
    let mut mask = match condition.operator {
        Operator::MaskedEqual(mask) => mask,
        _ => u64::MAX,
    };
    if arch.narrow() {
        let bits = u64::from(u32::MAX);
        argument &= bits;
        mask &= bits;
        // A negative number of 32 bits.
        if value >> 31 == 0x1_ffff_ffff {
            value &= bits;
        }
    }
    match condition.operator {
        Operator::NotEqual => argument != value,
        Operator::Less => argument < value,
        Operator::LessOrEqual => argument <= value,
        Operator::Equal => argument == value,
        Operator::GreaterOrEqual => argument >= value,
        Operator::Greater => argument > value,
        Operator::MaskedEqual(_) => argument & mask == value & mask,
    }
}

fn through_multiplexer(rule: &Rule, profile: &Profile, table: &Table, call: &Call) -> bool {
    let kept = unconditional(rule) || rule.action.is_stricter_than(profile.default);
    let mut ways = rule.names.iter().filter_map(|name| table.multiplexed(name));
    kept && ways.any(|way| way.number == call.number && call.args[0] as u32 & way.mask == way.call)
}

fn is_newer(profile: &Profile, table: &Table, arch: Architecture, number: u32) -> bool {
    if matches!(
        profile.default,
        Action::Allow | Action::Log | Action::Trace(_) | Action::Errno(38)
    ) {
        return false;
    }
    let private = |number: u32| match arch {
        Architecture::Arm => number >= 0xf_0000,
        Architecture::X32 => (512..548).contains(&(number & !X32_BIT)),
        _ => false,
    };
    let names = profile.rules.iter().flat_map(|rule| &rule.names);
    let numbers = names.filter_map(|name| table.number(name));
    let highest = numbers.filter(|number| !private(*number)).max();
    let multiplexer = arch == Architecture::S390X && number == 0;
    highest.is_some_and(|highest| (number > highest && !private(number)) || multiplexer)
}
