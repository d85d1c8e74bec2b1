//! Descriptors that go from process to process, and files that the kernel writes for a process.

use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::calls::{keep, struct_bytes};
use crate::act::{self, Action, Done, Failure, action, done, path};
use crate::files::{fd, open_flags};
use crate::sys::{Arg, call, exit_now, fork};
use crate::wrap::as_own;

pub(crate) const ACTIONS: &[Action] = &[
    action("hand-out", "SOCKET FILE", hand_out),
    action("receive-and", "SOCKET ACTION…", receive_and),
    action("claim-pid", "PID", claim_pid),
    action("splice-into", "PATH", splice_into),
    action("dump-core", "DIRECTORY", dump_core),
];

/// Where [`receive_and`] puts what it was handed.
const RECEIVED: i64 = 98;

/// `struct msghdr` around one byte and this control message; its address.
fn message(control: i64, length: usize) -> Result<i64, Failure> {
    let byte = keep(vec![0; 1]);
    let vector = keep(struct_bytes(&format!("8:{byte},8:1"))?);
    let header = format!("8:0,8:0,8:{vector},8:1,8:{control},8:{length},8:0");
    Ok(keep(struct_bytes(&header)?))
}

/// `struct cmsghdr` with what `fields` say.
fn control(kind: i32, fields: &str, length: usize) -> Result<i64, Failure> {
    let header = format!("8:{length},4:{},4:{kind},{fields},16:0", libc::SOL_SOCKET);
    Ok(keep(struct_bytes(&header)?))
}

/// On the host: listens, and hands everybody FILE, open for reading and writing.
fn hand_out(words: &[&str]) -> Done {
    let [socket, file] = words else {
        return Err(Failure::Usage);
    };
    let file = open_flags(file, libc::O_RDWR)?;
    // Whoever waits for the socket finds one that listens: until then it has another name.
    let early = format!("{socket}.new");
    let listener = UnixListener::bind(&early).map_err(|error| Failure::from_io("bind", &error))?;
    std::fs::rename(&early, socket).map_err(|error| Failure::from_io("rename", &error))?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    let control = control(libc::SCM_RIGHTS, &format!("4:{number}"), 20)?;
    let message = message(control, 24)?;
    for stream in listener.incoming() {
        let stream = stream.map_err(|error| Failure::from_io("accept", &error))?;
        let arguments = [fd(stream.as_fd()), Arg::Int(message), Arg::Int(0)];
        call("sendmsg", libc::SYS_sendmsg, arguments)?;
    }
    done()
}

/// Takes a descriptor from SOCKET and tries an action with it as 98.
fn receive_and(words: &[&str]) -> Done {
    let [socket, rest @ ..] = words else {
        return Err(Failure::Usage);
    };
    let stream =
        UnixStream::connect(socket).map_err(|error| Failure::from_io("connect", &error))?;
    let control = keep(vec![0; 24]);
    let message = message(control, 24)?;
    let arguments = [fd(stream.as_fd()), Arg::Int(message), Arg::Int(0)];
    call("recvmsg", libc::SYS_recvmsg, arguments)?;
    let received = crate::sys::load(control as usize + 16);
    if crate::sys::load(control as usize) == 0 {
        // The kernel leaves out what it does not let through.
        return Err(Failure::Call("recvmsg", libc::EACCES));
    }
    let arguments = [Arg::Int(received.into()), Arg::Int(RECEIVED)];
    call("dup2", libc::SYS_dup2, arguments)?;
    as_own(act::run(rest))
}

/// Tells the other end of a socket that this is process PID.
fn claim_pid(words: &[&str]) -> Done {
    let [pid] = words else {
        return Err(Failure::Usage);
    };
    let (stream, _other) =
        UnixStream::pair().map_err(|error| Failure::from_io("socketpair", &error))?;
    let control = control(libc::SCM_CREDENTIALS, &format!("4:{pid},4:0,4:0"), 28)?;
    let message = Arg::Int(message(control, 32)?);
    let arguments = [fd(stream.as_fd()), message, Arg::Int(0)];
    call("sendmsg", libc::SYS_sendmsg, arguments)?;
    done()
}

/// Moves a byte from a pipe into a file.
fn splice_into(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let file = open_flags(file, libc::O_WRONLY)?;
    let pipe = std::io::pipe().map_err(|error| Failure::from_io("pipe2", &error));
    let (from, into) = pipe?;
    let byte = keep(struct_bytes("8:'x,8:1")?);
    let arguments = [fd(into.as_fd()), Arg::Int(byte), Arg::Int(1), Arg::Int(0)];
    call("vmsplice", libc::SYS_vmsplice, arguments)?;
    let none = || Arg::Int(0);
    let (from, file) = (fd(from.as_fd()), fd(file.as_fd()));
    let arguments = [from, none(), file, none(), Arg::Int(1), none()];
    call("splice", libc::SYS_splice, arguments)?;
    done()
}

/// A child that crashes in DIRECTORY; succeeds if the kernel left its memory in a file there.
fn dump_core(words: &[&str]) -> Done {
    let [directory] = words else {
        return Err(Failure::Usage);
    };
    let limit = keep(struct_bytes("8:-1,8:-1")?);
    let Some(child) = fork()? else {
        let resource = Arg::Int(libc::RLIMIT_CORE.into());
        let arguments = [Arg::Int(0), resource, Arg::Int(limit), Arg::Int(0)];
        let crash = || {
            call("prlimit64", libc::SYS_prlimit64, arguments)?;
            call("chdir", libc::SYS_chdir, [Arg::Text(&path(directory)?)])?;
            let own = Arg::Int(std::process::id().into());
            call(
                "kill",
                libc::SYS_kill,
                [own, Arg::Int(libc::SIGABRT.into())],
            )
        };
        exit_now(crash().map_or(1, |_| 0))
    };
    let (status, usage) = (Arg::Int(0), Arg::Int(0));
    let arguments = [Arg::Int(child.into()), status, Arg::Int(0), usage];
    call("wait4", libc::SYS_wait4, arguments)?;
    let directory = Path::new(directory);
    let found = ["core".to_owned(), format!("core.{child}")]
        .iter()
        .any(|name| directory.join(name).exists());
    match found {
        true => done(),
        false => Err(Failure::Call("coredump", libc::EACCES)),
    }
}
