//! The processes of a container's cgroups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::{CgroupDirs, write};
use crate::failure::Failure;

/// How long processes may take to die. One that does not is stuck in the kernel.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills every process in the groups and in those below them, and waits until they are gone.
pub fn kill_all(dirs: &CgroupDirs) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let mut wait = Duration::from_micros(200);
    loop {
        if let Some(v2) = &dirs.v2 {
            let kill = v2.join("cgroup.kill");
            // One write, and nothing that forks meanwhile escapes it; the loop below is for version
            // 1.
            if kill.exists() && populated(v2) {
                write(&kill, "1")?;
            }
        }
        let mut left = dirs.v2.as_deref().is_some_and(populated);
        for dir in dirs.all() {
            for pid in processes_below(dir) {
                left = true;
                // A process that is gone already is what is wanted.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if !left {
            return Ok(());
        }
        if Instant::now() > deadline {
            let call = format!("kill(processes of {:?}, SIGKILL)", dirs.v2);
            return Err(Failure::new(call, Errno::TIMEDOUT));
        }
        sleep(wait);
        wait = (wait * 2).min(Duration::from_millis(20));
    }
}

/// Processes directly in a group.
pub(super) fn processes(dir: &Path) -> io::Result<Vec<Pid>> {
    let text = fs::read_to_string(dir.join("cgroup.procs"))?;
    let pids = text.lines().filter_map(|line| line.parse().ok());
    Ok(pids.filter_map(Pid::from_raw).collect())
}

fn processes_below(dir: &Path) -> Vec<Pid> {
    let mut found = processes(dir).unwrap_or_default();
    for below in groups_below(dir) {
        found.extend(processes_below(&below));
    }
    found
}

fn groups_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.map(|entry| entry.path()).collect()
}

fn populated(v2: &Path) -> bool {
    let events = fs::read_to_string(v2.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "populated 1")
}
