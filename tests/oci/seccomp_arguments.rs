//! `linux.seccomp.syscalls[].args`: every operator, at its bounds, over 64 bits.

use serde_json::{Value, json};

use crate::support::{Bundle, covers};

/// What `lseek` of a descriptor that is not open answers; filters answer [`HIT`].
const MISS: i32 = libc::EBADF;
const HIT: i32 = 111;

fn condition(index: u32, operator: &str, value: u64, second: u64) -> Value {
    json!({ "index": index, "op": operator, "value": value, "valueTwo": second })
}

/// Whether `lseek(9999, OFFSET, 0)` is refused by rules with these conditions each.
#[track_caller]
fn hits(rules: &[Value], offsets: &[u64]) -> Vec<bool> {
    let rules: Vec<Value> = rules
        .iter()
        .map(|conditions| {
            json!({
                "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": HIT, "args": conditions,
            })
        })
        .collect();
    let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules });
    let actions: Vec<String> = offsets
        .iter()
        .map(|offset| format!("syscall 8 9999 {} 0", *offset as i64))
        .collect();
    let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
    let outcomes = Bundle::new()
        .set("linux.seccomp", seccomp)
        .attempt(&actions);
    let judge = |outcome: &reeve_tests::Outcome| match outcome.errno() {
        Some(HIT) => true,
        Some(MISS) => false,
        _ => panic!("{outcome}"),
    };
    outcomes.iter().map(judge).collect()
}

/// Whether a condition on the offset holds for each.
#[track_caller]
fn holds(operator: &str, value: u64, second: u64, offsets: &[u64]) -> Vec<bool> {
    hits(&[json!([condition(1, operator, value, second)])], offsets)
}

const BIG: u64 = 1 << 32;
/// Around a value whose halves are both in use, and values with one half in common.
const AROUND: [u64; 7] = [0, 7, BIG + 6, BIG + 7, BIG + 8, 2 * BIG + 7, u64::MAX];

#[test]
fn equal() {
    covers(&[
        "linux.seccomp.syscalls[].args[].op: SCMP_CMP_EQ",
        "linux.seccomp.syscalls[].args[].index",
        "linux.seccomp.syscalls[].args[].value",
    ])
    .run(|| {
        let wanted: Vec<bool> = AROUND.iter().map(|&offset| offset == BIG + 7).collect();
        assert_eq!(holds("SCMP_CMP_EQ", BIG + 7, 0, &AROUND), wanted);
    });
}

#[test]
fn not_equal() {
    covers(&["linux.seccomp.syscalls[].args[].op: SCMP_CMP_NE"]).run(|| {
        let wanted: Vec<bool> = AROUND.iter().map(|&offset| offset != BIG + 7).collect();
        assert_eq!(holds("SCMP_CMP_NE", BIG + 7, 0, &AROUND), wanted);
    });
}

#[test]
fn less() {
    covers(&["linux.seccomp.syscalls[].args[].op: SCMP_CMP_LT"]).run(|| {
        let wanted: Vec<bool> = AROUND.iter().map(|&offset| offset < BIG + 7).collect();
        assert_eq!(holds("SCMP_CMP_LT", BIG + 7, 0, &AROUND), wanted);
    });
}

#[test]
fn less_or_equal() {
    covers(&["linux.seccomp.syscalls[].args[].op: SCMP_CMP_LE"]).run(|| {
        let wanted: Vec<bool> = AROUND.iter().map(|&offset| offset <= BIG + 7).collect();
        assert_eq!(holds("SCMP_CMP_LE", BIG + 7, 0, &AROUND), wanted);
    });
}

#[test]
fn greater_or_equal() {
    covers(&["linux.seccomp.syscalls[].args[].op: SCMP_CMP_GE"]).run(|| {
        let wanted: Vec<bool> = AROUND.iter().map(|&offset| offset >= BIG + 7).collect();
        assert_eq!(holds("SCMP_CMP_GE", BIG + 7, 0, &AROUND), wanted);
    });
}

#[test]
fn greater() {
    covers(&["linux.seccomp.syscalls[].args[].op: SCMP_CMP_GT"]).run(|| {
        let wanted: Vec<bool> = AROUND.iter().map(|&offset| offset > BIG + 7).collect();
        assert_eq!(holds("SCMP_CMP_GT", BIG + 7, 0, &AROUND), wanted);
    });
}

#[test]
fn equal_under_a_mask() {
    covers(&[
        "linux.seccomp.syscalls[].args[].op: SCMP_CMP_MASKED_EQ",
        "linux.seccomp.syscalls[].args[].valueTwo",
    ])
    .run(|| {
        let (mask, value) = (BIG | 0xf0, BIG | 0x20);
        let offsets = [
            BIG | 0x20,
            BIG | 0x2f,
            0x20,
            BIG | 0x30,
            3 * BIG + 0x20,
            BIG | 0x1f25,
        ];
        let wanted: Vec<bool> = offsets
            .iter()
            .map(|&offset| offset & mask == value)
            .collect();
        assert_eq!(holds("SCMP_CMP_MASKED_EQ", mask, value, &offsets), wanted);
    });
}

#[test]
fn all_conditions_of_a_rule() {
    covers(&["linux.seccomp: several conditions on one call"]).run(|| {
        let both = json!([
            condition(1, "SCMP_CMP_EQ", 5, 0),
            condition(2, "SCMP_CMP_EQ", 0, 0),
            condition(0, "SCMP_CMP_EQ", 9999, 0),
        ]);
        assert_eq!(hits(&[both], &[5, 6]), [true, false]);
        let none = json!([
            condition(1, "SCMP_CMP_EQ", 5, 0),
            condition(2, "SCMP_CMP_EQ", 1, 0)
        ]);
        assert_eq!(hits(&[none], &[5, 6]), [false, false]);
    });
}

#[test]
fn any_rule_of_a_call() {
    covers(&["linux.seccomp: several conditions on one call"]).run(|| {
        let rules = [3u64, 5, 1 << 40].map(|value| json!([condition(1, "SCMP_CMP_EQ", value, 0)]));
        assert_eq!(hits(&rules, &[3, 4, 5, 1 << 40]), [true, false, true, true]);
    });
}

#[test]
fn the_same_argument_twice_is_either() {
    covers(&["linux.seccomp: several conditions on one call"]).run(|| {
        // As runc has it, for want of a way to say so in one rule of libseccomp.
        let either = json!([
            condition(1, "SCMP_CMP_EQ", 3, 0),
            condition(1, "SCMP_CMP_EQ", 5, 0)
        ]);
        assert_eq!(hits(&[either], &[3, 4, 5]), [true, false, true]);
    });
}

#[test]
fn an_index_out_of_range_is_refused() {
    covers(&["linux.seccomp.syscalls[].args[].index"]).run(|| {
        let rule = json!({
            "names": ["lseek"], "action": "SCMP_ACT_ERRNO",
            "args": [condition(6, "SCMP_CMP_EQ", 1, 0)],
        });
        let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
        Bundle::new().set("linux.seccomp", seccomp).run_refused();
    });
}

#[test]
fn an_unknown_operator_is_refused() {
    covers(&["linux.seccomp.syscalls[].args[].op: SCMP_CMP_EQ"]).run(|| {
        let rule = json!({
            "names": ["lseek"], "action": "SCMP_ACT_ERRNO",
            "args": [condition(1, "SCMP_CMP_NOSUCH", 1, 0)],
        });
        let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
        Bundle::new().set("linux.seccomp", seccomp).run_refused();
    });
}
