//! The oracle and the decision over compiled tables give the same answers, on random trees, grants
//! and questions.

use ebpf_common::abi::{ANY_MINOR, InodeKey, PolicyId, SYSCALLS, device_class, file_flags};
use ebpf_common::decide::capability::decide_capability;
use ebpf_common::decide::file::{decide_device, effective_rights};
use ebpf_common::decide::ioctl::{decide_device_ioctl, decide_ioctl};
use ebpf_common::decide::ipc::decide_ipc;
use ebpf_common::decide::process::{Target, decide_limits, decide_ptrace, decide_signal};
use ebpf_common::decide::sysctl::{PARTS, SysctlPath, decide_sysctl};
use ebpf_common::decide::{FileObject, kernel};
use ebpf_common::{Rights, ioctl, magic};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::tree::{Mark, Node, System, Tree};
use super::{capability_allowed, file_rights, ipc_allowed, setting_allowed};
use crate::compile::compile;
use crate::compile::rules::DEVICES;
use crate::facts::Facts;
use crate::model::{FileRights, Policy, SysctlName, parse};
use crate::names::capability::{Capability, NAMES};
use crate::names::kernel as names_kernel;
use crate::names::syscall::Syscall;

const P: PolicyId = PolicyId(3);
const EXT4: u32 = 0xef53;

/// For each node: where it hangs, what is mounted there, whose it is, what the policy says of it.
type Seed = (Index, Option<(u32, bool)>, u8, Option<u32>);

fn seed() -> impl Strategy<Value = Seed> {
    let magics = vec![
        EXT4,
        EXT4,
        magic::TMPFS,
        magic::OVERLAY,
        magic::SYSFS,
        magic::CGROUP2,
        magic::PROC,
        magic::BPF_FS,
        magic::BTRFS,
    ];
    let mounted = prop::option::weighted(0.25, (select(magics), prop::bool::weighted(0.2)));
    let granted = prop::option::weighted(0.35, 0..=Rights::ALL.0);
    (any::<Index>(), mounted, 0..16u8, granted)
}

fn build(seeds: Vec<Seed>) -> (Tree, Vec<(usize, Rights)>) {
    let root = System {
        magic: EXT4,
        own: false,
    };
    let mut nodes = vec![Node {
        parent: None,
        mounted: Some(root),
        mark: Mark::None,
    }];
    let mut grants = Vec::new();
    for (parent, mounted, mark, granted) in seeds {
        let at = nodes.len();
        let mounted = mounted.map(|(magic, own)| System { magic, own });
        let mark = match (mark, mounted) {
            (0, None) => Mark::Own,
            (1, None) => Mark::Core,
            _ => Mark::None,
        };
        let parent = Some(parent.index(at));
        nodes.push(Node {
            parent,
            mounted,
            mark,
        });
        grants.extend(granted.map(|bits| (at, Rights(bits))));
    }
    let mut tree = Tree { nodes };
    let own_with_mounts = |at: usize| {
        let mut all = 0..tree.nodes.len();
        all.any(|below| tree.is_below(below, at) && tree.nodes[below].mounted.is_some())
    };
    let dropped: Vec<usize> = (0..tree.nodes.len())
        .filter(|at| own_with_mounts(*at))
        .collect();
    for at in dropped {
        if tree.nodes[at].mark == Mark::Own {
            tree.nodes[at].mark = Mark::None;
        }
    }
    // What the compiler refuses to grant, it is not asked to.
    grants.retain(|(at, _)| {
        let system = tree.system_of(*at);
        let closed = matches!(system.magic, magic::PROC | magic::BPF_FS | magic::BTRFS);
        let core = tree
            .upwards(*at)
            .any(|above| tree.nodes[above].mark == Mark::Core);
        !closed && !core && tree.nodes[*at].mark == Mark::None
    });
    (tree, grants)
}

fn policy_of(tree: &Tree, grants: &[(usize, Rights)]) -> Policy {
    let mut text = "reeve: v1\nname: a\nfiles:\n".to_owned();
    for (at, rights) in grants {
        let allow = FileRights(*rights).text();
        text += &format!("  - {{ path: {}, allow: {allow} }}\n", tree.path(*at));
    }
    parse("p.yaml", &text).unwrap_or_else(|found| panic!("{text}\n{found}"))
}

