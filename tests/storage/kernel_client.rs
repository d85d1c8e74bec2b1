//! The kernel's own NBD client, with a file system on the served disk.

use std::fs;
use std::process::Command;

use reeve_tests::{host, tools};

use crate::pattern;
use crate::served::Served;

const DEVICE: &str = "/dev/nbd0";
const PLACE: &str = "/mnt/served";

fn run(program: &str, args: &[&str]) {
    tools::output(Command::new(program).args(args)).unwrap_or_else(|error| panic!("{error}"));
}

/// Attached; dropping it detaches.
struct Attached;

impl Attached {
    fn new(served: &Served) -> Self {
        let socket = served.socket().display().to_string();
        run(
            "nbd-client",
            &[
                "-unix",
                &socket,
                DEVICE,
                "-name",
                "disk",
                "-connections",
                "2",
            ],
        );
        Self
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _unmounted = tools::output(Command::new("umount").arg(PLACE));
        let _detached = tools::output(Command::new("nbd-client").args(["-d", DEVICE]));
    }
}

#[test]
fn the_kernel_mounts_a_served_disk() {
    for module in ["nbd", "loop"] {
        if !host::module_loaded(module) {
            run("modprobe", &[module]);
        }
    }
    let served = Served::start("kernel", &vec![0; 64 << 20], &["--track"]);
    fs::create_dir_all(PLACE).expect("make a mount point");
    let content = pattern(3 << 20);
    {
        let _attached = Attached::new(&served);
        run("mkfs.ext4", &["-q", "-F", DEVICE]);
        run("mount", &[DEVICE, PLACE]);
        fs::write(format!("{PLACE}/file"), &content).expect("write to the file system");
        fs::write(format!("{PLACE}/gone"), &content).expect("write to the file system");
        fs::remove_file(format!("{PLACE}/gone")).expect("remove");
        run("fstrim", &[PLACE]);
        run("umount", &[PLACE]);
        run("e2fsck", &["-f", "-n", DEVICE]);
    }
    let disk = served.disk();
    served.stop();
    // What the service left is what was written, without it.
    let disk = disk.display().to_string();
    run("mount", &["-o", "loop", &disk, PLACE]);
    let found = fs::read(format!("{PLACE}/file"));
    run("umount", &[PLACE]);
    assert!(found.expect("the file") == content, "the file differs");
}
