//! `cargo xtask demo`: the main job on a real kernel.

use std::process::ExitCode;

use anyhow::Result;
use tempfile::TempDir;

use crate::build::{self, Guest};
use crate::cmd::{self, Cmd};
use crate::setup::kernels::{self, Kernel};
use crate::vm::{self, Machine, Show};

/// Show a privileged container that a policy file holds.
///
/// Runs on this machine if its kernel can enforce policies, and in a virtual machine otherwise.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernel of the virtual machine: 6.1, 6.12, newest, a release; all of them with `all`.
    #[arg(long, default_value = "newest")]
    kernel: String,
    /// Use a virtual machine even if this machine's kernel can enforce policies.
    #[arg(long)]
    vm: bool,
}

const MEMORY_MIB: u32 = 2048;

/// Seconds, under emulation.
const LIMIT_SECONDS: u64 = 600;

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let payload = build::guest_payload(&Guest {
        bins: &["reeve", "probe", "demo"],
        tests: &[],
    })?;
    if !args.vm {
        if enforces_here(&payload)? {
            return on_this_machine(&payload);
        }
        println!("this machine cannot enforce policies (`reeve doctor` says why)");
    }
    vm::ensure()?;
    let mut status = 0;
    for kernel in kernels::named(&args.kernel)? {
        println!("running in a virtual machine with {}\n", kernel.release);
        let failed = in_machine(kernel, &payload)?;
        status = if status == 0 { failed } else { status };
    }
    Ok(ExitCode::from(status))
}

/// Asks the runtime itself.
fn enforces_here(payload: &TempDir) -> Result<bool> {
    let reeve = payload.path().join("bin/reeve");
    Cmd::new(reeve).args(["doctor", "--quiet"]).succeeds()
}

fn on_this_machine(payload: &TempDir) -> Result<ExitCode> {
    println!("running on this machine: its kernel can enforce policies\n");
    let bin = payload.path().join("bin");
    let mut path = bin.clone().into_os_string();
    path.push(":");
    path.push(cmd::full_path());
    let succeeded = Cmd::new(bin.join("demo")).env("PATH", path).succeeds()?;
    Ok(if succeeded {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The exit status of the demo.
fn in_machine(kernel: Kernel, payload: &TempDir) -> Result<u8> {
    let machine = Machine {
        name: "demo".to_owned(),
        kernel,
        append: String::new(),
        memory_mib: MEMORY_MIB,
        payload: Some(payload.path().to_owned()),
        root: None,
        job: vm::batch(vec!["/payload/bin/demo".to_owned()], LIMIT_SECONDS),
        show: Show::Plain,
    };
    let verdict = machine.run()?;
    println!();
    verdict.print("");
    Ok(verdict.exit_status())
}
