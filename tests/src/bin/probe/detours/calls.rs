//! Any system call by its name, one after the other: attempts that are told in a table.
//!
//! `steps` does actions in turn until one fails. `call` takes words for arguments:
//!
//! | word | argument |
//! | --- | --- |
//! | `-100`, `0x3`, `0600` | a number |
//! | `$1` | what the first `call` of these steps returned, and so on |
//! | `'text` | a string |
//! | `z:100` | a buffer of that many zero bytes |
//! | `[4:1,8:'text]` | a struct: 4 bytes of 1, 8 bytes of an address; zero from there on |

use std::cell::RefCell;

use crate::act::{self, Action, Done, Failure, action, done, number};
use crate::sys::{self, Arg};
use crate::wrap::as_own;

pub(crate) const ACTIONS: &[Action] = &[
    action("steps", "ACTION… -- ACTION…", steps),
    action("call", "NAME ARGUMENT…", call),
];

/// A struct has at least so many bytes: no call reads past what it is told to.
const STRUCT_BYTES: usize = 4096;

/// Bytes of zero after a text: who writes one need not know its length.
const TEXT_BYTES: usize = 256;

/// Seconds after which steps that hang are ended.
const LIMIT_SECONDS: i64 = 90;

thread_local! {
    /// What the calls of these steps returned.
    static RESULTS: RefCell<Vec<i64>> = const { RefCell::new(Vec::new()) };
}

/// Actions in turn; what the last one told, or the first failure.
fn steps(words: &[&str]) -> Done {
    RESULTS.with(|results| results.borrow_mut().clear());
    sys::call("alarm", libc::SYS_alarm, [Arg::Int(LIMIT_SECONDS)])?;
    let mut last = done();
    for step in words.split(|word| *word == "--") {
        last = as_own(act::run(step));
        if last.is_err() {
            break;
        }
    }
    last
}

fn call(words: &[&str]) -> Done {
    let [name, arguments @ ..] = words else {
        return Err(Failure::Usage);
    };
    let known = NUMBERS.iter().find(|(known, _)| known == name);
    let (name, number) = known.ok_or(Failure::Usage)?;
    let mut values = [0; 6];
    for (value, word) in values.iter_mut().zip(arguments) {
        *value = argument(word)?;
    }
    let result = sys::call(name, *number, values.map(Arg::Int))?;
    RESULTS.with(|results| results.borrow_mut().push(result));
    Ok(result.to_string())
}

/// The value of one word. Memory that it points to is never freed.
fn argument(word: &str) -> Result<i64, Failure> {
    if let Some(index) = word.strip_prefix('$') {
        return result(index);
    }
    if let Some(text) = word.strip_prefix('\'') {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(bytes.len() + TEXT_BYTES, 0);
        return Ok(keep(bytes));
    }
    if let Some(length) = word.strip_prefix("z:") {
        let length = usize::try_from(number(length)?).map_err(|_| Failure::Usage)?;
        return Ok(keep(vec![0; length]));
    }
    match word.strip_prefix('[') {
        Some(fields) => structure(fields.strip_suffix(']').ok_or(Failure::Usage)?),
        None => number(word),
    }
}

/// What call number `index`, from 1, returned.
fn result(index: &str) -> Result<i64, Failure> {
    let index = usize::try_from(number(index)?).map_err(|_| Failure::Usage)?;
    RESULTS.with(|results| {
        let results = results.borrow();
        let found = index.checked_sub(1).and_then(|index| results.get(index));
        found.copied().ok_or(Failure::Usage)
    })
}

/// `SIZE:WORD,…` in memory that reaches further.
fn structure(fields: &str) -> Result<i64, Failure> {
    let mut bytes = struct_bytes(fields)?;
    bytes.resize(bytes.len().max(STRUCT_BYTES), 0);
    Ok(keep(bytes))
}

/// `SIZE:WORD,…` as bytes.
pub(crate) fn struct_bytes(fields: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    for field in fields.split(',') {
        let (size, word) = field.split_once(':').ok_or(Failure::Usage)?;
        let size = usize::try_from(number(size)?).map_err(|_| Failure::Usage)?;
        let value = argument(word)?.to_ne_bytes();
        let start = bytes.len();
        bytes.resize(start + size, 0);
        let length = size.min(value.len());
        bytes[start..start + length].copy_from_slice(&value[..length]);
    }
    Ok(bytes)
}

