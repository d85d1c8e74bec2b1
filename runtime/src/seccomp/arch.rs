//! Architectures of a profile, and which of them a kernel of ours can meet.

use serde::Serialize;

/// Bit in the system call number that tells x32 from x86_64 (`__X32_SYSCALL_BIT`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// `__AUDIT_ARCH_64BIT` (`include/uapi/linux/audit.h`).
const WIDE: u32 = 0x8000_0000;
/// `__AUDIT_ARCH_LE`.
const LITTLE: u32 = 0x4000_0000;
/// `__AUDIT_ARCH_CONVENTION_MIPS64_N32`.
const N32: u32 = 0x2000_0000;

/// An architecture that a profile can name (`SCMP_ARCH_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(
    missing_docs,
    reason = "each is the `SCMP_ARCH_*` constant of its name"
)]
pub enum Architecture {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Mips,
    Mips64,
    Mips64N32,
    Mipsel,
    Mipsel64,
    Mipsel64N32,
    Ppc,
    Ppc64,
    Ppc64Le,
    S390,
    S390X,
    Parisc,
    Parisc64,
    Riscv64,
    Loongarch64,
    M68k,
    Sh,
    Sheb,
}

impl Architecture {
    /// That of this program.
    pub const NATIVE: Self = native();

    /// `AUDIT_ARCH_*`, as the kernel shows it to a filter. x32 shares that of x86_64.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86 => 3 | LITTLE,
            Self::X86_64 | Self::X32 => 62 | WIDE | LITTLE,
            Self::Arm => 40 | LITTLE,
            Self::Aarch64 => 183 | WIDE | LITTLE,
            Self::Mips => 8,
            Self::Mips64 => 8 | WIDE,
            Self::Mips64N32 => 8 | WIDE | N32,
            Self::Mipsel => 8 | LITTLE,
            Self::Mipsel64 => 8 | WIDE | LITTLE,
            Self::Mipsel64N32 => 8 | WIDE | LITTLE | N32,
            Self::Ppc => 20,
            Self::Ppc64 => 21 | WIDE,
            Self::Ppc64Le => 21 | WIDE | LITTLE,
            Self::S390 => 22,
            Self::S390X => 22 | WIDE,
            Self::Parisc => 15,
            Self::Parisc64 => 15 | WIDE,
            Self::Riscv64 => 243 | WIDE | LITTLE,
            Self::Loongarch64 => 258 | WIDE | LITTLE,
            Self::M68k => 4,
            Self::Sh => 42 | LITTLE,
            Self::Sheb => 42,
        }
    }

    /// Whether arguments have 32 bits. Those of x32 have 64: the kernel passes on whole registers.
    pub(super) fn narrow(self) -> bool {
        self.audit() & WIDE == 0
    }

    /// Whether the high half of an argument comes first in memory.
    pub(super) fn big_endian(self) -> bool {
        self.audit() & LITTLE == 0
    }

    /// Whether a kernel for `native` also runs programs of this architecture. Sections for others
    /// would never be reached.
    pub(super) fn runs_on(self, native: Self) -> bool {
        let siblings: &[Self] = match native {
            Self::X86_64 => &[Self::X86, Self::X32],
            Self::Aarch64 => &[Self::Arm],
            Self::Mips64 => &[Self::Mips, Self::Mips64N32],
            Self::Mipsel64 => &[Self::Mipsel, Self::Mipsel64N32],
            Self::Ppc64 => &[Self::Ppc],
            Self::S390X => &[Self::S390],
            Self::Parisc64 => &[Self::Parisc],
            _ => &[],
        };
        self == native || siblings.contains(&self)
    }
}

const fn native() -> Architecture {
    let big = cfg!(target_endian = "big");
    if cfg!(target_arch = "x86_64") {
        Architecture::X86_64
    } else if cfg!(target_arch = "aarch64") && !big {
        Architecture::Aarch64
    } else if cfg!(target_arch = "riscv64") {
        Architecture::Riscv64
    } else if cfg!(target_arch = "loongarch64") {
        Architecture::Loongarch64
    } else if cfg!(target_arch = "s390x") {
        Architecture::S390X
    } else if cfg!(target_arch = "powerpc64") && !big {
        Architecture::Ppc64Le
    } else if cfg!(target_arch = "powerpc64") {
        Architecture::Ppc64
    } else {
        panic!("seccomp filters are not made for this architecture")
    }
}
