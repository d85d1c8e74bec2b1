//! Opening, cutting, attributes, device nodes.

use libc::{EACCES, EPERM};
use reeve_tests::fixture::in_container;
use reeve_tests::{PolicyText, host};

use crate::support::{Contained, Grounds, granted, opened, refused, rights_without};

#[test]
fn open_granted() {
    granted(
        "file_open",
        &[
            "open r {}/file",
            "open rw {}/file",
            "open append {}/file",
            "open create {}/file",
            "write {}/file text",
            "read {}/file",
            "open r {}/symlink",
            "list {}",
            "reopen rw {}/file",
            "uring-open rw {}/file",
        ],
    );
}

#[test]
fn open_refused() {
    let writes = [
        "open w {}/file",
        "open rw {}/file",
        "open w {}/symlink",
        "open neither {}/file",
    ];
    refused("file_open", EACCES, &["write"], &writes);
    refused("file_open", EACCES, &["append"], &["open append {}/file"]);
    refused(
        "file_open",
        EACCES,
        &["read"],
        &["open r {}/file", "open r {}/symlink", "list {}"],
    );
    refused(
        "file_open",
        EACCES,
        &["write"],
        &["reopen w {}/file", "open create {}/file"],
    );
}

/// The nearest rule decides, a farther one neither adds nor takes.
#[test]
fn nearest_rule_decides() {
    let grounds = Grounds::new();
    let (outer, inner) = (grounds.plot("outer"), grounds.plot("outer/inner"));
    let single = outer.join("second");
    let policy = PolicyText::new("nearest")
        .file(&outer, "read, write")
        .file(&inner, "read")
        .file(&single, "read");
    let mut contained = Contained::start(policy);
    let (outer, inner) = (in_container(&outer), in_container(&inner));
    contained.allowed("file_open", format!("open w {outer}/file"));
    contained.refused("file_open", EACCES, format!("open w {inner}/file"));
    contained.refused("file_open", EACCES, format!("open w {outer}/second"));
    contained.allowed("file_open", format!("open r {inner}/file"));
    contained.end();
}

#[test]
fn truncate_granted() {
    granted(
        "path_truncate",
        &["truncate {}/file 3", "open trunc {}/second"],
    );
}

#[test]
fn truncate_refused() {
    refused(
        "path_truncate",
        EACCES,
        &["truncate"],
        &["truncate {}/file 3", "truncate {}/file 0"],
    );
}

/// `O_TRUNC` needs no write access to cut a file: reading alone must not.
#[test]
fn cutting_open_refused() {
    refused(
        "file_truncate",
        EACCES,
        &["truncate"],
        &["open read-trunc {}/file"],
    );
}

#[test]
fn ftruncate_granted() {
    granted(
        "file_truncate",
        &["ftruncate {}/file 3", "create-ftruncate {}/new 100"],
    );
}

/// A descriptor that the container was given still cannot cut the file.
#[test]
fn ftruncate_refused() {
    let grounds = Grounds::new();
    for (plot, policy) in [
        (grounds.plot("unnamed"), PolicyText::new("unnamed")),
        (grounds.plot("lacks"), {
            let lacks = grounds.fixture().at("lacks");
            PolicyText::new("lacks").file(lacks, &rights_without(&["truncate"]))
        }),
    ] {
        let file = plot.join("file");
        let mut contained = Contained::with_descriptor(&opened(&file), policy);
        contained.refused("file_truncate", EACCES, "ftruncate-fd 2 0");
        contained.end();
        let text = std::fs::read_to_string(&file).expect("read the file");
        assert_eq!(
            text, "content of file\n",
            "hook `file_truncate` refused and the file is cut"
        );
    }
}

#[test]
fn chmod_granted() {
    granted("path_chmod", &["chmod {}/file 0600", "fchmod {}/file 0644"]);
}

#[test]
fn chmod_refused() {
    let changes = [
        "chmod {}/file 0777",
        "chmod {}/file 04755",
        "chmod {}/directory 0",
    ];
    refused("path_chmod", EPERM, &["chmod"], &changes);
    let grounds = Grounds::new();
    let plot = grounds.plot("lacks");
    let policy = PolicyText::new("fchmod").file(&plot, &rights_without(&["chmod"]));
    let mut contained = Contained::start(policy);
    contained.refused(
        "path_chmod",
        EPERM,
        format!("fchmod {}/file 0777", in_container(&plot)),
    );
    contained.end();
}

