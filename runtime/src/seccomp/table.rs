//! Names and numbers of system calls, by architecture.
//!
//! The numbers are those of the `syscalls` crate. What it lacks is added here: x32, the private
//! calls of 32-bit ARM, a name that it spells otherwise, and the calls that older kernels put
//! behind one number (`socketcall`, `ipc`).

use std::collections::HashMap;
use std::ops::Range;

use super::arch::{Architecture, X32_BIT};

/// Private system calls of 32-bit ARM (`__ARM_NR_BASE`, `arch/arm/include/uapi/asm/unistd.h`).
const ARM_PRIVATE: u32 = 0x0f_0000;

/// Numbers that an architecture has apart from its table, which goes on growing below them.
pub(super) fn private(arch: Architecture) -> Range<u32> {
    match arch {
        Architecture::Arm => ARM_PRIVATE..u32::MAX,
        Architecture::X32 => {
            let first = X32_BIT | X32_FIRST;
            first..first + X32_ONLY.len() as u32
        }
        _ => 0..0,
    }
}

/// Added to the crate's tables: architecture, name, number.
const ADDED: &[(Architecture, &str, u32)] = &[
    (Architecture::Aarch64, "newfstatat", 79),
    (Architecture::Arm, "breakpoint", ARM_PRIVATE + 1),
    (Architecture::Arm, "cacheflush", ARM_PRIVATE + 2),
    (Architecture::Arm, "usr26", ARM_PRIVATE + 3),
    (Architecture::Arm, "usr32", ARM_PRIVATE + 4),
    (Architecture::Arm, "set_tls", ARM_PRIVATE + 5),
    (Architecture::Arm, "get_tls", ARM_PRIVATE + 6),
];

/// Numbers of x86_64 that x32 does not have (`64` in `arch/x86/entry/syscalls/syscall_64.tbl`).
const NOT_X32: &[u32] = &[
    13, 15, 16, 19, 20, 45, 46, 47, 54, 55, 59, 101, 127, 128, 129, 131, 134, 156, 174, 177, 178,
    180, 205, 206, 209, 211, 214, 215, 222, 236, 244, 246, 247, 273, 274, 278, 279, 295, 296, 297,
    299, 307, 310, 311, 322, 327, 328,
];

/// What x32 has instead, from 512 on and in order.
const X32_ONLY: &[&str] = &[
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];
const X32_FIRST: u32 = 512;

/// The calls of `socketcall(2)`, from 1 on and in order (`include/uapi/linux/net.h`).
const SOCKET_CALLS: &[&str] = &[
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

/// The calls of `ipc(2)` (`include/uapi/linux/ipc.h`).
const IPC_CALLS: &[(&str, u32)] = &[
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// A call that is also made through another one: its number is the first argument there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Multiplexed {
    /// Number of `socketcall` or `ipc`.
    pub(super) number: u32,
    /// Which bits of the first argument the kernel looks at.
    pub(super) mask: u32,
    /// What is in them.
    pub(super) call: u32,
}

/// The system calls of one architecture.
pub(super) struct Table {
    numbers: HashMap<&'static str, u32>,
    multiplexes: bool,
}

impl Table {
    /// `None` where no numbers are known.
    pub(super) fn of(arch: Architecture) -> Option<Self> {
        let mut numbers: HashMap<&'static str, u32> = match arch {
            Architecture::X32 => x32(),
            _ => crate_numbers(arch)?.into_iter().collect(),
        };
        for (of, name, number) in ADDED {
            if *of == arch {
                numbers.insert(name, *number);
            }
        }
        // Nobody may ask for the private calls of a multiplexer that the kernel does not have.
        let multiplexes = numbers.contains_key("socketcall");
        Some(Self {
            numbers,
            multiplexes,
        })
    }

    /// Number of a system call of its own.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The other way to make the call, on architectures that have one.
    pub(super) fn multiplexed(&self, name: &str) -> Option<Multiplexed> {
        if !self.multiplexes {
            return None;
        }
        if let Some(at) = SOCKET_CALLS.iter().position(|call| *call == name) {
            return Some(Multiplexed {
                number: self.number("socketcall")?,
                mask: u32::MAX,
                call: at as u32 + 1,
            });
        }
        let (_, call) = IPC_CALLS.iter().find(|(call, _)| *call == name)?;
        Some(Multiplexed {
            number: self.number("ipc")?,
            // The high half is a version, which the caller chooses.
            mask: 0xffff,
            call: *call,
        })
    }
}

