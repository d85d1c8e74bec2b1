//! What keeps the verifier's work small.
//!
//! It follows a program once for each set of values that it can tell apart, and every turn of a
//! loop. Where ways come together with different constants, all that follows would be followed once
//! for each of them; after [`Forget::forget`] it is followed once. The values stay as they are.

use core::arch::asm;
use core::ffi::c_void;
use core::mem::transmute;

use aya_ebpf::helpers::{bpf_loop, bpf_probe_read_kernel};
use ebpf_common::decide::Reason;
use ebpf_common::decide::file::Effective;
use ebpf_common::{Rights, Verdict};

/// Zero, but in memory that could be written: the verifier does not know.
#[unsafe(no_mangle)]
static mut ZERO: u64 = 0;

/// A value that the verifier may hold for any.
pub(crate) trait Forget {
    /// The same value.
    fn forget(self) -> Self;
}

impl Forget for u64 {
    #[inline(always)]
    fn forget(self) -> Self {
        // SAFETY: nothing ever writes it; volatile, because the compiler knows that.
        let zero = unsafe { core::ptr::read_volatile(&raw const ZERO) };
        let mut value = self;
        // Not `|=`: bits that are known to be set would stay known. And not in Rust: the compiler
        // would put it off to where the value is used, and the known value would live until then.
        // SAFETY: an operation on registers.
        unsafe { asm!("{0} ^= {1}", inout(reg) value, in(reg) zero) };
        value
    }
}

impl Forget for u32 {
    #[inline(always)]
    fn forget(self) -> Self {
        u64::from(self).forget() as Self
    }
}

impl Forget for bool {
    #[inline(always)]
    fn forget(self) -> Self {
        u32::from(self).forget() != 0
    }
}

impl Forget for Rights {
    #[inline(always)]
    fn forget(self) -> Self {
        Self(self.0.forget())
    }
}

impl Forget for Reason {
    #[inline(always)]
    fn forget(self) -> Self {
        // SAFETY: the number is the same, and so a reason's.
        unsafe { transmute::<u32, Self>((self as u32).forget()) }
    }
}

impl Forget for Verdict {
    #[inline(always)]
    fn forget(self) -> Self {
        Self {
            errno: (self.errno as u32).forget() as i32,
            reason: self.reason.forget(),
            rule: self.rule.forget(),
        }
    }
}

impl Forget for Effective {
    #[inline(always)]
    fn forget(self) -> Self {
        Self {
            rights: self.rights.forget(),
            rule: self.rule.forget(),
            reason: self.reason.forget(),
            flags: self.flags.forget(),
            depth: self.depth.forget(),
        }
    }
}

/// [`Forget::forget`] for a value of many parts, at the price of a call. `None` never comes, and is
/// for the caller to refuse.
#[inline(always)]
pub(crate) fn forget_all<T: Copy>(value: &T) -> Option<T> {
    // SAFETY: the helper reads any address, and that of a live value gives the value.
    unsafe { bpf_probe_read_kernel(core::ptr::from_ref(value)) }.ok()
}

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
