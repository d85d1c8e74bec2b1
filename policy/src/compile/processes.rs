//! The tables of processes, by executable, and of module files.

use std::collections::BTreeMap;

use ebpf_common::Rights;
use ebpf_common::abi::{ProcessRule, RightsRule};

use super::Starts;
use super::files::existing;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::facts::{Facts, Found, Inode, Object, ObjectKind, PathKey};
use crate::model::{HostPath, Policy};
use crate::source::Spanned;

pub(super) fn compile(
    policy: &Policy,
    facts: &Facts,
    starts: &Starts,
    out: &mut Diagnostics,
) -> BTreeMap<Inode, ProcessRule> {
    let mut table: BTreeMap<Inode, ProcessRule> = BTreeMap::new();
    let lines = &policy.processes;
    for (rule, grant) in (starts.signal..).zip(&lines.signal) {
        if let Some(inode) = executable(facts, &grant.exe, grant.optional, out) {
            entry(&mut table, inode, rule).signals |= grant.signals.0;
        }
    }
    for (rule, grant) in (starts.ptrace..).zip(&lines.ptrace) {
        if let Some(inode) = executable(facts, &grant.exe, grant.optional, out) {
            entry(&mut table, inode, rule).ptrace |= grant.allow.0;
        }
    }
    for (rule, grant) in (starts.setns..).zip(&lines.setns) {
        if let Some(inode) = executable(facts, &grant.exe, grant.optional, out) {
            entry(&mut table, inode, rule).namespaces |= grant.types.0;
        }
    }
    for (rule, grant) in (starts.limits..).zip(&lines.limits) {
        if let Some(inode) = executable(facts, &grant.exe, grant.optional, out) {
            entry(&mut table, inode, rule).limits |= grant.allow.0;
        }
    }
    for exe in lines.exec.iter().flat_map(|exec| &exec.value) {
        if let Some(inode) = executable(facts, exe, false, out) {
            entry(&mut table, inode, starts.exec).exec = 1;
        }
    }
    table
}

/// One executable has one rule; where several lines name it, the first is said to have decided.
fn entry(table: &mut BTreeMap<Inode, ProcessRule>, inode: Inode, rule: u32) -> &mut ProcessRule {
    table.entry(inode).or_insert(ProcessRule {
        signals: 0,
        ptrace: 0,
        rule,
        limits: 0,
        namespaces: 0,
        exec: 0,
        reserved: 0,
    })
}

fn executable(
    facts: &Facts,
    exe: &Spanned<HostPath>,
    optional: bool,
    out: &mut Diagnostics,
) -> Option<Inode> {
    let path = exe.value.as_str();
    let found = facts.paths.get(&PathKey::Path(path.to_owned()));
    let object = existing(found, path, exe.span, optional, out)?;
    if object.kind == ObjectKind::File {
        return Some(object.inode);
    }
    let error = Diagnostic::error(exe.span, format!("`{path}` is not an executable file"));
    out.push(error.help("name the program itself; `ls -l /proc/PID/exe` shows it"));
    None
}

pub(super) fn modules(
    policy: &Policy,
    facts: &Facts,
    first_rule: u32,
    out: &mut Diagnostics,
) -> BTreeMap<Inode, RightsRule> {
    let mut table = BTreeMap::new();
    for (rule, module) in (first_rule..).zip(&policy.kernel.modules) {
        let name = module.value.as_str();
        match facts.paths.get(&PathKey::Module(name.to_owned())) {
            Some(Found::Module(files)) => {
                for file in files {
                    if let Some(inode) = module_file(file, module.span, out) {
                        let rights = Rights::READ;
                        table.entry(inode).or_insert(RightsRule { rights, rule });
                    }
                }
            }
            Some(Found::BuiltIn) => {
                let message = format!("module `{name}` is built into this kernel");
                out.push(Diagnostic::warning(module.span, message));
            }
            _ => {
                let message = format!("this kernel has no module `{name}`");
                let error = Diagnostic::error(module.span, message);
                out.push(error.help("`modinfo NAME` tells whether it is installed"));
            }
        }
    }
    table
}

fn module_file(file: &Object, span: crate::source::Span, out: &mut Diagnostics) -> Option<Inode> {
    let found = Found::At(file.clone());
    existing(Some(&found), &file.real, span, false, out).map(|object| object.inode)
}
