//! The plan as text, one line a step.

use std::fmt;

use super::{LaunchPlan, PlannedConfinement, Step};
use crate::spec::{
    CapabilityNames, DeviceKind, Mount, MountAttrs, MountKind, NamespaceKind, Propagation, attr,
};

impl fmt::Display for LaunchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "container   {}", self.id)?;
        writeln!(f, "bundle      {}", self.bundle.display())?;
        writeln!(f, "rootfs      {}", self.rootfs.display())?;
        match &self.confinement {
            PlannedConfinement::Policy(name) => writeln!(f, "policy      {name}")?,
            PlannedConfinement::None => writeln!(f, "policy      none: not confined by Reeve")?,
        }
        let kinds: Vec<_> = self
            .new_namespaces
            .iter()
            .map(NamespaceKind::to_string)
            .collect();
        writeln!(f, "namespaces  {}", kinds.join(" "))?;
        for (name, mappings) in [("uids", &self.uid_mappings), ("gids", &self.gid_mappings)] {
            for map in mappings {
                let (container, host, size) = (map.container, map.host, map.size);
                writeln!(
                    f,
                    "{name:12}{container} is {host} on the host, {size} of them"
                )?;
            }
        }
        writeln!(f, "cgroup      {}", self.cgroup)?;
        write_limits(self, f)?;
        writeln!(f, "steps")?;
        for (at, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:4}  {step}", at + 1)?;
        }
        let args = self.exec.args.iter();
        let args: Vec<_> = args.map(|arg| arg.to_string_lossy()).collect();
        writeln!(f, "entry       {args:?}")
    }
}

fn write_limits(plan: &LaunchPlan, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut all = plan.resources.words();
    let score = plan.oom_score_adj;
    all.extend(score.map(|score| format!("oom_score_adj {score}")));
    if !all.is_empty() {
        writeln!(f, "limits      {}", all.join(", "))?;
    }
    Ok(())
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinNamespace { kind, path } => {
                write!(f, "join {kind} namespace {}", path.display())
            }
            Self::BecomeRoot => f.write_str("become root of the user namespace"),
            Self::NewCgroupNamespace => f.write_str("new cgroup namespace"),
            Self::StopPropagation(Propagation::Slave) => {
                f.write_str("mounts stay in the container")
            }
            Self::StopPropagation(Propagation::Private) => {
                f.write_str("mounts stay in the container, and the host's outside")
            }
            Self::MountRootfs => f.write_str("mount the root file system"),
            Self::Mount(mount) => write_mount(mount, f),
            Self::MountCgroups {
                target,
                attrs,
                mounts,
            } => {
                let names = mounts.iter().map(|mount| match mount.name.as_str() {
                    "" => mount.fs_type,
                    name => name,
                });
                let names: Vec<_> = names.collect();
                write!(f, "mount cgroups at {}", target.display())?;
                write!(f, " ({}; {})", names.join(" "), Attrs(attrs, ""))
            }
            Self::MakeDevice(device) => {
                let kind = match device.kind {
                    DeviceKind::Block => 'b',
                    DeviceKind::Char => 'c',
                    DeviceKind::Fifo => 'p',
                };
                let (path, major, minor) = (device.path.display(), device.major, device.minor);
                write!(f, "device {path} {kind} {major}:{minor} {:o}", device.mode)
            }
            Self::Symlink(link) => {
                write!(
                    f,
                    "link {} -> {}",
                    link.path.display(),
                    link.target.display()
                )
            }
            Self::OpenTerminal { uid } => write!(f, "open a terminal for user {uid}"),
            Self::Mask(path) => write!(f, "mask {}", path.display()),
            Self::Readonly(path) => write!(f, "read-only {}", path.display()),
            Self::Sysctl { name, value } => write!(f, "sysctl {name} = {value}"),
            Self::MakeWorkingDirectory(path) => write!(f, "make directory {}", path.display()),
            Self::ReadonlyRootfs => f.write_str("read-only root file system"),
            Self::PivotRoot => f.write_str("pivot to the root file system"),
            _ => self.fmt_process(f),
        }
    }
}

