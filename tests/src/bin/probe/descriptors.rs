//! What is done through open descriptors: `ioctl`, `fcntl`, sending them to others.

use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use crate::act::{Action, Done, Failure, action, done, number, path};
use crate::files::{fd, mode_flags, open_flags, write_all};
use crate::sys::{Arg, call};

pub(crate) const ACTIONS: &[Action] = &[
    action("ioctl", "MODE PATH COMMAND", ioctl),
    action("append", "PATH TEXT", append),
    action("end-append", "PATH", end_append),
    action("overwrite-appending", "PATH", overwrite_appending),
    action("punch-appending", "PATH", punch_appending),
    action("ring", "", ring),
    action("lease", "MODE PATH", lease),
    action("touch", "PATH", touch),
    action("set-times", "PATH", set_times),
    action("set-flags", "PATH", set_flags),
    action("file-setattr", "PATH", file_setattr),
    action("send", "SOCKET MODE PATH", send),
    action("receive", "SOCKET", receive),
];

fn ioctl(words: &[&str]) -> Done {
    let [mode, file, command] = words else {
        return Err(Failure::Usage);
    };
    let file = open_flags(file, mode_flags(mode)?)?;
    let mut argument = [0u8; 4096];
    let command = Arg::Int(number(command)?);
    call(
        "ioctl",
        libc::SYS_ioctl,
        [fd(file.as_fd()), command, Arg::Out(&mut argument)],
    )?;
    done()
}

const APPEND: i32 = libc::O_WRONLY | libc::O_APPEND;

fn append(words: &[&str]) -> Done {
    let [file, text] = words else {
        return Err(Failure::Usage);
    };
    write_all(open_flags(file, APPEND)?, text.as_bytes())
}

/// Makes an appending descriptor one that overwrites.
fn end_append(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let file = open_flags(file, APPEND)?;
    let set = Arg::Int(libc::F_SETFL.into());
    call(
        "fcntl",
        libc::SYS_fcntl,
        [fd(file.as_fd()), set, Arg::Int(0)],
    )?;
    done()
}

/// Overwrites through an appending descriptor, with `RWF_NOAPPEND` (6.9).
fn overwrite_appending(words: &[&str]) -> Done {
    const RWF_NOAPPEND: i64 = 0x20;
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let file = open_flags(file, APPEND)?;
    let text = *b"changed";
    let vector = [text.as_ptr().expose_provenance() as u64, text.len() as u64];
    let bytes: Vec<u8> = vector.into_iter().flat_map(u64::to_ne_bytes).collect();
    call(
        "pwritev2",
        libc::SYS_pwritev2,
        [
            fd(file.as_fd()),
            Arg::In(&bytes),
            Arg::Int(1),
            Arg::Int(0),
            Arg::Int(0),
            Arg::Int(RWF_NOAPPEND),
        ],
    )?;
    done()
}

/// Removes what a file holds through an appending descriptor.
fn punch_appending(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let file = open_flags(file, APPEND)?;
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    call(
        "fallocate",
        libc::SYS_fallocate,
        [
            fd(file.as_fd()),
            Arg::Int(mode.into()),
            Arg::Int(0),
            Arg::Int(4096),
        ],
    )?;
    done()
}

/// Makes a ring of io_uring.
fn ring(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    let mut parameters = [0u8; 120];
    call(
        "io_uring_setup",
        libc::SYS_io_uring_setup,
        [Arg::Int(1), Arg::Out(&mut parameters)],
    )?;
    done()
}

fn lease(words: &[&str]) -> Done {
    let [mode, file] = words else {
        return Err(Failure::Usage);
    };
    let file = open_flags(file, mode_flags(mode)?)?;
    let kind = match *mode {
        "r" => libc::F_RDLCK,
        _ => libc::F_WRLCK,
    };
    let set = Arg::Int(libc::F_SETLEASE.into());
    call(
        "fcntl",
        libc::SYS_fcntl,
        [fd(file.as_fd()), set, Arg::Int(kind.into())],
    )?;
    done()
}

fn set(file: &str, times: Arg<'_>) -> Done {
    call(
        "utimensat",
        libc::SYS_utimensat,
        [
            Arg::Int(libc::AT_FDCWD.into()),
            Arg::Text(&path(file)?),
            times,
            Arg::Int(0),
        ],
    )?;
    done()
}

/// Sets both times to the present.
fn touch(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    set(file, Arg::Int(0))
}

