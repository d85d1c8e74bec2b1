//! Modules and the clock.

use std::io::Read as _;
use std::os::fd::AsFd as _;

use crate::act::{Action, Done, Failure, action, done, path};
use crate::files::{fd, open_flags};
use crate::sys::{Arg, call};

pub(crate) const ACTIONS: &[Action] = &[
    action("finit-module", "FILE", finit_module),
    action("init-module", "FILE", init_module),
    action("delete-module", "NAME", delete_module),
    action("settime", "", settime),
    action("settimeofday", "", settimeofday),
    action("adjtimex", "", adjtimex),
    action("kexec-unload", "", kexec_unload),
    action("perf-open", "", perf_open),
    action("quota-sync", "", quota_sync),
];

/// Has the kernel read a module's file; a compressed one it unpacks itself.
fn finit_module(words: &[&str]) -> Done {
    const MODULE_INIT_COMPRESSED_FILE: i64 = 4;
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let flags = if file.ends_with(".ko") {
        0
    } else {
        MODULE_INIT_COMPRESSED_FILE
    };
    let module = open_flags(file, libc::O_RDONLY)?;
    call(
        "finit_module",
        libc::SYS_finit_module,
        [fd(module.as_fd()), Arg::Text(c""), Arg::Int(flags)],
    )?;
    done()
}

/// Hands the kernel a module from memory.
fn init_module(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let mut image = Vec::new();
    let mut source = std::fs::File::from(open_flags(file, libc::O_RDONLY)?);
    source
        .read_to_end(&mut image)
        .map_err(|error| Failure::from_io("read", &error))?;
    let length = Arg::Int(image.len() as i64);
    call(
        "init_module",
        libc::SYS_init_module,
        [Arg::In(&image), length, Arg::Text(c"")],
    )?;
    done()
}

fn delete_module(words: &[&str]) -> Done {
    let [name] = words else {
        return Err(Failure::Usage);
    };
    let flags = Arg::Int(libc::O_NONBLOCK.into());
    call(
        "delete_module",
        libc::SYS_delete_module,
        [Arg::Text(&path(name)?), flags],
    )?;
    done()
}

/// The system clock now: seconds and nanoseconds as the kernel's `struct timespec`.
fn now() -> Result<[u8; 16], Failure> {
    let mut time = [0u8; 16];
    let clock = Arg::Int(libc::CLOCK_REALTIME.into());
    call(
        "clock_gettime",
        libc::SYS_clock_gettime,
        [clock, Arg::Out(&mut time)],
    )?;
    Ok(time)
}

/// Sets the clock to what it shows.
fn settime(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    let clock = Arg::Int(libc::CLOCK_REALTIME.into());
    call(
        "clock_settime",
        libc::SYS_clock_settime,
        [clock, Arg::In(&now()?)],
    )?;
    done()
}

fn settimeofday(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    let mut time = now()?;
    let (_, fraction) = time.split_at_mut(8);
    let nanoseconds = fraction
        .iter()
        .rev()
        .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    fraction.copy_from_slice(&(nanoseconds / 1000).to_le_bytes());
    call(
        "settimeofday",
        libc::SYS_settimeofday,
        [Arg::In(&time), Arg::Int(0)],
    )?;
    done()
}

/// Sets the tick to its default, 10 ms.
fn adjtimex(words: &[&str]) -> Done {
    const ADJ_TICK: u32 = 0x4000;
    const TICK_OFFSET: usize = 88;
    let [] = words else {
        return Err(Failure::Usage);
    };
    // `struct timex` (`include/uapi/linux/timex.h`), 208 bytes: `modes` first, `tick` at 88.
    let mut timex = [0u8; 208];
    timex[..4].copy_from_slice(&ADJ_TICK.to_ne_bytes());
    timex[TICK_OFFSET..TICK_OFFSET + 8].copy_from_slice(&10_000i64.to_ne_bytes());
    call("adjtimex", libc::SYS_adjtimex, [Arg::Out(&mut timex)])?;
    done()
}

/// Loads a kernel of no parts, which is to unload what is loaded.
fn kexec_unload(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    call("kexec_load", libc::SYS_kexec_load, [0; 4].map(Arg::Int))?;
    done()
}

/// Counts the processor time of this very process.
fn perf_open(words: &[&str]) -> Done {
    const PERF_TYPE_SOFTWARE: u32 = 1;
    const EXCLUDE_KERNEL: u64 = 1 << 5;
    let [] = words else {
        return Err(Failure::Usage);
    };
    // `struct perf_event_attr` in its first size: type, size, and from 40 on the flags.
    let mut attributes = [0u8; 64];
    attributes[..4].copy_from_slice(&PERF_TYPE_SOFTWARE.to_ne_bytes());
    attributes[4..8].copy_from_slice(&64u32.to_ne_bytes());
    attributes[40..48].copy_from_slice(&EXCLUDE_KERNEL.to_ne_bytes());
    let arguments = [
        Arg::In(&attributes),
        Arg::Int(0),
        Arg::Int(-1),
        Arg::Int(-1),
        Arg::Int(0),
    ];
    crate::sys::descriptor("perf_event_open", libc::SYS_perf_event_open, arguments)?;
    done()
}

/// Has all quotas written out.
fn quota_sync(words: &[&str]) -> Done {
    const Q_SYNC: i64 = 0x80_0001;
    let [] = words else {
        return Err(Failure::Usage);
    };
    let arguments = [Q_SYNC << 8, 0, 0, 0].map(Arg::Int);
    call("quotactl", libc::SYS_quotactl, arguments)?;
    done()
}