/// No file of past failures: a failing case is made a test of its own.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn files(seeds in vec(seed(), 0..24)) {
        let (tree, grants) = build(seeds);
        let policy = policy_of(&tree, &grants);
        let compiled = compile(&policy, &tree.facts());
        let compiled = compiled.unwrap_or_else(|found| panic!("{found}"));
        for node in 0..tree.nodes.len() {
            let object = FileObject {
                dev: tree.inode(node).dev,
                magic: tree.system_of(node).magic,
                super_block: 0,
                super_flags: 0,
                of_process: false,
                passes_over: file_flags::BACKING,
            };
            let mut chain = tree.chain(node).into_iter().peekable();
            let found = effective_rights(&compiled.tables, P, &object, &mut chain);
            let meant = file_rights(&policy, &tree, node);
            prop_assert_eq!(found.rights, meant, "{} in {:?} {:?}", tree.path(node), tree, grants);
            if let Some(grant) = compiled.grants.get(found.rule as usize) {
                let path = tree.path(grants[found.rule as usize].0);
                prop_assert!(grant.text.contains(&format!("path: {path},")), "{:?}", grant);
            }
        }
    }

}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn capabilities(text in sections()) {
        let policy = parse("p.yaml", &text).unwrap_or_else(|found| panic!("{text}\n{found}"));
        let compiled = compile(&policy, &Facts::lexical(&policy, []));
        let compiled = compiled.unwrap_or_else(|found| panic!("{text}\n{found}"));
        for number in 0..NAMES.len() as u32 + 2 {
            let capability = Capability::from_number(number);
            let ask = |call| decide_capability(&compiled.tables, P, number, call, 0).allowed();
            let meant = |call| match capability {
                Some(known) => capability_allowed(&policy, known, call),
                None => false,
            };
            prop_assert_eq!(ask(None), meant(None), "{} in {}", number, text);
            for call in (0..SYSCALLS).filter_map(Syscall::from_number) {
                let found = ask(Some(call.number()));
                prop_assert_eq!(found, meant(Some(call)), "{} {} in {}", number, call.name(), text);
            }
        }
    }

}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn devices_signals_and_bpf(text in sections(), minor in 0..4u32, signal in 0..70u32) {
        let policy = parse("p.yaml", &text).unwrap_or_else(|found| panic!("{text}\n{found}"));
        let facts = Facts::lexical(&policy, []);
        let compiled = compile(&policy, &facts).unwrap_or_else(|found| panic!("{text}\n{found}"));
        let tables = &compiled.tables;
        for (class, major) in [(device_class::BLOCK, 8), (device_class::CHAR, 1)] {
            for want in [Rights::READ, Rights::WRITE] {
                let verdict = decide_device(tables, P, class, (major, minor), false, want);
                let meant = device_allowed(&policy, class, (major, minor), want);
                prop_assert_eq!(verdict.allowed(), meant, "{} {} in {}", major, minor, text);
            }
        }
        for exe in ["/bin/a", "/bin/b"] {
            let inode = facts.object(exe).map(|object| object.inode).unwrap_or_default();
            let target = Target { subject: None, exe_dev: inode.dev, exe_ino: inode.ino };
            let mut lines = policy.processes.signal.iter();
            let named = lines.find(|line| line.exe.value.as_str() == exe);
            let meant = signal < 64 && named.is_some_and(|line| line.signals.0 >> signal & 1 == 1);
            prop_assert_eq!(decide_signal(tables, P, &target, signal).allowed(), meant);
            prop_assert!(!decide_ptrace(tables, P, &target, 2, None).allowed());
            let mut lines = policy.processes.limits.iter();
            let named = lines.find(|line| line.exe.value.as_str() == exe);
            for want in [1, 2, 4, 8] {
                let meant = named.is_some_and(|line| line.allow.0 & want == want);
                prop_assert_eq!(decide_limits(tables, P, &target, want).allowed(), meant);
            }
            let mut lines = policy.processes.setns.iter();
            let named = lines.find(|line| line.exe.value.as_str() == exe);
            for kind in [0x4000_0000, 0x0002_0000] {
                let meant = named.is_some_and(|line| line.types.0 & kind == kind);
                let found = decide_ptrace(tables, P, &target, 1, Some(kind));
                prop_assert_eq!(found.allowed(), meant);
            }
        }
        for command in 0..70 {
            let names = policy.kernel.bpf.as_ref().map(|found| &found.value);
            let meant = names.is_some_and(|all| all.iter().any(|one| one.number() == command));
            prop_assert_eq!(kernel::decide_bpf(&tables.header, command).allowed(), meant);
        }
        let key = InodeKey { policy: P, dev: 0, ino: 0 };
        prop_assert!(!kernel::decide_kernel_read(tables, key).allowed());
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn ipc_settings_and_parts(text in kernel_sections()) {
        let policy = parse("p.yaml", &text).unwrap_or_else(|found| panic!("{text}\n{found}"));
        let compiled = compile(&policy, &Facts::lexical(&policy, []));
        let compiled = compiled.unwrap_or_else(|found| panic!("{text}\n{found}"));
        let tables = &compiled.tables;
        for (name, class) in names_kernel::IPC {
            for (word, right) in ebpf_common::rights::ipc::NAMES {
                let found = decide_ipc(tables, P, class, false, right).allowed();
                let meant = ipc_allowed(&policy, name, word);
                prop_assert_eq!(found, meant, "{} {} in {}", name, word, text);
            }
        }
        for name in ["vm.x", "net.ipv4.x", "net.ipv4", "net.x", "kernel.ftrace_enabled", "a.b.c"] {
            let setting = SysctlName::parse(name).expect("a name");
            let mut path = SysctlPath { parts: [0; PARTS], length: 0 };
            for part in setting.upwards() {
                path.parts[path.length] = part;
                path.length += 1;
            }
            for want in [Rights::READ, Rights::WRITE] {
                let found = decide_sysctl(tables, P, &path, Rights::NONE, want).allowed();
                let meant = setting_allowed(&policy, name, want == Rights::WRITE);
                prop_assert_eq!(found, meant, "{} {:?} in {}", name, want, text);
            }
        }
        for (name, which) in names_kernel::SWITCHES {
            let found = kernel::decide_switch(tables, P, which).allowed();
            let meant = match name {
                "userns" => !text.contains("userns: false"),
                name => text.contains(&format!("{name}: true")),
            };
            prop_assert_eq!(found, meant, "{} in {}", name, text);
        }
    }
}