impl Step {
    fn fmt_process(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hostname(name) => write!(f, "host name {name}"),
            Self::Domainname(name) => write!(f, "domain name {name}"),
            Self::LoopbackUp => f.write_str("loopback up"),
            Self::NewSession => f.write_str("new session"),
            Self::Rlimit(limit) => {
                let name = format!("{:?}", limit.resource).to_uppercase();
                write!(f, "rlimit {name} {}:{}", limit.soft, limit.hard)
            }
            Self::WorkingDirectory(path) => write!(f, "working directory {}", path.display()),
            Self::Identity { user, capabilities } => {
                write!(f, "user {}:{}", user.uid, user.gid)?;
                for gid in &user.additional_gids {
                    write!(f, " +{gid}")?;
                }
                if let Some(umask) = user.umask {
                    write!(f, ", umask {umask:03o}")?;
                }
                for (name, set) in [
                    ("bounding", capabilities.bounding),
                    ("permitted", capabilities.permitted),
                    ("effective", capabilities.effective),
                    ("inheritable", capabilities.inheritable),
                    ("ambient", capabilities.possible_ambient()),
                ] {
                    write!(f, "; {name} {}", CapabilityNames(set))?;
                }
                Ok(())
            }
            Self::NoNewPrivileges => f.write_str("no new privileges"),
            Self::CloseDescriptors => f.write_str("close descriptors on exec"),
            Self::ResetSignals => f.write_str("reset signals"),
            _ => f.write_str("execute"),
        }
    }
}

fn write_mount(mount: &Mount, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut words = Vec::new();
    match &mount.kind {
        MountKind::Bind { source, recursive } => {
            let how = if *recursive { "rbind" } else { "bind" };
            write!(f, "{how} {} at", source.display())?;
        }
        MountKind::New {
            fs_type, options, ..
        } => {
            write!(f, "mount {fs_type} at")?;
            words.extend(options.iter().map(|(name, value)| match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            }));
        }
        MountKind::Cgroup => f.write_str("mount cgroup at")?,
    }
    write!(f, " {}", mount.target.display())?;
    let attrs = Attrs(&mount.attrs, "").to_string();
    let recursive = Attrs(&mount.recursive_attrs, "r").to_string();
    let attrs = [attrs, recursive]
        .into_iter()
        .filter(|text| !text.is_empty());
    let mut words: Vec<String> = attrs.chain(words).collect();
    for (flag, recursive) in &mount.propagation {
        let name = match *flag {
            libc::MS_PRIVATE => "private",
            libc::MS_SLAVE => "slave",
            libc::MS_SHARED => "shared",
            _ => "unbindable",
        };
        words.push(format!("{}{name}", if *recursive { "r" } else { "" }));
    }
    if words.is_empty() {
        Ok(())
    } else {
        write!(f, " ({})", words.join(","))
    }
}

/// Attributes as the options of `mount(8)`, each with a prefix.
struct Attrs<'a>(&'a MountAttrs, &'a str);

impl fmt::Display for Attrs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(u64, &str, &str); 6] = [
            (attr::RDONLY, "ro", "rw"),
            (attr::NOSUID, "nosuid", "suid"),
            (attr::NODEV, "nodev", "dev"),
            (attr::NOEXEC, "noexec", "exec"),
            (attr::NODIRATIME, "nodiratime", "diratime"),
            (attr::NOSYMFOLLOW, "nosymfollow", "symfollow"),
        ];
        let Self(attrs, prefix) = self;
        let mut words: Vec<&str> = Vec::new();
        for (bit, set, clear) in NAMES {
            if attrs.set & bit != 0 {
                words.push(set);
            } else if attrs.clear & bit != 0 {
                words.push(clear);
            }
        }
        match attrs.set & attr::ATIME {
            attr::NOATIME => words.push("noatime"),
            attr::STRICTATIME => words.push("strictatime"),
            _ if attrs.clear & attr::ATIME != 0 => words.push("relatime"),
            _ => {}
        }
        let words: Vec<_> = words.iter().map(|word| format!("{prefix}{word}")).collect();
        f.write_str(&words.join(","))
    }
}
