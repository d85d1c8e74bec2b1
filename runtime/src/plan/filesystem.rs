//! Steps that build the container's tree: mounts, devices, masks.

use std::path::{Path, PathBuf};

use super::{CgroupMount, Link, Step};
use crate::cgroup::Layout;
use crate::spec::{CgroupPath, Device, DeviceKind, Mount, MountKind, NamespaceKind, Spec};

/// Devices that every container has (OCI runtime specification, "Default Devices").
const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links that every container has ("Dev symbolic links", and `/dev/ptmx` of the default devices).
const DEFAULT_LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    (PTMX, "pts/ptmx"),
];

/// Always that of the container's own devpts, also where the image has a node there.
const PTMX: &str = "/dev/ptmx";

pub(super) fn mounts(spec: &Spec, cgroups: &Layout, path: &CgroupPath, steps: &mut Vec<Step>) {
    for mount in &spec.mounts {
        steps.push(match mount.kind {
            MountKind::Cgroup => cgroup_step(spec, cgroups, path, mount),
            _ => Step::Mount(mount.clone()),
        });
        let label = spec.labels.of_mount_root(mount);
        steps.extend(label.map(|label| Step::LabelMount {
            target: mount.target.clone(),
            label,
        }));
    }
}

fn cgroup_step(spec: &Spec, cgroups: &Layout, path: &CgroupPath, mount: &Mount) -> Step {
    let own_namespace = spec.namespaces.private(NamespaceKind::Cgroup);
    let mounts = cgroups.hierarchies.iter().map(|hierarchy| CgroupMount {
        name: hierarchy.mounted_as(cgroups),
        fs_type: if hierarchy.v2 { "cgroup2" } else { "cgroup" },
        options: hierarchy.mount_options(),
        dir: hierarchy.root.join(path.relative()),
        bind: !own_namespace,
    });
    Step::MountCgroups {
        mount: mount.clone(),
        hierarchies: mounts.collect(),
    }
}

pub(super) fn devices(spec: &Spec, steps: &mut Vec<Step>) {
    // A bind mount over `/dev` brings the nodes of the host; making nodes there would change the
    // host.
    let bound = spec.mounts.iter().any(|mount| {
        mount.target == Path::new("/dev") && matches!(mount.kind, MountKind::Bind { .. })
    });
    if bound {
        return;
    }
    let named = |path: &str| {
        let mut devices = spec.devices.iter();
        devices.any(|device| device.path == Path::new(path))
    };
    let default = DEFAULT_DEVICES.iter().filter(|(path, ..)| !named(path));
    let default = default.map(|&(path, major, minor)| Device {
        path: PathBuf::from(path),
        kind: DeviceKind::Char,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    });
    let given = spec.devices.iter().cloned();
    let given = given.filter(|device| device.path != Path::new(PTMX));
    steps.push(Step::MakeDevices {
        devices: default.chain(given).collect(),
        // No node of a device can be made there, and none that was made would open.
        bind: spec.namespaces.private(NamespaceKind::User),
    });
    let links = DEFAULT_LINKS.into_iter().map(|(path, target)| Link {
        path: path.into(),
        target: target.into(),
        replace: path == PTMX,
    });
    steps.push(Step::MakeLinks(links.collect()));
}

pub(super) fn finish(spec: &Spec, steps: &mut Vec<Step>) {
    if spec.mounts.iter().any(Mount::is_readonly_late) {
        steps.push(Step::ReadonlyMounts);
    }
}

pub(super) fn protect(spec: &Spec, steps: &mut Vec<Step>) {
    steps.extend(spec.readonly_paths.iter().cloned().map(Step::Readonly));
    steps.extend(spec.masked_paths.iter().cloned().map(Step::Mask));
}
