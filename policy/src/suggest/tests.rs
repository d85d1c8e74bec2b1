//! Every suggestion is a line of policy, and gives no more than was refused.

use super::*;

/// A suggestion, as a policy of its own.
fn reads(denied: &Denied) -> Policy {
    let line = suggest(denied).expect("a line");
    let text = format!(
        "reeve: v1\nname: a\n{}\n",
        line.replacen(": - ", ":\n  - ", 1)
    );
    parse("p.yaml", &text).unwrap_or_else(|found| panic!("{line}\n{found}"))
}

/// Refusals about files, devices, mounts and processes.
fn of_objects() -> Vec<Denied> {
    let file = |path: &str, rights, held| Denied::File {
        path: path.to_owned(),
        rights,
        held,
    };
    let exe = "/usr/bin/a b".to_owned();
    let mounted = |fs_type: &str, device| Denied::Mount {
        fs_type: fs_type.to_owned(),
        device,
    };
    let on = |action, target: Option<&str>| Denied::MountAction {
        action,
        target: target.map(str::to_owned),
    };
    vec![
        file("/etc/shadow", Rights::READ, Rights::NONE),
        file("/tmp/: {x}, #", Rights::WRITE, Rights::READ),
        Denied::Device {
            class: 1,
            major: 8,
            minor: 0,
            rights: Rights::READ | Rights::WRITE,
            held: Rights::NONE,
        },
        Denied::Ioctl {
            path: "/srv/images".to_owned(),
            command: 0x4004_9409,
            held: Rights::NONE,
        },
        Denied::DeviceIoctl {
            class: 2,
            major: 10,
            minor: 200,
            command: 0x9999,
            held: Rights::READ | Rights::WRITE,
        },
        mounted("tmpfs", None),
        mounted("ext4", Some(8 << 20 | 1)),
        on(MountAction::Umount, Some("/mnt/a b")),
        on(MountAction::Chroot, None),
        Denied::Setns {
            exe: exe.clone(),
            types: 0x4002_0000,
        },
        Denied::Limits {
            exe: exe.clone(),
            what: 1,
        },
        Denied::Exec { path: exe.clone() },
        Denied::Capability {
            capability: 21,
            syscall: None,
        },
        Denied::Signal {
            exe: exe.clone(),
            signal: 15,
        },
        Denied::Ptrace {
            exe: exe.clone(),
            want: ptrace::READ,
        },
        Denied::Ptrace { exe, want: 2 },
    ]
}

/// Refusals about the kernel and what is named by a number.
fn of_kernel() -> Vec<Denied> {
    vec![
        Denied::Bpf { command: 5 },
        Denied::Module {
            name: "dm-era".to_owned(),
        },
        Denied::Clock,
        Denied::Ipc {
            class: 4,
            rights: ebpf_common::rights::ipc::SEARCH,
        },
        Denied::Sysctl {
            name: "net/ipv4/conf/eth0.1/forwarding".to_owned(),
            rights: Rights::WRITE | Rights::TRUNCATE,
        },
        Denied::Switch {
            which: switch::URING_SQPOLL,
        },
        Denied::Switch {
            which: switch::REBOOT,
        },
        Denied::Lockdown { reason: 7 },
    ]
}

#[test]
fn every_suggestion_is_a_policy() {
    let all = of_objects().into_iter().chain(of_kernel());
    for denied in all.chain(sockets::samples()) {
        reads(&denied);
    }
}

#[test]
fn a_nearer_line_repeats_what_the_farther_one_gave() {
    let denied = Denied::File {
        path: "/var/lib/vms/web1.qcow2".to_owned(),
        rights: Rights::WRITE | Rights::TRUNCATE,
        held: Rights::READ,
    };
    assert_eq!(
        suggest(&denied).as_deref(),
        Some("files: - { path: /var/lib/vms/web1.qcow2, allow: [read, write] }")
    );
}

#[test]
fn a_line_for_a_device_repeats_what_covered_it() {
    let text = "reeve: v1\nname: a\ndevices: [{ block: '8:*', allow: [read] }]\n";
    let policy = parse("p.yaml", text).expect("a policy");
    let facts = crate::Facts::lexical(&policy, []);
    let compiled = crate::compile(&policy, &facts).expect("good");
    let line = |class, major, minor, rights| {
        let held = compiled.device_rights(class, (major, minor));
        let denied = Denied::Device {
            class,
            major,
            minor,
            rights,
            held,
        };
        suggest(&denied).unwrap_or_default()
    };
    assert_eq!(
        line(device_class::BLOCK, 8, 1, Rights::WRITE),
        "devices: - { block: \"8:1\", allow: [read, write] }"
    );
    // Built in.
    assert_eq!(
        line(device_class::CHAR, 1, 3, Rights::MKNOD),
        "devices: - { char: \"1:3\", allow: [read, write, mknod] }"
    );
    assert_eq!(
        line(device_class::CHAR, 9, 0, Rights::READ),
        "devices: - { char: \"9:0\", allow: [read] }"
    );
}

#[test]
fn a_capability_of_a_part_of_the_kernel_names_the_part() {
    let syscall = Syscall::from_name("sethostname").map(Syscall::number);
    let capability = 21;
    let line = suggest(&Denied::Capability {
        capability,
        syscall,
    });
    assert_eq!(line.as_deref(), Some("kernel: { hostname: true }"));
    let which = switch::USERNS;
    assert_eq!(suggest(&Denied::Switch { which }), None);
}

#[test]
fn a_refused_creation_names_the_directory() {
    let denied = Denied::File {
        path: "/srv".to_owned(),
        rights: Rights::CREATE,
        held: Rights::NONE,
    };
    let line = suggest(&denied);
    assert_eq!(
        line.as_deref(),
        Some("files: - { path: /srv, allow: [create] }")
    );
}

#[test]
fn what_no_policy_opens_has_no_suggestion() {
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/sys/fs/bpf/reeve",
        "memfd:x",
        "",
    ] {
        let (path, held) = (path.to_owned(), Rights::NONE);
        let rights = Rights::WRITE;
        assert_eq!(suggest(&Denied::File { path, rights, held }), None);
    }
    for fs_type in ["ext4", "nfs4", "overlay"] {
        let (fs_type, device) = (fs_type.to_owned(), None);
        assert_eq!(suggest(&Denied::Mount { fs_type, device }), None);
    }
    let (action, target) = (MountAction::Umount, None);
    assert_eq!(suggest(&Denied::MountAction { action, target }), None);
}
