//! Hooks on open files: opening, executing, mapping.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use ebpf_common::Rights;
use ebpf_common::abi::{PolicyId, Section, SuperKey, device_class, ipc_class, split_dev, state};
use ebpf_common::decide::Verdict;
use ebpf_common::decide::file::decide_device;
use ebpf_common::decide::process::decide_exec;
use ebpf_common::decide::sysctl::decide_sysctl;
use ebpf_common::event::Action;
use ebpf_common::fields::Field;
use ebpf_common::hooks::Hook;
use ebpf_common::lookup::Lookup;
use ebpf_common::magic;

use crate::field::load;
use crate::ipc;
use crate::object::{Dentry, rights_at, super_identity};
use crate::report::{Refusal, refuse};
use crate::subject;
use crate::sysctl;
use crate::tables::Tables;
use crate::verifier::Forget;

const FMODE_READ: u32 = 1 << 0;
pub(crate) const FMODE_WRITE: u32 = 1 << 1;
pub(crate) const FMODE_CREATED: u32 = 1 << 20;
/// `__FMODE_EXEC` in `f_flags`: opened by `execve` or as its interpreter.
const FLAG_EXEC: u32 = 0x20;
/// `O_APPEND`.
pub(crate) const FLAG_APPEND: u32 = 0o2000;
/// `__O_TMPFILE`.
const FLAG_TMPFILE: u32 = 0o20_000_000;
const S_IFMT: u32 = 0o170_000;
pub(crate) const S_IFCHR: u32 = 0o020_000;
pub(crate) const S_IFBLK: u32 = 0o060_000;
/// `/dev/mem` as `dev_t`.
const MEMORY: u32 = 1 << 20 | 1;
const PROT_WRITE: u64 = 2;
const PROT_EXEC: u64 = 4;
const MAP_TYPE: u64 = 0x0f;
const MAP_SHARED: u64 = 1;
const MAP_SHARED_VALIDATE: u64 = 3;
const VM_SHARED: u64 = 8;

/// What an open file means to do to its object. The fields are loaded here, so that the verifier
/// does not carry what it learnt of them through the walk.
#[inline(always)]
pub(crate) fn wanted(file: *const u8) -> Rights {
    // SAFETY: the callers hand in trusted `struct file` pointers; both fields are 32 bits.
    let mode: u32 = unsafe { load(file, Field::FileMode) };
    // SAFETY: as above.
    let flags: u32 = unsafe { load(file, Field::FileFlags) };
    // The descriptor that made the file may fill it: creating was decided when the entry was made.
    if mode & FMODE_CREATED != 0 || flags & FLAG_TMPFILE == FLAG_TMPFILE {
        return Rights::CREATE;
    }
    let mut want = Rights::NONE;
    if flags & FLAG_EXEC != 0 {
        want = Rights::EXECUTE;
    } else if mode & FMODE_READ != 0 {
        want = Rights::READ;
    }
    if mode & FMODE_WRITE != 0 {
        // Who may only add holds the descriptor to that: see `descriptors`.
        want = want
            | if flags & FLAG_APPEND != 0 {
                Rights::APPEND
            } else {
                Rights::WRITE
            };
    }
    at_least(want)
}

/// Access mode 3 opens for neither reading nor writing, only for `ioctl` and its like; as for the
/// mode check of `open(2)`, that is both.
#[inline(always)]
fn at_least(want: Rights) -> Rights {
    if want.is_empty() {
        Rights::READ | Rights::WRITE
    } else {
        want
    }
}

/// What opening a device node means to do: one that this very open made is not thereby free.
#[inline(always)]
pub(crate) fn wanted_of_device(file: *const u8) -> Rights {
    // SAFETY: the callers hand in trusted `struct file` pointers; the field is 32 bits.
    let mode: u32 = unsafe { load(file, Field::FileMode) };
    let read = if mode & FMODE_READ != 0 {
        Rights::READ
    } else {
        Rights::NONE
    };
    let write = if mode & FMODE_WRITE != 0 {
        Rights::WRITE
    } else {
        Rights::NONE
    };
    at_least(read | write)
}

/// Decides what `want` answers on the object of an open file, and refuses for `hook`.
#[inline(always)]
pub(crate) fn decide_file(
    ctx: &LsmContext,
    hook: Hook,
    policy: PolicyId,
    file: *const u8,
    want: impl FnOnce() -> Rights,
) -> i32 {
    // SAFETY: the callers hand in trusted or walked `struct file` pointers.
    let dentry = unsafe { Dentry::of_file(file) };
    decide_entry(ctx, hook, policy, dentry, want)
}

