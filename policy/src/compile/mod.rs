//! Model and facts to tables. What a policy names by path becomes an identity here, once, when the
//! container is made.

mod capability;
mod files;
mod mounts;
mod numbered;
mod processes;
pub mod rules;
mod sockets;

pub use sockets::SocketTables;
pub(crate) use sockets::holds;

use std::collections::{BTreeMap, BTreeSet};

use ebpf_common::Rights;
use ebpf_common::abi::{
    ANY_MINOR, LEARN_SHIFT, NO_RULE, PolicyHeader, RightsRule, SuperRule, device_class, kernel,
    super_kind,
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
    let (mut all, starts) = grants(policy);
    let numbered = numbered::compile(policy, &mut all);
    let mut tables = Tables {
        header: header(policy, facts, &starts),
        files: files::compile(policy, facts, starts.files, &mut out),
        supers: supers(facts),
        devices: devices(policy, starts.devices),
        mounts: mounts::compile(policy, facts, starts.mounts, starts.actions, &mut out),
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
        sockets: Box::new(sockets::compile(policy, facts, starts.sockets, &mut out)),
    };
    disks(policy, facts, &mut out);
    tables.processes = processes::compile(policy, facts, &starts, &mut out);
    let out = out.sorted();
    if out.has_errors() {
        return Err(out);
    }
    Ok(Compiled {
        name: policy.name().to_owned(),
        source: policy.source_name().to_owned(),
        tables,
        grants: all.1,
        warnings: out,
    })
}

/// Index of the first grant of each kind.
struct Starts {
    files: u32,
    devices: u32,
    mounts: u32,
    actions: u32,
    capabilities: u32,
    signal: u32,
    ptrace: u32,
    setns: u32,
    limits: u32,
    exec: u32,
    modules: u32,
    bpf: u32,
    clock: u32,
    sockets: u32,
}

impl Starts {
    fn firsts(&self, policy: &Policy) -> capability::Firsts {
        let if_any = |any: bool, rule| any.then_some(rule);
        capability::Firsts {
            mounts: if_any(!policy.mounts.is_empty(), self.mounts),
            actions: if_any(!policy.mount_actions.is_empty(), self.actions),
            setns: if_any(!policy.processes.setns.is_empty(), self.setns),
            limits: if_any(!policy.processes.limits.is_empty(), self.limits),
            modules: if_any(!policy.kernel.modules.is_empty(), self.modules),
            clock: if_any(policy.kernel.clock.is_some(), self.clock),
            bpf: if_any(policy.kernel.bpf.is_some(), self.bpf),
            sockets: if_any(!policy.sockets.is_empty(), self.sockets),
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

fn grants(policy: &Policy) -> (Grants<'_>, Starts) {
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
    let actions = all.next();
    for line in &policy.mount_actions {
        all.add("mounts", line.span, line.text());
    }
    let capabilities = all.next();
    for grant in &policy.capabilities.0 {
        all.add("capabilities", grant.span(), grant.text());
    }
    let [signal, ptrace, setns, limits, exec] = process_grants(policy, &mut all);
    let [modules, bpf, clock] = kernel_grants(policy, &mut all);
    let sockets = all.next();
    for grant in &policy.sockets {
        all.add("sockets", grant.span, grant.text());
    }
    let starts = Starts {
        files,
        devices,
        mounts,
        actions,
        capabilities,
        signal,
        ptrace,
        setns,
        limits,
        exec,
        modules,
        bpf,
        clock,
        sockets,
    };
    (all, starts)
}

/// The lines of `processes`, and the index of the first of each kind.
fn process_grants(policy: &Policy, all: &mut Grants) -> [u32; 5] {
    let lines = &policy.processes;
    let mut add = |span, text| all.add("processes", span, text);
    let mut next = 0;
    let mut counted = |many: usize| {
        let first = next;
        next += u32::try_from(many).unwrap_or(NO_RULE);
        first
    };
    let mut starts = [0; 5];
    starts[0] = counted(lines.signal.len());
    for grant in &lines.signal {
        add(grant.span, format!("signal: - {}", grant.text()));
    }
    starts[1] = counted(lines.ptrace.len());
    for grant in &lines.ptrace {
        add(grant.span, format!("ptrace: - {}", grant.text()));
    }
    starts[2] = counted(lines.setns.len());
    for grant in &lines.setns {
        add(grant.span, format!("setns: - {}", grant.text()));
    }
    starts[3] = counted(lines.limits.len());
    for grant in &lines.limits {
        add(grant.span, format!("limits: - {}", grant.text()));
    }
    starts[4] = counted(0);
    if let Some(exec) = &lines.exec {
        add(exec.span, lines.exec_text());
        counted(1);
    }
    let first = all.next() - next;
    starts.map(|start| start + first)
}

/// The lines of `kernel`, and the index of the first of each kind.
fn kernel_grants(policy: &Policy, all: &mut Grants) -> [u32; 3] {
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
    [modules, bpf, clock]
}

fn header(policy: &Policy, facts: &Facts, starts: &Starts) -> PolicyHeader {
    let mut header = PolicyHeader {
        bpf_rule: NO_RULE,
        clock_rule: NO_RULE,
        namespaces_rule: NO_RULE,
        exec_rule: NO_RULE,
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
    if facts.private_net {
        header.kernel |= kernel::PRIVATE_NET;
    }
    if !facts.upper.is_empty() || !facts.lower.is_empty() {
        header.kernel |= kernel::OVERLAY_ROOT;
    }
    if policy.kernel.clock.is_some() {
        header.kernel |= kernel::CLOCK;
        header.clock_rule = starts.clock;
    }
    for grant in &policy.mounts {
        header.attach_attributes |= crate::names::mount::attributes(grant.flags);
    }
    for grant in &policy.processes.setns {
        header.namespaces |= grant.types.0;
        header.namespaces_rule = starts.setns;
    }
    if policy.processes.exec.is_some() {
        header.kernel |= kernel::EXEC_LISTED;
        header.exec_rule = starts.exec;
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
                rights: Rights::ALL,
                rule: NO_RULE,
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

#[cfg(test)]
mod tests;
