//! Objects of an IPC namespace, and keys: the container's own where it made them or where the
//! namespace is its own, the host's otherwise.

use super::{Reason, Verdict};
use crate::Rights;
use crate::abi::{GrantKey, NO_RULE, PolicyId, grant_kind, ipc_class};
use crate::errno::{EACCES, EPERM};
use crate::lookup::Lookup;
use crate::rights::ipc;

/// Whether `want` may be done to an object of `class`. No right at all is wanted where an object is
/// only looked up: any grant of its class lets it be found.
#[inline(always)]
pub fn decide_ipc<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    class: u32,
    own: bool,
    want: Rights,
) -> Verdict {
    if own {
        return Verdict::allow(NO_RULE);
    }
    // What an owner may do is refused to others with `EPERM`, access by mode with `EACCES`.
    // The directory of message queues is sticky.
    let errno = if want.0 & (ipc::CONTROL.0 | ipc::DELETE.0) != 0 {
        EPERM
    } else {
        EACCES
    };
    let key = GrantKey {
        policy,
        kind: grant_kind::IPC,
        number: class as u64,
    };
    match tables.grant(key) {
        Some(found) if found.rights.contains(want) => Verdict::allow(found.rule),
        Some(found) => Verdict::refuse(errno, Reason::NotInGrant, found.rule),
        None => Verdict::no_grant(errno),
    }
}

/// `msgrcv`.
const MSGRCV: u32 = 70;

/// A use of a System V object whose class only the system call says. That of receiving is decided
/// here: the hook of its own is asked once a message, of whoever hands it over. In a call that is
/// not known every class must give the right; in others the hooks of the classes decide.
#[inline(always)]
pub fn decide_permission<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    syscall: u32,
    own: bool,
    want: Rights,
) -> Verdict {
    let message = decide_ipc(tables, policy, ipc_class::MSG, own, want);
    match syscall {
        MSGRCV => message,
        u32::MAX if message.allowed() => {
            let memory = decide_ipc(tables, policy, ipc_class::SHM, own, want);
            match memory.allowed() {
                true => decide_ipc(tables, policy, ipc_class::SEM, own, want),
                false => memory,
            }
        }
        u32::MAX => message,
        _ => Verdict::allow(NO_RULE),
    }
}

/// `KEY_NEED_READ`.
const KEY_NEED_READ: u32 = 2;

/// A permission that is asked of a key, and the errno that a refusal has. A kernel that hears
/// `EACCES` when the content of a key is wanted goes on if the task possesses the key.
#[inline(always)]
pub fn decide_key<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    own: bool,
    need: u32,
    possessed: bool,
) -> Verdict {
    let want = key_rights(need);
    if want.is_empty() {
        return Verdict::allow(NO_RULE);
    }
    let verdict = decide_ipc(tables, policy, ipc_class::KEYS, own, want);
    if !verdict.allowed() && possessed && need == KEY_NEED_READ {
        return Verdict {
            errno: EPERM,
            ..verdict
        };
    }
    verdict
}

/// `enum key_need_perm` (`include/linux/key.h`). Unlinking is decided by writing to the keyring,
/// and what is deferred is asked again; what is not known wants everything.
#[inline(always)]
pub fn key_rights(need: u32) -> Rights {
    match need {
        1 => ipc::VIEW,
        KEY_NEED_READ => ipc::READ,
        3 => ipc::WRITE,
        4 => ipc::SEARCH,
        5 => ipc::LINK,
        6 | 8 | 9 => ipc::SETATTR,
        7 | 10 => Rights::NONE,
        _ => Rights::ALL,
    }
}

/// `IPC_RMID` and `IPC_SET`.
const IPC_SET: u32 = 1;
/// `SHM_LOCK` and `SHM_UNLOCK`.
const SHM_LOCKING: (u32, u32) = (11, 12);
/// `SETVAL` and `SETALL`.
const SEM_SETTING: (u32, u32) = (16, 17);

/// What a command of `shmctl`, `semctl` or `msgctl` wants.
#[inline(always)]
pub fn of_command(class: u32, command: u32) -> Rights {
    let within = |(first, last): (u32, u32)| command >= first && command <= last;
    if command <= IPC_SET || class == ipc_class::SHM && within(SHM_LOCKING) {
        ipc::CONTROL
    } else if class == ipc_class::SEM && within(SEM_SETTING) {
        ipc::WRITE
    } else {
        ipc::READ
    }
}

/// What mode bits, as `shmget` and its like take them, want.
#[inline(always)]
pub fn of_mode(mode: u32) -> Rights {
    let mut want = Rights::NONE;
    if mode & 0o444 != 0 {
        want = want | ipc::READ;
    }
    if mode & 0o222 != 0 {
        want = want | ipc::WRITE;
    }
    want
}
