//! Kernel parameters: only those of a namespace that is not the host's.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Error, NamespaceKind, Namespaces, Problem};

/// Kernel parameters of the IPC namespace (`ipc/ipc_sysctl.c`).
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// Parameters by their path below `/proc/sys`, each of a namespace that the container does not
/// share with the host as far as the configuration tells.
pub(super) fn check(
    raw: Option<&HashMap<String, String>>,
    namespaces: &Namespaces,
) -> Result<BTreeMap<PathBuf, String>, Error> {
    let mut checked = BTreeMap::new();
    for (name, value) in raw.into_iter().flatten() {
        let key = format!("linux.sysctl[{name}]");
        let path = path_of(name).ok_or_else(|| {
            let problem = Problem::UnknownWord(name.clone());
            Error::invalid(&key, problem)
        })?;
        if path == "kernel/hostname" {
            return Err(Error::invalid(key, Problem::HasOwnKey("hostname")));
        }
        let Some(needs) = namespace_of(&path) else {
            return Err(Error::invalid(key, Problem::GlobalSysctl));
        };
        if !namespaces.private(needs) {
            return Err(Error::invalid(key, Problem::NeedsNamespace(needs)));
        }
        if checked.insert(PathBuf::from(path), value.clone()).is_some() {
            return Err(Error::invalid(key, Problem::Twice(name.clone())));
        }
    }
    Ok(checked)
}

/// The path of a parameter. Whichever of `.` and `/` comes first separates; the other one is then a
/// part of the names, where a dot is written `/` and a slash cannot be (`sysctl(8)`).
fn path_of(name: &str) -> Option<String> {
    let separator = name.find(['.', '/']).map(|at| &name[at..=at]);
    let path = match separator {
        Some(".") => {
            let swap = |letter| match letter {
                '.' => '/',
                '/' => '.',
                other => other,
            };
            name.chars().map(swap).collect()
        }
        _ => name.to_owned(),
    };
    let sane = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    path.split('/').all(sane).then_some(path)
}

/// The kind of namespace that each have their own value of a parameter.
fn namespace_of(path: &str) -> Option<NamespaceKind> {
    match path.split_once('/')? {
        ("net", _) => Some(NamespaceKind::Network),
        ("user", _) => Some(NamespaceKind::User),
        ("fs", rest) if rest.starts_with("mqueue/") => Some(NamespaceKind::Ipc),
        ("kernel", "domainname") => Some(NamespaceKind::Uts),
        ("kernel", _) if IPC.contains(&path) => Some(NamespaceKind::Ipc),
        _ => None,
    }
}

/// Refuses a parameter of a namespace that is joined by a file and is the runtime's own after all.
pub(super) fn refuse_of_host(
    sysctl: &BTreeMap<PathBuf, String>,
    namespaces: &Namespaces,
) -> Result<(), Error> {
    if sysctl.is_empty() {
        return Ok(());
    }
    for (kind, path) in namespaces.joined() {
        let used = sysctl.keys().find(|name| {
            let name = name.to_str().unwrap_or_default();
            namespace_of(name) == Some(kind)
        });
        if let Some(name) = used
            && is_own(kind, path)
        {
            let key = format!("linux.sysctl[{}]", name.display());
            return Err(Error::invalid(key, Problem::HostsNamespace(kind)));
        }
    }
    Ok(())
}

/// Whether the file is this process's namespace. One that cannot be looked at cannot be joined
/// either, which gives a better error later.
fn is_own(kind: NamespaceKind, path: &Path) -> bool {
    let name = match kind {
        NamespaceKind::User => "user",
        NamespaceKind::Network => "net",
        NamespaceKind::Ipc => "ipc",
        NamespaceKind::Uts => "uts",
        // No parameter belongs to one of the others.
        _ => return false,
    };
    let identity = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    let own = identity(&Path::new("/proc/self/ns").join(name));
    own.is_some() && own == identity(path)
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Linux;
    use serde_json::json;

    use super::*;

    fn checked(namespaces: &[&str], name: &str) -> Result<BTreeMap<PathBuf, String>, Error> {
        let kinds = namespaces.iter().map(|kind| json!({ "type": kind }));
        let kinds: Vec<_> = kinds.chain([json!({ "type": "mount" })]).collect();
        let mut linux = json!({ "namespaces": kinds });
        if namespaces.contains(&"user") {
            let map = json!([{ "containerID": 0, "hostID": 1, "size": 1 }]);
            linux["uidMappings"] = map.clone();
            linux["gidMappings"] = map;
        }
        let linux: Linux = serde_json::from_value(linux).unwrap();
        let namespaces = Namespaces::check(&linux).unwrap();
        let raw = HashMap::from([(name.to_owned(), "1".to_owned())]);
        check(Some(&raw), &namespaces)
    }

    #[test]
    fn each_parameter_needs_its_namespace() {
        for (kind, name) in [
            ("ipc", "kernel.shmmax"),
            ("ipc", "kernel.msgmnb"),
            ("ipc", "kernel/sem"),
            ("ipc", "kernel.shm_rmid_forced"),
            ("ipc", "fs.mqueue.msg_max"),
            ("network", "net.ipv4.ping_group_range"),
            ("network", "net/ipv4/ip_forward"),
            ("uts", "kernel.domainname"),
            ("user", "user.max_user_namespaces"),
        ] {
            checked(&[kind], name).unwrap();
            checked(&[], name).unwrap_err();
        }
    }

    #[test]
    fn what_is_the_hosts_is_refused() {
        let all = ["ipc", "network", "uts", "user"];
        for name in [
            "kernel.core_pattern",
            "kernel.hostname",
            "kernel.ostype",
            "kernel.shmmax.x",
            "vm.swappiness",
            "fs.file-max",
            "fs.mqueue",
            "net",
            "",
            ".",
            "net..ipv4",
            "net/../kernel/core_pattern",
            "net.ipv4.",
            "/net/ipv4/x",
            "net.ipv4\0",
        ] {
            assert!(checked(&all, name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_first_separator_separates() {
        let path = |name| path_of(name).unwrap();
        assert_eq!(
            path("net.ipv4.conf.eth0.rp_filter"),
            "net/ipv4/conf/eth0/rp_filter"
        );
        assert_eq!(path("net.ipv4.conf.eth0/1.x"), "net/ipv4/conf/eth0.1/x");
        assert_eq!(path("net/ipv4/conf/eth0.1/x"), "net/ipv4/conf/eth0.1/x");
        assert_eq!(path_of("net.x.//.y"), None);
    }

    #[test]
    fn a_path_to_the_hosts_namespace_makes_it_no_other() {
        assert!(is_own(
            NamespaceKind::Network,
            Path::new("/proc/self/ns/net")
        ));
        assert!(is_own(
            NamespaceKind::Uts,
            Path::new("/proc/thread-self/ns/uts")
        ));
        assert!(!is_own(NamespaceKind::Uts, Path::new("/proc/self/ns/net")));
        assert!(!is_own(NamespaceKind::Ipc, Path::new("/nowhere")));
    }
}
