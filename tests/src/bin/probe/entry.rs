//! What the entry process of a container, or a hook, is asked to do beside trying things: wait for
//! a signal, tell what it was handed, make one system call, end with a status.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};

use serde_json::json;

use crate::act::{self, Action, Done, Failure, action, done, number};
use crate::sys::{Arg, call, exit_now, fork};

pub(crate) const ACTIONS: &[Action] = &[
    action("block", "SIGNAL", block),
    action("until", "SIGNAL", until),
    action("background", "ACTION…", background),
    action("record", "FILE LABEL", record),
    action("syscall", "NUMBER ARGS…", syscall),
    action("exit", "STATUS", exit),
    action("raise", "SIGNAL", raise),
    action("take-terminal", "", take_terminal),
    action("answer", "", answer),
    action("fill", "MEGABYTES", fill),
];

/// The kernel's signal set: bit 0 is signal 1.
fn signal_set(word: &str) -> Result<[u8; 8], Failure> {
    let signal = u32::try_from(number(word)?).map_err(|_| Failure::Usage)?;
    let bit = signal
        .checked_sub(1)
        .and_then(|shift| 1u64.checked_shl(shift));
    Ok(bit.ok_or(Failure::Usage)?.to_ne_bytes())
}

/// Blocks a signal, so that one that comes before [`until`] is not lost.
fn block(words: &[&str]) -> Done {
    let [signal] = words else {
        return Err(Failure::Usage);
    };
    let set = signal_set(signal)?;
    let how = Arg::Int(libc::SIG_BLOCK.into());
    let (old, length) = (Arg::Int(0), Arg::Int(8));
    call(
        "rt_sigprocmask",
        libc::SYS_rt_sigprocmask,
        [how, Arg::In(&set), old, length],
    )?;
    done()
}

/// Waits for a blocked signal.
fn until(words: &[&str]) -> Done {
    let [signal] = words else {
        return Err(Failure::Usage);
    };
    let set = signal_set(signal)?;
    loop {
        let arguments = [Arg::In(&set), Arg::Int(0), Arg::Int(0), Arg::Int(8)];
        match call("rt_sigtimedwait", libc::SYS_rt_sigtimedwait, arguments) {
            Ok(signal) => return Ok(signal.to_string()),
            Err(Failure::Call(_, libc::EINTR)) => {}
            Err(failure) => return Err(failure),
        }
    }
}

/// A child that does ACTION by itself; tells its process id.
fn background(words: &[&str]) -> Done {
    match fork()? {
        None => exit_now(act::run(words).exit_code().into()),
        Some(child) => Ok(child.to_string()),
    }
}

/// Appends a line of JSON to FILE: LABEL, what is on standard input, and what this process is. For
/// hooks; one line is one write, so that hooks at the same time do not mix.
fn record(words: &[&str]) -> Done {
    let [file, label] = words else {
        return Err(Failure::Usage);
    };
    let mut input = String::new();
    std::io::stdin()
        .read_to_string(&mut input)
        .map_err(|error| Failure::from_io("read", &error))?;
    let link = |name: &str| std::fs::read_link(format!("/proc/self/{name}")).ok();
    let line = json!({
        "label": label,
        "input": input,
        "args": std::env::args().collect::<Vec<_>>(),
        "env": std::env::vars().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
        "cwd": std::env::current_dir().ok(),
        "root": link("root"),
        "mount_namespace": link("ns/mnt"),
        "pid_namespace": link("ns/pid"),
        "uts_namespace": link("ns/uts"),
    });
    let log = OpenOptions::new().append(true).create(true).open(file);
    log.and_then(|mut log| log.write_all(format!("{line}\n").as_bytes()))
        .map_err(|error| Failure::from_io("write", &error))?;
    done()
}

/// Any system call, with numbers as its arguments; tells its result.
fn syscall(words: &[&str]) -> Done {
    let [name, arguments @ ..] = words else {
        return Err(Failure::Usage);
    };
    let mut values = [0; 6];
    for (value, word) in values.iter_mut().zip(arguments) {
        *value = number(word)?;
    }
    let result = call("syscall", number(name)?, values.map(Arg::Int))?;
    Ok(result.to_string())
}

fn exit(words: &[&str]) -> Done {
    let [status] = words else {
        return Err(Failure::Usage);
    };
    exit_now(i32::try_from(number(status)?).map_err(|_| Failure::Usage)?)
}

/// Sends a signal to this process. A first process of a pid namespace survives most of them.
fn raise(words: &[&str]) -> Done {
    let [signal] = words else {
        return Err(Failure::Usage);
    };
    let own = Arg::Int(std::process::id().into());
    call("kill", libc::SYS_kill, [own, Arg::Int(number(signal)?)])?;
    done()
}

/// Opens the controlling terminal.
fn take_terminal(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    std::fs::File::open("/dev/tty").map_err(|error| Failure::from_io("open", &error))?;
    done()
}

/// Reads a line of standard input and tells it.
fn answer(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|error| Failure::from_io("read", &error))?;
    Ok(line.trim_end().to_owned())
}

/// Takes memory and writes to all of it.
fn fill(words: &[&str]) -> Done {
    let [megabytes] = words else {
        return Err(Failure::Usage);
    };
    let length = usize::try_from(number(megabytes)?).map_err(|_| Failure::Usage)? << 20;
    let mut memory = vec![0u8; length];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    Ok(std::hint::black_box(&memory).len().to_string())
}
