//! Mapping files.

use libc::EACCES;
use reeve_tests::PolicyText;

use crate::support::{Contained, Grounds, granted, opened, refused, rights_without};

#[test]
fn mmap_granted() {
    granted(
        "mmap_file",
        &[
            "mmap-read {}/file",
            "mmap-exec {}/file",
            "mmap-shared-write {}/file",
        ],
    );
}

/// Runs `action` on a descriptor that the host opened for reading and writing, of a file that may
/// not be written.
fn refused_by_descriptor(hook: &str, lacking: &str, action: &str) {
    let grounds = Grounds::new();
    let (lacks, unnamed) = (grounds.plot("lacks"), grounds.plot("unnamed"));
    let policy = PolicyText::new("mapping").file(&lacks, &rights_without(&[lacking]));
    for plot in [lacks, unnamed] {
        let mut contained = Contained::with_descriptor(&opened(&plot.join("file")), policy.clone());
        contained.refused(hook, EACCES, action);
        contained.end();
    }
}

#[test]
fn mmap_refused() {
    // Without any rule the file cannot even be opened: the descriptors below come from outside.
    let grounds = Grounds::new();
    let plot = grounds.plot("lacks");
    let policy = PolicyText::new("mmap").file(&plot, &rights_without(&["execute"]));
    let mut contained = Contained::start(policy);
    let at = reeve_tests::fixture::in_container(&plot);
    contained.allowed("mmap_file", format!("mmap-read {at}/file"));
    contained.refused("mmap_file", EACCES, format!("mmap-exec {at}/file"));
    contained.end();
    refused_by_descriptor("mmap_file", "execute", "mmap-exec fd:2");
    refused_by_descriptor("mmap_file", "write", "mmap-shared-write fd:2");
}

#[test]
fn mprotect_granted() {
    granted(
        "file_mprotect",
        &["mprotect-exec {}/file", "mprotect-write {}/file"],
    );
}

#[test]
fn mprotect_refused() {
    refused_by_descriptor("file_mprotect", "execute", "mprotect-exec fd:2");
    refused_by_descriptor("file_mprotect", "write", "mprotect-write fd:2");
    let grounds = Grounds::new();
    let plot = grounds.plot("lacks");
    let policy = PolicyText::new("mprotect").file(&plot, &rights_without(&["execute"]));
    let mut contained = Contained::start(policy);
    let at = reeve_tests::fixture::in_container(&plot);
    contained.refused("file_mprotect", EACCES, format!("mprotect-exec {at}/file"));
    contained.end();
}

/// What may not be opened for writing cannot be mapped so either: the open is what fails.
#[test]
fn mapping_starts_with_open() {
    refused(
        "file_open",
        EACCES,
        &["write"],
        &["mmap-shared-write {}/file"],
    );
    refused(
        "file_open",
        EACCES,
        &["read"],
        &["mmap-read {}/file", "mmap-exec {}/file"],
    );
}