/// Decides what `want` answers on a directory entry, and refuses for `hook`.
///
/// It is asked after the walk: the verifier follows the walk once for each set of wanted rights
/// that it can tell apart before it.
#[inline(always)]
pub(crate) fn decide_entry(
    ctx: &LsmContext,
    hook: Hook,
    policy: PolicyId,
    dentry: Dentry,
    want: impl FnOnce() -> Rights,
) -> i32 {
    decide_wanted(ctx, hook, policy, dentry, || Wanted {
        rights: want(),
        by_owner: false,
    })
}

/// What is asked of an entry.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) rights: Rights,
    /// Whether the kernel would ask for the owner, rather than for the mode.
    pub(crate) by_owner: bool,
}

/// [`decide_entry`] for rights that the kernel itself asks of the owner of a file.
#[inline(always)]
pub(crate) fn decide_wanted(
    ctx: &LsmContext,
    hook: Hook,
    policy: PolicyId,
    dentry: Dentry,
    want: impl FnOnce() -> Wanted,
) -> i32 {
    let (effective, object) = rights_at(policy, dentry);
    let want = want();
    let (rights, by_owner) = (want.rights.forget(), want.by_owner.forget());
    let mut verdict = effective.decide(rights);
    if verdict.allowed() {
        return 0;
    }
    if by_owner {
        verdict = verdict.as_to_owner();
    }
    let refusal = Refusal {
        rights,
        dentry: dentry.0 as u64,
        dev: object.dev,
        ino: dentry.ino(),
        magic: object.magic,
        ..Refusal::of(hook, Action::File, Section::Files)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// As [`decide_entry`], for hooks at which an entry may be something else than a file: a kernel
/// setting, or a message queue.
#[inline(always)]
pub(crate) fn decide_opened(
    ctx: &LsmContext,
    hook: Hook,
    policy: PolicyId,
    dentry: Dentry,
    want: impl FnOnce() -> Rights,
) -> i32 {
    let (effective, object) = rights_at(policy, dentry);
    let want = want().forget();
    let mut verdict = effective.decide(want);
    if verdict.allowed() {
        return 0;
    }
    let mut refusal = Refusal {
        rights: want,
        dentry: dentry.0 as u64,
        dev: object.dev,
        ino: dentry.ino(),
        magic: object.magic,
        ..Refusal::of(hook, Action::File, Section::Files)
    };
    if object.magic == magic::PROC {
        let (path, setting) = sysctl::path_of(dentry);
        if setting {
            verdict = decide_sysctl(&Tables, policy, &path, effective.rights, want);
            refusal.action = Action::Sysctl;
            refusal.section = Section::Kernel;
        }
    } else if object.magic == magic::MQUEUE {
        refusal.rights = ipc::of_queue(want);
        refusal.action = Action::Ipc;
        refusal.section = Section::Ipc;
        refusal.detail = u64::from(ipc_class::MQUEUE);
        verdict = ipc::decide_queue(policy, dentry.super_block(), refusal.rights);
    }
    let verdict = verdict.forget();
    if verdict.allowed() {
        return 0;
    }
    refuse(ctx, policy, verdict, &refusal)
}

/// Opening a file: device nodes by number, everything else by identity.
#[lsm(hook = "file_open")]
pub fn file_open(ctx: LsmContext) -> i32 {
    let previous: i32 = ctx.arg(1);
    if previous != 0 {
        return previous;
    }
    let Some(subject) = subject::of_current() else {
        return 0;
    };
    let file: *const u8 = ctx.arg(0);
    // SAFETY: the hook's argument is trusted; the field is 32 bits.
    let flags: u32 = unsafe { load(file, Field::FileFlags) };
    // What the entry process executes is governed already; what the runtime opens before is not.
    if subject.state == state::PENDING && flags & FLAG_EXEC == 0 {
        return 0;
    }
    let node = Node::of_file(file);
    if node.is_device() {
        return open_device(&ctx, Hook::FileOpen, subject.policy, file, node, || {
            wanted_of_device(file)
        });
    }
    // SAFETY: `file` is trusted.
    let dentry = unsafe { Dentry::of_file(file) };
    decide_opened(&ctx, Hook::FileOpen, subject.policy, dentry, || {
        wanted(file)
    })
}

/// What an open file is: one of [`device_class`], or 0, and the number of a device.
#[derive(Clone, Copy)]
pub(crate) struct Node {
    pub(crate) class: u32,
    pub(crate) rdev: u32,
}

impl Node {
    /// Of a `struct file` that the verifier trusts or walks.
    #[inline(always)]
    pub(crate) fn of_file(file: *const u8) -> Self {
        // SAFETY: the callers hand in files; `f_inode` of an open one is never null.
        let inode: *const u8 = unsafe { load(file, Field::FileInode) };
        // SAFETY: the pointer is an inode; `i_mode` is 16 bits.
        let kind = u32::from(unsafe { load::<u16>(inode, Field::InodeMode) }) & S_IFMT;
        let class = match kind {
            S_IFCHR => device_class::CHAR,
            S_IFBLK => device_class::BLOCK,
            _ => 0,
        };
        Self {
            class,
            // SAFETY: the pointer is an inode; `i_rdev` is 32 bits.
            rdev: unsafe { load(inode, Field::InodeRdev) },
        }
    }

    #[inline(always)]
    pub(crate) fn is_device(self) -> bool {
        self.class != 0
    }
}

/// Whether an entry lies in a devpts of the container's own, where the numbers are its terminals.
#[inline(always)]
pub(crate) fn in_own_pts(policy: PolicyId, dentry: Dentry) -> bool {
    let super_block = dentry.super_block();
    let (dev, magic, _) = super_identity(super_block);
    magic == magic::DEVPTS
        && Tables
            .super_block(SuperKey { policy, dev })
            .is_some_and(|found| found.is(super_block as u64, magic))
}

/// Decides what `want` answers on an open device node.
#[inline(always)]
pub(crate) fn open_device(
    ctx: &LsmContext,
    hook: Hook,
    policy: PolicyId,
    file: *const u8,
    node: Node,
    want: impl FnOnce() -> Rights,
) -> i32 {
    let want = want();
    // SAFETY: `file` is trusted.
    let dentry = unsafe { Dentry::of_file(file) };
    let own_pts = in_own_pts(policy, dentry);
    let number = split_dev(node.rdev);
    let verdict: Verdict = decide_device(&Tables, policy, node.class, number, own_pts, want);
    if verdict.allowed() {
        return 0;
    }
    let (dev, magic, _) = super_identity(dentry.super_block());
    let refusal = Refusal {
        rights: want,
        dentry: dentry.0 as u64,
        dev,
        ino: dentry.ino(),
        magic,
        detail: u64::from(node.class) << 32 | u64::from(node.rdev),
        ..Refusal::of(hook, Action::Device, Section::Devices)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// Executing a file, and each interpreter on the way. Governed for the entry process's first exec
/// too.
#[lsm(hook = "bprm_check_security")]
pub fn bprm_check_security(ctx: LsmContext) -> i32 {
    let previous: i32 = ctx.arg(1);
    if previous != 0 {
        return previous;
    }
    let Some(subject) = subject::of_current() else {
        return 0;
    };
    let bprm: *const u8 = ctx.arg(0);
    // SAFETY: the hook's argument is trusted.
    let file: *const u8 = unsafe { load(bprm, Field::BprmFile) };
    let policy = subject.policy;
    match decide_file(&ctx, Hook::BprmCheck, policy, file, || Rights::EXECUTE) {
        0 => decide_listed(&ctx, policy, file),
        refused => refused,
    }
}

/// Where a policy lists what may be executed, the file must be on the list.
#[inline(always)]
fn decide_listed(ctx: &LsmContext, policy: PolicyId, file: *const u8) -> i32 {
    // SAFETY: the caller hands in a walked `struct file`.
    let dentry = unsafe { Dentry::of_file(file) };
    let (dev, magic, _) = super_identity(dentry.super_block());
    let ino = dentry.ino();
    let verdict = decide_exec(&Tables, policy, dev, ino);
    if verdict.allowed() {
        return 0;
    }
    let refusal = Refusal {
        rights: Rights::EXECUTE,
        dentry: dentry.0 as u64,
        dev,
        ino,
        magic,
        ..Refusal::of(Hook::BprmCheck, Action::Exec, Section::Processes)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// Whether an open file is a character device, and no terminal of the container's own.
#[inline(always)]
pub(crate) fn is_host_device(policy: PolicyId, file: *const u8) -> bool {
    // SAFETY: the callers hand in trusted `struct file` pointers, whose inode is never null.
    let inode: *const u8 = unsafe { load(file, Field::FileInode) };
    // SAFETY: the pointer is an inode; `i_mode` is 16 bits.
    let kind = u32::from(unsafe { load::<u16>(inode, Field::InodeMode) }) & S_IFMT;
    // SAFETY: as above.
    let dentry = unsafe { Dentry::of_file(file) };
    kind == S_IFCHR && !in_own_pts(policy, dentry)
}

/// Mapping a file executable, or shared and writable. The descriptor may have come from elsewhere.
#[lsm(hook = "mmap_file")]
pub fn mmap_file(ctx: LsmContext) -> i32 {
    let previous: i32 = ctx.arg(4);
    if previous != 0 {
        return previous;
    }
    let file: *const u8 = ctx.arg(0);
    if file.is_null() {
        return 0;
    }
    let prot: u64 = ctx.arg(2);
    let flags: u64 = ctx.arg(3);
    let shared = matches!(flags & MAP_TYPE, MAP_SHARED | MAP_SHARED_VALIDATE);
    mapping(&ctx, Hook::MmapFile, file, prot, shared)
}

/// Changing a mapping's protection.
#[lsm(hook = "file_mprotect")]
pub fn file_mprotect(ctx: LsmContext) -> i32 {
    let previous: i32 = ctx.arg(3);
    if previous != 0 {
        return previous;
    }
    let vma: *const u8 = ctx.arg(0);
    let prot: u64 = ctx.arg(2);
    // SAFETY: the hook's argument is trusted.
    let file: *const u8 = unsafe { load(vma, Field::VmaFile) };
    if file.is_null() {
        return 0;
    }
    // SAFETY: as above; `vm_flags` is an `unsigned long`.
    let shared = unsafe { load::<u64>(vma, Field::VmaFlags) } & VM_SHARED != 0;
    mapping(&ctx, Hook::FileMprotect, file, prot, shared)
}

#[inline(always)]
fn mapping(ctx: &LsmContext, hook: Hook, file: *const u8, prot: u64, shared: bool) -> i32 {
    let node = Node::of_file(file);
    let memory = node.class == device_class::CHAR && node.rdev == MEMORY;
    let registers = is_sysfs(file);
    let harmless = prot & PROT_EXEC == 0 && !(prot & PROT_WRITE != 0 && shared);
    if harmless && !memory && !registers {
        return 0;
    }
    let Some(policy) = subject::enforced() else {
        return 0;
    };
    // To read the machine's memory or registers in place is to act on it.
    if memory {
        return open_device(ctx, hook, policy, file, node, || {
            Rights::READ | Rights::WRITE
        });
    }
    // Memory of other devices was decided by number when the node was opened.
    if node.is_device() {
        return 0;
    }
    // SAFETY: as above; `f_mode` is 32 bits.
    let mode: u32 = unsafe { load(file, Field::FileMode) };
    decide_file(ctx, hook, policy, file, || {
        if registers {
            Rights::READ | Rights::WRITE
        } else {
            mapped(prot, shared, mode)
        }
    })
}

/// Whether a file lies in sysfs, where what can be mapped are registers of devices.
#[inline(always)]
fn is_sysfs(file: *const u8) -> bool {
    // SAFETY: `file` is trusted or walked; `f_inode` of an open file is never null.
    let inode: *const u8 = unsafe { load(file, Field::FileInode) };
    // SAFETY: the pointer is an inode, and every inode has a super block.
    let super_block: *const u8 = unsafe { load(inode, Field::InodeSuper) };
    super_identity(super_block).1 == magic::SYSFS
}

/// What a mapping means to do to its file; the descriptor that made the file may fill it.
#[inline(always)]
fn mapped(prot: u64, shared: bool, mode: u32) -> Rights {
    let mut want = Rights::NONE;
    if prot & PROT_EXEC != 0 {
        want = Rights::EXECUTE;
    }
    if prot & PROT_WRITE != 0 && shared {
        let fill = if mode & FMODE_CREATED != 0 {
            Rights::CREATE
        } else {
            Rights::WRITE
        };
        want = want | fill;
    }
    want
}
