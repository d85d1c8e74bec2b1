//! What keeps the verifier's work small: it follows every path by itself, and every turn of a loop.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_loop, bpf_probe_read_kernel};

/// Calls `step` at most `times`, until it says that it is done: one call to the verifier, however
/// many there are.
///
/// Before Linux 6.7 it sees the first call only: what `step` leaves for the next one must be of the
/// same kind as what it found, and no branch may hang on its being known.
#[inline(always)]
pub(crate) fn repeat<F: FnMut() -> bool>(times: u32, step: &mut F) {
    let context = core::ptr::from_mut(step).cast();
    // SAFETY: the callback is of the helper's kind and takes that context.
    unsafe { bpf_loop(times, once::<F> as *mut c_void, context, 0) };
}

/// A callback of `bpf_loop` (Linux 5.17), which ends with 1.
///
/// # Safety
/// `step` is the context of a loop.
unsafe extern "C" fn once<F: FnMut() -> bool>(_: u64, step: *mut F) -> u64 {
    // SAFETY: as above.
    u64::from(unsafe { (*step)() })
}

/// The same value, of which the verifier knows nothing: paths that differ in it only are one from
/// here on. `None` never comes, and is for the caller to refuse.
#[inline(always)]
pub(crate) fn forget<T: Copy>(value: &T) -> Option<T> {
    // SAFETY: the helper reads any address, and that of a live value gives the value.
    unsafe { bpf_probe_read_kernel(core::ptr::from_ref(value)) }.ok()
}
