//! From a profile to a program.
//!
//! A filter asks for the architecture first, the native one before all others. Then a binary search
//! over the numbers leads to an answer or to conditions on arguments. x32 has a half of the search
//! to itself, next to x86_64, since the kernel shows both as one architecture. Arguments are not
//! loaded before the number is known, so that Linux can find out, when the filter is installed,
//! which calls are always allowed, and skip the filter for those (5.11).

use std::collections::{BTreeMap, HashMap};

use super::arch::{Architecture, X32_BIT};
use super::assemble::{ARCHITECTURE, ARGUMENTS, Assembler, Instruction, NUMBER, Target, Test};
use super::outcome::{BAD_ARCHITECTURE, Clause, Outcome, outcomes};
use super::profile::{Action, Condition, Operator, Profile};

/// Longest program that the kernel takes (`BPF_MAXINSNS`).
pub(super) const LONGEST: usize = 4096;

/// A program that is too long for the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong {
    /// Its instructions.
    pub(crate) instructions: usize,
}

/// Compiles `profile` for a kernel of the architecture `native`.
pub(super) fn compile(
    profile: &Profile,
    native: Architecture,
) -> Result<Vec<Instruction>, TooLong> {
    let mut assembler = Assembler::default();
    // What is written last is nearest to the beginning.
    let mut sections: Vec<(u32, Target)> = Vec::new();
    for arch in architectures(profile, native).into_iter().rev() {
        if let Some(starts) = starts(profile, native, arch)? {
            let entry = section(&mut assembler, arch, profile.default, starts);
            sections.push((arch.audit(), entry));
        } else {
            tracing::warn!(?arch, "no system call numbers known: every call is refused");
        }
    }
    let mut next = Target::Answer(BAD_ARCHITECTURE);
    for (audit, entry) in sections {
        next = assembler.branch(Test::Equal, audit, entry, next);
    }
    let start = assembler.load(ARCHITECTURE, next);
    let program = assembler.finish(start);
    let instructions = program.len();
    if instructions > LONGEST {
        return Err(TooLong { instructions });
    }
    Ok(program)
}

/// Those with a section of their own, the native one first.
fn architectures(profile: &Profile, native: Architecture) -> Vec<Architecture> {
    let mut all = vec![native];
    for arch in &profile.architectures {
        let own = *arch != Architecture::X32;
        if own && arch.runs_on(native) && !all.contains(arch) {
            all.push(*arch);
        }
    }
    all
}

/// What happens in the section of `arch`, with x32 in that of x86_64.
fn starts(
    profile: &Profile,
    native: Architecture,
    arch: Architecture,
) -> Result<Option<BTreeMap<u32, Outcome>>, TooLong> {
    let Some(mut starts) = outcomes(profile, arch)? else {
        return Ok(None);
    };
    if arch == Architecture::X86_64 {
        starts.split_off(&X32_BIT);
        let x32 = Architecture::X32;
        if x32.runs_on(native) && profile.architectures.contains(&x32) {
            starts.extend(outcomes(profile, x32)?.into_iter().flatten());
        } else {
            starts.insert(X32_BIT, Outcome::Always(BAD_ARCHITECTURE));
        }
        // −1, which is how a tracer skips a call; it is of neither.
        starts.insert(u32::MAX, Outcome::Always(profile.default));
    }
    Ok(Some(starts))
}

fn section(
    assembler: &mut Assembler,
    arch: Architecture,
    default: Action,
    starts: BTreeMap<u32, Outcome>,
) -> Target {
    let mut blocks: HashMap<Vec<Clause>, Target> = HashMap::new();
    let mut ranges: Vec<(u32, Target)> = Vec::new();
    for (start, outcome) in starts {
        let target = match outcome {
            Outcome::Always(action) => Target::Answer(action),
            Outcome::First(clauses) => match blocks.get(&clauses) {
                Some(target) => *target,
                None => {
                    let target = block(assembler, arch, default, &clauses);
                    blocks.insert(clauses, target);
                    target
                }
            },
        };
        if ranges.last().is_none_or(|(_, before)| *before != target) {
            ranges.push((start, target));
        }
    }
    let tree = search(assembler, &ranges, default);
    assembler.load(NUMBER, tree)
}

/// A binary search in `ranges`, each from its number up to that of the next.
fn search(assembler: &mut Assembler, ranges: &[(u32, Target)], default: Action) -> Target {
    match ranges {
        [] => Target::Answer(default),
        [(_, target)] => *target,
        _ => {
            // The numbers of x32 must not cost x86_64 more than one step.
            let x32 = ranges.iter().position(|(start, _)| *start == X32_BIT);
            let middle = x32.filter(|at| *at > 0).unwrap_or(ranges.len() / 2);
            let (low, high) = ranges.split_at(middle);
            let yes = search(assembler, high, default);
            let no = search(assembler, low, default);
            assembler.branch(Test::GreaterOrEqual, ranges[middle].0, yes, no)
        }
    }
}

