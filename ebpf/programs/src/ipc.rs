//! Hooks on System V and POSIX IPC.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use ebpf_common::abi::{PolicyId, Section, ipc_class, kernel};
use ebpf_common::decide::Verdict;
use ebpf_common::decide::ipc::{decide_ipc, decide_permission, of_command, of_mode};
use ebpf_common::event::Action;
use ebpf_common::fields::Field;
use ebpf_common::hooks::Hook;
use ebpf_common::lookup::Lookup;
use ebpf_common::rights::ipc;
use ebpf_common::{Rights, magic};

use crate::count;
use crate::field::load;
use crate::maps::OWNERS;
use crate::object::{Dentry, super_identity};
use crate::report::{Refusal, refuse};
use crate::subject::{self, when_enforced};
use crate::syscall::system_call;
use crate::tables::Tables;

/// `PROC_IPC_INIT_INO`: number of the host's IPC namespace.
const HOST_NAMESPACE: u32 = 0xefff_ffff;
/// `SHM_RDONLY`.
const SHM_RDONLY: u32 = 0o10_000;
const BPF_ANY: u64 = 0;

/// The IPC namespace that the task is in, if it is its container's own; otherwise 0. That of one
/// that has entered the host's is not, whatever its container was made with.
#[inline(always)]
fn own_namespace(policy: PolicyId) -> u64 {
    let task = subject::current();
    // SAFETY: `current` is trusted; the fields are pointers.
    let namespaces: *const u8 = unsafe { load(task, Field::TaskNsproxy) };
    // SAFETY: as above; a task in a system call has namespaces, and a fault reads zero.
    let namespace: *const u8 = unsafe { load(namespaces, Field::NsproxyIpc) };
    // SAFETY: as above; the number is 32 bits.
    let number: u32 = unsafe { load(namespace, Field::IpcNsNumber) };
    let private = number != HOST_NAMESPACE
        && Tables
            .policy(policy)
            .is_some_and(|header| header.kernel & kernel::PRIVATE_IPC != 0);
    if private { namespace as u64 } else { 0 }
}

/// Whether System V objects that the task can name are its container's own.
#[inline(always)]
fn private(policy: PolicyId) -> bool {
    own_namespace(policy) != 0
}

/// Whether the container made the object at this address.
#[inline(always)]
pub(crate) fn made(policy: PolicyId, address: u64) -> bool {
    // SAFETY: values are replaced whole, never torn: they are four bytes.
    unsafe { OWNERS.get(address) }.is_some_and(|owner| *owner == policy)
}

/// Notes who makes the object at this address: a container, or, by leaving no note, somebody else.
/// If the map is full the container simply has no rights over its object.
#[inline(always)]
pub(crate) fn note(address: u64, policy: Option<PolicyId>) {
    if let Some(policy) = policy {
        // Before the entry, so that none is left when the container ends.
        count::owns(policy);
        if OWNERS
            .insert(&address, &policy.container(), BPF_ANY)
            .is_ok()
        {
            return;
        }
    }
    let _ = OWNERS.remove(&address);
}

