//! Model and facts to tables. What a policy names by path becomes an identity here, once, when the
//! container is made.

mod capability;
mod files;
mod processes;
pub mod rules;

use std::collections::BTreeMap;

use ebpf_common::Rights;
use ebpf_common::abi::{
    LEARN_SHIFT, MountRule, NO_RULE, PolicyHeader, RightsRule, SuperRule, device_class, kernel,
    super_kind, type_hash_of,
};
use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostics;
use crate::facts::Facts;
use crate::model::{Kernel, Mode, Policy, SECTIONS};
use crate::source::Span;
use crate::tables::{Device, Tables};

/// A line of the policy that grants something; rules name it by its index in [`Compiled::grants`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// Section of the policy.
    pub section: String,
    /// The file it is written in.
    pub file: String,
    /// Line in the policy, counted from 1.
    pub line: usize,
    /// Column, counted from 1.
    pub column: usize,
    /// The grant in one line, in the words of the language.
    pub text: String,
}

/// A policy that is ready to be loaded. It is kept in the container's state, for audit.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Compiled {
    /// The policy's name.
    pub name: String,
    /// What the policy's source was called.
    pub source: String,
    /// The rules.
    pub tables: Tables,
    /// What the rules' indices mean.
    pub grants: Vec<Grant>,
    /// Findings that do not keep the policy from being used: the source's and the host's.
    #[serde(skip)]
    pub warnings: Diagnostics,
}

impl Compiled {
    /// Section and index of a grant in it, such as `files[0]`; empty if the rule is of no grant.
    pub fn grant_name(&self, rule: u32) -> String {
        let Some(grant) = self.grants.get(rule as usize) else {
            return String::new();
        };
        let before = self.grants.iter().take(rule as usize);
        let at = before.filter(|one| one.section == grant.section).count();
        format!("{}[{at}]", grant.section)
    }
}

/// Makes tables of a policy.
///
/// # Errors
/// All findings at once if one of them is an error.
pub fn compile(policy: &Policy, facts: &Facts) -> Result<Compiled, Diagnostics> {
    let mut out = policy.warnings.clone();
    let (grants, starts) = grants(policy);
    let mut tables = Tables {
        header: header(policy, facts, &starts),
        files: files::compile(policy, facts, starts.files, &mut out),
        supers: supers(facts),
        devices: devices(policy, starts.devices),
        mounts: mounts(policy, starts.mounts),
        capabilities: capability::compile(policy, starts.capabilities, starts.firsts(policy)),
        processes: BTreeMap::new(),
        modules: processes::modules(policy, facts, starts.modules, &mut out),
    };
    tables.processes = processes::compile(policy, facts, starts.signal, starts.ptrace, &mut out);
    let out = out.sorted();
    if out.has_errors() {
        return Err(out);
    }
    Ok(Compiled {
        name: policy.name().to_owned(),
        source: policy.source_name().to_owned(),
        tables,
        grants,
        warnings: out,
    })
}

/// Index of the first grant of each kind.
struct Starts {
    files: u32,
    devices: u32,
    mounts: u32,
    capabilities: u32,
    signal: u32,
    ptrace: u32,
    modules: u32,
    bpf: u32,
    clock: u32,
}

impl Starts {
    fn firsts(&self, policy: &Policy) -> capability::Firsts {
        let if_any = |any: bool, rule| any.then_some(rule);
        capability::Firsts {
            mounts: if_any(!policy.mounts.is_empty(), self.mounts),
            modules: if_any(!policy.kernel.modules.is_empty(), self.modules),
            clock: if_any(policy.kernel.clock.is_some(), self.clock),
            bpf: if_any(policy.kernel.bpf.is_some(), self.bpf),
        }
    }
}

struct Grants<'a>(&'a Policy, Vec<Grant>);

impl Grants<'_> {
    fn next(&self) -> u32 {
        // A policy holds fewer values than this has numbers.
        u32::try_from(self.1.len()).unwrap_or(NO_RULE)
    }

    fn add(&mut self, section: &str, span: Span, text: String) {
        self.1.push(Grant {
            section: section.to_owned(),
            file: self.0.file_of(span).to_owned(),
            line: span.line,
            column: span.column,
            text,
        });
    }
}

