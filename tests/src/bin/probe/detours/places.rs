//! More places to try an action from: other ways to make a child, limits, storms, and loops in
//! which another process pulls the ground away.

use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use crate::act::{self, Action, Done, Failure, action, done, number, path};
use crate::files::{fd, mode_flags, open_flags};
use crate::sys::{Arg, call, descriptor, exit_now, fork, poke};
use crate::wrap::{as_own, in_child, namespace_flags, told_pipe};

pub(crate) const ACTIONS: &[Action] = &[
    action("clone", "FLAGS TID|0 ACTION…", clone),
    action("mapped", "NAMESPACE,… ACTION…", mapped),
    action("setns-pid", "PID NAMESPACE,… ACTION…", setns_pid),
    action("flood", "COUNT ACTION…", flood),
    action("storm", "COUNT ACTION…", storm),
    action("threads", "COUNT ACTION…", threads),
    action("deep", "LEVELS ACTION…", deep),
    action("call-chdir", "DIRECTORY ACTION…", call_chdir),
    action("long-path", "LENGTH ACTION… PATH", long_path),
    action("chain-links", "DIRECTORY COUNT TARGET", chain_links),
    action("stack-mounts", "TARGET COUNT", stack_mounts),
    action("use-up-descriptors", "", use_up_descriptors),
    action("open-same", "MODE PATH OBJECT", open_same),
    action("during-exchange", "PATH PATH COUNT ACTION…", |words| {
        during(words, exchange)
    }),
    action("during-retarget", "LINK TARGET COUNT ACTION…", |words| {
        during(words, retarget)
    }),
    action(
        "during-chdir",
        "DIRECTORY DIRECTORY COUNT ACTION…",
        |words| during(words, chdir),
    ),
    action("during-dup", "PATH PATH COUNT ACTION…", |words| {
        during(words, duplicate)
    }),
    action("race-text", "COUNT OWN OBJECT", race_text),
];

/// The descriptor that [`duplicate`] changes.
const SHARED_DESCRIPTOR: i64 = 99;

/// In a child that `clone3` makes with FLAGS and, if given, this process id.
fn clone(words: &[&str]) -> Done {
    let [flags, tid, rest @ ..] = words else {
        return Err(Failure::Usage);
    };
    let (flags, tid) = (number(flags)?, number(tid)?);
    let wanted = [tid as i32];
    let (told, tell) = told_pipe()?;
    // `struct clone_args` (`include/uapi/linux/sched.h`): flags first, exit signal fifth, the
    // wanted process ids and their number after the thread's storage.
    let mut arguments = [0i64; 11];
    arguments[0] = flags;
    // A sibling has the exit signal of its parent.
    arguments[4] = match flags & i64::from(libc::CLONE_PARENT) {
        0 => libc::SIGCHLD.into(),
        _ => 0,
    };
    if tid != 0 {
        arguments[8] = wanted.as_ptr().expose_provenance() as i64;
        arguments[9] = 1;
    }
    let bytes: Vec<u8> = arguments.into_iter().flat_map(i64::to_ne_bytes).collect();
    let length = Arg::Int(bytes.len() as i64);
    match call("clone3", libc::SYS_clone3, [Arg::In(&bytes), length])? {
        0 => tell.act(done, rest),
        _ => {
            drop(tell);
            told.read()
        }
    }
}

/// As root of a new user namespace, in other new namespaces.
fn mapped(words: &[&str]) -> Done {
    let [names, rest @ ..] = words else {
        return Err(Failure::Usage);
    };
    let flags = namespace_flags(names)? | libc::CLONE_NEWUSER;
    let uid = std::fs::metadata("/proc/self").map_or(0, |own| own.uid());
    let write = |file: &str, text: String| {
        std::fs::write(format!("/proc/self/{file}"), text)
            .map_err(|error| Failure::from_io("write", &error))
    };
    let prepare = || {
        call("unshare", libc::SYS_unshare, [Arg::Int(flags.into())])?;
        write("setgroups", "deny".to_owned())?;
        write("uid_map", format!("0 {uid} 1"))?;
        write("gid_map", format!("0 {uid} 1"))?;
        done()
    };
    in_child(prepare, rest)
}

/// In namespaces of another process, by its pidfd.
fn setns_pid(words: &[&str]) -> Done {
    let [pid, names, rest @ ..] = words else {
        return Err(Failure::Usage);
    };
    let flags = Arg::Int(namespace_flags(names)?.into());
    let pid = Arg::Int(number(pid)?);
    let pidfd = Arg::Int(call(
        "pidfd_open",
        libc::SYS_pidfd_open,
        [pid, Arg::Int(0)],
    )?);
    let prepare = || {
        call("setns", libc::SYS_setns, [pidfd, flags])?;
        done()
    };
    in_child(prepare, rest)
}