/// Lines with commands of `ioctl(2)`: rights, commands.
fn commands() -> impl Strategy<Value = (Vec<&'static str>, Vec<&'static str>)> {
    let rights = vec!["read", "write", "ioctl"];
    let named = vec!["FICLONE", "LOOP_SET_FD", "TIOCSTI", "BLKDISCARD"];
    let rights = proptest::sample::subsequence(rights, 1..=3);
    (rights, proptest::sample::subsequence(named, 0..=4))
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn commands_of_ioctl((rights, named) in commands(), other in any::<u32>()) {
        let ioctl = match named.is_empty() {
            true => String::new(),
            false => format!(", ioctl: [{}]", named.join(", ")),
        };
        let allow = format!("allow: [{}]{ioctl}", rights.join(", "));
        let text = format!(
            "reeve: v1\nname: a\nfiles:\n  - {{ path: /a, {allow} }}\n\
             devices:\n  - {{ block: 8:1, {allow} }}\n"
        );
        let policy = parse("p.yaml", &text).unwrap_or_else(|found| panic!("{text}\n{found}"));
        let facts = Facts::lexical(&policy, []);
        let compiled = compile(&policy, &facts).unwrap_or_else(|found| panic!("{text}\n{found}"));
        let tables = &compiled.tables;
        let numbers = ioctl::NAMES.iter().map(|(_, number)| *number);
        for command in numbers.chain([other, 0x541b]) {
            let listed = ioctl::name(command).is_some_and(|name| named.contains(&name));
            let meant = listed
                || ioctl::is_free(command)
                || rights.contains(&"ioctl") && !ioctl::sets_flags(command);
            let class = device_class::BLOCK;
            let ask = |minor| decide_device_ioctl(tables, P, class, (8, minor), false, command);
            prop_assert_eq!(ask(1).allowed(), meant || rights.contains(&"ioctl"), "{:#x}", command);
            prop_assert_eq!(ask(2).allowed(), ioctl::is_free(command), "{:#x}", command);
            let inode = facts.object("/a").map(|object| object.inode).unwrap_or_default();
            let object = FileObject {
                dev: inode.dev,
                magic: EXT4,
                super_block: 0,
                super_flags: 0,
                of_process: false,
                passes_over: file_flags::BACKING,
            };
            let mut chain = vec![inode.ino].into_iter().peekable();
            let found = effective_rights(tables, P, &object, &mut chain);
            let verdict = decide_ioctl(tables, P, found, command);
            prop_assert_eq!(verdict.allowed(), meant, "{:#x} in {}", command, text);
        }
    }
}