/// The first clause that holds, or the default action.
fn block(
    assembler: &mut Assembler,
    arch: Architecture,
    default: Action,
    clauses: &[Clause],
) -> Target {
    let mut otherwise = Target::Answer(default);
    for clause in clauses.iter().rev() {
        let mut holds = Target::Answer(clause.action);
        for condition in clause.conditions.iter().rev() {
            holds = if arch.narrow() {
                narrow(assembler, arch, condition, holds, otherwise)
            } else {
                wide(assembler, arch, condition, holds, otherwise)
            };
        }
        otherwise = holds;
    }
    otherwise
}

/// Offsets of the low and the high half of an argument.
fn halves(arch: Architecture, condition: &Condition) -> (u32, u32) {
    let first = ARGUMENTS + 8 * u32::from(condition.index);
    if arch.big_endian() {
        (first + 4, first)
    } else {
        (first, first + 4)
    }
}

/// Compares an argument of 64 bits, half by half.
fn wide(
    to: &mut Assembler,
    arch: Architecture,
    condition: &Condition,
    yes: Target,
    no: Target,
) -> Target {
    let (low, high) = halves(arch, condition);
    let (value_low, value_high) = (condition.value as u32, (condition.value >> 32) as u32);
    let ordered = |to: &mut Assembler, test, yes, no| {
        let tie = to.branch(test, value_low, yes, no);
        let tie = to.load(low, tie);
        let not_above = to.branch(Test::Equal, value_high, tie, no);
        let tested = to.branch(Test::Greater, value_high, yes, not_above);
        to.load(high, tested)
    };
    let equal = |to: &mut Assembler, yes, no| {
        let rest = to.branch(Test::Equal, value_low, yes, no);
        let rest = to.load(low, rest);
        let tested = to.branch(Test::Equal, value_high, rest, no);
        to.load(high, tested)
    };
    match condition.operator {
        Operator::Equal => equal(to, yes, no),
        Operator::NotEqual => equal(to, no, yes),
        Operator::Greater => ordered(to, Test::Greater, yes, no),
        Operator::GreaterOrEqual => ordered(to, Test::GreaterOrEqual, yes, no),
        Operator::Less => ordered(to, Test::GreaterOrEqual, no, yes),
        Operator::LessOrEqual => ordered(to, Test::Greater, no, yes),
        Operator::MaskedEqual(mask) => {
            let rest = masked(to, low, mask as u32, value_low, yes, no);
            masked(to, high, (mask >> 32) as u32, value_high, rest, no)
        }
    }
}

/// Compares an argument of 32 bits. A value that is one of 32 bits with its sign extended stands
/// for that one: profiles write −1 so.
fn narrow(
    to: &mut Assembler,
    arch: Architecture,
    condition: &Condition,
    yes: Target,
    no: Target,
) -> Target {
    let (offset, _) = halves(arch, condition);
    let wide = condition.value;
    let value = wide as u32;
    let beyond = u64::from(value) != wide && i64::from(value as i32) as u64 != wide;
    let mut compare = |test, yes, no| {
        let tested = to.branch(test, value, yes, no);
        to.load(offset, tested)
    };
    match condition.operator {
        Operator::MaskedEqual(mask) => masked(to, offset, mask as u32, value, yes, no),
        // No argument is as large as such a value.
        Operator::NotEqual | Operator::Less | Operator::LessOrEqual if beyond => yes,
        _ if beyond => no,
        Operator::Equal => compare(Test::Equal, yes, no),
        Operator::NotEqual => compare(Test::Equal, no, yes),
        Operator::Greater => compare(Test::Greater, yes, no),
        Operator::GreaterOrEqual => compare(Test::GreaterOrEqual, yes, no),
        Operator::Less => compare(Test::GreaterOrEqual, no, yes),
        Operator::LessOrEqual => compare(Test::Greater, no, yes),
    }
}

/// Compares bits of the word at `offset`. Bits of `value` outside `mask` do not count, as with
/// libseccomp.
fn masked(
    to: &mut Assembler,
    offset: u32,
    mask: u32,
    value: u32,
    yes: Target,
    no: Target,
) -> Target {
    if mask == 0 {
        return yes;
    }
    let tested = to.branch(Test::Equal, value & mask, yes, no);
    let word = match mask {
        u32::MAX => tested,
        _ => to.and(mask, tested),
    };
    to.load(offset, word)
}
