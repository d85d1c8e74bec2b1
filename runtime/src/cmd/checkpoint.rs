//! `reeve checkpoint`: writes a running container to files, from which it can be restored.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::criu::{self, Options, option};
use super::{Error, Global};
use crate::cgroup::CgroupDirs;
use crate::failure::Called as _;
use crate::spec::{ContainerId, Spec};
use crate::state::{State, Status};

/// Write a running container to files, from which it can be restored
///
/// Its processes end and it is deleted, unless `--leave-running` is given. The work is done by
/// CRIU, which must be installed. Containers with a policy or a terminal are refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve checkpoint --image-path /var/lib/web.ckpt web
  reeve checkpoint --leave-running web      # it goes on; files in ./checkpoint
  reeve checkpoint --pre-dump --image-path one web
  reeve checkpoint --parent-path ../one --image-path two web")]
pub struct Args {
    #[command(flatten)]
    options: Options,
    /// Let the container go on
    #[arg(long)]
    leave_running: bool,
    /// Write memory only and let the container go on; another checkpoint is to follow
    #[arg(long)]
    pre_dump: bool,
    /// With `--lazy-pages`: descriptor to which a NUL is written when memory can be asked for
    #[arg(long, value_name = "FD", requires = "lazy_pages")]
    status_fd: Option<u16>,
    /// Send memory to the page server at this place
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<PageServer>,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

/// Where a page server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PageServer {
    address: String,
    port: u16,
}

impl std::str::FromStr for PageServer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "an address, `:` and a port are wanted";
        let (address, port) = text.rsplit_once(':').ok_or(wanted)?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        if address.is_empty() {
            return Err(wanted);
        }
        Ok(Self {
            address: address.to_owned(),
            port: port.parse().map_err(|_| wanted)?,
        })
    }
}

