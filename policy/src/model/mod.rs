//! The checked model: a policy that exists is well-formed and does not contradict itself.

pub mod capabilities;
pub mod devices;
pub mod files;
pub mod ipc;
pub mod kernel;
pub mod mounts;
pub mod processes;
pub mod reaching;
pub mod sockets;
pub mod sysctl;
pub mod value;

use std::collections::BTreeMap;

use ebpf_common::abi::Section;
use schemars::JsonSchema;

use crate::compose::{Files, NoFiles, Variables, compose};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::facts::{PathRequest, Why};
use crate::reader::{Fields, Reader};
use crate::source::{Source, Span, Spanned, Text};
use crate::yaml::{Node, render};

pub use capabilities::{Calls, Capabilities, CapabilityGrant};
pub use devices::{DeviceClass, DeviceGrant};
pub use files::FileGrant;
pub use ipc::Ipc;
pub use kernel::{Kernel, ModuleName};
pub use mounts::{MountActions, MountGrant, MountSource};
pub use processes::{Processes, Ptrace, PtraceGrant, SignalGrant, Signals};
pub use reaching::{Limits, LimitsGrant, Namespaces, SetnsGrant};
pub use sockets::{SocketGrant, SocketSubject};
pub use sysctl::{Sysctl, SysctlName};
pub use value::{DeviceNumber, FileRights, HostPath, IoctlCommand, PolicyName};

pub(crate) const KEYS: &[&str] = &[
    "reeve",
    "name",
    "description",
    "vars",
    "include",
    "extends",
    "mode",
    "modes",
    "files",
    "devices",
    "mounts",
    "capabilities",
    "processes",
    "kernel",
    "sockets",
    "ipc",
];

/// The sections that have a mode, with their names, in the order of [`Section`].
pub const SECTIONS: [(&str, Section); 8] = [
    ("files", Section::Files),
    ("devices", Section::Devices),
    ("mounts", Section::Mounts),
    ("capabilities", Section::Capabilities),
    ("processes", Section::Processes),
    ("kernel", Section::Kernel),
    ("sockets", Section::Sockets),
    ("ipc", Section::Ipc),
];

/// Version of the language.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Version {
    /// The first.
    V1,
}

/// What happens to a refused action.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Mode {
    /// It is refused and recorded.
    #[default]
    Enforce,
    /// It is let through and recorded.
    Audit,
    /// As `audit`, and what is recorded is marked as material for `reeve policy learn`.
    Learn,
}

impl Mode {
    /// The word of the language.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
            Self::Learn => "learn",
        }
    }

    /// Whether what is refused goes on all the same.
    pub fn lets_through(self) -> bool {
        match self {
            Self::Enforce => false,
            Self::Audit | Self::Learn => true,
        }
    }
}

/// Modes of single sections; a section that is not named has the policy's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(missing_docs, reason = "one field for each section, named like it")]
pub struct Modes {
    pub files: Option<Mode>,
    pub devices: Option<Mode>,
    pub mounts: Option<Mode>,
    pub capabilities: Option<Mode>,
    pub processes: Option<Mode>,
    pub kernel: Option<Mode>,
    pub sockets: Option<Mode>,
    pub ipc: Option<Mode>,
}

impl Modes {
    fn of(self, section: Section) -> Option<Mode> {
        match section {
            Section::Files => self.files,
            Section::Devices => self.devices,
            Section::Mounts => self.mounts,
            Section::Capabilities => self.capabilities,
            Section::Processes => self.processes,
            Section::Kernel => self.kernel,
            Section::Sockets => self.sockets,
            Section::Ipc => self.ipc,
        }
    }

    fn slot(&mut self, section: Section) -> &mut Option<Mode> {
        match section {
            Section::Files => &mut self.files,
            Section::Devices => &mut self.devices,
            Section::Mounts => &mut self.mounts,
            Section::Capabilities => &mut self.capabilities,
            Section::Processes => &mut self.processes,
            Section::Kernel => &mut self.kernel,
            Section::Sockets => &mut self.sockets,
            Section::Ipc => &mut self.ipc,
        }
    }
}

