//! Objects as the kernel knows them: directory entries, their super blocks and ancestors.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_loop};
use ebpf_common::abi::{MAX_DEPTH, PolicyId, file_flags, kernel};
use ebpf_common::decide::file::{Effective, FileObject, effective_rights};
use ebpf_common::fields::Field;
use ebpf_common::lookup::{Chain, Lookup, Step, Walked};
use ebpf_common::magic;

use crate::field::{load, offset, probe};
use crate::subject;
use crate::tables::Tables;
use crate::verifier::Forget;

/// A `struct dentry` that the verifier trusts or walks by BTF.
#[derive(Clone, Copy)]
pub(crate) struct Dentry(pub(crate) *const u8);

impl Dentry {
    /// The entry of a `struct path`.
    ///
    /// # Safety
    /// `path` is a pointer to a `struct path` that the verifier trusts.
    #[inline(always)]
    pub(crate) unsafe fn of_path(path: *const u8) -> Self {
        // SAFETY: as above.
        Self(unsafe { load(path, Field::PathDentry) })
    }

    /// The entry that a `struct file` was opened by.
    ///
    /// # Safety
    /// `file` is a pointer to a `struct file` that the verifier trusts or walks.
    #[inline(always)]
    pub(crate) unsafe fn of_file(file: *const u8) -> Self {
        // SAFETY: as above.
        Self(unsafe { load(file, Field::FileDentry) })
    }

    /// Its inode; null for an entry about to be made.
    #[inline(always)]
    pub(crate) fn inode(self) -> *const u8 {
        // SAFETY: the pointer is a dentry.
        unsafe { load(self.0, Field::DentryInode) }
    }

    /// The directory entry above.
    #[inline(always)]
    pub(crate) fn parent(self) -> Self {
        // SAFETY: the pointer is a dentry.
        Self(unsafe { load(self.0, Field::DentryParent) })
    }

    /// Its super block.
    #[inline(always)]
    pub(crate) fn super_block(self) -> *const u8 {
        // SAFETY: the pointer is a dentry.
        unsafe { load(self.0, Field::DentrySuper) }
    }

    /// The generation of its inode, 0 without one.
    #[inline(always)]
    fn generation(self) -> u32 {
        let inode = self.inode();
        if inode.is_null() {
            return 0;
        }
        // SAFETY: the pointer is an inode; the field is 32 bits.
        unsafe { load(inode, Field::InodeGeneration) }
    }

    /// Its inode number, 0 without an inode.
    #[inline(always)]
    pub(crate) fn ino(self) -> u64 {
        let inode = self.inode();
        if inode.is_null() {
            return 0;
        }
        // SAFETY: the pointer is an inode.
        unsafe { load(inode, Field::InodeNumber) }
    }
}

/// Device, magic and flags of a super block.
#[inline(always)]
pub(crate) fn super_identity(super_block: *const u8) -> (u32, u32, u64) {
    // SAFETY: the callers hand in super blocks; the fields are `dev_t`, `unsigned long`, `unsigned
    // long`.
    let dev: u32 = unsafe { load(super_block, Field::SuperDev) };
    // SAFETY: as above.
    let magic: u64 = unsafe { load(super_block, Field::SuperMagic) };
    // SAFETY: as above.
    let flags: u64 = unsafe { load(super_block, Field::SuperFlags) };
    (dev, magic as u32, flags)
}

/// What `policy` gives over the entry, judged from the entry itself upwards.
#[inline(always)]
pub(crate) fn rights_at(policy: PolicyId, dentry: Dentry) -> (Effective, FileObject) {
    let super_block = dentry.super_block();
    let (dev, magic, super_flags) = super_identity(super_block);
    let of_process = magic == magic::PROC && shows_own_process(policy, dentry.inode());
    let object = FileObject {
        dev,
        super_block: super_block as u64,
        // What shows a process is the only branch on the kind of file system before the walk.
        of_process: of_process.forget(),
        magic: magic.forget(),
        super_flags,
        passes_over: match credentials_borrowed() {
            true => 0u32,
            false => file_flags::BACKING,
        }
        .forget(),
    };
    let effective = effective_rights(&Tables, policy, &object, &mut Ancestors(dentry.0));
    (effective.forget(), object)
}

/// The entry and its ancestors up to the root of its file system.
///
/// Mount points are not crossed: who mounts something decides what lies above it, so a bind mount
/// below a granted directory would inherit that grant. The submounts that a grant covers are rules
/// of their own instead.
pub(crate) struct Ancestors(pub(crate) *const u8);

impl Chain for Ancestors {
    #[inline(always)]
    fn walk<V: FnMut(Step) -> bool>(&mut self, visit: &mut V) -> Walked {
        let mut climb = Climb {
            entry: self.0,
            visit,
            walked: Walked::TooDeep,
        };
        let context = (&raw mut climb).cast();
        // SAFETY: the callback is of the helper's kind and takes that context.
        unsafe { bpf_loop(MAX_DEPTH, climb_one::<V> as *mut c_void, context, 0) };
        climb.walked
    }
}

/// Where a walk is.
struct Climb<'a, V> {
    entry: *const u8,
    visit: &'a mut V,
    walked: Walked,
}

/// One step of a walk: a callback of `bpf_loop` (Linux 5.17), which ends with 1.
///
/// # Safety
/// `climb` is the context of a loop, whose entry is one that the verifier walks.
unsafe extern "C" fn climb_one<V>(depth: u64, climb: *mut Climb<'_, V>) -> u64
where
    V: FnMut(Step) -> bool,
{
    // SAFETY: as above.
    let climb = unsafe { &mut *climb };
    let entry = Dentry(climb.entry);
    let parent = entry.parent();
    climb.entry = parent.0;
    let step = Step {
        ino: entry.ino(),
        generation: entry.generation(),
        depth: depth as u32,
    };
    if (climb.visit)(step) {
        climb.walked = Walked::Stopped;
        return 1;
    }
    if parent.0 == entry.0 {
        climb.walked = Walked::Top;
        return 1;
    }
    0
}

/// Whether the task acts with credentials other than its own, as overlayfs does behind a file of
/// its.
#[inline(always)]
pub(crate) fn credentials_borrowed() -> bool {
    let task = subject::current();
    // SAFETY: `current` is trusted; both fields are pointers.
    let own: u64 = unsafe { load(task, Field::TaskRealCred) };
    // SAFETY: as above.
    let used: u64 = unsafe { load(task, Field::TaskCred) };
    own != used
}

/// Whether a procfs inode shows a process of the container: any where the pid namespace is its own,
/// else the caller.
#[inline(always)]
fn shows_own_process(policy: PolicyId, inode: *const u8) -> bool {
    if inode.is_null() {
        return false;
    }
    // `container_of(inode, struct proc_inode, vfs_inode)`: not an address that the verifier
    // follows.
    let outer = (inode as u64).wrapping_sub(offset(Field::ProcInodeVfs) as u64);
    let pid: u64 = probe(outer, Field::ProcInodePid).unwrap_or(0);
    if pid == 0 {
        return false;
    }
    let private = Tables
        .policy(policy)
        .is_some_and(|header| header.kernel & kernel::PRIVATE_PID != 0);
    if private {
        return true;
    }
    let numbers = pid.wrapping_add(offset(Field::PidNumbers) as u64);
    let number: u32 = probe(numbers, Field::UpidNumber).unwrap_or(0);
    let caller = bpf_get_current_pid_tgid();
    number != 0 && (number == (caller >> 32) as u32 || number == caller as u32)
}
