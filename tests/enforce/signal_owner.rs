//! Signals that the kernel sends on input and output to whom a descriptor's owner is.

use libc::EPERM;
use reeve_tests::bundle::Config;
use reeve_tests::host::Bystander;
use reeve_tests::{Outcome, PolicyText};

use crate::support::{Contained, Grounds};

#[test]
fn setown_granted() {
    let mut contained = Contained::among_host_processes(PolicyText::new("owner"));
    let own = contained.allowed("file_fcntl", "pid");
    contained.allowed("file_fcntl", format!("setown {own}"));
    contained.end();
    // Where the pid namespace is the container's own, so is everybody in it.
    let mut contained = Contained::with(Config::default(), PolicyText::new("owner"));
    contained.allowed("file_fcntl", "setown 1");
    contained.allowed("file_fcntl", "setown-ex 1");
    contained.end();
}

#[test]
fn setown_refused() {
    let grounds = Grounds::new();
    let target = Bystander::start(grounds.fixture().at("target"));
    let mut target = target.expect("start a bystander");
    let mut contained = Contained::among_host_processes(PolicyText::new("owner"));
    for pid in [target.pid(), 1] {
        contained.refused("file_fcntl", EPERM, format!("setown {pid}"));
        contained.refused("file_fcntl", EPERM, format!("setown -{pid}"));
        contained.refused("file_fcntl", EPERM, format!("setown-ex {pid}"));
    }
    contained.refused(
        "file_fcntl",
        EPERM,
        format!("async-signal {} 9", target.pid()),
    );
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(
        target.alive(),
        "hook `file_fcntl` refused and the process is gone"
    );
    contained.end();
}

#[test]
fn ioctl_setown_granted() {
    let mut contained = Contained::start(PolicyText::new("owner"));
    contained.allowed("file_ioctl", "ioctl-setown 1");
    contained.allowed("file_ioctl", "ioctl-setpgrp 1");
    if has_32_bit_calls(&mut contained) {
        contained.allowed("file_ioctl_compat", "fork compat-ioctl-setown 1");
    }
    contained.end();
}

#[test]
fn ioctl_setown_refused() {
    let grounds = Grounds::new();
    let target = Bystander::start(grounds.fixture().at("target")).expect("start a bystander");
    let mut contained = Contained::among_host_processes(PolicyText::new("owner"));
    let pid = target.pid();
    contained.refused("file_ioctl", EPERM, format!("ioctl-setown {pid}"));
    contained.refused("file_ioctl", EPERM, format!("ioctl-setpgrp {pid}"));
    if has_32_bit_calls(&mut contained) {
        // Stable kernels before 6.8 may have the hook of 32-bit calls or not.
        let outcome = contained.attempt(format!("fork compat-ioctl-setown {pid}"));
        assert_eq!(
            outcome.errno(),
            Some(EPERM),
            "hook `file_ioctl_compat`: {outcome}"
        );
    }
    contained.end();
}

/// Whether the kernel has 32-bit system calls; without them there is nothing to govern.
fn has_32_bit_calls(contained: &mut Contained) -> bool {
    let outcome = contained.attempt("fork compat-mount /mnt");
    !matches!(outcome, Outcome::Killed(_)) && outcome.errno() != Some(libc::ENOSYS)
}
