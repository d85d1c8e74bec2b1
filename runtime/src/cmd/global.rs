//! Options that every command takes.

use std::path::PathBuf;

use clap::ValueEnum;

use super::log::Format;
use crate::state::DEFAULT_ROOT;
use crate::user;

/// Options of every command, by the names that other runtimes give them.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Directory of the containers' state; by default `/run/reeve`, and for users other than root
    /// `$XDG_RUNTIME_DIR/reeve`
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Append errors and messages to a file; errors go to standard error as well
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// Form of the messages; `json` without `--log` is for standard error
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(super) log_format: Format,
    /// Say what is done
    #[arg(long, global = true)]
    pub(super) debug: bool,
    /// Let systemd make the cgroups; `linux.cgroupsPath` is `slice:prefix:name` then
    #[arg(long, global = true)]
    systemd_cgroup: bool,
    /// Go on without cgroups that cannot be had; stands before the command
    // Not global: `spec` has a switch of the same name.
    #[arg(
        id = "rootless-cgroups",
        long = "rootless",
        value_name = "WHEN",
        default_value = "auto"
    )]
    rootless: Rootless,
    /// Program that `checkpoint` and `restore` use
    #[arg(long, global = true, value_name = "PROGRAM", default_value = "criu")]
    criu: PathBuf,
}

/// Whether containers do without cgroups that `reeve` has no permission to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rootless {
    /// If `reeve` does not run as root.
    Auto,
    /// Always.
    True,
    /// Never.
    False,
}

impl Global {
    /// Absolute path of the directory of all state.
    pub fn root(&self) -> PathBuf {
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let root = !user::is_rootless();
        let path = self.root.clone();
        let path = path.unwrap_or_else(|| default_root(root, runtime_dir));
        std::path::absolute(&path).unwrap_or(path)
    }

    /// Whether systemd makes the cgroups.
    pub fn systemd_cgroup(&self) -> bool {
        self.systemd_cgroup
    }

    /// Whether a cgroup that cannot be made for lack of permission is done without.
    pub fn rootless(&self) -> bool {
        match self.rootless {
            Rootless::Auto => user::is_rootless(),
            Rootless::True => true,
            Rootless::False => false,
        }
    }

    /// The `criu` program, as a name to be looked up in `PATH` or as a path.
    pub fn criu(&self) -> &std::path::Path {
        &self.criu
    }
}

fn default_root(root: bool, runtime_dir: Option<PathBuf>) -> PathBuf {
    match runtime_dir.filter(|dir| !root && dir.is_absolute()) {
        Some(dir) => dir.join("reeve"),
        None => DEFAULT_ROOT.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn state_of_a_user_is_in_the_users_runtime_directory() {
        let dir = || Some(PathBuf::from("/run/user/5"));
        assert_eq!(default_root(false, dir()), Path::new("/run/user/5/reeve"));
        assert_eq!(default_root(true, dir()), Path::new(DEFAULT_ROOT));
        assert_eq!(default_root(false, None), Path::new(DEFAULT_ROOT));
        let relative = Some(PathBuf::from("run"));
        assert_eq!(default_root(false, relative), Path::new(DEFAULT_ROOT));
    }
}
