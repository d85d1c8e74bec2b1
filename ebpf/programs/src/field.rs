//! Loads of kernel struct fields at the offsets that the loader resolved.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use ebpf_common::fields::{FIELD_COUNT, Field, UNRESOLVED};

/// Offsets by [`Field`], written by the loader; read-only and frozen, so constants to the verifier.
#[unsafe(no_mangle)]
static OFFSETS: [u32; FIELD_COUNT] = [UNRESOLVED; FIELD_COUNT];

/// Byte offset of `field`.
#[inline(always)]
pub(crate) fn offset(field: Field) -> usize {
    // SAFETY: the index is in bounds; volatile, because the value here is not the one that the
    // loader writes.
    unsafe { core::ptr::read_volatile(&raw const OFFSETS[field as usize]) as usize }
}

/// Loads a field through a pointer that the verifier trusts or walks by BTF; a fault reads zero.
///
/// # Safety
/// `base` is a kernel pointer to the struct of `field`, and `T` has the field's size.
#[inline(always)]
pub(crate) unsafe fn load<T: Copy>(base: *const u8, field: Field) -> T {
    // SAFETY: as above; the verifier checks the type by BTF or makes the load fault-proof.
    unsafe { core::ptr::read_volatile(base.add(offset(field)).cast::<T>()) }
}

/// Loads a field through an address that the verifier knows nothing about; a fault reads `None`.
#[inline(always)]
pub(crate) fn probe<T: Copy>(base: u64, field: Field) -> Option<T> {
    let address = base.wrapping_add(offset(field) as u64);
    // SAFETY: the helper reads any address and reports a fault.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}
