//! Questions read and print.

use super::*;

#[test]
fn questions_read_back_as_they_print() {
    for text in [
        "read /etc/shadow",
        "create /srv/new",
        "rename /a /b",
        "link /a /b/c",
        "open-device block 8:0 read",
        "make-device char 10:200",
        "append /var/log/agent",
        "ioctl FICLONE /srv/new",
        "device-ioctl 0x1234 block 7:0",
        "mount tmpfs",
        "mount tmpfs nosuid,nodev",
        "capability SYS_ADMIN mount",
        "signal TERM /usr/bin/foo",
        "ptrace attach /usr/bin/foo",
        "bpf prog_load",
        "load-module nbd",
        "set-clock",
        "connect tcp 10.0.0.1:80",
        "send udp [fd00::1]:53",
        "bind tcp 127.0.0.1:8080",
        "listen tcp [::]:80",
        "connect vsock 2:1024",
        "connect icmp 10.0.0.1:0",
        "connect unix /run/a",
        "send abstract name",
        "create-socket netlink route",
        "create-socket raw",
        "create-socket family alg",
        "setns net /usr/bin/foo",
        "limits nice /usr/bin/foo",
        "umount /mnt/a",
        "chroot",
        "ipc shm read",
        "ipc keys setattr",
        "sysctl write net.ipv4.ip_forward",
        "kernel syslog",
        "kernel io_uring.sqpoll",
        "lockdown ioport",
    ] {
        let question: Question = text.parse().expect(text);
        assert_eq!(question.to_string(), text);
    }
    let spaces: Question = "read '/a b'".parse().expect("quoted");
    assert_eq!(spaces.to_string(), "read /a b");
}

#[test]
fn what_is_no_question_says_what_is() {
    for (text, message) in [
        (
            "raed /x",
            "`raed` is not an action\nhelp: did you mean `read`?",
        ),
        (
            "signal TERN /x",
            "`TERN` is not among the signals\nhelp: did you mean `TERM`?",
        ),
        ("rename /a", "`rename` is asked as `rename OLD NEW`"),
        ("set-clock now", "`set-clock` is asked as `set-clock`"),
    ] {
        let error = text.parse::<Question>().expect_err(text);
        assert_eq!(error.to_string(), message);
    }
    for text in [
        "",
        "read",
        "read x",
        "open-device block 8:* read",
        "'",
        "mount tmpfs x",
        "ipc shm search",
        "sysctl write *",
        "kernel io_uring",
        "lockdown none",
    ] {
        assert!(text.parse::<Question>().is_err(), "{text}");
    }
}
