//! `reeve restore`: makes a container from the files of a checkpoint.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::io::FdFlags;
use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount,
};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::criu::{self, Options, option};
use super::make::write_pid;
use super::{Error, Global};
use crate::cgroup::{CgroupDirs, Cgroups, Layout};
use crate::failure::Called as _;
use crate::launch;
use crate::spec::{CgroupPath, ContainerId, NamespaceKind, Spec};
use crate::state::{self, ProcessName, State, StateDir};
use crate::sys;

/// Make a container from the files of a checkpoint
///
/// The bundle must have the configuration and the root file system that the container was started
/// with. The exit status is that of the container, unless `--detach` is given. The work is done by
/// CRIU, which must be installed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve restore --image-path /var/lib/web.ckpt --bundle web web
  reeve restore --detach --pid-file web.pid --image-path web.ckpt -b web web")]
pub struct Args {
    #[command(flatten)]
    options: Options,
    /// Directory with `config.json` and the root file system
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Leave when the container runs
    #[arg(short, long)]
    detach: bool,
    /// Write the pid of the first process to a file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Accepted for the sake of callers: containers with a terminal cannot be restored
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Accepted for the sake of callers: orphans are never taken over
    #[arg(long)]
    no_subreaper: bool,
    /// Accepted for the sake of callers: criu decides how the root is changed
    #[arg(long)]
    no_pivot: bool,
    /// Security profile of the processes, `apparmor:NAME` or `selinux:LABEL`
    #[arg(long, value_name = "TYPE:NAME")]
    lsm_profile: Option<String>,
    /// Security context of the mounts
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let root = global.root();
    let (spec, config) = Spec::load(&args.bundle)?;
    if spec.process.terminal || args.console_socket.is_some() {
        return Err(criu::Error::Terminal.into());
    }
    let descriptors = descriptors(&args.options.image_path)?;
    launch::check_privileges(&spec)?;
    if let Some(dir) = &args.options.work_path {
        criu::make_dir(dir)?;
    }
    let path = spec.cgroup.clone();
    let path = path.unwrap_or_else(|| CgroupPath::default_for(&args.id));
    let layout = Layout::detect();
    // Dropped from the last to the first, if anything fails: nothing is left then.
    let mut dir = StateDir::create(&root, &args.id)?;
    let mut state = new_state(args, &spec, CgroupDirs::at(&layout, &path));
    dir.save_config(&config)?;
    dir.save(&state)?;
    let mut cgroups =
        Cgroups::create(&layout, &path, &spec.resources).map_err(launch::Error::from)?;
    let line = command_line(args, &spec, &path, &descriptors)?;
    let pid = restore(args, global, &root, &spec, line)?;
    state.process = ProcessName::of(pid.as_raw_nonzero().get());
    dir.save(&state)?;
    if let Some(path) = &args.pid_file {
        write_pid(path, pid.as_raw_nonzero().get())?;
    }
    if args.detach {
        dir.keep();
        cgroups.keep();
        return Ok(ExitCode::SUCCESS);
    }
    wait(pid)
}

fn new_state(args: &Args, spec: &Spec, cgroups: CgroupDirs) -> State {
    State {
        version: state::VERSION,
        id: args.id.clone(),
        process: None,
        creator: ProcessName::of(std::process::id().cast_signed()),
        bundle: spec.bundle.clone(),
        rootfs: spec.rootfs.clone(),
        oci_version: spec.oci_version.clone(),
        annotations: spec.annotations.clone(),
        owner: rustix::process::getuid().as_raw(),
        restored: true,
        created_ms: state::now_ms(),
        cgroups,
        rdt: None,
        policy: None,
    }
}

/// Lets criu make the processes; the first becomes a child of this one.
fn restore(
    args: &Args,
    global: &Global,
    root: &Path,
    spec: &Spec,
    mut line: Vec<OsString>,
) -> Result<Pid, Error> {
    let dir = root.join(&args.id);
    let (new_root, pid_file) = (dir.join("rootfs"), dir.join("restored.pid"));
    let mounted = NewRoot::mount(spec, &new_root)?;
    let namespaces = open_namespaces(spec)?;
    option(&mut line, "--root", &new_root);
    option(&mut line, "--pidfile", &pid_file);
    for (fd, name) in &namespaces {
        line.extend(criu::inherit_args(fd, name));
    }
    let log = args.options.log("restore.log");
    criu::run(global.criu(), "restore", &line, &log)?;
    drop(mounted);
    let text = fs::read_to_string(&pid_file);
    let text = text.called(|| format!("read(\"{}\")", pid_file.display()))?;
    fs::remove_file(&pid_file).called(|| format!("unlink(\"{}\")", pid_file.display()))?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| Error::Refused {
        program: "criu",
        said: format!("it wrote no pid but {text:?}"),
    })
}

/// The root file system as a mount, which criu wants, in a namespace of this process only. Undone
/// when dropped: its place is in the state directory, which could not be removed otherwise.
struct NewRoot<'a>(&'a Path);

impl<'a> NewRoot<'a> {
    fn mount(spec: &Spec, at: &'a Path) -> Result<Self, Error> {
        fs::create_dir(at).called(|| format!("mkdir(\"{}\")", at.display()))?;
        sys::unshare_mount_namespace().called(|| "unshare(CLONE_NEWNS)")?;
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change("/", slave).called(|| "mount(\"/\", MS_SLAVE|MS_REC)")?;
        let (from, to) = (spec.rootfs.display(), at.display());
        mount_bind_recursive(&spec.rootfs, at)
            .called(|| format!("mount(\"{from}\", \"{to}\", MS_BIND|MS_REC)"))?;
        Ok(Self(at))
    }
}

