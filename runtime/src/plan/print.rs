//! The plan as text, one line a step.

use std::fmt;

use super::{LaunchPlan, PlannedConfinement, Step};
use crate::spec::{
    CapabilityNames, Device, DeviceKind, FsOption, Idmap, IdmapFrom, Mount, MountAttrs, MountKind,
    NamespaceKind, Propagation, PropagationKind, Scheduler, SchedulerPolicy, SourceLink, attr,
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
        let kinds = self.birth.new_namespaces.iter();
        let kinds: Vec<_> = kinds.map(NamespaceKind::to_string).collect();
        writeln!(f, "namespaces  {}", kinds.join(" "))?;
        for (kind, path) in &self.birth.joined {
            writeln!(f, "            {kind} of {}", path.display())?;
        }
        for offset in &self.birth.time_offsets {
            let (clock, secs, nanosecs) = (offset.clock, offset.secs, offset.nanosecs);
            writeln!(f, "clock       {clock} {secs}.{nanosecs:09} s ahead")?;
        }
        for (name, mappings) in [
            ("uids", &self.birth.uid_mappings),
            ("gids", &self.birth.gid_mappings),
        ] {
            for map in mappings {
                let (container, host, size) = (map.container, map.host, map.size);
                writeln!(
                    f,
                    "{name:12}{container} is {host} on the host, {size} of them"
                )?;
            }
        }
        for device in &self.net_devices {
            writeln!(f, "network     {} as {}", device.host_name, device.name)?;
        }
        writeln!(f, "cgroup      {}", self.cgroup)?;
        if let Some(rdt) = &self.rdt {
            let class = rdt.class.as_deref().unwrap_or("of its own");
            let monitor = if rdt.monitor { ", monitored" } else { "" };
            writeln!(f, "resctrl     class {class} {:?}{monitor}", rdt.schemata)?;
        }
        write_limits(self, f)?;
        write_hooks(self, f)?;
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

fn write_hooks(plan: &LaunchPlan, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let hooks = &plan.hooks;
    for (kind, hooks) in [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ] {
        for hook in hooks {
            writeln!(f, "hook        {kind} {}", hook.path.display())?;
        }
    }
    Ok(())
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinNamespace { kind, path } => {
                write!(f, "join {kind} namespace {}", path.display())
            }
            Self::EnterContainer => f.write_str("enter the container's namespaces"),
            Self::BecomeRoot => f.write_str("become root of the user namespace"),
            Self::JoinCgroups => f.write_str("join the cgroups of version 1"),
            Self::NewCgroupNamespace => f.write_str("new cgroup namespace"),
            Self::StopPropagation(propagation) => f.write_str(match propagation.kind {
                PropagationKind::Slave => "mounts stay in the container",
                PropagationKind::Private | PropagationKind::Unbindable => {
                    "mounts stay in the container, and the host's outside"
                }
                PropagationKind::Shared => "mounts of the root stay in the container",
            }),
            Self::RootPropagation(propagation) => {
                write!(f, "root file system {}", PropagationWord(propagation))
            }
            Self::MountRootfs => f.write_str("mount the root file system"),
            Self::Mount(mount) => write_mount(mount, f),
            Self::MountCgroups { mount, hierarchies } => {
                let names = hierarchies.iter().map(|one| match one.name.as_str() {
                    "" => one.fs_type,
                    name => name,
                });
                let names: Vec<_> = names.collect();
                write!(f, "mount cgroups at {}", mount.target.display())?;
                write!(
                    f,
                    " ({})",
                    [names.join(" "), words(mount).join(",")].join("; ")
                )
            }
            Self::LabelMount { target, label } => {
                write!(f, "label {} {label}", target.display())
            }
            Self::MakeDevices { devices, bind } => {
                f.write_str(if *bind { "bind devices" } else { "devices" })?;
                devices
                    .iter()
                    .try_for_each(|device| write_device(device, f))
            }
            Self::MakeLinks(links) => {
                f.write_str("links")?;
                links.iter().try_for_each(|link| {
                    let (path, target) = (link.path.display(), link.target.display());
                    write!(f, "\n        {path} -> {target}")
                })
            }
            Self::OpenTerminal { uid, .. } => write!(f, "open a terminal for user {uid}"),
            Self::RuntimeHooks => f.write_str("wait for the hooks of the runtime"),
            Self::Mask(path) => write!(f, "mask {}", path.display()),
            Self::Readonly(path) => write!(f, "read-only {}", path.display()),
            Self::Sysctl { path, value } => write!(f, "sysctl {} = {value}", path.display()),
            Self::MakeWorkingDirectory(path) => write!(f, "make directory {}", path.display()),
            Self::ReadonlyMounts => f.write_str("read-only file systems that are filled now"),
            Self::ReadonlyRootfs => f.write_str("read-only root file system"),
            Self::OpenProcfs => f.write_str("open a private procfs"),
            Self::MoveRoot => f.write_str("move the root file system to the root"),
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
            Self::Scheduler(scheduler) => write_scheduler(scheduler, f),
            Self::CpuAffinity(cpus) => write!(f, "CPUs {cpus}"),
            Self::IoPriority(priority) => {
                write!(f, "I/O priority {:?} {}", priority.class, priority.level)
            }
            Self::MemoryPolicy(policy) => {
                write!(
                    f,
                    "memory policy {:?}, flags {:#x}",
                    policy.mode, policy.flags
                )?;
                let mut nodes = policy.nodes.iter();
                nodes.try_for_each(|nodes| write!(f, ", nodes {nodes}"))
            }
            Self::Personality(personality) => write!(f, "personality {personality:?}"),
            Self::AppArmor(profile) => {
                write!(f, "AppArmor profile {}", profile.to_string_lossy())
            }
            Self::SeLinux(label) => write!(f, "SELinux label {}", label.to_string_lossy()),
            Self::Seccomp(filter) => write!(f, "seccomp filter, {filter}"),
            Self::Umask(Some(mask)) => write!(f, "umask {mask:03o}"),
            Self::Umask(None) => f.write_str("umask of the caller"),
            Self::NoNewPrivileges => f.write_str("no new privileges"),
            Self::CloseDescriptors(first) => {
                write!(f, "close descriptors from {first} on")
            }
            Self::SessionKeyring(name) => write!(f, "session keyring {name}"),
            Self::FindProgram => f.write_str("find the program"),
            Self::AwaitStart => f.write_str("wait for the start"),
            Self::StartHook(hook) => write!(f, "startContainer hook {}", hook.path.display()),
            Self::ResetSignals => f.write_str("reset signals"),
            _ => f.write_str("execute"),
        }
    }
}