/// COUNT and the action after it.
fn counted<'a>(words: &'a [&'a str]) -> Result<(u32, &'a [&'a str]), Failure> {
    let [count, rest @ ..] = words else {
        return Err(Failure::Usage);
    };
    let count = u32::try_from(number(count)?).map_err(|_| Failure::Usage)?;
    Ok((count, rest))
}

/// An action again and again until it succeeds; its refusal, if it never does.
fn until_done(count: u32, mut attempt: impl FnMut() -> Done) -> Done {
    let mut refusal = Failure::Call("attempt", libc::EAGAIN);
    for _ in 0..count {
        match attempt() {
            Ok(detail) => return Ok(detail),
            Err(failure) if is_refusal(&failure) => refusal = failure,
            Err(_) => {}
        }
    }
    Err(refusal)
}

/// Whether the failure is of the forbidden thing, rather than of having missed it.
fn is_refusal(failure: &Failure) -> bool {
    let errno = match failure {
        Failure::Call(_, errno) => Some(*errno),
        Failure::Elsewhere(outcome) => outcome.errno(),
        Failure::Usage => None,
    };
    matches!(errno, Some(libc::EACCES | libc::EPERM | libc::EXDEV))
}

fn flood(words: &[&str]) -> Done {
    let (count, rest) = counted(words)?;
    until_done(count, || as_own(act::run(rest)))
}

/// COUNT children at once, each of which tries the action; succeeds if one of them does.
fn storm(words: &[&str]) -> Done {
    let (count, rest) = counted(words)?;
    let mut children = Vec::new();
    for _ in 0..count {
        let (told, tell) = told_pipe()?;
        match fork()? {
            None => tell.act(done, rest),
            Some(child) => children.push((child, told)),
        }
    }
    let mut children = children.into_iter();
    let told = until_done(count, || match children.next() {
        Some((child, told)) => told.of_child(child),
        None => Err(Failure::Call("wait4", libc::EAGAIN)),
    });
    children.for_each(|(child, told)| drop(told.of_child(child)));
    told
}

/// The same with threads.
fn threads(words: &[&str]) -> Done {
    let (count, rest) = counted(words)?;
    std::thread::scope(|scope| {
        let attempt = || scope.spawn(|| as_own(act::run(rest)));
        let mut running: Vec<_> = (0..count).map(|_| attempt()).collect();
        until_done(count, || match running.pop().map(|thread| thread.join()) {
            Some(Ok(result)) => result,
            _ => Err(Failure::Call("clone", libc::EAGAIN)),
        })
    })
}

/// In a directory so many levels below the working directory.
fn deep(words: &[&str]) -> Done {
    let (levels, rest) = counted(words)?;
    let prepare = || {
        for _ in 0..levels {
            call("mkdir", libc::SYS_mkdir, [Arg::Text(c"d"), Arg::Int(0o777)])?;
            call("chdir", libc::SYS_chdir, [Arg::Text(c"d")])?;
        }
        done()
    };
    in_child(prepare, rest)
}

fn call_chdir(words: &[&str]) -> Done {
    let [directory, rest @ ..] = words else {
        return Err(Failure::Usage);
    };
    let prepare = || {
        call("chdir", libc::SYS_chdir, [Arg::Text(&path(directory)?)])?;
        done()
    };
    in_child(prepare, rest)
}

/// Makes the action's path LENGTH bytes long without another meaning.
fn long_path(words: &[&str]) -> Done {
    let [length, action @ .., file] = words else {
        return Err(Failure::Usage);
    };
    let length = usize::try_from(number(length)?).map_err(|_| Failure::Usage)?;
    let missing = length.saturating_sub(file.len());
    let file = ["/.".repeat(missing / 2).as_str(), file].concat();
    let words: Vec<&str> = action.iter().copied().chain([file.as_str()]).collect();
    as_own(act::run(&words))
}

/// COUNT links in DIRECTORY, each to the one before, the first to TARGET.
fn chain_links(words: &[&str]) -> Done {
    let [directory, count, target] = words else {
        return Err(Failure::Usage);
    };
    let mut target = (*target).to_owned();
    for link in 1..=number(count)? {
        as_own(act::run(&[
            "symlink",
            &target,
            &format!("{directory}/{link}"),
        ]))?;
        target = link.to_string();
    }
    done()
}

/// Mounts on one another, as many as the kernel and the policy let, at most COUNT; tells how many.
fn stack_mounts(words: &[&str]) -> Done {
    let [target, count] = words else {
        return Err(Failure::Usage);
    };
    let count = number(count)?;
    let made = (0..count).take_while(|_| act::run(&["mount-tmpfs", target]).is_done());
    Ok(made.count().to_string())
}

/// All descriptors but three.
fn use_up_descriptors(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    let mut last = 0;
    while let Ok(made) = call("dup", libc::SYS_dup, [Arg::Int(0)]) {
        last = made;
    }
    for number in last - 2..=last {
        call("close", libc::SYS_close, [Arg::Int(number)])?;
    }
    done()
}

/// Opens PATH; succeeds if that is what OBJECT is.
fn open_same(words: &[&str]) -> Done {
    let [mode, file, object] = words else {
        return Err(Failure::Usage);
    };
    let opened = std::fs::File::from(open_flags(file, mode_flags(mode)?)?);
    let identity = |found: std::io::Result<std::fs::Metadata>| {
        let found = found.map_err(|error| Failure::from_io("stat", &error))?;
        Ok((found.dev(), found.ino()))
    };
    if identity(opened.metadata())? == identity(std::fs::metadata(object))? {
        return done();
    }
    Err(Failure::Call("openat", libc::EAGAIN))
}

/// Tries an action COUNT times while another process does `disturb` without a pause.
fn during(words: &[&str], disturb: fn(&str, &str) -> Done) -> Done {
    let [one, other, rest @ ..] = words else {
        return Err(Failure::Usage);
    };
    let (count, rest) = counted(rest)?;
    // Working directory and descriptors are the same for both; memory is not.
    let flags = i64::from(libc::CLONE_FS | libc::CLONE_FILES);
    let mut arguments = [0i64; 11];
    (arguments[0], arguments[4]) = (flags, libc::SIGCHLD.into());
    let bytes: Vec<u8> = arguments.into_iter().flat_map(i64::to_ne_bytes).collect();
    let length = Arg::Int(bytes.len() as i64);
    let child = call("clone3", libc::SYS_clone3, [Arg::In(&bytes), length])?;
    if child == 0 {
        while disturb(one, other).is_ok() && parent_lives() {}
        exit_now(0);
    }
    let outcome = until_done(count, || as_own(act::run(rest)));
    call("kill", libc::SYS_kill, [Arg::Int(child), Arg::Int(9)])?;
    let (status, usage) = (Arg::Int(0), Arg::Int(0));
    let arguments = [Arg::Int(child), status, Arg::Int(0), usage];
    call("wait4", libc::SYS_wait4, arguments)?;
    outcome
}

fn parent_lives() -> bool {
    call("getppid", libc::SYS_getppid, []).is_ok_and(|parent| parent > 1)
}

fn exchange(one: &str, other: &str) -> Done {
    as_own(act::run(&["rename", one, other, "exchange"]))
}

/// The link at `link` leads to `target` and to nothing by turns.
fn retarget(link: &str, target: &str) -> Done {
    let next = format!("{link}-next");
    for target in [target, "file"] {
        as_own(act::run(&["symlink", target, &next]))?;
        as_own(act::run(&["rename", &next, link]))?;
    }
    done()
}

fn chdir(one: &str, other: &str) -> Done {
    for directory in [one, other] {
        call("chdir", libc::SYS_chdir, [Arg::Text(&path(directory)?)])?;
    }
    done()
}

fn duplicate(one: &str, other: &str) -> Done {
    for file in [one, other] {
        let file = open_flags(file, libc::O_PATH)?;
        let to = Arg::Int(SHARED_DESCRIPTOR);
        call("dup2", libc::SYS_dup2, [fd(file.as_fd()), to])?;
    }
    done()
}

/// Opens a path in memory that another process changes meanwhile, from that of a file of its own to
/// that of OBJECT.
fn race_text(words: &[&str]) -> Done {
    let [count, own, object] = words else {
        return Err(Failure::Usage);
    };
    let count = u32::try_from(number(count)?).map_err(|_| Failure::Usage)?;
    let length = own.len().max(object.len());
    // Slashes at the front change no meaning, and make them equally long.
    let padded = |text: &str| [&vec![b'/'; length - text.len()], text.as_bytes(), b"\0"].concat();
    let texts = [padded(own), padded(object)];
    let shared = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let arguments = [0, 4096, protection.into(), shared.into(), -1, 0].map(Arg::Int);
    let page = call("mmap", libc::SYS_mmap, arguments)?;
    let address = page as usize;
    let Some(child) = fork()? else {
        while parent_lives() {
            texts.iter().for_each(|text| poke(address, text));
        }
        exit_now(0);
    };
    let wanted = std::fs::metadata(object).map_err(|error| Failure::from_io("stat", &error))?;
    let outcome = until_done(count, || {
        let arguments = [libc::AT_FDCWD.into(), page, libc::O_RDWR.into(), 0].map(Arg::Int);
        let opened = descriptor("openat", libc::SYS_openat, arguments)?;
        let found = std::fs::File::from(opened).metadata();
        match found {
            Ok(found) if found.ino() == wanted.ino() => done(),
            _ => Err(Failure::Call("openat", libc::EAGAIN)),
        }
    });
    as_own(act::run(&["kill", &child.to_string(), "9"]))?;
    outcome
}