/// Leaves the bytes in memory for the kernel to find; their address.
pub(crate) fn keep(bytes: Vec<u8>) -> i64 {
    let kept: &'static mut [u8] = Box::leak(bytes.into_boxed_slice());
    kept.as_mut_ptr().expose_provenance() as i64
}

/// A table of system calls by name.
macro_rules! numbers {
    ($($name:ident = $number:expr,)*) => {
        const NUMBERS: &[(&str, libc::c_long)] = &[$((stringify!($name), $number)),*];
    };
}

numbers! {
    acct = libc::SYS_acct,
    add_key = libc::SYS_add_key,
    alarm = libc::SYS_alarm,
    bind = libc::SYS_bind,
    chdir = libc::SYS_chdir,
    clock_adjtime = libc::SYS_clock_adjtime,
    close = libc::SYS_close,
    connect = libc::SYS_connect,
    copy_file_range = libc::SYS_copy_file_range,
    dup = libc::SYS_dup,
    fallocate = libc::SYS_fallocate,
    fanotify_init = libc::SYS_fanotify_init,
    fanotify_mark = libc::SYS_fanotify_mark,
    fchmodat2 = FCHMODAT2,
    fchownat = libc::SYS_fchownat,
    fcntl = libc::SYS_fcntl,
    file_setattr = FILE_SETATTR,
    flock = libc::SYS_flock,
    fsconfig = libc::SYS_fsconfig,
    fsmount = libc::SYS_fsmount,
    fsopen = libc::SYS_fsopen,
    fspick = libc::SYS_fspick,
    ioctl = libc::SYS_ioctl,
    ioperm = libc::SYS_ioperm,
    ioprio_set = libc::SYS_ioprio_set,
    kcmp = libc::SYS_kcmp,
    kexec_file_load = libc::SYS_kexec_file_load,
    kexec_load = libc::SYS_kexec_load,
    keyctl = libc::SYS_keyctl,
    linkat = libc::SYS_linkat,
    listen = libc::SYS_listen,
    lsetxattr = libc::SYS_lsetxattr,
    mount = libc::SYS_mount,
    mount_setattr = libc::SYS_mount_setattr,
    mq_open = libc::SYS_mq_open,
    mq_unlink = libc::SYS_mq_unlink,
    move_pages = libc::SYS_move_pages,
    msgctl = libc::SYS_msgctl,
    msgget = libc::SYS_msgget,
    msgsnd = libc::SYS_msgsnd,
    open_tree = libc::SYS_open_tree,
    openat = libc::SYS_openat,
    openat2 = libc::SYS_openat2,
    perf_event_open = libc::SYS_perf_event_open,
    pidfd_open = libc::SYS_pidfd_open,
    prctl = libc::SYS_prctl,
    prlimit64 = libc::SYS_prlimit64,
    rt_sigqueueinfo = libc::SYS_rt_sigqueueinfo,
    semctl = libc::SYS_semctl,
    semget = libc::SYS_semget,
    semop = libc::SYS_semop,
    sendfile = libc::SYS_sendfile,
    sendto = libc::SYS_sendto,
    setpriority = libc::SYS_setpriority,
    setsockopt = libc::SYS_setsockopt,
    settimeofday = libc::SYS_settimeofday,
    shmat = libc::SYS_shmat,
    shmctl = libc::SYS_shmctl,
    shmget = libc::SYS_shmget,
    socket = libc::SYS_socket,
    swapoff = libc::SYS_swapoff,
    syslog = libc::SYS_syslog,
    userfaultfd = libc::SYS_userfaultfd,
    utimensat = libc::SYS_utimensat,
    vhangup = libc::SYS_vhangup,
    write = libc::SYS_write,
}

/// Newer than the C library's table.
const FILE_SETATTR: libc::c_long = 469;
/// The same.
const FCHMODAT2: libc::c_long = 452;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_pass_results_on() {
        let path = "'/dev/null";
        let words = [
            "call", "openat", "-100", path, "0", "--", "call", "dup", "$1",
        ];
        assert!(steps(&words).is_ok());
        let words = ["call", "openat", "-100", "'/no/such/file", "0"];
        assert!(matches!(steps(&words), Err(Failure::Elsewhere(_))));
    }

    #[test]
    fn a_struct_is_laid_out_as_told() {
        let at = structure("4:1,8:-1,2:0x102").unwrap() as usize;
        assert_eq!(sys::load(at), 1);
        assert_eq!(sys::load(at + 4), u32::MAX);
        assert_eq!(sys::load(at + 12), 0x102);
        assert!(argument("[4]").is_err() && argument("$7").is_err());
    }
}
