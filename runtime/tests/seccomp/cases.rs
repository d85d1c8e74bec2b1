//! The cases: a filter, what is done under it, and how that ends.

use std::process::Command;

use serde_json::{Value, json};

use crate::agent::{ANSWER, REFUSAL};
use crate::sys::{self, Called};

/// How a child ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with everything as expected.
    Exit,
    /// By SIGSYS.
    Killed,
    /// Like `Exit`, with an agent.
    AgentAsked,
}

/// One case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) seccomp: fn() -> Value,
    pub(crate) act: fn() -> Result<(), String>,
    pub(crate) end: End,
    /// Whether the kernel must run programs of i386.
    pub(crate) i386: bool,
}

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let case = |name, end, seccomp, act| Case {
        name,
        seccomp,
        act,
        end,
        i386: false,
    };
    let mut all = vec![
        case("errno", End::Exit, errno_filter, errno),
        case(
            "kill_process",
            End::Killed,
            || on_getppid("KILL_PROCESS"),
            ask,
        ),
        case(
            "kill_thread",
            End::Killed,
            || on_getppid("KILL_THREAD"),
            ask,
        ),
        case("kill", End::Killed, || on_getppid("KILL"), ask),
        case("trap", End::Killed, || on_getppid("TRAP"), ask),
        case(
            "trace_without_a_tracer",
            End::Exit,
            || on_getppid("TRACE"),
            traced,
        ),
        case("log", End::Exit, logging, ask),
        case("operators", End::Exit, operators_filter, operators),
        case("several_arguments", End::Exit, arguments_filter, arguments),
        case("newer_calls", End::Exit, engine, newer_calls),
        case("programs_run", End::Exit, engine, programs_run),
        case(
            "executed_programs_are_under_it",
            End::Exit,
            engine,
            inherited,
        ),
        case("notify", End::AgentAsked, notify_filter, notified),
    ];
    #[cfg(target_arch = "x86_64")]
    all.extend([
        Case {
            i386: true,
            ..case("i386_is_killed", End::Killed, nothing, i386)
        },
        Case {
            i386: true,
            ..case(
                "i386_has_its_own_numbers",
                End::Exit,
                i386_filter,
                i386_numbers,
            )
        },
        case("x32_is_killed", End::Killed, nothing, x32),
    ]);
    all
}

fn expect(what: &str, found: Called, expected: Called) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what} gave {found:?}, {expected:?} expected"))
}

fn getppid() -> Called {
    sys::call(libc::SYS_getppid, [0; 6])
}

fn on_getppid(action: &str) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["getppid"], "action": format!("SCMP_ACT_{action}") }
    ] })
}

fn ask() -> Result<(), String> {
    getppid()
        .map(|_| ())
        .map_err(|errno| format!("errno {errno}"))
}

fn errno_filter() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"],
        "flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            { "names": ["getppid", "of_no_kernel"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4095 },
            { "names": ["getpgid"], "action": "SCMP_ACT_ERRNO" },
            { "names": ["getsid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0 }
        ]
    })
}

fn errno() -> Result<(), String> {
    expect("getppid", getppid(), Err(4095))?;
    expect(
        "getpgid",
        sys::call(libc::SYS_getpgid, [0; 6]),
        Err(libc::EPERM),
    )?;
    expect("getsid", sys::call(libc::SYS_getsid, [0; 6]), Ok(0))?;
    sys::call(libc::SYS_getuid, [0; 6])
        .map(|_| ())
        .map_err(|errno| format!("getuid: errno {errno}"))
}

fn traced() -> Result<(), String> {
    expect("getppid", getppid(), Err(libc::ENOSYS))
}

fn logging() -> Value {
    let mut filter = on_getppid("LOG");
    filter["flags"] = json!([
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    ]);
    filter
}

/// A descriptor that is none, so that a call that gets through fails with EBADF.
const NO_FD: u64 = u32::MAX as u64;
const VALUE: u64 = 0x8000_0001_8000_0001;
const SEEKS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
const MASK: u64 = 0x8000_0000_0000_0001;

/// One errno for each operator, picked by `whence`.
fn operators_filter() -> Value {
    let rules = (0..).zip(SEEKS).map(|(whence, name)| {
        let value = if name == "MASKED_EQ" { MASK } else { VALUE };
        let op = format!("SCMP_CMP_{name}");
        json!({ "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100 + whence, "args": [
            { "index": 2, "value": whence, "op": "SCMP_CMP_EQ" },
            { "index": 1, "value": value, "valueTwo": VALUE & MASK, "op": op }
        ] })
    });
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules.collect::<Vec<_>>() })
}

fn operators() -> Result<(), String> {
    let high = 1 << 32;
    for offset in [
        0,
        1,
        VALUE - high,
        VALUE - 1,
        VALUE,
        VALUE + 1,
        VALUE + high,
        u64::MAX,
    ] {
        let hits = [
            offset != VALUE,
            offset < VALUE,
            offset <= VALUE,
            offset == VALUE,
            offset >= VALUE,
            offset > VALUE,
            offset & MASK == VALUE & MASK,
        ];
        for (whence, (name, hit)) in (0..).zip(SEEKS.iter().zip(hits)) {
            let found = sys::call(libc::SYS_lseek, [NO_FD, offset, whence, 0, 0, 0]);
            let expected = if hit {
                100 + whence as i32
            } else {
                libc::EBADF
            };
            expect(
                &format!("lseek({offset:#x}) with {name}"),
                found,
                Err(expected),
            )?;
        }
    }
    Ok(())
}