/// A policy: the host actions that a container may do. Everything of the host that no line names is
/// refused.
#[derive(Clone, PartialEq, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Policy {
    /// Version of the language.
    pub reeve: Version,
    /// Name, shown with every refusal.
    pub name: PolicyName,
    /// What the container is for, for people.
    pub description: Option<String>,
    /// Texts that `${name}` stands for in values.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub vars: Variables,
    /// Files whose lines are as if written here, relative to this one.
    #[schemars(with = "Option<Vec<String>>")]
    pub include: Vec<String>,
    /// Presets that lie beneath: lines here take the place of theirs.
    #[schemars(with = "Option<Vec<String>>")]
    pub extends: Vec<String>,
    /// Whether refused actions are refused or only recorded.
    #[schemars(with = "Option<Mode>")]
    pub mode: Mode,
    /// Modes of single sections.
    #[schemars(with = "Option<Modes>")]
    pub modes: Modes,
    /// Host files and directories.
    #[schemars(with = "Option<Vec<FileGrant>>")]
    pub files: Vec<FileGrant>,
    /// Device nodes.
    #[schemars(with = "Option<Vec<DeviceGrant>>")]
    pub devices: Vec<DeviceGrant>,
    /// File systems that may be mounted.
    #[schemars(with = "Option<Vec<MountGrant>>")]
    pub mounts: Vec<MountGrant>,
    /// Actions on mounts: lines of `mounts` as well.
    #[schemars(skip)]
    pub mount_actions: Vec<MountActions>,
    /// Capabilities over the host.
    #[schemars(with = "Option<Capabilities>")]
    pub capabilities: Capabilities,
    /// Host processes.
    #[schemars(with = "Option<Processes>")]
    pub processes: Processes,
    /// The kernel itself.
    #[schemars(with = "Option<Kernel>")]
    pub kernel: Kernel,
    /// Sockets of the host's network, and unix sockets of the host.
    #[schemars(with = "Option<Vec<SocketGrant>>")]
    pub sockets: Vec<SocketGrant>,
    /// System V and POSIX IPC, keys.
    #[schemars(with = "Option<Ipc>")]
    pub ipc: Ipc,
    #[schemars(skip)]
    pub(crate) source: Source,
    #[schemars(skip)]
    pub(crate) root: Node,
    #[schemars(skip)]
    pub(crate) warnings: Diagnostics,
}

/// Reads a policy that includes no other file. `name` is what findings call it, usually the file's
/// name.
///
/// # Errors
/// As [`parse_with`].
pub fn parse(name: &str, text: &str) -> Result<Policy, Diagnostics> {
    parse_with(name, text, &Variables::default(), &mut NoFiles)
}

/// Reads a policy. `vars` overrule those that it sets itself; what it includes comes from `files`.
///
/// # Errors
/// All findings at once if one of them is an error; otherwise the warnings are in
/// [`Policy::warnings`].
pub fn parse_with(
    name: &str,
    text: &str,
    vars: &Variables,
    files: &mut dyn Files,
) -> Result<Policy, Diagnostics> {
    let composed = compose(name, text, vars, files);
    let Some(root) = composed.root else {
        return Err(composed.out.sorted());
    };
    let mut reader = Reader { out: composed.out };
    let policy = read(&mut reader, &root, composed.source);
    let out = reader.out.sorted();
    match policy {
        Some(policy) if !out.has_errors() => Ok(Policy {
            warnings: out,
            vars: composed.vars,
            include: composed.include,
            extends: composed.extends,
            root,
            ..policy
        }),
        _ => Err(out),
    }
}

impl Policy {
    /// The policy's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Findings that do not keep the policy from being used.
    pub fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }

    /// A line of one of its files, counted from 1, without surrounding space.
    pub fn line(&self, file: &str, line: usize) -> &str {
        let text = self.source.named(file);
        text.map_or("", |text| text.line(line).trim())
    }

    /// The name of the file that a place is in.
    pub fn file_of(&self, span: Span) -> &str {
        self.source.of(span).map_or("", Text::name)
    }

    /// The policy as one text without variables, includes and presets; a line that comes from
    /// another file says from where.
    pub fn flat(&self) -> String {
        render::document(&self.root, &self.source)
    }

    /// The name given to [`parse`].
    pub fn source_name(&self) -> &str {
        self.source.name()
    }

    /// The mode that holds for a section.
    pub fn mode_of(&self, section: Section) -> Mode {
        self.modes.of(section).unwrap_or(self.mode)
    }

    /// What must be looked up on the host before [`crate::compile()`], in the order of the policy's
    /// lines.
    pub fn paths(&self) -> Vec<PathRequest> {
        let path = |path: &Spanned<HostPath>, why, optional| PathRequest {
            path: path.value.as_str().to_owned(),
            why,
            optional,
            span: path.span,
        };
        let files = self.files.iter();
        let files = files.map(|grant| path(&grant.path, Why::Files, grant.optional));
        let signal = self.processes.signal.iter();
        let signal = signal.map(|grant| path(&grant.exe, Why::Exe, grant.optional));
        let ptrace = self.processes.ptrace.iter();
        let ptrace = ptrace.map(|grant| path(&grant.exe, Why::Exe, grant.optional));
        let modules = self.kernel.modules.iter().map(|module| PathRequest {
            path: module.value.as_str().to_owned(),
            why: Why::Module,
            optional: false,
            span: module.span,
        });
        let unix = self
            .sockets
            .iter()
            .filter_map(|grant| match &grant.subject {
                SocketSubject::Unix(at) => Some(path(at, Why::Files, grant.optional)),
                _ => None,
            });
        let setns = self.processes.setns.iter();
        let setns = setns.map(|grant| path(&grant.exe, Why::Exe, grant.optional));
        let limits = self.processes.limits.iter();
        let limits = limits.map(|grant| path(&grant.exe, Why::Exe, grant.optional));
        let listed = self.processes.exec.iter().flat_map(|exec| &exec.value);
        let listed = listed.map(|exe| path(exe, Why::Exe, false));
        let nodes = self.mounts.iter().flat_map(|grant| &grant.sources);
        let nodes = nodes.filter_map(|source| match &source.value {
            MountSource::Node(node) => {
                let node = Spanned::new(node.clone(), source.span);
                Some(path(&node, Why::BlockDevice, false))
            }
            _ => None,
        });
        let targets = self.mounts.iter().flat_map(|grant| &grant.targets);
        let on = self.mount_actions.iter().flat_map(|line| &line.targets);
        let targets = targets.chain(on).map(|at| path(at, Why::MountPoint, false));
        let processes = signal
            .chain(ptrace)
            .chain(setns)
            .chain(limits)
            .chain(listed);
        files
            .chain(nodes)
            .chain(targets)
            .chain(processes)
            .chain(modules)
            .chain(unix)
            .collect()
    }
}

