//! Grants hold for the objects that they were made for, not for what gets their numbers or names.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use libc::EACCES;
use reeve_tests::PolicyText;
use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;

use crate::descriptors::Sender;
use crate::support::{Contained, Grounds};

/// Makes files in `directory` until one has the number `inode`.
fn reuse(directory: &Path, inode: u64) -> Option<String> {
    (0..2000).find_map(|number| {
        let name = format!("again-{number}");
        let path = directory.join(&name);
        fs::write(&path, "another file").expect("write a file");
        let found = fs::metadata(&path).expect("stat").ino();
        (found == inode).then_some(name)
    })
}

#[test]
fn reused_inode_number() {
    let grounds = Grounds::new();
    let plot = grounds.plot("plot");
    let (file, kept) = (plot.join("file"), plot.join("second"));
    let policy = PolicyText::new("reused")
        .file(&file, "read")
        .file(&kept, "read");
    let mut contained = Contained::start(policy);
    let at = in_container(&plot);
    contained.allowed("file_open", format!("open r {at}/file"));
    let inode = fs::metadata(&file).expect("stat").ino();
    fs::remove_file(&file).expect("unlink");
    let name = reuse(&plot, inode).expect("the inode number was not used again");
    contained.refused("file_open", EACCES, format!("open r {at}/{name}"));
    contained.allowed("file_open", format!("open r {at}/second"));
    contained.end();
}

/// Mounts a new tmpfs with a file in it at `point`.
fn mount(point: &Path) {
    let status = Command::new("mount")
        .args(["-t", "tmpfs", "reeve-test"])
        .arg(point)
        .status();
    assert!(status.expect("mount").success());
    fs::write(point.join("file"), "below a mount").expect("write a file");
}

fn unmount(point: &Path) {
    let status = Command::new("umount").arg(point).status();
    assert!(status.expect("umount").success());
}

#[test]
fn submount_granted() {
    let grounds = Grounds::new();
    let plot = grounds.plot("plot");
    let point = plot.join("directory");
    mount(&point);
    let policy = PolicyText::new("submount").file(&plot, "read");
    let mut contained = Contained::start(policy);
    let file = in_container(point.join("file"));
    contained.allowed("file_open", format!("open r {file}"));
    contained.end();
    unmount(&point);
}

/// The host unmounts what a grant reached, and its device number goes to another file system.
#[test]
fn reused_submount() {
    let grounds = Grounds::new();
    let (plot, other) = (grounds.plot("plot"), grounds.plot("other"));
    let meeting = grounds.plot("meeting");
    let (point, elsewhere) = (plot.join("directory"), other.join("directory"));
    mount(&point);
    let had = fs::metadata(&point).expect("stat").dev();
    let policy = PolicyText::new("submount")
        .file(&plot, "read")
        .socket(&format!("unix: {}, allow: [connect]", meeting.display()));
    // Without the host's mounts, so that none is kept by the container.
    let config = Config {
        host_recursive: false,
        ..Config::default()
    };
    let mut contained = Contained::with(config, policy);
    contained.allowed("file_open", format!("open r {}/file", in_container(&plot)));
    let receive = |name: &str| format!("receive {}", in_container(meeting.join(name)));
    {
        let _sender = Sender::start(&meeting.join("before"), "r", &point.join("file"));
        contained.allowed("file_receive", receive("before"));
    }
    unmount(&point);
    let found = (0..50).any(|_| {
        mount(&elsewhere);
        let again = fs::metadata(&elsewhere).expect("stat").dev() == had;
        if !again {
            unmount(&elsewhere);
        }
        again
    });
    assert!(found, "the device number was not given out again");
    {
        let _sender = Sender::start(&meeting.join("after"), "r", &elsewhere.join("file"));
        contained.refused("file_receive", EACCES, receive("after"));
    }
    contained.end();
    unmount(&elsewhere);
}

/// Memory of devices is not read in place by who may only read.
#[test]
fn registers_refused() {
    let Some(resource) = pci_resource() else {
        panic!("no device of the machine has registers to map");
    };
    let mut contained = Contained::start(PolicyText::new("registers"));
    contained.allowed("file_open", format!("open r {resource}"));
    contained.refused("mmap_file", EACCES, format!("mmap-read {resource}"));
    contained.end();
}

/// A memory region of a PCI device in sysfs.
fn pci_resource() -> Option<String> {
    let devices = fs::read_dir("/sys/bus/pci/devices").ok()?;
    let mut all = devices.flatten().flat_map(|device| {
        let regions = (0..6).map(move |number| device.path().join(format!("resource{number}")));
        regions.filter(|path| fs::metadata(path).is_ok_and(|found| found.len() >= 4096))
    });
    all.next().map(|path| path.display().to_string())
}