fn arguments_filter() -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 101, "args": [
            { "index": 1, "value": 1, "op": "SCMP_CMP_EQ" },
            { "index": 2, "value": 2, "op": "SCMP_CMP_EQ" }
        ] },
        { "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 102, "args": [
            { "index": 1, "value": 7, "op": "SCMP_CMP_EQ" },
            { "index": 1, "value": 9, "op": "SCMP_CMP_EQ" }
        ] }
    ] })
}

fn arguments() -> Result<(), String> {
    for (offset, whence, errno) in [
        (1, 2, 101),
        (1, 0, libc::EBADF),
        (0, 2, libc::EBADF),
        (7, 2, 102),
        (9, 0, 102),
        (8, 0, libc::EBADF),
    ] {
        let found = sys::call(libc::SYS_lseek, [NO_FD, offset, whence, 0, 0, 0]);
        expect(&format!("lseek({offset}, {whence})"), found, Err(errno))?;
    }
    Ok(())
}

/// What container engines give by default, in its shape.
fn engine() -> Value {
    const DENIED: [&str; 8] = [
        "bpf",
        "clone",
        "clone3",
        "keyctl",
        "mount",
        "personality",
        "socket",
        "unshare",
    ];
    let calls = syscalls::Sysno::iter().filter(|call| call.id() <= 450);
    let names: Vec<&str> = calls
        .map(|call| call.name())
        .filter(|name| !DENIED.contains(name))
        .collect();
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": libc::EPERM,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            { "names": names, "action": "SCMP_ACT_ALLOW" },
            { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS },
            { "names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
                { "index": 0, "value": 0x7e02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }
            ] },
            { "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                { "index": 0, "value": libc::AF_VSOCK, "op": "SCMP_CMP_NE" }
            ] },
            { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
                { "index": 0, "value": 0xffff_ffff_u32, "op": "SCMP_CMP_EQ" }
            ] }
        ]
    })
}

fn newer_calls() -> Result<(), String> {
    let number = 499;
    expect("call 499", sys::call(number, [0; 6]), Err(libc::ENOSYS))?;
    let call = |number, first| sys::call(number, [first, 0, 0, 0, 0, 0]);
    expect("clone3", call(libc::SYS_clone3, 0), Err(libc::ENOSYS))?;
    let unshare = call(libc::SYS_unshare, libc::CLONE_NEWUSER as u64);
    expect("unshare", unshare, Err(libc::EPERM))?;
    let flags = (libc::CLONE_NEWUSER | libc::SIGCHLD) as u64;
    expect("clone", call(libc::SYS_clone, flags), Err(libc::EPERM))?;
    let vsock = call(libc::SYS_socket, libc::AF_VSOCK as u64);
    expect("socket", vsock, Err(libc::EPERM))?;
    // Type 0 is none: the call was made.
    let unix = call(libc::SYS_socket, libc::AF_UNIX as u64);
    if unix == Err(libc::EPERM) {
        return Err(format!("socket(AF_UNIX) gave {unix:?}"));
    }
    expect(
        "personality",
        call(libc::SYS_personality, 8),
        Err(libc::EPERM),
    )?;
    call(libc::SYS_personality, 0xffff_ffff)
        .map(|_| ())
        .map_err(|errno| format!("personality: errno {errno}"))
}

fn programs_run() -> Result<(), String> {
    let status = Command::new("/bin/true").status();
    match status {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("/bin/true: {other:?}")),
    }
}

fn inherited() -> Result<(), String> {
    let script = "grep -q '^Seccomp:[[:space:]]*2$' /proc/self/status";
    let status = Command::new("/bin/sh").args(["-c", script]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("not under a filter: {other:?}")),
    }
}

fn notify_filter() -> Value {
    let mut filter = on_getppid("NOTIFY");
    filter["listenerPath"] = json!("/run/agent.sock");
    filter["flags"] = json!([
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    ]);
    filter
}

fn notified() -> Result<(), String> {
    expect("getppid", getppid(), Ok(ANSWER))?;
    expect("getppid", getppid(), Err(REFUSAL))
}

#[cfg(target_arch = "x86_64")]
fn nothing() -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW" })
}

#[cfg(target_arch = "x86_64")]
pub(crate) const GETPPID_I386: u32 = 64;

#[cfg(target_arch = "x86_64")]
fn i386() -> Result<(), String> {
    let found = sys::call_i386(GETPPID_I386, 0);
    Err(format!("getppid of i386 gave {found:?}"))
}

/// `getppid` is refused, which has another number there, and one value of a 32-bit argument.
#[cfg(target_arch = "x86_64")]
fn i386_filter() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            { "names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99 },
            { "names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 98, "args": [
                { "index": 0, "value": u64::MAX, "op": "SCMP_CMP_EQ" }
            ] },
            { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97 }
        ]
    })
}

#[cfg(target_arch = "x86_64")]
fn i386_numbers() -> Result<(), String> {
    const CLOSE: u32 = 6;
    const SOCKETCALL: u32 = 102;
    expect("getppid", getppid(), Err(99))?;
    expect("getppid of i386", sys::call_i386(GETPPID_I386, 0), Err(99))?;
    expect("close of i386", sys::call_i386(CLOSE, u32::MAX), Err(98))?;
    let other = sys::call_i386(CLOSE, u32::MAX - 1);
    expect("close of i386", other, Err(libc::EBADF))?;
    // 1 is `socket`; 2 is `bind`, whose arguments lie at an address that is none.
    expect("socket of i386", sys::call_i386(SOCKETCALL, 1), Err(97))?;
    let bind = sys::call_i386(SOCKETCALL, 2);
    if bind == Err(97) {
        return Err("bind of i386 was taken for socket".to_owned());
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn x32() -> Result<(), String> {
    let found = sys::call(libc::SYS_getppid | 0x4000_0000, [0; 6]);
    Err(format!("getppid of x32 gave {found:?}"))
}
