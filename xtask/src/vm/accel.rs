//! Whether machines run under KVM or are emulated.
//!
//! That `/dev/kvm` is there says little: nested KVM can hang any stock kernel. So KVM is used only
//! after a kernel really booted under it, and the answer is kept for this kernel and this emulator.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::setup::kernels::Kernel;
use crate::{paths, setup};

/// How guest code is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accel {
    /// By the processor.
    Kvm,
    /// By translation; two to five times slower and more, and works everywhere.
    Tcg,
}

/// A processor without what the emulator lacks, so that it does not warn of it at each start.
const TCG_CPU: &str = "Haswell-noTSX,-pcid,-tsc-deadline,-invpcid";

/// A kernel that has not reached the init by then hangs.
pub(crate) const PROBE_LIMIT: Duration = Duration::from_secs(20);

impl Accel {
    /// Options of the emulator.
    pub(crate) fn options(self) -> &'static [&'static str] {
        match self {
            Accel::Kvm => &["-accel", "kvm", "-cpu", "host"],
            Accel::Tcg => &["-accel", "tcg,thread=multi", "-cpu", TCG_CPU],
        }
    }

    /// Added to the kernel's command line.
    pub(crate) fn append(self) -> &'static str {
        match self {
            Accel::Kvm => "",
            // An emulated processor leaks nothing, and page table isolation costs a quarter.
            Accel::Tcg => "mitigations=off",
        }
    }

    /// A word for the output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        }
    }

    /// What to use for `kernel`; `boots` boots it under KVM and says if it reached the init.
    pub(crate) fn choose(kernel: &Kernel, boots: impl FnOnce() -> Result<bool>) -> Result<Accel> {
        if fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return Ok(Accel::Tcg);
        }
        let answer = answer_file(kernel)?;
        if let Ok(text) = fs::read_to_string(&answer) {
            return Ok(if text == "works" {
                Accel::Kvm
            } else {
                Accel::Tcg
            });
        }
        eprintln!("trying KVM with {} (once)", kernel.release);
        let works = boots()?;
        eprintln!(
            "KVM {}",
            if works {
                "works"
            } else {
                "does not boot it: emulating"
            }
        );
        remember(&answer, if works { "works" } else { "hangs" })?;
        Ok(if works { Accel::Kvm } else { Accel::Tcg })
    }
}

fn answer_file(kernel: &Kernel) -> Result<PathBuf> {
    let qemu = setup::qemu_version()?.unwrap_or_default();
    let host = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let name = format!("{}_qemu-{qemu}_host-{host}", kernel.release);
    Ok(paths::cache()?.join("kvm").join(name.replace('/', "_")))
}

fn remember(path: &Path, answer: &str) -> Result<()> {
    paths::create_dir(path.parent().unwrap_or(path))?;
    fs::write(path, answer).with_context(|| format!("write `{}`", path.display()))
}