/// Sets both times to a second of 1970.
fn set_times(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let times: Vec<u8> = [5u64, 0, 5, 0]
        .into_iter()
        .flat_map(u64::to_ne_bytes)
        .collect();
    set(file, Arg::In(&times))
}

/// Sets *no dump* (`FS_IOC_SETFLAGS`).
fn set_flags(words: &[&str]) -> Done {
    const FS_IOC_SETFLAGS: i64 = 0x4008_6602;
    const NO_DUMP: i64 = 0x40;
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let file = open_flags(file, libc::O_RDONLY)?;
    call(
        "ioctl",
        libc::SYS_ioctl,
        [
            fd(file.as_fd()),
            Arg::Int(FS_IOC_SETFLAGS),
            Arg::In(&NO_DUMP.to_ne_bytes()),
        ],
    )?;
    done()
}

/// The same by `file_setattr` (6.17).
fn file_setattr(words: &[&str]) -> Done {
    const FILE_SETATTR: i64 = 469;
    const FS_XFLAG_NODUMP: u64 = 0x80;
    let [file] = words else {
        return Err(Failure::Usage);
    };
    // `struct file_attr`: flags, then four words of 32 bits.
    let attributes: Vec<u8> = [FS_XFLAG_NODUMP, 0, 0]
        .into_iter()
        .flat_map(u64::to_ne_bytes)
        .collect();
    call(
        "file_setattr",
        FILE_SETATTR,
        [
            Arg::Int(libc::AT_FDCWD.into()),
            Arg::Text(&path(file)?),
            Arg::In(&attributes),
            Arg::Int(attributes.len() as i64),
            Arg::Int(0),
        ],
    )?;
    done()
}

/// `struct msghdr` for one byte and room for one descriptor; the addresses in it are those of the
/// arguments.
fn message(vector: &[u64; 2], control: &[u64; 3]) -> [u64; 7] {
    let address = |words: &[u64]| words.as_ptr().expose_provenance() as u64;
    [0, 0, address(vector), 1, address(control), 24, 0]
}

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// `struct cmsghdr` of a descriptor: length, `SOL_SOCKET` and `SCM_RIGHTS`.
const CONTROL: [u64; 2] = [20, 1 << 32 | 1];

/// Opens a file and hands the descriptor to whoever connects.
fn send(words: &[&str]) -> Done {
    let [socket, mode, file] = words else {
        return Err(Failure::Usage);
    };
    let file = open_flags(file, mode_flags(mode)?)?;
    let listener = UnixListener::bind(socket).map_err(|error| Failure::from_io("bind", &error))?;
    println!("listening");
    let _ = std::io::stdout().flush();
    loop {
        let (peer, _) = listener
            .accept()
            .map_err(|error| Failure::from_io("accept4", &error))?;
        send_one(peer.as_fd(), file.as_raw_fd() as u64)?;
    }
}

fn send_one(peer: BorrowedFd<'_>, file: u64) -> Done {
    let byte = *b"x";
    let vector = [byte.as_ptr().expose_provenance() as u64, 1];
    let control = [CONTROL[0], CONTROL[1], file];
    let message = bytes(&message(&vector, &control));
    call(
        "sendmsg",
        libc::SYS_sendmsg,
        [fd(peer), Arg::In(&message), Arg::Int(0)],
    )?;
    done()
}

/// Takes a descriptor; one that was kept back is `EACCES`.
fn receive(words: &[&str]) -> Done {
    let [socket] = words else {
        return Err(Failure::Usage);
    };
    let stream =
        UnixStream::connect(socket).map_err(|error| Failure::from_io("connect", &error))?;
    let mut byte = *b" ";
    let vector = [byte.as_mut_ptr().expose_provenance() as u64, 1];
    let mut control = [0u64; 3];
    let mut message = bytes(&message(&vector, &control));
    // The kernel writes through the address in the message.
    let _ = control.as_mut_ptr().expose_provenance();
    call(
        "recvmsg",
        libc::SYS_recvmsg,
        [fd(stream.as_fd()), Arg::Out(&mut message), Arg::Int(0)],
    )?;
    let length = u64::from_ne_bytes(message[40..48].try_into().unwrap_or_default());
    if length == 0 {
        return Err(Failure::Call("recvmsg", libc::EACCES));
    }
    let [_, _, received] = std::hint::black_box(control);
    call("close", libc::SYS_close, [Arg::Int(received as i32 as i64)])?;
    done()
}