fn x32() -> HashMap<&'static str, u32> {
    let common = crate_numbers(Architecture::X86_64).into_iter().flatten();
    let common = common.filter(|(_, number)| !NOT_X32.contains(number));
    let own = X32_ONLY.iter().zip(X32_FIRST..);
    let own = own.map(|(name, number)| (*name, number));
    common
        .chain(own)
        .map(|(name, number)| (name, number | X32_BIT))
        .collect()
}

/// The crate's table. Only architectures of this machine's kernel are compiled in; tests have them
/// all.
fn crate_numbers(arch: Architecture) -> Option<Vec<(&'static str, u32)>> {
    macro_rules! numbers {
        ($arch:ident) => {
            syscalls::$arch::Sysno::iter()
                .filter_map(|call| {
                    let name = call.name();
                    let name = name.strip_prefix("r#").unwrap_or(name);
                    Some((name, u32::try_from(call.id()).ok()?))
                })
                .collect()
        };
    }
    Some(match arch {
        #[cfg(any(test, target_arch = "x86_64"))]
        Architecture::X86_64 => numbers!(x86_64),
        #[cfg(any(test, target_arch = "x86_64"))]
        Architecture::X86 => numbers!(x86),
        #[cfg(any(test, target_arch = "aarch64"))]
        Architecture::Aarch64 => numbers!(aarch64),
        #[cfg(any(test, target_arch = "aarch64"))]
        Architecture::Arm => numbers!(arm),
        #[cfg(any(test, target_arch = "riscv64"))]
        Architecture::Riscv64 => numbers!(riscv64),
        #[cfg(any(test, target_arch = "loongarch64"))]
        Architecture::Loongarch64 => numbers!(loongarch64),
        #[cfg(any(test, target_arch = "s390x"))]
        Architecture::S390X => numbers!(s390x),
        #[cfg(any(test, target_arch = "powerpc64"))]
        Architecture::Ppc64 | Architecture::Ppc64Le => numbers!(powerpc64),
        #[cfg(any(test, target_arch = "powerpc64"))]
        Architecture::Ppc => numbers!(powerpc),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_crate_lacks_is_there() {
        let number = |arch, name| Table::of(arch).unwrap().number(name);
        assert_eq!(number(Architecture::Aarch64, "newfstatat"), Some(79));
        assert_eq!(number(Architecture::Arm, "set_tls"), Some(0xf_0005));
        assert_eq!(number(Architecture::X86, "break"), Some(17));
        assert_eq!(number(Architecture::X32, "execve"), Some(X32_BIT | 520));
        assert_eq!(number(Architecture::X32, "pwritev2"), Some(X32_BIT | 547));
        assert_eq!(number(Architecture::X32, "read"), Some(X32_BIT));
        assert_eq!(number(Architecture::X32, "uselib"), None);
        assert_eq!(number(Architecture::X86_64, "nothing_of_this_name"), None);
        assert!(Table::of(Architecture::M68k).is_none());
    }

    #[test]
    fn multiplexed_calls_are_found_where_they_exist() {
        let x86 = Table::of(Architecture::X86).unwrap();
        let socket = x86.multiplexed("socket").unwrap();
        assert_eq!((socket.number, socket.call), (102, 1));
        let sendmmsg = x86.multiplexed("sendmmsg").unwrap();
        assert_eq!(sendmmsg.call, 20);
        let shmget = x86.multiplexed("shmget").unwrap();
        assert_eq!((shmget.number, shmget.mask, shmget.call), (117, 0xffff, 23));
        assert_eq!(x86.multiplexed("read"), None);
        let x86_64 = Table::of(Architecture::X86_64).unwrap();
        assert_eq!(x86_64.multiplexed("socket"), None);
    }
}
