//! Answers on reaching into host processes: tracing, namespaces, limits.

use ebpf_common::Verdict;
use ebpf_common::abi::{Section, ptrace};
use ebpf_common::decide::capability::decide_capability;
use ebpf_common::decide::process::{decide_limits, decide_ptrace};
use ebpf_common::hooks::Hook;

use super::{Decided, ID, Question, target, with_note};
use crate::facts::Facts;
use crate::model::HostPath;
use crate::names::capability::Capability;
use crate::names::process;
use crate::names::syscall::Syscall;
use crate::suggest::Denied;
use crate::tables::Tables;

/// The bit that one way to trace wants: that of its own, not those that it brings along.
fn wanted(way: &str) -> u32 {
    match way {
        "read" => ptrace::READ,
        "attach" => ptrace::ATTACH,
        other => process::trace(other).unwrap_or(ptrace::ATTACH),
    }
}

/// Who may look into a process is still refused its namespaces, if no line lets any be entered.
fn entering(tables: &Tables) -> Option<Verdict> {
    let capability = Capability::from_name("SYS_ADMIN")?.number();
    let call = Syscall::from_name("setns")?.number();
    let verdict = decide_capability(tables, ID, capability, Some(call), 0);
    (!verdict.allowed()).then_some(verdict)
}

/// Answers a question on a process.
pub(super) fn decide(tables: &Tables, facts: &Facts, asked: &Question) -> Decided {
    let owned = |exe: &HostPath| exe.as_str().to_owned();
    let (exe, verdict, hooks, denied): (_, _, &[Hook], _) = match asked {
        Question::Setns { kind, exe } => {
            let types = process::bit(&process::NAMESPACES, kind).unwrap_or(0);
            let (target, _) = target(facts, exe);
            let access = decide_ptrace(tables, ID, &target, ptrace::READ, Some(types));
            let verdict = match access.allowed() {
                true => entering(tables).unwrap_or(access),
                false => access,
            };
            let denied = Denied::Setns {
                exe: owned(exe),
                types,
            };
            (exe, verdict, &[Hook::Capable, Hook::PtraceAccess], denied)
        }
        Question::Limits { what, exe } => {
            let bits = process::bit(&process::LIMITS, what).unwrap_or(0);
            let (target, _) = target(facts, exe);
            let verdict = decide_limits(tables, ID, &target, bits);
            let denied = Denied::Limits {
                exe: owned(exe),
                what: bits,
            };
            let hooks = &[
                Hook::Capable,
                Hook::TaskSetnice,
                Hook::TaskSetioprio,
                Hook::TaskSetscheduler,
                Hook::TaskSetrlimit,
            ];
            (exe, verdict, hooks, denied)
        }
        Question::Ptrace { way, exe } => {
            let want = wanted(way);
            let (target, _) = target(facts, exe);
            let verdict = decide_ptrace(tables, ID, &target, want, None);
            let denied = Denied::Ptrace {
                exe: owned(exe),
                want,
            };
            (exe, verdict, &[Hook::PtraceAccess], denied)
        }
        _ => unreachable!("the caller asks about processes"),
    };
    let (_, note) = target(facts, exe);
    let decided = Decided::new(Section::Processes, verdict, hooks).denied(denied);
    with_note(decided, note)
}
