//! What this host offers: the facts that `reeve doctor` prints and that a start depends on.

use std::path::Path;

use crate::Error;

/// The kernel's list of active security modules.
pub const LSM_LIST: &str = "/sys/kernel/security/lsm";

/// Version of the running kernel (major, minor); (0, 0) if its release cannot be read.
pub fn kernel_version() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let mut parts = release
        .split(['.', '-', '+'])
        .map_while(|part| part.parse().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// The active security modules, or `None` where securityfs is not mounted.
pub fn active_lsms() -> Option<String> {
    std::fs::read_to_string(LSM_LIST)
        .ok()
        .map(|list| list.trim().to_owned())
}

/// Refuses a kernel whose list of security modules is known and lacks `bpf`. Where the list is not
/// shown, the self-test after loading decides.
///
/// # Errors
/// [`Error::NoBpfLsm`].
pub fn require_bpf_lsm() -> Result<(), Error> {
    match active_lsms() {
        Some(active) if !active.split(',').any(|name| name == "bpf") => {
            Err(Error::NoBpfLsm { active })
        }
        _ => Ok(()),
    }
}

/// Whether this build embeds the eBPF object.
pub fn has_object() -> bool {
    crate::load::has_object()
}

/// Whether the programs are pinned now.
pub fn is_loaded() -> bool {
    crate::pins::Pins::at_bpffs().is_ok_and(|pins| pins.ready().exists())
}

/// Whether the kernel shows its type information.
pub fn has_btf() -> bool {
    Path::new(crate::btf::VMLINUX).exists()
}

/// Whether a BPF file system is mounted at `/sys/fs/bpf`.
pub fn has_bpffs() -> bool {
    crate::pins::Pins::at_bpffs().is_ok()
}