pub(super) fn run(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let root = global.root();
    let state = State::load(&root, &args.id)?;
    if state.policy.is_some() {
        return Err(criu::Error::Policy(state.id.to_string()).into());
    }
    let process = state.process.filter(|_| state.status() != Status::Stopped);
    let not_running = || criu::Error::NotRunning(state.id.to_string());
    let pid = process.ok_or_else(not_running)?.pid;
    let spec = state.spec(&global.root())?;
    if spec.process.terminal {
        return Err(criu::Error::Terminal.into());
    }
    criu::make_dir(&args.options.image_path)?;
    if let Some(dir) = &args.options.work_path {
        criu::make_dir(dir)?;
    }
    if !args.pre_dump {
        remember_descriptors(pid, &args.options.image_path)?;
    }
    let action = if args.pre_dump { "pre-dump" } else { "dump" };
    let line = command_line(args, pid, &spec, freezer(&state.cgroups))?;
    criu::run(global.criu(), action, &line, &args.options.log("dump.log"))?;
    if !args.leave_running && !args.pre_dump {
        state.cgroups.destroy()?;
        state.remove(&root)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn command_line(
    args: &Args,
    pid: i32,
    spec: &Spec,
    freezer: Option<PathBuf>,
) -> Result<Vec<OsString>, Error> {
    let mut line = args.options.to_criu()?;
    option(&mut line, "--tree", pid.to_string());
    option(&mut line, "--log-file", "dump.log");
    option(&mut line, "--root", &spec.rootfs);
    if let Some(freezer) = freezer {
        option(&mut line, "--freeze-cgroup", freezer);
    }
    if let Some(parent) = &args.options.parent_path {
        option(&mut line, "--prev-images-dir", parent);
    }
    if args.pre_dump || args.options.parent_path.is_some() {
        line.push("--track-mem".into());
    }
    if args.leave_running {
        line.push("--leave-running".into());
    }
    if let Some(server) = &args.page_server {
        line.push("--page-server".into());
        option(&mut line, "--address", &server.address);
        option(&mut line, "--port", server.port.to_string());
    }
    if let Some(fd) = args.status_fd {
        option(&mut line, "--status-fd", fd.to_string());
    }
    line.extend(criu::namespace_args(spec)?);
    if !args.pre_dump {
        let mounts = criu::external_mounts(spec);
        let names = mounts.into_iter().map(|(target, _)| target);
        let names = names.chain(masked_files(pid, spec));
        let names: Vec<_> = names.map(|name| (name.clone(), name)).collect();
        line.extend(criu::mount_args(&names));
    }
    Ok(line)
}

/// Masked paths that are no directories: over each lies the host's `/dev/null`.
fn masked_files(pid: i32, spec: &Spec) -> Vec<PathBuf> {
    let paths = spec.masked_paths.iter();
    let masked = paths.filter(|path| {
        let seen = format!("/proc/{pid}/root{}", path.display());
        fs::symlink_metadata(seen).is_ok_and(|found| !found.is_dir())
    });
    masked.cloned().collect()
}

/// The group that criu freezes, so that nothing of the container runs while it is read.
fn freezer(cgroups: &CgroupDirs) -> Option<PathBuf> {
    let v1 = cgroups
        .v1
        .iter()
        .find(|dir| dir.join("freezer.state").exists());
    let v2 = cgroups
        .v2
        .iter()
        .find(|dir| dir.join("cgroup.freeze").exists());
    v1.or(v2).cloned()
}

/// Writes down what standard input and output are, to give it new ones in their place.
fn remember_descriptors(pid: i32, image: &Path) -> Result<(), Error> {
    let link = |fd: i32| {
        let link = fs::read_link(format!("/proc/{pid}/fd/{fd}"));
        link.map_or_else(|_| String::new(), |link| link.display().to_string())
    };
    let text = serde_json::to_string(&[0, 1, 2].map(link))?;
    let path = image.join(criu::DESCRIPTORS);
    fs::write(&path, text).called(|| format!("write(\"{}\")", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::criu::tests::spec;
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn line(args: &[&str]) -> String {
        let parsed = Line::parse_from([&["checkpoint"], args].concat());
        let freezer = Some("/sys/fs/cgroup/reeve/a".into());
        let line = command_line(&parsed.args, 7, &spec(), freezer).unwrap();
        let line: Vec<_> = line.iter().map(|arg| arg.to_str().unwrap()).collect();
        line.join(" ")
    }

    #[test]
    fn a_dump() {
        let text = line(&["--image-path", "/i", "--tcp-established", "a"]);
        let head = "--images-dir /i -v4 --tcp-established --manage-cgroups=soft --tree 7 \
                    --log-file dump.log --root /b/rootfs --freeze-cgroup /sys/fs/cgroup/reeve/a \
                    --external net[";
        assert!(text.starts_with(head), "{text}");
        assert!(text.contains("--external mnt[/data]:/data"), "{text}");
    }

    #[test]
    fn a_dump_of_what_changed() {
        let options = ["--image-path=/i", "--parent-path=../one", "--work-path=/w"];
        let more = ["--page-server=[::1]:99", "--leave-running", "a"];
        let text = line(&[&options[..], &more[..]].concat());
        for expected in [
            "--work-dir /w",
            "--prev-images-dir ../one --track-mem --leave-running",
            "--page-server --address ::1 --port 99",
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn memory_ahead_of_the_rest() {
        let text = line(&["--pre-dump", "--image-path=/i", "--empty-ns=network", "a"]);
        assert!(text.contains("--empty-ns net"), "{text}");
        assert!(text.contains("--track-mem"), "{text}");
        assert!(!text.contains("mnt["), "{text}");
    }

    #[test]
    fn where_a_page_server_is() {
        assert!("host:1".parse::<PageServer>().is_ok());
        for text in ["host", ":1", "host:", "host:x", "host:70000"] {
            assert!(text.parse::<PageServer>().is_err(), "{text}");
        }
    }
}
