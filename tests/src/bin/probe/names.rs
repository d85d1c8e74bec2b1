//! Making, removing and moving directory entries.

use std::os::fd::AsFd as _;

use crate::act::{Action, Done, Failure, action, done, number, path};
use crate::files::{fd, open_flags, write_all};
use crate::sys::{Arg, call};

pub(crate) const ACTIONS: &[Action] = &[
    action("create", "PATH", create),
    action("tmpfile", "DIRECTORY", tmpfile),
    action("tmpfile-link", "DIRECTORY PATH", tmpfile_link),
    action("mkdir", "PATH", mkdir),
    action(
        "mknod",
        "PATH fifo|socket|file|char:MAJOR:MINOR|block:MAJOR:MINOR",
        mknod,
    ),
    action("bind-socket", "PATH", bind_socket),
    action("symlink", "TARGET PATH", symlink),
    action("link", "OLD NEW", link),
    action("unlink", "PATH", unlink),
    action("rmdir", "PATH", rmdir),
    action("rename", "OLD NEW [exchange|noreplace|whiteout]", rename),
];

/// Makes a file and fills it through the descriptor that made it.
fn create(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    write_all(
        open_flags(file, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL)?,
        b"created\n",
    )
}

fn tmpfile(words: &[&str]) -> Done {
    let [directory] = words else {
        return Err(Failure::Usage);
    };
    open_flags(directory, libc::O_RDWR | libc::O_TMPFILE)?;
    done()
}

/// Makes a file without a name and gives it one.
fn tmpfile_link(words: &[&str]) -> Done {
    let [directory, name] = words else {
        return Err(Failure::Usage);
    };
    let file = open_flags(directory, libc::O_RDWR | libc::O_TMPFILE)?;
    call(
        "linkat",
        libc::SYS_linkat,
        [
            fd(file.as_fd()),
            Arg::Text(c""),
            Arg::Int(libc::AT_FDCWD.into()),
            Arg::Text(&path(name)?),
            Arg::Int(libc::AT_EMPTY_PATH.into()),
        ],
    )?;
    done()
}

fn mkdir(words: &[&str]) -> Done {
    let [directory] = words else {
        return Err(Failure::Usage);
    };
    call(
        "mkdir",
        libc::SYS_mkdir,
        [Arg::Text(&path(directory)?), Arg::Int(0o755)],
    )?;
    done()
}

/// `makedev(3)` of `MAJOR:MINOR`.
fn device(text: &str) -> Result<i64, Failure> {
    let (major, minor) = text.split_once(':').ok_or(Failure::Usage)?;
    let part = |text| u32::try_from(number(text)?).map_err(|_| Failure::Usage);
    Ok(libc::makedev(part(major)?, part(minor)?) as i64)
}

fn mknod(words: &[&str]) -> Done {
    let [node, kind] = words else {
        return Err(Failure::Usage);
    };
    let (class, number) = match kind.split_once(':') {
        None if *kind == "fifo" => (libc::S_IFIFO, 0),
        None if *kind == "socket" => (libc::S_IFSOCK, 0),
        None if *kind == "file" => (libc::S_IFREG, 0),
        Some(("char", numbers)) => (libc::S_IFCHR, device(numbers)?),
        Some(("block", numbers)) => (libc::S_IFBLK, device(numbers)?),
        _ => return Err(Failure::Usage),
    };
    let mode = Arg::Int((class | 0o600).into());
    call(
        "mknod",
        libc::SYS_mknod,
        [Arg::Text(&path(node)?), mode, Arg::Int(number)],
    )?;
    done()
}

fn bind_socket(words: &[&str]) -> Done {
    let [name] = words else {
        return Err(Failure::Usage);
    };
    let bound = std::os::unix::net::UnixListener::bind(name);
    bound.map_err(|error| Failure::from_io("bind", &error))?;
    done()
}

fn symlink(words: &[&str]) -> Done {
    let [target, link] = words else {
        return Err(Failure::Usage);
    };
    call(
        "symlink",
        libc::SYS_symlink,
        [Arg::Text(&path(target)?), Arg::Text(&path(link)?)],
    )?;
    done()
}

fn link(words: &[&str]) -> Done {
    let [old, new] = words else {
        return Err(Failure::Usage);
    };
    call(
        "link",
        libc::SYS_link,
        [Arg::Text(&path(old)?), Arg::Text(&path(new)?)],
    )?;
    done()
}

fn unlink(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    call("unlink", libc::SYS_unlink, [Arg::Text(&path(file)?)])?;
    done()
}

fn rmdir(words: &[&str]) -> Done {
    let [directory] = words else {
        return Err(Failure::Usage);
    };
    call("rmdir", libc::SYS_rmdir, [Arg::Text(&path(directory)?)])?;
    done()
}

fn rename(words: &[&str]) -> Done {
    let (old, new, flags) = match words {
        [old, new] => (old, new, 0),
        [old, new, "noreplace"] => (old, new, libc::RENAME_NOREPLACE),
        [old, new, "exchange"] => (old, new, libc::RENAME_EXCHANGE),
        [old, new, "whiteout"] => (old, new, libc::RENAME_WHITEOUT),
        _ => return Err(Failure::Usage),
    };
    call(
        "renameat2",
        libc::SYS_renameat2,
        [
            Arg::Int(libc::AT_FDCWD.into()),
            Arg::Text(&path(old)?),
            Arg::Int(libc::AT_FDCWD.into()),
            Arg::Text(&path(new)?),
            Arg::Int(flags.into()),
        ],
    )?;
    done()
}