impl Drop for NewRoot<'_> {
    fn drop(&mut self) {
        let undone = unmount(self.0, UnmountFlags::DETACH).and_then(|()| rustix::fs::rmdir(self.0));
        if let Err(error) = undone {
            let path = self.0.display();
            tracing::warn!(%error, %path, "a mount for criu is left over");
        }
    }
}

/// Files of the joined namespaces that criu left alone, such that it inherits them.
fn open_namespaces(spec: &Spec) -> Result<Vec<(OwnedFd, &'static str)>, Error> {
    let mut opened = Vec::new();
    for (_, name, path) in criu::external_namespaces(spec) {
        let file = File::open(path).called(|| format!("open(\"{}\")", path.display()))?;
        let fd = OwnedFd::from(file);
        rustix::io::fcntl_setfd(&fd, FdFlags::empty()).called(|| "fcntl(F_SETFD, 0)")?;
        opened.push((fd, name));
    }
    Ok(opened)
}

fn command_line(
    args: &Args,
    spec: &Spec,
    cgroup: &CgroupPath,
    descriptors: &[String],
) -> Result<Vec<OsString>, Error> {
    let mut line = args.options.to_criu()?;
    line.extend(["--restore-detached".into(), "--restore-sibling".into()]);
    option(&mut line, "--log-file", "restore.log");
    option(
        &mut line,
        "--cgroup-root",
        Path::new("/").join(cgroup.relative()),
    );
    if let Some(profile) = &args.lsm_profile {
        option(&mut line, "--lsm-profile", profile);
    }
    if let Some(context) = &args.lsm_mount_context {
        option(&mut line, "--lsm-mount-context", context);
    }
    let null = PathBuf::from("/dev/null");
    let masked = spec.masked_paths.iter();
    let mut mounts = criu::external_mounts(spec);
    // criu passes over those that the checkpoint does not have.
    mounts.extend(masked.map(|path| (path.clone(), null.clone())));
    line.extend(criu::mount_args(&mounts));
    for (kind, path) in spec.namespaces.joined() {
        let name = match kind {
            NamespaceKind::Uts => "uts",
            NamespaceKind::Ipc => "ipc",
            _ => continue,
        };
        option(&mut line, "--join-ns", format!("{name}:{}", path.display()));
    }
    line.extend(criu::pipe_args(descriptors));
    Ok(line)
}

/// What the checkpoint says of standard input and output.
fn descriptors(image: &Path) -> Result<Vec<String>, Error> {
    let path = image.join(criu::DESCRIPTORS);
    let text = fs::read(&path).called(|| format!("read(\"{}\")", path.display()));
    let text = text.map_err(|source| criu::Error::NoCheckpoint {
        dir: image.to_owned(),
        source,
    })?;
    Ok(serde_json::from_slice(&text)?)
}

/// Stays until the first process has ended. What is left of the container goes when the caller's
/// hold on it is dropped.
fn wait(pid: Pid) -> Result<ExitCode, Error> {
    loop {
        let ended = waitpid(Some(pid), WaitOptions::empty());
        let ended = match ended {
            Err(rustix::io::Errno::INTR) => continue,
            ended => ended.called(|| format!("waitpid({pid:?})"))?,
        };
        let Some((_, status)) = ended else {
            continue;
        };
        let code = status.exit_status();
        let code = code.or_else(|| status.terminating_signal().map(|signal| 128 + signal));
        if let Some(code) = code {
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)));
        }
    }
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

    #[test]
    fn the_line_names_what_lies_outside() {
        let image = tempfile::tempdir().unwrap();
        let path = image.path().display();
        fs::write(
            image.path().join(criu::DESCRIPTORS),
            r#"["/dev/null", "pipe:[7]", "pipe:[8]"]"#,
        )
        .unwrap();
        let image_path = format!("--image-path={path}");
        let line = ["restore", &image_path, "--lsm-profile=apparmor:p", "a"];
        let args = Line::parse_from(line).args;
        let cgroup = CgroupPath::default_for(&args.id);
        let descriptors = descriptors(image.path()).unwrap();
        let line = command_line(&args, &spec(), &cgroup, &descriptors).unwrap();
        let line: Vec<_> = line.iter().map(|arg| arg.to_str().unwrap()).collect();
        assert_eq!(
            line.join(" "),
            format!(
                "--images-dir {path} -v4 --manage-cgroups=soft --restore-detached \
                 --restore-sibling --log-file restore.log --cgroup-root /reeve/a \
                 --lsm-profile apparmor:p --external mnt[/data]:/srv/a b \
                 --external mnt[/proc/kcore]:/dev/null --external mnt[/proc/acpi]:/dev/null \
                 --inherit-fd fd[1]:pipe:[7] --inherit-fd fd[2]:pipe:[8]"
            )
        );
    }

    #[test]
    fn a_directory_that_is_no_checkpoint() {
        let empty = tempfile::tempdir().unwrap();
        let error = descriptors(empty.path()).unwrap_err();
        assert!(
            error.line().contains("descriptors.json"),
            "{}",
            error.line()
        );
    }
}