fn grants(policy: &Policy) -> (Vec<Grant>, Starts) {
    let mut all = Grants(policy, Vec::new());
    let files = all.next();
    for grant in &policy.files {
        all.add("files", grant.span, grant.text());
    }
    let devices = all.next();
    for grant in &policy.devices {
        all.add("devices", grant.span, grant.text());
    }
    let mounts = all.next();
    for grant in &policy.mounts {
        all.add("mounts", grant.span, grant.text());
    }
    let capabilities = all.next();
    for grant in &policy.capabilities.0 {
        all.add("capabilities", grant.span(), grant.text());
    }
    let signal = all.next();
    for grant in &policy.processes.signal {
        all.add(
            "processes",
            grant.span,
            format!("signal: - {}", grant.text()),
        );
    }
    let ptrace = all.next();
    for grant in &policy.processes.ptrace {
        all.add(
            "processes",
            grant.span,
            format!("ptrace: - {}", grant.text()),
        );
    }
    let modules = all.next();
    for module in &policy.kernel.modules {
        all.add(
            "kernel",
            module.span,
            format!("modules: [{}]", module.value.as_str()),
        );
    }
    let bpf = all.next();
    if let Some(commands) = &policy.kernel.bpf {
        all.add("kernel", commands.span, Kernel::bpf_text(&commands.value));
    }
    let clock = all.next();
    if let Some(span) = policy.kernel.clock {
        all.add("kernel", span, "clock: true".to_owned());
    }
    let starts = Starts {
        files,
        devices,
        mounts,
        capabilities,
        signal,
        ptrace,
        modules,
        bpf,
        clock,
    };
    (all.1, starts)
}

fn header(policy: &Policy, facts: &Facts, starts: &Starts) -> PolicyHeader {
    let mut header = PolicyHeader {
        bpf_rule: NO_RULE,
        clock_rule: NO_RULE,
        ..PolicyHeader::default()
    };
    for (_, section) in SECTIONS {
        let mode = policy.mode_of(section);
        if mode.lets_through() {
            header.audit |= 1 << section as u32;
        }
        if mode == Mode::Learn {
            header.audit |= 1 << (LEARN_SHIFT + section as u32);
        }
    }
    if facts.private_pid {
        header.kernel |= kernel::PRIVATE_PID;
    }
    if facts.private_ipc {
        header.kernel |= kernel::PRIVATE_IPC;
    }
    if !facts.upper.is_empty() || !facts.lower.is_empty() {
        header.kernel |= kernel::OVERLAY_ROOT;
    }
    if policy.kernel.clock.is_some() {
        header.kernel |= kernel::CLOCK;
        header.clock_rule = starts.clock;
    }
    if let Some(commands) = &policy.kernel.bpf {
        header.bpf_rule = starts.bpf;
        for command in &commands.value {
            header.bpf_commands |= 1 << command.number();
        }
    }
    header
}

fn supers(facts: &Facts) -> BTreeMap<u32, SuperRule> {
    let kind = super_kind::RUNTIME;
    let own = facts.own_supers.iter();
    own.map(|&(dev, magic)| {
        (
            dev,
            SuperRule {
                kind,
                magic,
                address: 0,
            },
        )
    })
    .collect()
}

/// Built-in devices are overruled by a line that names them.
fn devices(policy: &Policy, first_rule: u32) -> BTreeMap<Device, RightsRule> {
    let built_in = rules::DEVICES.map(|(major, minor)| {
        let class = device_class::CHAR;
        let device = Device {
            class,
            major,
            minor,
        };
        let (rights, rule) = (Rights::READ | Rights::WRITE, NO_RULE);
        (device, RightsRule { rights, rule })
    });
    let mut table = BTreeMap::from(built_in);
    for (rule, grant) in (first_rule..).zip(&policy.devices) {
        let device = Device {
            class: grant.class.number(),
            major: grant.number.value.major,
            minor: grant.number.value.minor,
        };
        let rights = grant.allow;
        table.insert(device, RightsRule { rights, rule });
    }
    table
}

fn mounts(policy: &Policy, first_rule: u32) -> BTreeMap<u64, MountRule> {
    let rows = (first_rule..).zip(&policy.mounts).map(|(rule, grant)| {
        let row = MountRule {
            required_flags: grant.flags,
            rule,
            reserved: 0,
        };
        (type_hash_of(grant.fs_type.value), row)
    });
    rows.collect()
}

#[cfg(test)]
mod tests;
