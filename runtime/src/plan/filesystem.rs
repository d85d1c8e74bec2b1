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
const DEFAULT_LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

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
    let own_namespace = spec.namespaces.own(NamespaceKind::Cgroup);
    let mounts = cgroups.hierarchies.iter().map(|hierarchy| CgroupMount {
        name: hierarchy.mounted_as(cgroups),
        fs_type: if hierarchy.v2 { "cgroup2" } else { "cgroup" },
        options: hierarchy.mount_options(),
        bind: (!own_namespace).then(|| hierarchy.root.join(path.relative())),
    });
    Step::MountCgroups {
        target: mount.target.clone(),
        attrs: mount.attrs,
        mounts: mounts.collect(),
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
    let named = |path: &Path| spec.devices.iter().any(|device| device.path == path);
    for (path, major, minor) in DEFAULT_DEVICES {
        if !named(Path::new(path)) {
            steps.push(Step::MakeDevice(Device {
                path: PathBuf::from(path),
                kind: DeviceKind::Char,
                major,
                minor,
                mode: 0o666,
                uid: 0,
                gid: 0,
            }));
        }
    }
    let devices = spec.devices.iter().cloned();
    steps.extend(devices.map(Step::MakeDevice));
    for (path, target) in DEFAULT_LINKS {
        steps.push(Step::Symlink(Link {
            path: path.into(),
            target: target.into(),
        }));
    }
}

pub(super) fn protect(spec: &Spec, steps: &mut Vec<Step>) {
    steps.extend(spec.readonly_paths.iter().cloned().map(Step::Readonly));
    steps.extend(spec.masked_paths.iter().cloned().map(Step::Mask));
}
