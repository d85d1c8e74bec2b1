//! Permission bits, owners, extended attributes, access control lists.

use std::ffi::CStr;
use std::os::fd::AsFd as _;

use crate::act::{Action, Done, Failure, action, done, number, path};
use crate::files::{fd, open_flags};
use crate::sys::{Arg, call};

pub(crate) const ACTIONS: &[Action] = &[
    action("chmod", "PATH MODE", chmod),
    action("fchmod", "PATH MODE", fchmod),
    action("fchmod-fd", "FD MODE", fchmod_fd),
    action("chown", "PATH UID GID", chown),
    action("fchown-fd", "FD UID GID", fchown_fd),
    action("setxattr", "PATH NAME VALUE", setxattr),
    action("removexattr", "PATH NAME", removexattr),
    action("setacl", "PATH", setacl),
    action("removeacl", "PATH", removeacl),
];

const ACL: &CStr = c"system.posix_acl_access";

fn chmod(words: &[&str]) -> Done {
    let [file, mode] = words else {
        return Err(Failure::Usage);
    };
    call(
        "chmod",
        libc::SYS_chmod,
        [Arg::Text(&path(file)?), Arg::Int(number(mode)?)],
    )?;
    done()
}

fn fchmod(words: &[&str]) -> Done {
    let [file, mode] = words else {
        return Err(Failure::Usage);
    };
    let file = open_flags(file, libc::O_RDONLY)?;
    call(
        "fchmod",
        libc::SYS_fchmod,
        [fd(file.as_fd()), Arg::Int(number(mode)?)],
    )?;
    done()
}

fn fchmod_fd(words: &[&str]) -> Done {
    let [file, mode] = words else {
        return Err(Failure::Usage);
    };
    call(
        "fchmod",
        libc::SYS_fchmod,
        [Arg::Int(number(file)?), Arg::Int(number(mode)?)],
    )?;
    done()
}

fn chown(words: &[&str]) -> Done {
    let [file, uid, gid] = words else {
        return Err(Failure::Usage);
    };
    let (uid, gid) = (Arg::Int(number(uid)?), Arg::Int(number(gid)?));
    call(
        "chown",
        libc::SYS_chown,
        [Arg::Text(&path(file)?), uid, gid],
    )?;
    done()
}

fn fchown_fd(words: &[&str]) -> Done {
    let [file, uid, gid] = words else {
        return Err(Failure::Usage);
    };
    let (uid, gid) = (Arg::Int(number(uid)?), Arg::Int(number(gid)?));
    call(
        "fchown",
        libc::SYS_fchown,
        [Arg::Int(number(file)?), uid, gid],
    )?;
    done()
}

fn set(file: &str, name: &CStr, value: &[u8]) -> Done {
    call(
        "setxattr",
        libc::SYS_setxattr,
        [
            Arg::Text(&path(file)?),
            Arg::Text(name),
            Arg::In(value),
            Arg::Int(value.len() as i64),
            Arg::Int(0),
        ],
    )?;
    done()
}

fn remove(file: &str, name: &CStr) -> Done {
    call(
        "removexattr",
        libc::SYS_removexattr,
        [Arg::Text(&path(file)?), Arg::Text(name)],
    )?;
    done()
}

fn setxattr(words: &[&str]) -> Done {
    let [file, name, value] = words else {
        return Err(Failure::Usage);
    };
    set(file, &path(name)?, value.as_bytes())
}

fn removexattr(words: &[&str]) -> Done {
    let [file, name] = words else {
        return Err(Failure::Usage);
    };
    remove(file, &path(name)?)
}

fn setacl(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    set(file, ACL, &acl_value())
}

fn removeacl(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    remove(file, ACL)
}

/// `struct posix_acl_xattr_header` and its entries: the owner and user 1000 may write, nobody else.
fn acl_value() -> Vec<u8> {
    const NO_ID: u32 = u32::MAX;
    // Tag, permissions, id: owner, user 1000, group, mask, others.
    let entries = [
        (1, 6, NO_ID),
        (2, 6, 1000),
        (4, 0, NO_ID),
        (0x10, 6, NO_ID),
        (0x20, 0, NO_ID),
    ];
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend_from_slice(&u16::to_le_bytes(tag));
        value.extend_from_slice(&u16::to_le_bytes(permissions));
        value.extend_from_slice(&u32::to_le_bytes(id));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_the_access_control_list() {
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = file.path().to_str().unwrap();
        match setacl(&[path]) {
            // A file system without lists is no fault of the value.
            Ok(_) | Err(Failure::Call(_, libc::EOPNOTSUPP)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}
