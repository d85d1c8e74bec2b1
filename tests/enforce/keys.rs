//! Keys and keyrings.

use libc::{EACCES, ENOKEY, EPERM};
use reeve_tests::PolicyText;

use crate::support::{Contained, on_host};

/// `KEY_SPEC_USER_KEYRING`: that of all processes of root.
const OF_USER: i32 = -4;
/// `KEY_SPEC_PROCESS_KEYRING`.
const OF_PROCESS: i32 = -2;
const KEYCTL_REVOKE: u32 = 3;
const KEYCTL_SETPERM: u32 = 5;
const KEYCTL_DESCRIBE: u32 = 6;
const KEYCTL_LINK: u32 = 8;

/// A key of the host's that its user may use in every way.
fn host_key(name: &str) -> String {
    on_host(&format!("key-add {OF_USER} {name}"))
}

#[test]
fn keys_own() {
    let mut contained = Contained::start(PolicyText::new("keys"));
    let key = contained.allowed("key_alloc", format!("key-add {OF_PROCESS} own"));
    contained.allowed("key_permission", format!("key-read {key}"));
    contained.allowed(
        "key_permission",
        format!("keyctl {KEYCTL_DESCRIBE} {key} 0 0"),
    );
    contained.allowed(
        "key_permission",
        format!("keyctl {KEYCTL_SETPERM} {key} 0x3f3f0000"),
    );
    contained.allowed(
        "key_permission",
        format!("keyctl {KEYCTL_LINK} {key} {OF_PROCESS}"),
    );
    contained.allowed("key_permission", format!("keyctl {KEYCTL_REVOKE} {key}"));
    contained.end();
}

#[test]
fn keys_granted() {
    let key = host_key("reeve-granted");
    let policy = PolicyText::new("keys").ipc("keys: [view, read, link, setattr]");
    let mut contained = Contained::start(policy);
    contained.allowed("key_permission", format!("key-read {key}"));
    contained.allowed(
        "key_permission",
        format!("keyctl {KEYCTL_DESCRIBE} {key} 0 0"),
    );
    contained.allowed(
        "key_permission",
        format!("keyctl {KEYCTL_LINK} {key} {OF_PROCESS}"),
    );
    contained.allowed(
        "key_permission",
        format!("keyctl {KEYCTL_SETPERM} {key} 0x3f3f0000"),
    );
    // Without `search` the keyring of the user is not found.
    contained.refused("key_permission", ENOKEY, format!("key-add {OF_USER} more"));
    contained.end();
    let policy = PolicyText::new("keys").ipc("keys: [view, read, search]");
    let mut contained = Contained::start(policy);
    contained.allowed("key_permission", format!("key-read {OF_USER}"));
    contained.refused("key_permission", EACCES, format!("key-add {OF_USER} more"));
    contained.end();
}

#[test]
fn keys_refused() {
    let key = host_key("reeve-refused");
    let mut contained = Contained::start(PolicyText::new("keys"));
    contained.refused("key_permission", EACCES, format!("key-read {key}"));
    for action in [
        format!("keyctl {KEYCTL_DESCRIBE} {key} 0 0"),
        format!("keyctl {KEYCTL_LINK} {key} {OF_PROCESS}"),
        format!("keyctl {KEYCTL_SETPERM} {key} 0x3f3f0000"),
        format!("keyctl {KEYCTL_REVOKE} {key}"),
    ] {
        contained.refused("key_permission", EACCES, action);
    }
    for action in [
        format!("key-add {OF_USER} more"),
        format!("key-read {OF_USER}"),
    ] {
        contained.refused("key_permission", ENOKEY, action);
    }
    contained.end();
    // The keyring itself is possessed by whoever names it: a kernel that hears `EACCES` would let
    // it be read.
    let mut contained = Contained::start(PolicyText::new("keys").ipc("keys: [search]"));
    contained.refused("key_permission", EPERM, format!("key-read {OF_USER}"));
    contained.end();
}
