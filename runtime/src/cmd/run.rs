//! `reeve run`: creates a container, starts it and stays until it has ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Error;
use super::say;
use crate::cgroup::Layout;
use crate::launch::{GivenPolicy, Prepared, Request, check_privileges, seal};
use crate::plan::{Host, LaunchPlan};
use crate::spec::{ContainerId, Spec};

/// Create a container from an OCI bundle, start it, and stay until it has ended
///
/// The exit status is that of the entry process, or 128 plus the number of the signal that ended
/// it; 1 if the container could not be started.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve run -b web web                  # without a policy, as any runtime would
  reeve run -b web -p web.yaml web      # under a policy
  reeve run -b web --dry-run web        # what would be done, step by step")]
pub struct Args {
    /// Directory with `config.json` and the root file system
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Policy that says which host actions are allowed; without one, Reeve confines nothing
    #[arg(short, long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Write the pid of the entry process to a file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// With `--dry-run`: print it as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

pub(super) fn run(args: Args, root: &Path) -> Result<ExitCode, Error> {
    if !args.dry_run {
        seal()?;
    }
    let spec = Spec::load(&args.bundle)?;
    let policy = args.policy.as_deref().map(read_policy).transpose()?;
    let host = Host {
        cgroups: Layout::detect(),
        policy: policy.as_ref().map(|given| given.policy.name().to_owned()),
    };
    let plan = LaunchPlan::build(args.id, &spec, &host);
    if args.dry_run {
        if args.json {
            say(serde_json::to_string_pretty(&plan)?)?;
        } else {
            say(plan.to_string().trim_end())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    check_privileges(&spec)?;
    let prepared = Prepared::new(Request {
        root: root.to_owned(),
        cgroups: host.cgroups,
        plan,
        policy,
    })?;
    let confined = prepared.clone_process()?.confine()?;
    if let Some(path) = &args.pid_file {
        write_pid(path, confined.pid())?;
    }
    let running = confined.release()?;
    Ok(running.supervise()?.code())
}

fn read_policy(path: &Path) -> Result<GivenPolicy, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::File {
        operation: "read",
        path: path.to_owned(),
        source,
    })?;
    let policy = policy::parse(&path.to_string_lossy(), &text).map_err(Error::Policy)?;
    Ok(GivenPolicy {
        path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        policy,
    })
}

/// Writes the file as a whole: whoever waits for it never reads half a number.
pub(super) fn write_pid(path: &Path, pid: i32) -> Result<(), Error> {
    let mut next = path.as_os_str().to_owned();
    next.push(".next");
    let next = PathBuf::from(next);
    let error = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File {
            operation,
            path,
            source,
        }
    };
    fs::write(&next, pid.to_string()).map_err(error("write", &next))?;
    fs::rename(&next, path).map_err(error("rename", path))
}
