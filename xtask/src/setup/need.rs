//! The list of what a machine needs.

use anyhow::Result;

use super::kernels::SOURCES;
use super::{compiler, guest_root, packages, peers, tools};

/// Something that building or testing needs. In the order of installation: each comes after its
/// prerequisites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// C compiler and the static C library.
    BuildTools,
    /// LLVM, for the BPF linker and Debian's eBPF compiler.
    Llvm,
    /// A Rust compiler with `core` for the BPF target.
    Compiler,
    /// `bpf-linker`.
    Linker,
    /// `cargo-deny`.
    Deny,
    /// Other runtimes, to check the conformance suite with.
    Peers,
    /// Programs that make disk images.
    ImageTools,
    /// The emulator.
    Qemu,
    /// Other programs that serve and read virtual disks, to test `vmstorage` with.
    StorageTools,
    /// One of [`SOURCES`], by index.
    Kernel(usize),
    /// The root disk of the test machines.
    GuestRoot,
}

impl Need {
    /// Everything, in order.
    pub(crate) fn all() -> Vec<Need> {
        let mut all = vec![
            Need::BuildTools,
            Need::Llvm,
            Need::Compiler,
            Need::Linker,
            Need::Deny,
            Need::Peers,
            Need::ImageTools,
            Need::Qemu,
            Need::StorageTools,
        ];
        all.extend((0..SOURCES.len()).map(Need::Kernel));
        all.push(Need::GuestRoot);
        all
    }

    /// `needs` and all they need, in order.
    pub(crate) fn with_prerequisites(needs: &[Need]) -> Vec<Need> {
        let mut found = Vec::new();
        let mut look_at = needs.to_vec();
        while let Some(need) = look_at.pop() {
            if !found.contains(&need) {
                found.push(need);
                look_at.extend(need.prerequisites());
            }
        }
        found.sort_unstable();
        found
    }

    fn prerequisites(self) -> Vec<Need> {
        match self {
            Need::BuildTools | Need::Llvm | Need::Peers | Need::ImageTools | Need::Qemu => {
                Vec::new()
            }
            Need::Compiler | Need::Linker => vec![Need::BuildTools, Need::Llvm],
            Need::Deny => vec![Need::BuildTools],
            Need::StorageTools => vec![Need::Qemu],
            Need::Kernel(_) => vec![Need::ImageTools],
            Need::GuestRoot => (0..SOURCES.len()).map(Need::Kernel).collect(),
        }
    }

    /// A short name.
    pub(crate) fn name(self) -> String {
        match self {
            Need::BuildTools => "c compiler".to_owned(),
            Need::Llvm => "llvm 22".to_owned(),
            Need::Compiler => "ebpf compiler".to_owned(),
            Need::Linker => "bpf-linker".to_owned(),
            Need::Deny => "cargo-deny".to_owned(),
            Need::Peers => "runc and crun".to_owned(),
            Need::ImageTools => "image tools".to_owned(),
            Need::Qemu => "qemu".to_owned(),
            Need::StorageTools => "storage tools".to_owned(),
            Need::Kernel(index) => format!("kernel {}", SOURCES[index].name),
            Need::GuestRoot => "guest root".to_owned(),
        }
    }

    /// What it is for.
    pub(crate) fn purpose(self) -> &'static str {
        match self {
            Need::BuildTools => "links programs, also static ones",
            Need::Llvm => "code generation for bpf-linker and compiler",
            Need::Compiler => "compiles the eBPF programs",
            Need::Linker => "links the eBPF programs",
            Need::Deny => "checks licences and sources of dependencies",
            Need::Peers => "check the conformance suite",
            Need::ImageTools => "make disk images for test machines",
            Need::Qemu => "runs test machines",
            Need::StorageTools => "serve and read virtual disks beside vmstorage",
            Need::Kernel(index) => SOURCES[index].purpose,
            Need::GuestRoot => "root disk of the test machines",
        }
    }

    /// What is there, in a few words; nothing if it is missing.
    pub(crate) fn find(self) -> Result<Option<String>> {
        let ok = |there: bool| there.then(|| "ok".to_owned());
        match self {
            Need::BuildTools => Ok(ok(packages::BUILD_TOOLS.found())),
            Need::Llvm => Ok(ok(packages::LLVM.found())),
            Need::Compiler => Ok(compiler::Compiler::find()?.map(|found| found.to_string())),
            Need::Linker => tools::BPF_LINKER.find(),
            Need::Deny => tools::CARGO_DENY.find(),
            Need::Peers => peers::find(),
            Need::ImageTools => Ok(ok(packages::IMAGE_TOOLS.found())),
            Need::StorageTools => Ok(ok(packages::STORAGE_TOOLS.found())),
            Need::Qemu => packages::find_qemu(),
            Need::Kernel(index) => Ok(SOURCES[index]
                .installed()?
                .map(|kernel| format!("ok: {}", kernel.release))),
            Need::GuestRoot => Ok(ok(guest_root::installed()?.is_some())),
        }
    }

    /// Installs it.
    pub(crate) fn install(self) -> Result<()> {
        match self {
            Need::BuildTools => packages::BUILD_TOOLS.install(),
            Need::Llvm => packages::LLVM.install(),
            Need::Compiler => compiler::install(),
            Need::Linker => tools::BPF_LINKER.install(),
            Need::Deny => tools::CARGO_DENY.install(),
            Need::Peers => peers::install(),
            Need::ImageTools => packages::IMAGE_TOOLS.install(),
            Need::StorageTools => packages::STORAGE_TOOLS.install(),
            Need::Qemu => packages::install_qemu(),
            Need::Kernel(index) => SOURCES[index].install(),
            Need::GuestRoot => guest_root::install(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Need;

    #[test]
    fn prerequisites_come_first_and_once() {
        let all = Need::all();
        for &need in &all {
            let found = Need::with_prerequisites(&[need]);
            assert_eq!(found.last(), Some(&need), "{need:?} is not last");
            for prerequisite in need.prerequisites() {
                let at = |wanted| all.iter().position(|&need| need == wanted);
                assert!(
                    at(prerequisite) < at(need),
                    "{prerequisite:?} comes after {need:?}"
                );
                assert_eq!(found.iter().filter(|&&n| n == prerequisite).count(), 1);
            }
        }
    }
}
