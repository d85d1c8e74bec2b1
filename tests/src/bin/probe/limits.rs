//! Changing limits, priority or placement of a process.

use crate::act::{Action, Done, Failure, action, done, number};
use crate::sys::{Arg, call};

pub(crate) const ACTIONS: &[Action] = &[
    action("set-limit", "PID", limit),
    action("set-nice", "PID", nice),
    action("set-io-priority", "PID", io_priority),
    action("set-affinity", "PID", affinity),
];

// `include/uapi/linux/ioprio.h`: the best-effort class, level 4, of one process.
const IOPRIO_WHO_PROCESS: i64 = 1;
const BEST_EFFORT: i64 = 2 << 13 | 4;

fn one(words: &[&str]) -> Result<Arg<'static>, Failure> {
    let [pid] = words else {
        return Err(Failure::Usage);
    };
    Ok(Arg::Int(number(pid)?))
}

/// Lowers the number of descriptors.
fn limit(words: &[&str]) -> Done {
    let limits: Vec<u8> = [256u64, 256]
        .into_iter()
        .flat_map(u64::to_ne_bytes)
        .collect();
    let (what, old) = (Arg::Int(libc::RLIMIT_NOFILE.into()), Arg::Int(0));
    call(
        "prlimit64",
        libc::SYS_prlimit64,
        [one(words)?, what, Arg::In(&limits), old],
    )?;
    done()
}

fn nice(words: &[&str]) -> Done {
    let which = Arg::Int(libc::PRIO_PROCESS.into());
    call(
        "setpriority",
        libc::SYS_setpriority,
        [which, one(words)?, Arg::Int(1)],
    )?;
    done()
}

fn io_priority(words: &[&str]) -> Done {
    let (which, priority) = (Arg::Int(IOPRIO_WHO_PROCESS), Arg::Int(BEST_EFFORT));
    call(
        "ioprio_set",
        libc::SYS_ioprio_set,
        [which, one(words)?, priority],
    )?;
    done()
}

/// Any of the first processors.
fn affinity(words: &[&str]) -> Done {
    let mask = [0xff_u8; 8];
    let length = Arg::Int(mask.len() as i64);
    call(
        "sched_setaffinity",
        libc::SYS_sched_setaffinity,
        [one(words)?, length, Arg::In(&mask)],
    )?;
    done()
}
