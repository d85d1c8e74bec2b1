//! Links and renames: what moves never gets more rights than it had.

use libc::{EACCES, EXDEV};
use reeve_tests::PolicyText;
use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;

use crate::support::{Contained, Grounds, granted, refused, rights_without, snapshot};

#[test]
fn link_granted() {
    granted(
        "path_link",
        &["link {}/file {}/new", "link {}/file {}/directory/new"],
    );
}

#[test]
fn link_refused() {
    refused("path_link", EACCES, &["link"], &["link {}/file {}/new"]);
    refused(
        "path_link",
        EACCES,
        &["create"],
        &["link {}/file {}/directory/new"],
    );
}

#[test]
fn rename_granted() {
    granted(
        "path_rename",
        &[
            "rename {}/file {}/new",
            "rename {}/new {}/directory/new noreplace",
            "rename {}/second {}/symlink exchange",
            "rename {}/directory {}/moved",
            "create {}/file",
            "rename {}/file {}/second",
        ],
    );
}

#[test]
fn rename_refused() {
    let moves = [
        "rename {}/file {}/new",
        "rename {}/file {}/new noreplace",
        "rename {}/file {}/second exchange",
        "rename {}/directory {}/moved",
    ];
    refused("path_rename", EACCES, &["rename"], &moves);
    refused(
        "path_rename",
        EACCES,
        &["create"],
        &["rename {}/file {}/directory/new"],
    );
    refused(
        "path_rename",
        EACCES,
        &["delete"],
        &["rename {}/file {}/second"],
    );
}

/// From where it may only be read and moved, nothing gets to where it may be written: not by
/// rename, not by link, not by exchange in either direction.
#[test]
fn moving_never_widens() {
    let grounds = Grounds::new();
    let (poor, rich) = (grounds.plot("poor"), grounds.plot("rich"));
    let policy = PolicyText::new("widening")
        .file(&poor, "read, rename, link, create, delete")
        .file(&rich, &rights_without(&[]));
    let mut contained = Contained::start(policy);
    let before = (snapshot(&poor), snapshot(&rich));
    let (from, to) = (in_container(&poor), in_container(&rich));
    for action in [
        format!("rename {from}/file {to}/new"),
        format!("rename {from}/file {to}/second"),
        format!("rename {from}/directory {to}/new"),
        format!("rename {from}/file {to}/file exchange"),
        format!("rename {to}/file {from}/file exchange"),
    ] {
        contained.refused("path_rename", EXDEV, action);
    }
    contained.refused("path_link", EXDEV, format!("link {from}/file {to}/new"));
    assert_eq!(
        (snapshot(&poor), snapshot(&rich)),
        before,
        "refused and something changed"
    );
    // The other way gives nothing away.
    contained.allowed("path_rename", format!("rename {to}/second {from}/given"));
    contained.refused("file_open", EACCES, format!("open w {from}/given"));
    contained.end();
}

/// A link made on the host into a granted directory is a grant of the host's, one the container
/// tries to make is not.
#[test]
fn hard_link() {
    let grounds = Grounds::new();
    let (secret, open) = (grounds.plot("secret"), grounds.plot("open"));
    let policy = PolicyText::new("hard-link").file(&open, &rights_without(&[]));
    let mut contained = Contained::start(policy);
    let (secret, open) = (in_container(&secret), in_container(&open));
    contained.refused(
        "path_link",
        EACCES,
        format!("link {secret}/file {open}/new"),
    );
    contained.refused(
        "path_rename",
        EACCES,
        format!("rename {secret}/file {open}/new"),
    );
    contained.refused("file_open", EACCES, format!("open r {secret}/file"));
    contained.end();
}

/// From the container's own root to the host goes what the host's directory gives, and back
/// nothing.
#[test]
fn own_and_host() {
    let grounds = Grounds::new();
    let plot = grounds.plot("poor");
    let policy = PolicyText::new("own").file(&plot, "read, rename, link, delete");
    // With the host's bare file system, so that its root is one mount: between two nothing moves
    // anyway.
    let config = Config {
        host_recursive: false,
        ..Config::default()
    };
    let mut contained = Contained::with(config, policy);
    let at = in_container(&plot);
    contained.allowed("path_mknod", "create /own/mine");
    let root = in_container(contained.running().container().root());
    contained.refused(
        "path_rename",
        EACCES,
        format!("rename {root}/own/mine {at}/new"),
    );
    contained.refused(
        "path_rename",
        EXDEV,
        format!("rename {at}/file {root}/own/stolen"),
    );
    contained.refused(
        "path_link",
        EXDEV,
        format!("link {at}/file {root}/own/stolen"),
    );
    contained.end();
}

/// A grant on a directory is for what is in it, not for its own place.
#[test]
fn granted_directory_keeps_its_place() {
    let grounds = Grounds::new();
    let plot = grounds.plot("plot");
    let policy = PolicyText::new("place")
        .file(&plot, "read, create")
        .file(plot.join("directory"), &rights_without(&[]));
    let mut contained = Contained::start(policy);
    let at = in_container(&plot);
    contained.allowed("path_mkdir", format!("mkdir {at}/directory/inner"));
    contained.allowed(
        "path_rename",
        format!("rename {at}/directory/inner {at}/inner"),
    );
    contained.refused(
        "path_rename",
        EACCES,
        format!("rename {at}/directory {at}/moved"),
    );
    contained.end();
}