fn write_scheduler(scheduler: &Scheduler, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (policy, nice) = (scheduler.policy, scheduler.nice);
    write!(f, "scheduler {policy:?}, nice {nice}")?;
    if scheduler.priority != 0 {
        write!(f, ", priority {}", scheduler.priority)?;
    }
    if scheduler.flags != 0 {
        write!(f, ", flags {:#x}", scheduler.flags)?;
    }
    if policy == SchedulerPolicy::Deadline {
        let (runtime, deadline) = (scheduler.runtime_ns, scheduler.deadline_ns);
        let period = scheduler.period_ns;
        write!(f, ", {runtime} ns within {deadline} of each {period}")?;
    }
    Ok(())
}

fn write_device(device: &Device, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let kind = match device.kind {
        DeviceKind::Block => 'b',
        DeviceKind::Char => 'c',
        DeviceKind::Fifo => 'p',
    };
    let (path, major, minor) = (device.path.display(), device.major, device.minor);
    write!(
        f,
        "\n        {path} {kind} {major}:{minor} {:o}",
        device.mode
    )?;
    match (device.uid, device.gid) {
        (0, 0) => Ok(()),
        (uid, gid) => write!(f, " of {uid}:{gid}"),
    }
}

fn write_mount(mount: &Mount, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &mount.kind {
        MountKind::Bind {
            source, recursive, ..
        } => {
            let how = if *recursive { "rbind" } else { "bind" };
            write!(f, "{how} {} at", source.display())?;
        }
        MountKind::New { fs_type, .. } => write!(f, "mount {fs_type} at")?,
        MountKind::Remount { .. } => f.write_str("remount")?,
        MountKind::Cgroup => f.write_str("mount cgroup at")?,
    }
    write!(f, " {}", mount.target.display())?;
    let words = words(mount);
    if words.is_empty() {
        Ok(())
    } else {
        write!(f, " ({})", words.join(","))
    }
}

/// The options of a mount, as words that `config.json` could have.
fn words(mount: &Mount) -> Vec<String> {
    let attrs = Attrs(&mount.attrs, "").to_string();
    let recursive = Attrs(&mount.recursive_attrs, "r").to_string();
    let attrs = [attrs, recursive].into_iter();
    let mut words: Vec<String> = attrs.filter(|text| !text.is_empty()).collect();
    let mut data: &[FsOption] = &[];
    match &mount.kind {
        MountKind::Bind { link, .. } => match link {
            SourceLink::Follow => {}
            SourceLink::Bind => words.push("src-nofollow".to_owned()),
            SourceLink::Copy => words.push("copy-symlink".to_owned()),
        },
        MountKind::New {
            options, copy_up, ..
        } => {
            data = options;
            words.extend(copy_up.then(|| "tmpcopyup".to_owned()));
        }
        MountKind::Remount { options } => data = options,
        MountKind::Cgroup => {}
    }
    words.extend(data.iter().map(|(name, value)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    }));
    words.extend(mount.target_nofollow.then(|| "dest-nofollow".to_owned()));
    words.extend(mount.idmap.as_ref().map(idmap_word));
    for (flag, recursive) in &mount.propagation {
        let kind = match *flag {
            libc::MS_PRIVATE => PropagationKind::Private,
            libc::MS_SLAVE => PropagationKind::Slave,
            libc::MS_SHARED => PropagationKind::Shared,
            _ => PropagationKind::Unbindable,
        };
        let recursive = *recursive;
        words.push(PropagationWord(&Propagation { kind, recursive }).to_string());
    }
    words
}

fn idmap_word(idmap: &Idmap) -> String {
    let name = if idmap.recursive { "ridmap" } else { "idmap" };
    match &idmap.from {
        IdmapFrom::Namespace(path) => format!("{name}={}", path.display()),
        IdmapFrom::Ranges { uids, gids } => {
            let [uids, gids] = [uids, gids].map(|ranges| {
                let ranges = ranges.iter();
                let ranges =
                    ranges.map(|map| format!("{}-{}-{}", map.container, map.host, map.size));
                ranges.collect::<Vec<_>>().join("#")
            });
            format!("{name}=uids={uids};gids={gids}")
        }
    }
}

/// Propagation as the word of `config.json`.
struct PropagationWord<'a>(&'a Propagation);

impl fmt::Display for PropagationWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(propagation) = self;
        f.write_str(if propagation.recursive { "r" } else { "" })?;
        f.write_str(match propagation.kind {
            PropagationKind::Private => "private",
            PropagationKind::Slave => "slave",
            PropagationKind::Shared => "shared",
            PropagationKind::Unbindable => "unbindable",
        })
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
