//! Mounting by both interfaces, unmounting, changing the root.

use std::ffi::CStr;
use std::os::fd::AsFd as _;

use crate::act::{Action, Done, Failure, action, done, path};
use crate::files::fd;
use crate::sys::{Arg, call, descriptor};

pub(crate) const ACTIONS: &[Action] = &[
    action("mount", "SOURCE TARGET TYPE [FLAG,…]", mount),
    action("mount-tmpfs", "TARGET [FLAG,…]", mount_tmpfs),
    action("mount-bind", "SOURCE TARGET", mount_bind),
    action("remount", "TARGET FLAG,…", remount),
    action("umount", "TARGET [detach|force]", umount),
    action("fsopen-tmpfs", "TARGET", |words| match words {
        [target] => fsopen("tmpfs", None, target, 0),
        _ => Err(Failure::Usage),
    }),
    action("fsopen", "TYPE SOURCE TARGET|-|! [ATTRIBUTE,…]", fsopen_of),
    action("move-mount", "SOURCE TARGET", move_mount),
    action("move-attached", "SOURCE TARGET", move_attached),
    action("mount-setattr", "TARGET ro|rw", mount_setattr),
    action("pivot-root", "NEW OLD", pivot_root),
    action("chroot", "DIRECTORY", chroot),
];

/// `MS_*` of a comma-separated list.
fn mount_flags(list: &str) -> Result<u64, Failure> {
    let mut flags = 0;
    for name in list.split(',') {
        flags |= match name {
            "ro" => libc::MS_RDONLY,
            "rw" => 0,
            "nosuid" => libc::MS_NOSUID,
            "nodev" => libc::MS_NODEV,
            "noexec" => libc::MS_NOEXEC,
            "bind" => libc::MS_BIND,
            "rec" => libc::MS_REC,
            "remount" => libc::MS_REMOUNT,
            "move" => libc::MS_MOVE,
            "shared" => libc::MS_SHARED,
            "private" => libc::MS_PRIVATE,
            "slave" => libc::MS_SLAVE,
            "unbindable" => libc::MS_UNBINDABLE,
            _ => return Err(Failure::Usage),
        };
    }
    Ok(flags)
}

fn do_mount(source: &str, target: &str, kind: &CStr, flags: u64) -> Done {
    call(
        "mount",
        libc::SYS_mount,
        [
            Arg::Text(&path(source)?),
            Arg::Text(&path(target)?),
            Arg::Text(kind),
            Arg::Int(flags as i64),
            Arg::Int(0),
        ],
    )?;
    done()
}

fn mount(words: &[&str]) -> Done {
    match words {
        [source, target, kind] => do_mount(source, target, &path(kind)?, 0),
        [source, target, kind, flags] => {
            do_mount(source, target, &path(kind)?, mount_flags(flags)?)
        }
        _ => Err(Failure::Usage),
    }
}

fn mount_tmpfs(words: &[&str]) -> Done {
    match words {
        [target] => do_mount("tmpfs", target, c"tmpfs", 0),
        [target, flags] => do_mount("tmpfs", target, c"tmpfs", mount_flags(flags)?),
        _ => Err(Failure::Usage),
    }
}

fn mount_bind(words: &[&str]) -> Done {
    let [source, target] = words else {
        return Err(Failure::Usage);
    };
    do_mount(source, target, c"", libc::MS_BIND)
}

fn remount(words: &[&str]) -> Done {
    let [target, flags] = words else {
        return Err(Failure::Usage);
    };
    do_mount("none", target, c"", libc::MS_REMOUNT | mount_flags(flags)?)
}

fn umount(words: &[&str]) -> Done {
    let (target, flags) = match words {
        [target] => (target, 0),
        [target, "detach"] => (target, libc::MNT_DETACH),
        [target, "force"] => (target, libc::MNT_FORCE),
        _ => return Err(Failure::Usage),
    };
    call(
        "umount2",
        libc::SYS_umount2,
        [Arg::Text(&path(target)?), Arg::Int(flags.into())],
    )?;
    done()
}

/// `FSCONFIG_CMD_CREATE` (`include/uapi/linux/mount.h`).
const FSCONFIG_CMD_CREATE: i64 = 6;
/// `FSCONFIG_CMD_RECONFIGURE`.
const FSCONFIG_CMD_RECONFIGURE: i64 = 7;
/// `MOVE_MOUNT_F_EMPTY_PATH`.
const MOVE_MOUNT_F_EMPTY_PATH: i64 = 4;

/// `FSCONFIG_SET_STRING`.
const FSCONFIG_SET_STRING: i64 = 1;

