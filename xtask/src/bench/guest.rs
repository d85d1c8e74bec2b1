//! A benchmark's job in a virtual machine, whose kernel can enforce policies.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use guest_init::Outcome;

use crate::setup::kernels;
use crate::vm::{self, Ending, Machine, Show, Verdict};

const MEMORY_MIB: u32 = 2048;

/// Boots a machine with the kernel of this name and runs the job there, which has to succeed within
/// `limit_seconds`.
pub(crate) fn run(
    kernel: &str,
    payload: &Path,
    job: Vec<String>,
    limit_seconds: u64,
) -> Result<Verdict> {
    vm::ensure()?;
    let found = kernels::named(kernel)?;
    let kernel = found.into_iter().next().context("a kernel of this name")?;
    eprintln!("in a machine with {}", kernel.release);
    let verdict = Machine {
        name: "bench".to_owned(),
        kernel,
        append: String::new(),
        memory_mib: MEMORY_MIB,
        payload: Some(payload.to_owned()),
        root: None,
        job: vm::batch(job, limit_seconds),
        show: Show::Nothing,
    }
    .run()?;
    if verdict.ending != Ending::Job(Outcome::Exit(0)) {
        bail!("{verdict}\n{}", verdict.output.trim());
    }
    Ok(verdict)
}