/// Policies of what is named by a number, each line there or not.
fn kernel_sections() -> impl Strategy<Value = String> {
    let lines = vec![
        "  sysctl: { read: [vm.x, net.*], write: [net.ipv4.*] }\n",
        "  sysctl: { read: [net.ipv4.x], write: [a.b.c, kernel.*] }\n",
        "  syslog: true\n",
        "  perf: false\n",
        "  swap: true\n",
        "  userns: false\n",
        "  userns: true\n",
    ];
    let classes = vec![
        "  shm: [read, create]\n",
        "  sem: [control]\n",
        "  mqueue: [read, write, delete]\n",
        "  keys: [search, setattr]\n",
    ];
    let chosen = |lines: Vec<&'static str>| {
        let count = lines.len();
        proptest::sample::subsequence(lines, 0..=count)
    };
    (chosen(lines), chosen(classes)).prop_map(|(kernel, ipc)| {
        let mut text = "reeve: v1\nname: a\nkernel:\n".to_owned();
        let mut seen = Vec::new();
        for line in kernel {
            let key = line.split(':').next().unwrap_or("");
            if !seen.contains(&key) {
                seen.push(key);
                text += line;
            }
        }
        text + "ipc:\n" + &ipc.concat()
    })
}

/// Policies with every section but `files`, each line there or not.
fn sections() -> impl Strategy<Value = String> {
    let lines = vec![
        "devices:\n  - { block: 8:1, allow: [write] }\n  - { block: 8:*, allow: [read] }\n",
        "devices:\n  - { char: 1:3, allow: [read] }\n  - { char: 1:*, allow: [write] }\n",
        "mounts:\n  - { type: tmpfs }\n",
        "mounts:\n  - { type: tmpfs, flags: [nosuid] }\n  - { type: ramfs }\n",
        "mounts:\n  - { type: tmpfs }\n  - { type: bind }\n",
        "capabilities: { SYS_ADMIN: [sethostname, setns], CAP_KILL: [reboot] }\n",
        "capabilities: { NET_ADMIN: all, DAC_OVERRIDE: [open_by_handle_at] }\n",
        "processes: { signal: [ { exe: /bin/a, signals: [TERM, probe, 63] } ] }\n",
        "processes: { signal: [ { exe: /bin/b, signals: [9] }, { exe: /bin/a, signals: [1] } ] }\n",
        "processes: { setns: [ { exe: /bin/a, types: [net] } ] }\n",
        "processes: { limits: [ { exe: /bin/b, allow: [nice] } ] }\n",
        "mounts:\n  - { type: tmpfs, flags: [ro] }\n  - { allow: [remount, chroot] }\n",
        "mounts:\n  - { allow: [umount], target: /a }\n  - { allow: [mount_setattr, move] }\n",
        "kernel: { modules: [nbd], clock: true }\n",
        "kernel: { bpf: [map_create, prog_load], clock: false }\n",
    ];
    proptest::sample::subsequence(lines.clone(), 0..=lines.len()).prop_map(|chosen| {
        let mut text = "reeve: v1\nname: a\n".to_owned();
        let mut seen = Vec::new();
        for line in chosen {
            let section = line.split(':').next().unwrap_or("");
            if !seen.contains(&section) {
                seen.push(section);
                text += line;
            }
        }
        text
    })
}

fn device_allowed(policy: &Policy, class: u32, (major, minor): (u32, u32), want: Rights) -> bool {
    let line = |minor| {
        let same =
            |number: crate::model::DeviceNumber| number.major == major && number.minor == minor;
        let mut lines = policy.devices.iter();
        lines.find(|line| line.class.number() == class && same(line.number.value))
    };
    if let Some(exact) = line(minor) {
        return exact.allow.contains(want);
    }
    if class == device_class::CHAR && DEVICES.contains(&(major, minor)) {
        return true;
    }
    line(ANY_MINOR).is_some_and(|found| found.allow.contains(want))
}
