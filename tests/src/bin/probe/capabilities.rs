//! What only a capability over the host allows, and that no other hook governs.

use crate::act::{Action, Done, Failure, action, done, number, path};
use crate::sys::{Arg, call};

pub(crate) const ACTIONS: &[Action] = &[
    action("sethostname", "NAME", sethostname),
    action("setdomainname", "NAME", setdomainname),
    action("swapon", "PATH", swapon),
    action("acct", "PATH", acct),
    action("syslog", "", syslog),
    action("iopl", "", iopl),
    action("reboot-keys", "", reboot_keys),
    action("raw-socket", "", raw_socket),
    action("packet-socket", "", packet_socket),
    action("fanotify", "", fanotify),
    action("nice", "", nice),
    action("setuid", "UID", setuid),
];

fn sethostname(words: &[&str]) -> Done {
    let [name] = words else {
        return Err(Failure::Usage);
    };
    let length = Arg::Int(name.len() as i64);
    call(
        "sethostname",
        libc::SYS_sethostname,
        [Arg::In(name.as_bytes()), length],
    )?;
    done()
}

fn setdomainname(words: &[&str]) -> Done {
    let [name] = words else {
        return Err(Failure::Usage);
    };
    let length = Arg::Int(name.len() as i64);
    call(
        "setdomainname",
        libc::SYS_setdomainname,
        [Arg::In(name.as_bytes()), length],
    )?;
    done()
}

fn swapon(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    call(
        "swapon",
        libc::SYS_swapon,
        [Arg::Text(&path(file)?), Arg::Int(0)],
    )?;
    done()
}

fn acct(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    call("acct", libc::SYS_acct, [Arg::Text(&path(file)?)])?;
    done()
}

/// Sets the console's log level to what it usually is.
fn syslog(words: &[&str]) -> Done {
    const SYSLOG_ACTION_CONSOLE_LEVEL: i64 = 8;
    let [] = words else {
        return Err(Failure::Usage);
    };
    let level = Arg::Int(7);
    call(
        "syslog",
        libc::SYS_syslog,
        [Arg::Int(SYSLOG_ACTION_CONSOLE_LEVEL), Arg::Int(0), level],
    )?;
    done()
}

fn iopl(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    call("iopl", libc::SYS_iopl, [Arg::Int(3)])?;
    done()
}

/// Asks that ctrl-alt-del be delivered as a signal: the harmless command of `reboot(2)`.
fn reboot_keys(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    let int = |number: i32| Arg::Int(number.into());
    call(
        "reboot",
        libc::SYS_reboot,
        [
            int(libc::LINUX_REBOOT_MAGIC1),
            int(libc::LINUX_REBOOT_MAGIC2),
            int(libc::LINUX_REBOOT_CMD_CAD_OFF),
            Arg::Int(0),
        ],
    )?;
    done()
}

fn socket(family: i32, kind: i32, protocol: i32) -> Done {
    let arguments = [family, kind, protocol].map(|number| Arg::Int(number.into()));
    crate::sys::descriptor("socket", libc::SYS_socket, arguments)?;
    done()
}

fn raw_socket(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)
}

fn packet_socket(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    socket(libc::AF_PACKET, libc::SOCK_RAW, 0)
}

fn fanotify(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    let flags = Arg::Int(libc::FAN_CLASS_CONTENT.into());
    crate::sys::descriptor(
        "fanotify_init",
        libc::SYS_fanotify_init,
        [flags, Arg::Int(0)],
    )?;
    done()
}

fn nice(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    let who = Arg::Int(0);
    call(
        "setpriority",
        libc::SYS_setpriority,
        [Arg::Int(0), who, Arg::Int(-5)],
    )?;
    done()
}

fn setuid(words: &[&str]) -> Done {
    let [uid] = words else {
        return Err(Failure::Usage);
    };
    call("setuid", libc::SYS_setuid, [Arg::Int(number(uid)?)])?;
    done()
}
