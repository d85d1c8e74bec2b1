//! `reeve doctor`: whether this host can enforce a policy, and how to make it.

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use ebpf_loader::{Enforcer, btf, host};
use serde::Serialize;

use super::say;

mod loaded;

/// Find out whether this host can enforce policies, and how to make it
///
/// The last finding is a trial: Reeve's programs are loaded, a process is put under a policy, and a
/// refusal is seen to happen. Exits with 1 if a policy could not be enforced here.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve doctor                          # findings, each with its remedy
  reeve doctor --quiet && echo ready    # for scripts
  reeve doctor --loaded                 # what is loaded, what it costs, how full it is")]
pub struct Args {
    /// One JSON object with all findings
    #[arg(long)]
    json: bool,
    /// Print nothing; only the exit status tells
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// What containers have loaded now: each program with what it costs, each table with how full
    /// it is
    ///
    /// Runs and their time are counted while `sysctl kernel.bpf_stats_enabled=1` holds.
    #[arg(long, conflicts_with = "quiet")]
    loaded: bool,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    good: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn new(what: &'static str, good: bool, found: impl Into<String>, remedy: &str) -> Self {
        let remedy = (!good).then(|| remedy.to_owned());
        Self {
            what,
            good,
            found: found.into(),
            remedy,
        }
    }
}

/// Prints the findings.
///
/// # Errors
/// JSON that cannot be written.
pub fn run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    if args.loaded {
        return loaded::run(args.json);
    }
    let mut findings = look();
    findings.push(trial());
    let good = findings.iter().all(|finding| finding.good);
    if args.json {
        say(serde_json::to_string_pretty(&findings)?)?;
    } else if !args.quiet {
        print(&findings)?;
        let sum = if good {
            "this host can enforce policies"
        } else {
            "this host cannot enforce policies"
        };
        say(format_args!("\n{sum}"))?;
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(findings: &[Finding]) -> io::Result<()> {
    let width = findings
        .iter()
        .map(|finding| finding.what.len())
        .max()
        .unwrap_or(0);
    for Finding {
        what,
        good,
        found,
        remedy,
    } in findings
    {
        let mark = if *good { "ok  " } else { "FAIL" };
        say(format_args!("{mark}  {what:width$}  {found}"))?;
        if let Some(remedy) = remedy {
            say(format_args!("      {:width$}  help: {remedy}", ""))?;
        }
    }
    Ok(())
}

/// What can be seen without changing anything.
fn look() -> Vec<Finding> {
    vec![
        kernel(),
        security_modules(),
        type_information(),
        build(),
        bpffs(),
        cgroups(),
        ftrace(),
    ]
}

fn kernel() -> Finding {
    let (major, minor) = host::kernel_version();
    let good = (major, minor) >= (6, 1);
    Finding::new(
        "kernel",
        good,
        format!("{major}.{minor}"),
        "use Linux 6.1 or newer",
    )
}

fn security_modules() -> Finding {
    let remedy = match host::require_bpf_lsm() {
        Ok(()) => None,
        Err(error) => error.help(),
    };
    let found = host::active_lsms().unwrap_or_else(|| {
        "not shown (securityfs is not mounted at /sys/kernel/security)".to_owned()
    });
    Finding {
        what: "security modules",
        good: remedy.is_none(),
        found,
        remedy,
    }
}

fn type_information() -> Finding {
    const WHAT: &str = "kernel types (BTF)";
    match btf::Btf::of_kernel().and_then(|kernel| kernel.offsets()) {
        Ok(offsets) => Finding::new(WHAT, true, format!("{} fields resolved", offsets.len()), ""),
        Err(error) => {
            let remedy = error.help();
            Finding {
                what: WHAT,
                good: false,
                found: error.to_string(),
                remedy,
            }
        }
    }
}

fn build() -> Finding {
    let good = host::has_object();
    let found = if good { "embedded" } else { "missing" };
    Finding::new(
        "eBPF object",
        good,
        found,
        "run `cargo xtask ebpf` and build again",
    )
}

fn bpffs() -> Finding {
    let good = host::has_bpffs();
    let found = if good {
        "mounted at /sys/fs/bpf"
    } else {
        "not mounted"
    };
    Finding::new(
        "bpf file system",
        good,
        found,
        "mount -t bpf bpf /sys/fs/bpf",
    )
}

fn cgroups() -> Finding {
    let controllers = |path: &str| Path::new(path).join("cgroup.controllers").exists();
    let found = match (
        controllers("/sys/fs/cgroup"),
        controllers("/sys/fs/cgroup/unified"),
    ) {
        (true, _) => "version 2",
        (false, true) => "hybrid, version 2 at /sys/fs/cgroup/unified",
        (false, false) => "no version 2 hierarchy",
    };
    let good = found != "no version 2 hierarchy";
    Finding::new(
        "cgroups",
        good,
        found,
        "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
    )
}

fn ftrace() -> Finding {
    let value = fs::read_to_string("/proc/sys/kernel/ftrace_enabled").unwrap_or_default();
    let good = value.trim() != "0";
    let found = if good {
        "on"
    } else {
        "off: programs on LSM hooks do not run"
    };
    Finding::new("ftrace", good, found, "sysctl kernel.ftrace_enabled=1")
}

/// Loads, sees a refusal, and unloads what nothing uses.
fn trial() -> Finding {
    const WHAT: &str = "trial";
    let tried = Enforcer::ensure().and_then(|enforcer| enforcer.unload_if_unused());
    match tried {
        Ok(_) => Finding::new(WHAT, true, "a refusal was seen to happen", ""),
        Err(error) => Finding {
            what: WHAT,
            good: false,
            remedy: error.help(),
            found: chain(&error),
        },
    }
}

/// An error and its causes on one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
