//! Many containers, one after the other and beside each other, each under another policy: what they
//! leave behind adds up to nothing.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::SystemTime;

use reeve_tests::{Container, PolicyText, host, tools};
use serde_json::Value;

use crate::support::{keep_loaded, nothing_left, shell};

const CONTAINERS: u64 = 500;
/// How many are started beside each other.
const BESIDE: u64 = 4;
/// Memory of the machine that may be in use elsewhere, or in caches of the kernel, in KiB.
const SLACK_KIB: u64 = 64 * 1024;

/// `xorshift64*`: the same policies for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % most
    }
}

/// Some lines of every section, or none.
fn policy(random: &mut Random) -> PolicyText {
    let mut text = PolicyText::new("soak");
    for path in ["/etc", "/usr/share", "/var", "/run", "/dev", "/sys"] {
        text = match random.below(4) {
            0 => text.file(path, "read"),
            1 => text.file(path, "read, execute"),
            _ => text,
        };
    }
    for minor in 0..random.below(20) {
        text = text.device(&format!("block: \"7:{minor}\""), "read, write");
    }
    for kind in ["tmpfs", "proc", "bind"] {
        if random.below(3) == 0 {
            text = text.mount(kind, if kind == "bind" { "" } else { "nosuid" });
        }
    }
    for name in ["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "CHOWN"] {
        if random.below(3) == 0 {
            text = text.capability_all(name);
        }
    }
    if random.below(2) == 0 {
        text = text.kernel("clock: true").ipc("shm: [read, write]");
    }
    if random.below(2) == 0 {
        text = text
            .socket("tcp: { to: [10.0.0.0/8], ports: [80] }, allow: [connect]")
            .socket("unix: /run, allow: [connect]");
    }
    text
}

/// What is loaded: entries of each table, and how many programs.
fn loaded() -> BTreeMap<String, u64> {
    let mut command = tools::reeve().expect("reeve");
    let text =
        tools::output(command.args(["doctor", "--loaded", "--json"])).expect("what is loaded");
    let loaded: Value = serde_json::from_str(&text).expect("JSON");
    let maps = loaded["maps"].as_array().expect("maps").iter();
    let entries = maps.filter_map(|map| {
        let name = map["name"].as_str()?.to_owned();
        // Device numbers stay counted for as long as anything is loaded.
        (name != "DEVICE_USES").then_some((name, map["entries"].as_u64()?))
    });
    let programs = loaded["programs"].as_array().map_or(0, Vec::len) as u64;
    entries.chain([("programs".to_owned(), programs)]).collect()
}

/// `MemAvailable`, in KiB.
fn available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.trim().split(' ').next());
    number
        .and_then(|number| number.parse().ok())
        .expect("MemAvailable")
}

/// Open files of the whole machine.
fn open_files() -> u64 {
    let text = fs::read_to_string("/proc/sys/fs/file-nr").expect("file-nr");
    let number = text.split_whitespace().next();
    number
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

fn one(random: &mut Random) {
    let config = shell(
        "mkdir /tmp/d; echo x > /tmp/d/f; cat /tmp/d/f; mkfifo /tmp/p; \
         true < /etc/shadow; kill -0 1; sleep 0 & wait",
    );
    let container = Container::new("soak", config).expect("make a bundle");
    let container = container
        .with_policy(policy(random))
        .expect("write its policy");
    let finished = container.run(Stdio::null()).expect("run it");
    assert!(finished.stdout.contains('x'), "{finished:?}");
    nothing_left(&container, "its end");
}

#[test]
fn five_hundred_containers_leave_nothing() {
    keep_loaded();
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = seed.map_or(1, |since| since.as_nanos() as u64) | 1;
    println!("seed {seed}");
    one(&mut Random(seed));
    let (tables, memory, files) = (loaded(), available(), open_files());
    let (pins, processes) = (host::pins(), host::processes().len());
    std::thread::scope(|scope| {
        for beside in 0..BESIDE {
            scope.spawn(move || {
                let mut random = Random(seed.rotate_left(beside as u32 * 8) | 1);
                (0..CONTAINERS / BESIDE).for_each(|_| one(&mut random));
            });
        }
    });
    assert_eq!(loaded(), tables, "seed {seed}");
    assert_eq!(host::pins(), pins);
    let now = available();
    assert!(
        now + SLACK_KIB > memory,
        "{memory} KiB were available, and are {now}"
    );
    let now = open_files();
    assert!(now < files + 500, "{files} files were open, and are {now}");
    let now = host::processes().len();
    assert!(
        now < processes + 20,
        "there were {processes} processes, and are {now}"
    );
}