#[inline(always)]
fn settle(
    ctx: &LsmContext,
    hook: Hook,
    class: u32,
    policy: PolicyId,
    verdict: Verdict,
    want: Rights,
) -> i32 {
    if verdict.allowed() {
        return 0;
    }
    let refusal = Refusal {
        rights: want,
        detail: u64::from(class),
        ..Refusal::of(hook, Action::Ipc, Section::Ipc)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// A System V object is used. One without an address is the namespace's totals: no object.
#[inline(always)]
fn used(ctx: &LsmContext, hook: Hook, class: u32, policy: PolicyId, want: Rights) -> i32 {
    let address: u64 = ctx.arg(0);
    if address == 0 {
        return 0;
    }
    let own = made(policy, address) || private(policy);
    let verdict = decide_ipc(&Tables, policy, class, own, want);
    settle(ctx, hook, class, policy, verdict, want)
}

/// A System V object is made: by the runtime or by the container, whose own it is then.
#[inline(always)]
fn alloc(ctx: &LsmContext, hook: Hook, class: u32) -> i32 {
    let previous: i32 = ctx.arg(1);
    if previous != 0 {
        return previous;
    }
    let address: u64 = ctx.arg(0);
    if let Some(policy) = subject::enforced() {
        let own = private(policy);
        let verdict = decide_ipc(&Tables, policy, class, own, ipc::CREATE);
        let answer = settle(ctx, hook, class, policy, verdict, ipc::CREATE);
        if answer != 0 {
            return answer;
        }
    }
    note(address, subject::of_current().map(|subject| subject.policy));
    0
}

macro_rules! made_hooks {
    ($($(#[$doc:meta])* $name:literal $function:ident: $hook:ident, $class:ident;)*) => {
        $($(#[$doc])* #[lsm(hook = $name)]
        pub fn $function(ctx: LsmContext) -> i32 {
            alloc(&ctx, Hook::$hook, ipc_class::$class)
        })*
    };
}

made_hooks! {
    /// Making a shared memory segment.
    "shm_alloc_security" shm_alloc_security: ShmAlloc, SHM;
    /// Making a semaphore set.
    "sem_alloc_security" sem_alloc_security: SemAlloc, SEM;
    /// Making a message queue.
    "msg_queue_alloc_security" msg_queue_alloc_security: MsgAlloc, MSG;
}

/// Declares a program on a hook by what it wants of its arguments.
macro_rules! used_hooks {
    ($($(#[$doc:meta])* $name:literal $function:ident: $hook:ident, $class:ident, $previous:literal,
        $want:expr;)*) => {
        $($(#[$doc])* #[lsm(hook = $name)]
        pub fn $function(ctx: LsmContext) -> i32 {
            let policy = when_enforced!(ctx, $previous);
            let want: fn(&LsmContext) -> Rights = $want;
            used(&ctx, Hook::$hook, ipc_class::$class, policy, want(&ctx))
        })*
    };
}

used_hooks! {
    /// Finding a segment by its key.
    "shm_associate" shm_associate: ShmAssociate, SHM, 2, |ctx| of_mode(ctx.arg(1));
    /// `shmctl`.
    "shm_shmctl" shm_shmctl: ShmCtl, SHM, 2, |ctx| of_command(ipc_class::SHM, ctx.arg(1));
    /// `shmat`.
    "shm_shmat" shm_shmat: ShmAttach, SHM, 3, |ctx| match ctx.arg::<u32>(2) & SHM_RDONLY {
        0 => ipc::READ | ipc::WRITE,
        _ => ipc::READ,
    };
    /// Finding a semaphore set by its key.
    "sem_associate" sem_associate: SemAssociate, SEM, 2, |ctx| of_mode(ctx.arg(1));
    /// `semctl`.
    "sem_semctl" sem_semctl: SemCtl, SEM, 2, |ctx| of_command(ipc_class::SEM, ctx.arg(1));
    /// `semop`; the last argument says whether a semaphore changes.
    "sem_semop" sem_semop: SemOp, SEM, 4, |ctx| match ctx.arg::<u32>(3) {
        0 => ipc::READ,
        _ => ipc::WRITE,
    };
    /// Finding a message queue by its key.
    "msg_queue_associate" msg_queue_associate: MsgAssociate, MSG, 2, |ctx| of_mode(ctx.arg(1));
    /// `msgctl`.
    "msg_queue_msgctl" msg_queue_msgctl: MsgCtl, MSG, 2,
        |ctx| of_command(ipc_class::MSG, ctx.arg(1));
    /// `msgsnd`.
    "msg_queue_msgsnd" msg_queue_msgsnd: MsgSend, MSG, 3, |_| ipc::WRITE;
}

/// Receiving from a message queue, and whatever a 32-bit call does.
#[lsm(hook = "ipc_permission")]
pub fn ipc_permission(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 2);
    let want = of_mode(ctx.arg(1));
    let own = made(policy, ctx.arg(0)) || private(policy);
    let verdict = decide_permission(&Tables, policy, system_call(), own, want);
    settle(
        &ctx,
        Hook::IpcPermission,
        ipc_class::MSG,
        policy,
        verdict,
        want,
    )
}

/// What opening a POSIX message queue wants of it.
#[inline(always)]
pub(crate) fn of_queue(want: Rights) -> Rights {
    let mut answer = Rights::NONE;
    if want.0 & Rights::READ.0 != 0 {
        answer = ipc::READ;
    }
    if want.0 & !Rights::READ.0 != 0 {
        answer = answer | ipc::WRITE;
    }
    answer
}

/// A POSIX message queue: of the task's own namespace, or by the line. A mount can show those of
/// another namespace, so it is the super block that says whose they are.
#[inline(always)]
pub(crate) fn decide_queue(policy: PolicyId, super_block: *const u8, want: Rights) -> Verdict {
    // SAFETY: the callers hand in super blocks; the field is a pointer.
    let namespace: u64 = unsafe { load(super_block, Field::SuperInfo) };
    let own = namespace != 0 && namespace == own_namespace(policy);
    decide_ipc(&Tables, policy, ipc_class::MQUEUE, own, want)
}

/// An entry of a directory is made or removed: only those of queues are decided here, the `path`
/// hooks decide the others.
#[inline(always)]
fn queue_entry(ctx: &LsmContext, hook: Hook, previous: i32, want: Rights) -> i32 {
    if previous != 0 {
        return previous;
    }
    let directory: *const u8 = ctx.arg(0);
    // SAFETY: the hook's argument is trusted; an inode has a super block.
    let super_block: *const u8 = unsafe { load(directory, Field::InodeSuper) };
    let (dev, magic, _) = super_identity(super_block);
    if magic != magic::MQUEUE {
        return 0;
    }
    let Some(policy) = subject::enforced() else {
        return 0;
    };
    let verdict = decide_queue(policy, super_block, want);
    if verdict.allowed() {
        return 0;
    }
    let entry = Dentry(ctx.arg(1));
    let refusal = Refusal {
        rights: want,
        dentry: entry.0 as u64,
        dev,
        magic,
        detail: u64::from(ipc_class::MQUEUE),
        ..Refusal::of(hook, Action::Ipc, Section::Ipc)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// `mq_open` with `O_CREAT`.
#[lsm(hook = "inode_create")]
pub fn inode_create(ctx: LsmContext) -> i32 {
    queue_entry(&ctx, Hook::InodeCreate, ctx.arg(3), ipc::CREATE)
}

/// `mq_unlink`.
#[lsm(hook = "inode_unlink")]
pub fn inode_unlink(ctx: LsmContext) -> i32 {
    queue_entry(&ctx, Hook::InodeUnlink, ctx.arg(2), ipc::DELETE)
}
