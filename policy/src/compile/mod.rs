//! Model and facts to tables. What a policy names by path becomes an identity here, once, when the
//! container is made.

mod capability;
mod files;
mod numbered;
mod processes;
pub mod rules;

use std::collections::{BTreeMap, BTreeSet};

use ebpf_common::Rights;
use ebpf_common::abi::{
    ANY_MINOR, MountRule, NO_RULE, PolicyHeader, RightsRule, SuperRule, device_class, kernel,
    super_kind, type_hash_of,
};
use serde::{Deserialize, Serialize};

pub use numbered::Numbered;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::facts::Facts;
use crate::model::{DeviceClass, Kernel, Mode, Policy, SECTIONS};
use crate::source::Span;
use crate::tables::{Device, Tables};

/// A line of the policy that grants something; rules name it by its index in [`Compiled::grants`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// Section of the policy.
    pub section: String,
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

/// Makes tables of a policy.
///
/// # Errors
/// All findings at once if one of them is an error.
pub fn compile(policy: &Policy, facts: &Facts) -> Result<Compiled, Diagnostics> {
    let mut out = policy.warnings.clone();
    let (mut all, starts) = grants(policy);
    let numbered = numbered::compile(policy, &mut all);
    let mut tables = Tables {
        header: header(policy, facts, &starts),
        files: files::compile(policy, facts, starts.files, &mut out),
        supers: supers(facts),
        devices: devices(policy, starts.devices),
        mounts: mounts(policy, starts.mounts),
        capabilities: capability::compile(
            policy,
            starts.capabilities,
            starts.firsts(policy),
            &numbered,
        ),
        processes: BTreeMap::new(),
        modules: processes::modules(policy, facts, starts.modules, &mut out),
        grants: numbered,
        ioctls: ioctls(policy, &starts),
    };
    disks(policy, facts, &mut out);
    tables.processes = processes::compile(policy, facts, starts.signal, starts.ptrace, &mut out);
    let out = out.sorted();
    if out.has_errors() {
        return Err(out);
    }
    Ok(Compiled {
        name: policy.name().to_owned(),
        source: policy.source_name().to_owned(),
        tables,
        grants: all.0,
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

struct Grants(Vec<Grant>);

impl Grants {
    fn next(&self) -> u32 {
        // A policy holds fewer values than this has numbers.
        u32::try_from(self.0.len()).unwrap_or(NO_RULE)
    }

    fn add(&mut self, section: &str, span: Span, text: String) {
        self.0.push(Grant {
            section: section.to_owned(),
            line: span.line,
            column: span.column,
            text,
        });
    }
}

fn grants(policy: &Policy) -> (Grants, Starts) {
    let mut all = Grants(Vec::new());
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
    (all, starts)
}

fn header(policy: &Policy, facts: &Facts, starts: &Starts) -> PolicyHeader {
    let mut header = PolicyHeader {
        bpf_rule: NO_RULE,
        clock_rule: NO_RULE,
        ..PolicyHeader::default()
    };
    for (_, section) in SECTIONS {
        if policy.mode_of(section) == Mode::Audit {
            header.audit |= 1 << section as u32;
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

/// Commands of `ioctl(2)` by the line that names them.
fn ioctls(policy: &Policy, starts: &Starts) -> BTreeSet<(u32, u32)> {
    let files = (starts.files..).zip(policy.files.iter().map(|grant| &grant.ioctl));
    let devices = (starts.devices..).zip(policy.devices.iter().map(|grant| &grant.ioctl));
    let all = files.chain(devices);
    all.flat_map(|(rule, commands)| commands.iter().map(move |command| (rule, command.0)))
        .collect()
}

/// Warns of lines that open the disk below a file system of the host.
fn disks(policy: &Policy, facts: &Facts, out: &mut Diagnostics) {
    for grant in &policy.devices {
        let number = grant.number.value;
        let below = facts.disks.iter().find(|disk| {
            disk.major == number.major && matches!(number.minor, ANY_MINOR)
                || (disk.major, disk.minor) == (number.major, number.minor)
        });
        let Some(disk) = below.filter(|_| grant.class == DeviceClass::Block) else {
            continue;
        };
        let message = format!(
            "the file system at `{}` is on this device: it opens every file there",
            disk.mounted_at
        );
        let warning = Diagnostic::warning(grant.number.span, message);
        out.push(warning.help("grant paths under `files`"));
    }
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
