//! Values of which the verifier forgets what it knew.
//!
//! It follows a program once for each set of values that it can tell apart. Where ways come
//! together with different constants, everything after it would be followed once for each of them;
//! after [`Forget::forget`] it is followed once. The values themselves stay as they are.

use core::arch::asm;
use core::mem::transmute;

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
        // would put it off to where the value is used, and the known value would live on until then.
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
