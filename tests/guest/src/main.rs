//! Process 1 of a test machine: mounts what a Linux host has, runs one job, reports, powers off.
//!
//! It is linked statically and starts from an initramfs. It does not know what a test is, keeps no
//! state, and leaves nothing running. A failure of its own is reported like any other verdict.

mod boot;
mod error;
mod host;
mod port;
mod supervise;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("guest-init: this is the init of a test machine; it does nothing elsewhere");
        return ExitCode::FAILURE;
    }
    let ended = boot::enter_root().and_then(|job| {
        host::prepare()?;
        supervise::run(&job)
    });
    if let Err(error) = ended {
        port::report_failure(&error);
    }
    host::power_off()
}
