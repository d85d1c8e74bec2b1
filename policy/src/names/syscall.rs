//! System calls of this machine's native ABI by name and number.

use ebpf_common::abi::SYSCALLS;
use syscalls::Sysno;

/// A native system call, by a number that a rule has a bit for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Syscall(u32);

impl Syscall {
    /// By name, as in `syscalls(2)`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::from_sysno(name.parse().ok()?)
    }

    /// By number; `None` where the number is not a known system call.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::from_sysno(Sysno::new(usize::try_from(number).ok()?)?)
    }

    fn from_sysno(call: Sysno) -> Option<Self> {
        let number = u32::try_from(call.id()).ok()?;
        (number < SYSCALLS).then_some(Self(number))
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The name.
    pub fn name(self) -> &'static str {
        Sysno::new(self.0 as usize).map_or("?", |call| call.name())
    }

    /// Every known system call.
    pub fn all() -> impl Iterator<Item = Self> {
        Sysno::iter().filter_map(Self::from_sysno)
    }

    /// Whether another architecture has a call of this name (so that a policy written there is not
    /// called misspelt).
    pub(crate) fn known_elsewhere(name: &str) -> bool {
        ELSEWHERE.contains(&name)
    }
}

/// Calls of x86-64 that newer architectures lack, which policies name nevertheless.
const ELSEWHERE: [&str; 19] = [
    "access",
    "arch_prctl",
    "chmod",
    "chown",
    "creat",
    "ioperm",
    "iopl",
    "lchown",
    "link",
    "mkdir",
    "mknod",
    "modify_ldt",
    "open",
    "readlink",
    "rename",
    "rmdir",
    "symlink",
    "unlink",
    "vfork",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn names_have_their_numbers() {
        for (name, number) in [
            ("mount", 165),
            ("umount2", 166),
            ("open_by_handle_at", 304),
            ("finit_module", 313),
            ("bpf", 321),
            ("fsopen", 430),
            ("file_setattr", 469),
        ] {
            let call = Syscall::from_name(name).expect(name);
            assert_eq!((call.number(), call.name()), (number, name));
            assert_eq!(Syscall::from_number(number), Some(call));
        }
        assert_eq!(Syscall::from_name("mnt"), None);
        assert!(Syscall::all().count() > 350);
    }
}
