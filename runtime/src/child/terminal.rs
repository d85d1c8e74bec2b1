//! A terminal in the container's own devpts.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Gid, OFlags, Uid, fchown, fstat, fstatfs, makedev};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::mount::{attach, clone_tree};
use super::rooted::Root;
use crate::channel::ChildEnd;
use crate::failure::{Called, Failure};

/// `DEVPTS_SUPER_MAGIC`.
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// Opens a terminal, sends its master to `reeve`, mounts it on `/dev/console` if asked to, and
/// returns the other side.
pub(super) fn open(
    root: &Root,
    channel: &ChildEnd,
    size: Option<(u16, u16)>,
    uid: u32,
    on_console: bool,
) -> Result<OwnedFd, Failure> {
    // The root file system is hostile: no link on the way, and nothing but a devpts at the end.
    let path = Path::new("/dev/pts/ptmx");
    let master = root.open_plain(path, OFlags::RDWR | OFlags::NOCTTY)?;
    let found = fstatfs(&master).called(|| "fstatfs(/dev/pts/ptmx)")?;
    if found.f_type != DEVPTS_MAGIC {
        return Err(Failure::new(
            "fstatfs(/dev/pts/ptmx), not a devpts",
            Errno::NODEV,
        ));
    }
    let device = fstat(&master).called(|| "fstat(/dev/pts/ptmx)")?.st_rdev;
    if device != makedev(5, 2) {
        let call = "fstat(/dev/pts/ptmx), not the terminal multiplexer";
        return Err(Failure::new(call, Errno::NODEV));
    }
    unlockpt(&master).called(|| "ioctl(/dev/pts/ptmx, TIOCSPTLCK)")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let console =
        ioctl_tiocgptpeer(&master, flags).called(|| "ioctl(/dev/pts/ptmx, TIOCGPTPEER)")?;
    if let Some((columns, rows)) = size {
        let size = Winsize {
            ws_col: columns,
            ws_row: rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&console, size).called(|| "ioctl(TIOCSWINSZ)")?;
    }
    fchown(&console, Some(Uid::from_raw(uid)), None::<Gid>).called(|| "fchown(terminal)")?;
    channel.send_terminal(master.as_fd())?;
    if on_console {
        let (target, _) = root.make_plain_file(Path::new("/dev/console"))?;
        attach(clone_tree(&console, false)?, &target)?;
    }
    Ok(console)
}

/// Makes it the controlling terminal and the standard streams.
pub(super) fn control(console: &OwnedFd) -> Result<(), Failure> {
    rustix::process::ioctl_tiocsctty(console).called(|| "ioctl(TIOCSCTTY)")?;
    rustix::stdio::dup2_stdin(console).called(|| "dup2(terminal, 0)")?;
    rustix::stdio::dup2_stdout(console).called(|| "dup2(terminal, 1)")?;
    rustix::stdio::dup2_stderr(console).called(|| "dup2(terminal, 2)")
}
