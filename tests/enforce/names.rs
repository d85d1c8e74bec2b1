//! Making and removing entries.

use libc::EACCES;

use crate::support::{granted, refused};

#[test]
fn create_granted() {
    granted(
        "path_mknod",
        &[
            "create {}/new",
            "open create {}/newer",
            "tmpfile {}",
            "tmpfile-link {} {}/linked",
            "mknod {}/plain file",
            "mknod {}/fifo fifo",
            "mknod {}/socket socket",
            "bind-socket {}/bound",
            "mknod {}/whiteout char:0:0",
        ],
    );
}

#[test]
fn create_refused() {
    let plain = ["create {}/new", "open create {}/new", "mknod {}/plain file"];
    refused("path_mknod", EACCES, &["create"], &plain);
    let special = [
        "mknod {}/fifo fifo",
        "mknod {}/node char:1:3",
        "bind-socket {}/bound",
    ];
    refused("path_mknod", EACCES, &["mknod"], &special);
}

/// A file without a name is made in a directory all the same.
#[test]
fn tmpfile_refused() {
    refused("file_open", EACCES, &["create"], &["tmpfile {}"]);
}

#[test]
fn mkdir_granted() {
    granted(
        "path_mkdir",
        &[
            "mkdir {}/new",
            "mkdir {}/new/inner",
            "create {}/new/inner/file",
        ],
    );
}

#[test]
fn mkdir_refused() {
    refused(
        "path_mkdir",
        EACCES,
        &["create"],
        &["mkdir {}/new", "mkdir {}/directory/new"],
    );
}

#[test]
fn symlink_granted() {
    granted(
        "path_symlink",
        &["symlink file {}/new", "symlink /etc/shadow {}/other"],
    );
}

#[test]
fn symlink_refused() {
    refused(
        "path_symlink",
        EACCES,
        &["create"],
        &["symlink file {}/new"],
    );
}

#[test]
fn unlink_granted() {
    granted("path_unlink", &["unlink {}/file", "unlink {}/symlink"]);
}

#[test]
fn unlink_refused() {
    refused(
        "path_unlink",
        EACCES,
        &["delete"],
        &["unlink {}/file", "unlink {}/symlink"],
    );
}

#[test]
fn rmdir_granted() {
    granted("path_rmdir", &["rmdir {}/directory"]);
}

#[test]
fn rmdir_refused() {
    refused("path_rmdir", EACCES, &["delete"], &["rmdir {}/directory"]);
}
