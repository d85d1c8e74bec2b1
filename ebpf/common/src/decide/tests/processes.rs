//! Processes: the ways to reach into one, its namespaces and limits, and what is executed.

use super::{DEV, NO_PROCESS, P, Tables};
use crate::abi::{PolicyHeader, PolicyId, ProcessRule, Subject, kernel, limits, ptrace, state};
use crate::decide::Reason;
use crate::decide::process::*;
use crate::errno::{EACCES, EPERM};

const HOST: Target = Target {
    subject: None,
    exe_dev: DEV,
    exe_ino: 5,
};

const READV: Option<u32> = Some(310);
const WRITEV: Option<u32> = Some(311);
const GETFD: Option<u32> = Some(438);

fn with(process: ProcessRule, header: PolicyHeader) -> Tables<'static> {
    Tables {
        process: Some(process),
        header,
        ..Tables::default()
    }
}

#[test]
fn ways_into_a_process_are_told_apart_by_the_call() {
    let allow = ptrace::READ_MEMORY;
    let named = ProcessRule {
        ptrace: allow,
        ..NO_PROCESS
    };
    let tables = with(named, PolicyHeader::default());
    let ask = |mode, call| {
        let want = wanted_of_trace(mode, call);
        decide_ptrace(&tables, P, &HOST, want, None).allowed()
    };
    assert!(ask(0x12, READV));
    for (mode, call) in [(0x12, WRITEV), (0x12, GETFD), (0x12, None), (0x9, None)] {
        assert!(!ask(mode, call), "{mode:#x} {call:?}");
    }
    assert_eq!(wanted_of_trace(0x11, Some(312)), ptrace::COMPARE);
}

#[test]
fn namespaces_are_entered_by_type_and_executable() {
    const NET: u32 = 0x4000_0000;
    const MNT: u32 = 0x0002_0000;
    let header = PolicyHeader {
        namespaces: NET,
        ..PolicyHeader::default()
    };
    let named = ProcessRule {
        namespaces: NET,
        ..NO_PROCESS
    };
    let tables = with(named, header);
    let enter = |types| decide_ptrace(&tables, P, &HOST, ptrace::READ, Some(types)).allowed();
    assert!(enter(NET));
    assert!(!enter(NET | MNT) && !enter(MNT) && !enter(0));
    assert!(!decide_ptrace(&tables, P, &HOST, ptrace::READ, None).allowed());
    assert!(decide_namespaces(&header, NET).allowed());
    assert!(!decide_namespaces(&header, 0).allowed());
    // Without a line on namespaces, it is looking into the process.
    let reads = ProcessRule {
        ptrace: ptrace::READ,
        ..NO_PROCESS
    };
    let tables = with(reads, PolicyHeader::default());
    assert!(decide_ptrace(&tables, P, &HOST, ptrace::READ, Some(NET)).allowed());
}

#[test]
fn limits_are_changed_of_named_processes_only() {
    let named = ProcessRule {
        limits: limits::NICE,
        ..NO_PROCESS
    };
    let tables = with(named, PolicyHeader::default());
    assert!(decide_limits(&tables, P, &HOST, limits::NICE).allowed());
    assert!(!decide_limits(&tables, P, &HOST, limits::RESOURCES).allowed());
    let subject = |policy| Target {
        subject: Some(Subject {
            policy,
            state: state::ENFORCED,
        }),
        ..HOST
    };
    assert!(decide_limits(&tables, P, &subject(P), limits::RESOURCES).allowed());
    let other = decide_limits(&tables, P, &subject(PolicyId(9)), limits::NICE);
    assert_eq!(other.reason, Reason::Core);
}

#[test]
fn with_a_list_only_what_it_names_is_executed() {
    let listed = PolicyHeader {
        kernel: kernel::EXEC_LISTED,
        ..PolicyHeader::default()
    };
    let named = ProcessRule {
        exec: 1,
        ..NO_PROCESS
    };
    let exec = |process, header| decide_exec(&with(process, header), P, DEV, 5);
    assert!(exec(named, listed).allowed());
    assert_eq!(exec(NO_PROCESS, listed).errno, EACCES);
    assert!(exec(NO_PROCESS, PolicyHeader::default()).allowed());
}

#[test]
fn only_own_terminals_signal() {
    assert!(decide_async(true, true).allowed());
    assert!(decide_async(false, false).allowed());
    assert_eq!(decide_async(true, false).errno, EPERM);
}
