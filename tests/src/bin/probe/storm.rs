//! The same thing thousands of times, while somebody else changes what it is about.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::act::{Action, Done, Failure, action, number};
use crate::files::open_flags;
use crate::sys::{exit_now, fork};

pub(crate) const ACTIONS: &[Action] = &[
    action("storm-open", "COUNT GRANTED REFUSED", storm_open),
    action("storm-clone", "COUNT REFUSED", storm_clone),
];

/// Threads of a storm, and children that are waited for together.
const BESIDE: u64 = 4;

/// How often it came to what.
#[derive(Default)]
struct Counts {
    opened: AtomicU64,
    denied: AtomicU64,
    other: AtomicU64,
}

impl Counts {
    fn open(&self, path: &str) {
        let counter = match open_flags(path, libc::O_RDONLY) {
            Ok(_) => &self.opened,
            Err(Failure::Call(_, libc::EACCES)) => &self.denied,
            Err(_) => &self.other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn text(&self, what: &str) -> String {
        let [opened, denied, other] = [&self.opened, &self.denied, &self.other]
            .map(|counter| counter.load(Ordering::Relaxed));
        format!("{what} opened={opened} denied={denied} other={other}")
    }
}

/// Opens both from several threads at once, and tells what came of it.
fn storm_open(words: &[&str]) -> Done {
    let [count, granted, refused] = words else {
        return Err(Failure::Usage);
    };
    let each = number(count)? as u64 / BESIDE;
    let (of_granted, of_refused) = (Counts::default(), Counts::default());
    thread::scope(|scope| {
        for _ in 0..BESIDE {
            scope.spawn(|| {
                for _ in 0..each {
                    of_granted.open(granted);
                    of_refused.open(refused);
                }
            });
        }
    });
    Ok(format!(
        "{} {}",
        of_granted.text("granted"),
        of_refused.text("refused")
    ))
}

/// Children whose first deed it is, a few at a time.
fn storm_clone(words: &[&str]) -> Done {
    let [count, refused] = words else {
        return Err(Failure::Usage);
    };
    let counts = Counts::default();
    for _ in 0..number(count)? as u64 / BESIDE {
        let mut children = Vec::new();
        for _ in 0..BESIDE {
            match fork()? {
                None => exit_now(match open_flags(refused, libc::O_RDONLY) {
                    Ok(_) => 0,
                    Err(Failure::Call(_, errno)) => errno,
                    Err(_) => libc::EIO,
                }),
                Some(child) => children.push(child),
            }
        }
        for child in children {
            let ended = waitpid(Pid::from_raw(child), WaitOptions::empty());
            let ended = ended.map_err(|error| Failure::Call("wait4", error.raw_os_error()))?;
            let counter = match ended.and_then(|(_, status)| status.exit_status()) {
                Some(0) => &counts.opened,
                Some(libc::EACCES) => &counts.denied,
                _ => &counts.other,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(counts.text("children"))
}
