//! `vmstorage` where it is meant to run: in a container with every capability, under its policy,
//! serving a disk of the host to clients on the host.
//!
//! Runs as root in a machine to throw away.

mod kernel_client;
mod served;

use std::fs;
use std::process::Command;

use reeve_tests::tools;

use served::{DISKS, Served};

/// The policy that users are shown.
const POLICY: &str = include_str!("../../examples/agents/vmstorage-serve.yaml");

fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len / 8).flat_map(next).collect()
}

#[test]
fn a_disk_of_the_host_is_served_from_a_container() {
    let content = pattern(8 << 20);
    let served = Served::start("agent", &content, &["--direct", "--track"]);
    let copy = served.path("copy.raw");
    let qemu_img = |args: &[&str]| tools::output(Command::new("qemu-img").args(args));
    let uri = served.uri();
    qemu_img(&["convert", "-f", "raw", "-O", "raw", &uri, &copy]).expect("read the disk");
    assert!(
        fs::read(&copy).expect("the copy") == content,
        "the copy differs"
    );
    let write = ["-f", "raw", "-c", "write -P 7 1M 64k", "-c", "flush", &uri];
    tools::output(Command::new("qemu-io").args(write)).expect("write to the disk");
    let disk = served.disk();
    served.stop();
    let after = fs::read(disk).expect("the disk");
    assert!(
        after[1 << 20..(1 << 20) + 65536]
            .iter()
            .all(|&byte| byte == 7)
    );
    assert!(
        after[..1 << 20] == content[..1 << 20],
        "what was not written has changed"
    );
}

#[test]
fn another_disk_of_the_host_is_refused() {
    let other = "/srv/not-mine.raw";
    fs::write(other, pattern(1 << 20)).expect("make another disk");
    let said = Served::try_disk("other", &format!("/host{other}"));
    fs::remove_file(other).expect("remove it");
    assert!(said.contains("Permission denied"), "{said}");
    // The same through a name in the directory that is granted.
    let link = format!("{DISKS}/link.raw");
    fs::write(other, pattern(1 << 20)).expect("make another disk");
    std::os::unix::fs::symlink(format!("/host{other}"), &link).expect("make a link");
    let said = Served::try_disk("link", &format!("/host{link}"));
    fs::remove_file(&link).expect("remove the link");
    fs::remove_file(other).expect("remove it");
    assert!(said.contains("Permission denied"), "{said}");
}

#[test]
fn a_killed_service_goes_on_where_it_was() {
    let content = pattern(4 << 20);
    let served = Served::start("killed", &content, &["--track"]);
    let uri = served.uri();
    let write = |pattern: &str, uri: &str| {
        let write = format!("write -P {pattern} 2M 64k");
        let args = ["-f", "raw", "-c", &write, "-c", "flush", uri];
        tools::output(Command::new("qemu-io").args(args)).expect("write to the disk");
    };
    write("5", &uri);
    let disk = served.disk();
    served.kill();
    let after = fs::read(&disk).expect("the disk");
    assert!(
        after[2 << 20..(2 << 20) + 65536]
            .iter()
            .all(|&byte| byte == 5)
    );
    let again = Served::again("killed", &["--track"]);
    write("6", &again.uri());
    again.stop();
    let after = fs::read(disk).expect("the disk");
    assert!(
        after[2 << 20..(2 << 20) + 65536]
            .iter()
            .all(|&byte| byte == 6)
    );
}
