//! Rules by number: IPC, sysctls, parts of the kernel.

use std::collections::BTreeMap;

use ebpf_common::Rights;
use ebpf_common::abi::{RightsRule, grant_kind, switch};

use super::Grants;
use crate::model::{Policy, ipc};
use crate::names::kernel::{LOCKDOWN, URING, word};

/// `GRANTS`, by kind and number.
pub type Numbered = BTreeMap<(u32, u64), RightsRule>;

/// Adds the grants to the policy's lines and makes their rules.
pub(super) fn compile(policy: &Policy, all: &mut Grants) -> Numbered {
    let mut table = Numbered::new();
    let mut put = |kind, number, rights, rule| {
        let row = RightsRule { rights, rule };
        table
            .entry((kind, number))
            .and_modify(|found: &mut RightsRule| found.rights = found.rights | rights)
            .or_insert(row);
    };
    let kernel = &policy.kernel;
    for (key, name, rights) in kernel.sysctl.grants() {
        put(grant_kind::SYSCTL, name.value.number(), rights, all.next());
        let text = format!("sysctl: {{ {key}: [{}] }}", name.value);
        all.add("kernel", name.span, text);
    }
    for (name, which, span) in kernel.switches() {
        let taken = which == switch::USERNS;
        let rights = if taken { Rights::NONE } else { Rights::ALL };
        put(grant_kind::SWITCH, u64::from(which), rights, all.next());
        all.add("kernel", span, format!("{name}: {}", !taken));
    }
    if let Some(uses) = &kernel.io_uring {
        for use_ in &uses.value {
            put(
                grant_kind::SWITCH,
                u64::from(*use_),
                Rights::ALL,
                all.next(),
            );
        }
        all.add("kernel", uses.span, listed("io_uring", &URING, &uses.value));
    }
    if let Some(reasons) = &kernel.lockdown {
        for reason in &reasons.value {
            put(
                grant_kind::LOCKDOWN,
                u64::from(*reason),
                Rights::ALL,
                all.next(),
            );
        }
        let text = listed("lockdown", &LOCKDOWN, &reasons.value);
        all.add("kernel", reasons.span, text);
    }
    for (name, class, rights) in policy.ipc.grants() {
        put(grant_kind::IPC, u64::from(class), rights.value, all.next());
        let text = format!("{name}: {}", ipc::text(rights.value));
        all.add("ipc", rights.span, text);
    }
    table
}

fn listed(key: &str, table: &[(&'static str, u32)], numbers: &[u32]) -> String {
    let words: Vec<_> = numbers
        .iter()
        .filter_map(|number| word(table, *number))
        .collect();
    format!("{key}: [{}]", words.join(", "))
}
