//! Needs that a package of the distribution meets.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::apt;
use crate::cmd::{self, Cmd};

/// Programs and files, and the packages that bring them.
pub(crate) struct Packages {
    programs: &'static [&'static str],
    files: &'static [&'static str],
    packages: &'static [&'static str],
}

/// C compiler and the static C library.
pub(crate) const BUILD_TOOLS: Packages = Packages {
    programs: &["cc", "ld"],
    files: &["/usr/lib/x86_64-linux-gnu/libc.a"],
    packages: &["gcc", "libc6-dev"],
};

/// Where [`LLVM`] is.
pub(crate) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Takes debugging information out of objects; a part of [`LLVM`].
pub(crate) fn llvm_strip() -> PathBuf {
    Path::new(LLVM_PREFIX).join("bin/llvm-strip")
}

/// LLVM in the version that `bpf-linker` and Debian's eBPF compiler are built for.
pub(crate) const LLVM: Packages = Packages {
    programs: &["c++"],
    files: &[
        "/usr/lib/llvm-22/bin/llvm-config",
        "/usr/lib/llvm-22/bin/llvm-strip",
        "/usr/include/zstd.h",
        "/usr/include/zlib.h",
    ],
    packages: &["llvm-22-dev", "g++", "libzstd-dev", "zlib1g-dev"],
};

/// Programs that make disk images.
pub(crate) const IMAGE_TOOLS: Packages = Packages {
    programs: &["mmdebstrap", "mke2fs", "depmod", "xz"],
    files: &[],
    packages: &["mmdebstrap", "e2fsprogs", "kmod", "xz-utils"],
};

/// Servers and clients of virtual disks that nobody here wrote.
pub(crate) const STORAGE_TOOLS: Packages = Packages {
    programs: &[
        "qemu-img",
        "qemu-nbd",
        "qemu-storage-daemon",
        "nbdkit",
        "nbdinfo",
        "nbdcopy",
        "nbdsh",
        "fio",
    ],
    files: &[],
    packages: &[
        "qemu-utils",
        "nbdkit",
        "libnbd-bin",
        "python3-libnbd",
        "fio",
    ],
};

/// The oldest QEMU that boots every test kernel; 7.2 panics guests of 6.12.
const QEMU_MAJOR: u32 = 10;

impl Packages {
    /// True if all of it is there.
    pub(crate) fn found(&self) -> bool {
        self.programs.iter().all(|program| cmd::found(program))
            && self.files.iter().all(|file| Path::new(file).exists())
    }

    /// Installs the packages.
    pub(crate) fn install(&self) -> Result<()> {
        apt::BOOKWORM.install(self.packages, None)
    }
}

/// The version of the emulator, if it is new enough.
pub(crate) fn find_qemu() -> Result<Option<String>> {
    let Some(version) = qemu_version()? else {
        return Ok(None);
    };
    let major: Option<u32> = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    Ok(major
        .is_some_and(|major| major >= QEMU_MAJOR)
        .then(|| format!("ok: {version}")))
}

/// The version of the emulator, if there is one: `10.0.2`.
pub(crate) fn qemu_version() -> Result<Option<String>> {
    if !cmd::found("qemu-system-x86_64") {
        return Ok(None);
    }
    let text = Cmd::new("qemu-system-x86_64").arg("--version").read()?;
    Ok(text.split_whitespace().nth(3).map(str::to_owned))
}

/// Installs the emulator from backports.
pub(crate) fn install_qemu() -> Result<()> {
    let packages = ["qemu-system-x86", "qemu-utils"];
    apt::BOOKWORM_BACKPORTS.install(&packages, Some("bookworm-backports"))
}