fn read(reader: &mut Reader, root: &Node, source: Source) -> Option<Policy> {
    let fields = reader.fields(root, "the policy", KEYS)?;
    let reeve = reader.require(&fields, "reeve", "v1");
    let reeve = reeve.and_then(|node| read_version(reader, node));
    let name = reader.require(&fields, "name", "my-agent");
    let name = name.and_then(|node| PolicyName::read(reader, node));
    let description = fields.find("description");
    let description = description.and_then(|node| reader.text(node, "a text"));
    let mode = fields.find("mode").and_then(|node| read_mode(reader, node));
    let description = description.map(|text| text.value.to_owned());
    let modes = section(&fields, "modes").map(|node| read_modes(reader, node));
    let files = section(&fields, "files").map(|node| files::read(reader, node));
    let devices = section(&fields, "devices").map(|node| devices::read(reader, node));
    let mounts = section(&fields, "mounts").map(|node| mounts::read(reader, node));
    let mounts = mounts.unwrap_or_default();
    let capabilities =
        section(&fields, "capabilities").map(|node| capabilities::read(reader, node));
    let processes = section(&fields, "processes").map(|node| processes::read(reader, node));
    let kernel = section(&fields, "kernel").map(|node| kernel::read(reader, node));
    let sockets = section(&fields, "sockets").map(|node| sockets::read(reader, node));
    let ipc = section(&fields, "ipc").map(|node| ipc::read(reader, node));
    Some(Policy {
        reeve: reeve?,
        name: name?,
        description,
        vars: Variables::default(),
        include: Vec::new(),
        extends: Vec::new(),
        mode: mode.unwrap_or_default(),
        modes: modes.unwrap_or_default(),
        files: files.unwrap_or_default(),
        devices: devices.unwrap_or_default(),
        mounts: mounts.grants,
        mount_actions: mounts.actions,
        capabilities: capabilities.unwrap_or_default(),
        processes: processes.unwrap_or_default(),
        kernel: kernel.unwrap_or_default(),
        sockets: sockets.unwrap_or_default(),
        ipc: ipc.unwrap_or_default(),
        warnings: Diagnostics::new(source.clone()),
        root: root.clone(),
        source,
    })
}

/// A section; one of which only the key is written is empty.
fn section<'n>(fields: &Fields<'n>, key: &str) -> Option<&'n Node> {
    fields.find(key).filter(|node| !node.is_null())
}

fn read_version(reader: &mut Reader, node: &Node) -> Option<Version> {
    let word = reader.word(node, "the version of the language")?;
    if word.value == "v1" {
        return Some(Version::V1);
    }
    let message = format!("`{}` is not a version of the language", word.value);
    let help = "this Reeve knows `reeve: v1`";
    reader
        .out
        .push(Diagnostic::error(word.span, message).help(help));
    None
}

fn read_mode(reader: &mut Reader, node: &Node) -> Option<Mode> {
    let word = reader.word(node, "a mode")?;
    match word.value {
        "enforce" => Some(Mode::Enforce),
        "audit" => Some(Mode::Audit),
        "learn" => Some(Mode::Learn),
        _ => {
            reader.unknown_word(word, "modes", &["enforce", "audit", "learn"]);
            None
        }
    }
}

fn read_modes(reader: &mut Reader, node: &Node) -> Modes {
    let mut modes = Modes::default();
    let names = SECTIONS.map(|(name, _)| name);
    let Some(fields) = reader.fields(node, "modes", &names) else {
        return modes;
    };
    for (name, section) in SECTIONS {
        if let Some(node) = fields.find(name) {
            *modes.slot(section) = read_mode(reader, node);
        }
    }
    modes
}