#[test]
fn chown_granted() {
    granted(
        "path_chown",
        &["chown {}/file 1000 1000", "chown {}/file 0 0"],
    );
}

#[test]
fn chown_refused() {
    let changes = [
        "chown {}/file 1000 1000",
        "chown {}/file -1 1000",
        "chown {}/directory 1 1",
    ];
    refused("path_chown", EPERM, &["chown"], &changes);
    let grounds = Grounds::new();
    let file = grounds.plot("unnamed").join("file");
    let mut contained = Contained::with_descriptor(&opened(&file), PolicyText::new("fchown"));
    contained.refused("path_chown", EPERM, "fchown-fd 2 1000 1000");
    contained.refused("path_chmod", EPERM, "fchmod-fd 2 0777");
    contained.end();
}

#[test]
fn setxattr_granted() {
    granted("inode_setxattr", &["setxattr {}/file user.reeve x"]);
}

#[test]
fn setxattr_refused() {
    refused(
        "inode_setxattr",
        EACCES,
        &["xattr"],
        &["setxattr {}/file user.reeve x"],
    );
}

#[test]
fn removexattr_granted() {
    granted(
        "inode_removexattr",
        &[
            "setxattr {}/file user.reeve x",
            "removexattr {}/file user.reeve",
        ],
    );
}

#[test]
fn removexattr_refused() {
    refused(
        "inode_removexattr",
        EACCES,
        &["xattr"],
        &["removexattr {}/file user.reeve"],
    );
}

#[test]
fn acl_granted() {
    granted("inode_set_acl", &["setacl {}/file"]);
}

#[test]
fn acl_refused() {
    refused("inode_set_acl", EPERM, &["xattr"], &["setacl {}/file"]);
}

#[test]
fn remove_acl_granted() {
    granted("inode_remove_acl", &["setacl {}/file", "removeacl {}/file"]);
}

#[test]
fn remove_acl_refused() {
    refused(
        "inode_remove_acl",
        EPERM,
        &["xattr"],
        &["removeacl {}/file"],
    );
}

/// Device nodes go by number, wherever the node lies and whatever may be done to the directory.
#[test]
fn device_by_number() {
    let (major, minor) = host::device_number("/dev/vdc").expect("the scratch disk");
    let grounds = Grounds::new();
    let plot = grounds.plot("devices");
    let at = in_container(&plot);
    let policy = PolicyText::new("devices")
        .file("/dev", "read, write")
        .file(&plot, "read, write, create, mknod")
        .capability("MKNOD", "mknod");
    let number = format!("block: \"{major}:{minor}\"");
    let mut contained = Contained::start(policy.clone());
    contained.refused("file_open", EACCES, "open r /host/dev/vdc");
    contained.refused("file_open", EACCES, "open w /host/dev/vdc");
    contained.refused("file_open", EACCES, "open r /host/dev/mem");
    contained.refused("file_open", EACCES, "open r /host/dev/kmsg");
    let make = format!("mknod {at}/disk block:{major}:{minor}");
    contained.refused("path_mknod", EPERM, &make);
    contained.allowed(
        "path_mknod",
        format!("mknod /own/disk block:{major}:{minor}"),
    );
    contained.refused("file_open", EACCES, "open r /own/disk");
    contained.end();

    let mut contained = Contained::start(policy.clone().device(&number, "mknod"));
    contained.allowed("path_mknod", &make);
    contained.refused("file_open", EACCES, format!("open r {at}/disk"));
    contained.allowed("file_open", "open rw /host/dev/null");
    contained.end();

    let policy = policy.device(&number, "read");
    let mut contained = Contained::start(policy);
    contained.allowed("file_open", "open r /host/dev/vdc");
    contained.refused("file_open", EACCES, "open w /host/dev/vdc");
    contained.refused("file_open", EACCES, "open r /host/dev/vda");
    contained.end();
}
