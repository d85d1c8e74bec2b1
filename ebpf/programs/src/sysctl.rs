//! Where an entry of procfs lies below `sys`.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use ebpf_common::decide::sysctl::{PARTS, SYS, SysctlPath, WORDS, part_hash};
use ebpf_common::fields::Field;

use crate::field::load;
use crate::object::Dentry;
use crate::verifier::Forget;

/// The path of `dentry` below `sys`, and whether it lies there at all.
#[inline(always)]
pub(crate) fn path_of(dentry: Dentry) -> (SysctlPath, bool) {
    let mut path = SysctlPath {
        parts: [0.forget(); PARTS],
        length: 0,
    };
    let mut at = dentry;
    let mut depth = 0;
    // One step more than there are parts: `sys` itself.
    while depth <= PARTS {
        let parent = at.parent();
        let part = hash_of(at);
        let top = parent.parent();
        if top.0 == parent.0 {
            path.length = (depth as u32).forget() as usize;
            // The root itself has no name that counts.
            return (path, (parent.0 != at.0 && part == SYS).forget());
        }
        if depth < PARTS {
            path.parts[depth] = part;
        }
        at = parent;
        depth += 1;
    }
    (path, false)
}

/// Hash of the entry's name; one that cannot be read hashes like the empty one, which no line has.
#[inline(always)]
fn hash_of(dentry: Dentry) -> u64 {
    // SAFETY: the pointer is a dentry; `d_name.name` is a pointer.
    let name: *const u8 = unsafe { load(dentry.0, Field::DentryName) };
    let mut words = [0u64; WORDS];
    // SAFETY: the buffer has the length given; the helper reads any address and leaves zeroes at a
    // fault.
    unsafe {
        bpf_probe_read_kernel_str(words.as_mut_ptr().cast(), WORDS as u32 * 8, name.cast());
    }
    part_hash(&words)
}
