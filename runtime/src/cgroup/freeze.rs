//! Freezing: the tasks of a container are stopped where they are and go on later.
//!
//! Wherever the container has a version 2 group, that one is frozen: every process is in it, on a
//! hybrid host too, and what is frozen there can be killed. Only without one is the `freezer` of
//! version 1 used.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};

use super::files::{read, write};
use super::{CgroupDirs, Error, Groups, Layout};
use crate::failure::{Called, Failure};

/// How long freezing may take. A task in an uninterruptible wait of the kernel is frozen only when
/// that is over.
const PATIENCE: Duration = Duration::from_secs(10);

/// Freezes every task of a container and waits until none runs.
///
/// # Errors
/// There is nothing to freeze, or it takes too long; the container goes on then.
pub fn freeze(dirs: &CgroupDirs) -> Result<(), Error> {
    let frozen = match (v2(dirs)?, v1(dirs)) {
        (Some(dir), _) => freeze_v2(dir),
        (None, Some(dir)) => freeze_v1(&dir),
        (None, None) => return Err(Error::NoFreezer),
    };
    // Nothing may be left half frozen; why it could not be frozen is what matters.
    if frozen.is_err()
        && let Err(error) = thaw(dirs)
    {
        tracing::warn!(%error, "tasks of the container may be left frozen");
    }
    Ok(frozen?)
}

/// Lets the tasks of a container go on.
///
/// # Errors
/// The group cannot be written.
pub fn thaw(dirs: &CgroupDirs) -> Result<(), Error> {
    if let Some(dir) = v2(dirs)? {
        write(&dir.join("cgroup.freeze"), "0")?;
    }
    if let Some(dir) = v1(dirs) {
        thaw_v1(&dir)?;
    }
    Ok(())
}

/// Thaws what the version 1 controller has frozen.
pub(super) fn thaw_v1(dir: &Path) -> Result<(), Failure> {
    let file = dir.join("freezer.state");
    match read(&file)?.as_deref().map(str::trim) {
        None | Some("THAWED") => Ok(()),
        Some(_) => write(&file, "THAWED"),
    }
}

/// Whether a container is frozen, or about to be.
///
/// # Errors
/// The group cannot be read.
pub fn is_frozen(dirs: &CgroupDirs) -> Result<bool, Error> {
    if let Some(dir) = &dirs.v2
        && read(&dir.join("cgroup.freeze"))?.is_some_and(|text| text.trim() == "1")
    {
        return Ok(true);
    }
    let Some(dir) = v1(dirs) else {
        return Ok(false);
    };
    let state = read(&dir.join("freezer.state"))?;
    Ok(state.is_some_and(|state| state.trim() != "THAWED"))
}

/// The version 2 group, if it is there.
fn v2(dirs: &CgroupDirs) -> Result<Option<&Path>, Failure> {
    let Some(dir) = dirs.v2.as_deref() else {
        return Ok(None);
    };
    let freeze = read(&dir.join("cgroup.freeze"))?;
    Ok(freeze.map(|_| dir))
}

/// The group of the version 1 controller.
pub(super) fn v1(dirs: &CgroupDirs) -> Option<PathBuf> {
    if dirs.v1.is_empty() {
        return None;
    }
    let layout = &Layout::detect();
    Groups { layout, dirs }.v1("freezer").map(Path::to_owned)
}

fn freeze_v2(dir: &Path) -> Result<(), Failure> {
    write(&dir.join("cgroup.freeze"), "1")?;
    wait_v2(dir, "frozen 1")
}

/// Waits for a line of `cgroup.events`, whose changes the kernel announces by `POLLPRI`.
fn wait_v2(dir: &Path, wanted: &str) -> Result<(), Failure> {
    let path = dir.join("cgroup.events");
    let file = File::open(&path).called(|| format!("open(\"{}\")", path.display()))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut text = [0; 256];
        let length = retry_on_intr(|| rustix::io::pread(&file, &mut text, 0))
            .called(|| format!("pread(\"{}\")", path.display()))?;
        let text = String::from_utf8_lossy(&text[..length]);
        if text.lines().any(|line| line == wanted) {
            return Ok(());
        }
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            let call = format!("poll(\"{}\": {wanted})", path.display());
            return Err(Failure::new(call, Errno::TIMEDOUT));
        };
        let timeout = Timespec::try_from(left).ok();
        let mut fds = [PollFd::new(&file, PollFlags::PRI)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::new(format!("poll(\"{}\")", path.display()), errno)),
        }
    }
}

/// The controller gives up on tasks that fork while it goes through them, and says so by staying
/// `FREEZING`; writing once more goes through them again, and thawing in between lets a task out of
/// the vfork that holds it.
fn freeze_v1(dir: &Path) -> Result<(), Failure> {
    let file = dir.join("freezer.state");
    let deadline = Instant::now() + PATIENCE;
    let mut tries = 0u32;
    loop {
        if tries % 50 == 49 {
            write(&file, "THAWED")?;
            sleep(Duration::from_millis(10));
        }
        write(&file, "FROZEN")?;
        // A moment is enough in most cases.
        sleep(Duration::from_micros(if tries == 0 { 20 } else { 500 }));
        let state = read(&file)?;
        match state.as_deref().map(str::trim) {
            Some("FROZEN") => return Ok(()),
            Some("FREEZING") if Instant::now() < deadline => tries += 1,
            _ => {
                let call = format!("write(\"{}\", \"FROZEN\")", file.display());
                return Err(Failure::new(call, Errno::TIMEDOUT));
            }
        }
    }
}
