//! A profile of the shape that container engines give by default: nearly everything allowed,
//! EPERM for the rest, ENOSYS for `clone3`, and conditions on a few arguments.

use super::interpreter::{Call, answer};
use super::{X86_64, arg, profile, rule, table};
use crate::seccomp::arch::{Architecture, X32_BIT};
use crate::seccomp::compile::compile;
use crate::seccomp::{Action, Operator, Profile};

/// What an ordinary container has no use for.
const DENIED: &[&str] = &[
    "_sysctl",
    "acct",
    "add_key",
    "bpf",
    "clock_settime",
    "clone",
    "clone3",
    "create_module",
    "delete_module",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "get_kernel_syms",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "personality",
    "pivot_root",
    "quotactl",
    "reboot",
    "request_key",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "socket",
    "swapoff",
    "swapon",
    "sysfs",
    "umount2",
    "unshare",
    "uselib",
    "userfaultfd",
    "ustat",
    "vhangup",
    "vm86",
    "vm86old",
];

const ERRNO: Action = Action::Errno(1);
/// `CLONE_NEW*` but for `CLONE_NEWTIME`, which needs `clone3`.
const NAMESPACES: u64 = 0x7e02_0000;
const AF_VSOCK: u64 = 40;

fn engine_default() -> Profile {
    // Up to 6.2, so that there are newer calls.
    let calls = syscalls::x86_64::Sysno::iter().filter(|call| call.id() <= 450);
    let calls = calls.map(|call| call.name()).chain(["socketcall", "ipc"]);
    let allowed: Vec<&str> = calls.filter(|name| !DENIED.contains(name)).collect();
    let mut rules = vec![
        rule(&allowed, Action::Allow, &[]),
        rule(
            &["socket"],
            Action::Allow,
            &[arg(0, Operator::NotEqual, AF_VSOCK)],
        ),
        rule(
            &["clone"],
            Action::Allow,
            &[arg(0, Operator::MaskedEqual(NAMESPACES), 0)],
        ),
        rule(&["clone3"], Action::Errno(38), &[]),
    ];
    for persona in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        let condition = [arg(0, Operator::Equal, persona)];
        rules.push(rule(&["personality"], Action::Allow, &condition));
    }
    Profile {
        architectures: vec![X86_64, Architecture::X86, Architecture::X32],
        ..profile(ERRNO, rules)
    }
}

#[test]
fn says_what_an_engine_means() {
    let program = compile(&engine_default(), X86_64).unwrap();
    let allow = Action::Allow;
    let enosys = Action::Errno(38);
    for (name, args, expected) in [
        ("read", &[][..], allow),
        ("execve", &[], allow),
        ("mount", &[], ERRNO),
        ("clone3", &[], enosys),
        ("clone", &[0x3d_0f00], allow),
        ("clone", &[0x1000_0011], ERRNO),
        ("clone", &[0x1_0000_0011], allow),
        ("socket", &[1], allow),
        ("socket", &[AF_VSOCK], ERRNO),
        ("personality", &[0xffff_ffff], allow),
        ("personality", &[8], allow),
        ("personality", &[0x4_0000], ERRNO),
        ("personality", &[1 << 32], ERRNO),
        ("statmount", &[], enosys),
    ] {
        for arch in [X86_64, Architecture::X86, Architecture::X32] {
            let Some(number) = table(arch).unwrap().number(name) else {
                continue;
            };
            if arch.narrow() && args.iter().any(|arg| arg >> 32 != 0) {
                continue;
            }
            let call = Call::new(arch, number, args);
            let found = answer(&program, &call).returned;
            assert_eq!(found, expected.returned(), "{name} {args:x?} on {arch:?}");
        }
    }
    let other = Call::new(Architecture::Aarch64, 63, &[]);
    let killed = Action::KillThread.returned();
    assert_eq!(answer(&program, &other).returned, killed);
}

#[test]
fn ordinary_calls_take_few_instructions() {
    let program = compile(&engine_default(), X86_64).unwrap();
    println!("{} instructions in all", program.len());
    assert!(program.len() < 400, "{}", program.len());
    let mut most = 0;
    for name in [
        "read",
        "write",
        "close",
        "mmap",
        "futex",
        "epoll_wait",
        "openat",
        "newfstatat",
        "sendmsg",
        "clock_nanosleep",
        "getpid",
        "socket",
        "clone",
        "clone3",
        "mount",
        "statmount",
    ] {
        let number = table(X86_64).unwrap().number(name).unwrap();
        let executed = answer(&program, &Call::new(X86_64, number, &[])).executed;
        println!("{name}: {executed}");
        most = most.max(executed);
    }
    assert!(most <= 17, "{most}");
    let x86 = table(Architecture::X86).unwrap().number("read").unwrap();
    let x86 = answer(&program, &Call::new(Architecture::X86, x86, &[])).executed;
    let x32 = answer(&program, &Call::new(X86_64, X32_BIT, &[])).executed;
    println!("read of x86: {x86}, of x32: {x32}");
}