/// The new interface, step by step: a failure names the step. With `-` as target the mount stays
/// detached, with `!` its super block is reconfigured.
fn fsopen(kind: &str, source: Option<&str>, target: &str, attributes: i64) -> Done {
    let context = descriptor(
        "fsopen",
        libc::SYS_fsopen,
        [Arg::Text(&path(kind)?), Arg::Int(0)],
    )?;
    let nothing = || Arg::Int(0);
    if let Some(source) = source {
        call(
            "fsconfig",
            libc::SYS_fsconfig,
            [
                fd(context.as_fd()),
                Arg::Int(FSCONFIG_SET_STRING),
                Arg::Text(c"source"),
                Arg::Text(&path(source)?),
                nothing(),
            ],
        )?;
    }
    let command = |number| {
        let (key, value, aux) = (nothing(), nothing(), nothing());
        let command = Arg::Int(number);
        call(
            "fsconfig",
            libc::SYS_fsconfig,
            [fd(context.as_fd()), command, key, value, aux],
        )
    };
    command(FSCONFIG_CMD_CREATE)?;
    let mounted = descriptor(
        "fsmount",
        libc::SYS_fsmount,
        [fd(context.as_fd()), nothing(), Arg::Int(attributes)],
    )?;
    match target {
        "-" => done(),
        "!" => command(FSCONFIG_CMD_RECONFIGURE).and_then(|_| done()),
        target => attach(fd(mounted.as_fd()), target),
    }
}

fn fsopen_of(words: &[&str]) -> Done {
    let (kind, source, target, attributes) = match words {
        [kind, source, target] => (kind, source, target, ""),
        [kind, source, target, attributes] => (kind, source, target, *attributes),
        _ => return Err(Failure::Usage),
    };
    let mut bits = 0;
    for name in attributes.split(',').filter(|name| !name.is_empty()) {
        // `MOUNT_ATTR_*` (`include/uapi/linux/mount.h`).
        bits |= match name {
            "ro" => 1,
            "nosuid" => 2,
            "nodev" => 4,
            "noexec" => 8,
            _ => return Err(Failure::Usage),
        };
    }
    fsopen(kind, Some(source), target, bits)
}

/// Moves the mount at SOURCE, which stays attached until then.
fn move_attached(words: &[&str]) -> Done {
    let [source, target] = words else {
        return Err(Failure::Usage);
    };
    call(
        "move_mount",
        libc::SYS_move_mount,
        [
            Arg::Int(libc::AT_FDCWD.into()),
            Arg::Text(&path(source)?),
            Arg::Int(libc::AT_FDCWD.into()),
            Arg::Text(&path(target)?),
            Arg::Int(0),
        ],
    )?;
    done()
}

fn attach(mount: Arg<'_>, target: &str) -> Done {
    call(
        "move_mount",
        libc::SYS_move_mount,
        [
            mount,
            Arg::Text(c""),
            Arg::Int(libc::AT_FDCWD.into()),
            Arg::Text(&path(target)?),
            Arg::Int(MOVE_MOUNT_F_EMPTY_PATH),
        ],
    )?;
    done()
}

/// Clones the mount at SOURCE and attaches the clone at TARGET.
fn move_mount(words: &[&str]) -> Done {
    const OPEN_TREE_CLONE: i64 = 1;
    let [source, target] = words else {
        return Err(Failure::Usage);
    };
    let tree = descriptor(
        "open_tree",
        libc::SYS_open_tree,
        [
            Arg::Int(libc::AT_FDCWD.into()),
            Arg::Text(&path(source)?),
            Arg::Int(OPEN_TREE_CLONE | i64::from(libc::O_CLOEXEC)),
        ],
    )?;
    attach(fd(tree.as_fd()), target)
}

fn mount_setattr(words: &[&str]) -> Done {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    let [target, access @ ("ro" | "rw")] = words else {
        return Err(Failure::Usage);
    };
    let (set, clear) = if *access == "ro" {
        (MOUNT_ATTR_RDONLY, 0)
    } else {
        (0, MOUNT_ATTR_RDONLY)
    };
    let attributes: Vec<u8> = [set, clear, 0, 0]
        .into_iter()
        .flat_map(u64::to_ne_bytes)
        .collect();
    call(
        "mount_setattr",
        libc::SYS_mount_setattr,
        [
            Arg::Int(libc::AT_FDCWD.into()),
            Arg::Text(&path(target)?),
            Arg::Int(0),
            Arg::In(&attributes),
            Arg::Int(attributes.len() as i64),
        ],
    )?;
    done()
}

fn pivot_root(words: &[&str]) -> Done {
    let [new, old] = words else {
        return Err(Failure::Usage);
    };
    call(
        "pivot_root",
        libc::SYS_pivot_root,
        [Arg::Text(&path(new)?), Arg::Text(&path(old)?)],
    )?;
    done()
}

fn chroot(words: &[&str]) -> Done {
    let [directory] = words else {
        return Err(Failure::Usage);
    };
    call("chroot", libc::SYS_chroot, [Arg::Text(&path(directory)?)])?;
    call("chdir", libc::SYS_chdir, [Arg::Text(c"/")])?;
    done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_by_name() {
        assert_eq!(
            mount_flags("nosuid,nodev").ok(),
            Some(libc::MS_NOSUID | libc::MS_NODEV)
        );
        assert!(mount_flags("nosuch").is_err());
    }
}
