//! What can go wrong, each with the call that failed and, where the user can mend it, how.

use std::io;
use std::path::PathBuf;

/// Why enforcement is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel's list of security modules lacks `bpf`.
    #[error("the kernel's security modules are `{active}`, without `bpf`")]
    NoBpfLsm {
        /// Content of `/sys/kernel/security/lsm`.
        active: String,
    },
    /// The kernel shows no type information.
    #[error("open(\"/sys/kernel/btf/vmlinux\") failed")]
    NoBtf(#[source] io::Error),
    /// The kernel's type information cannot be read.
    #[error("the kernel's BTF is malformed: {0}")]
    BadBtf(&'static str),
    /// The kernel has no such field.
    #[error("the running kernel's BTF has no field `{field}` in `struct {container}`")]
    NoField {
        /// Name of the struct.
        container: &'static str,
        /// Member path.
        field: &'static str,
    },
    /// The kernel has no such hook.
    #[error("the running kernel has no LSM hook `{0}`")]
    NoHook(&'static str),
    /// The build embeds no object.
    #[error("this build of reeve has no eBPF object in it")]
    NoObject,
    /// The object could not be loaded.
    #[error("the eBPF object could not be loaded")]
    Load(#[source] Box<aya::EbpfError>),
    /// A program was refused.
    #[error("the kernel refused the eBPF program on `{hook}`")]
    Program {
        /// The hook.
        hook: &'static str,
        /// What the kernel said, the verifier's log included.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// A pin could not be made.
    #[error("pin({path:?}) failed", path = path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The BPF file system is not there.
    #[error("{path:?} is not a bpf file system", path = path.display())]
    NoBpffs {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("{call} failed")]
    System {
        /// The call with its arguments.
        call: String,
        /// Its errno.
        #[source]
        source: io::Error,
    },
    /// A forbidden action went through although everything is loaded.
    #[error("a refusal was tried and did not happen: {found}")]
    NotEnforced {
        /// What was seen instead.
        found: String,
    },
    /// Processes of a container could not be ended, or not be told from others.
    #[error("processes of the container are left, or cannot be told from others")]
    StillLabelled,
    /// A cgroup that the kernel side would not find.
    #[error("the container's cgroup lies {level} levels deep, of 1 to {most}")]
    CgroupDepth {
        /// Its depth.
        level: u32,
        /// The deepest that is found.
        most: u32,
    },
    /// No policy number is left.
    #[error("all policy numbers are used up")]
    NoPolicyNumber,
    /// Programs are loaded that are not this build's.
    #[error("what is pinned at {:?} is incomplete: `{missing}` is not there", path.display())]
    Incomplete {
        /// The pin directory.
        path: PathBuf,
        /// What was looked for.
        missing: String,
    },
}

impl Error {
    /// A failed system call.
    pub(crate) fn system(call: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            call: call.into(),
            source: source.into(),
        }
    }

    /// Whether it is a system call's failure with this errno.
    pub(crate) fn is(&self, errno: rustix::io::Errno) -> bool {
        matches!(self, Self::System { source, .. }
            if source.raw_os_error() == Some(errno.raw_os_error()))
    }

    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::NoBpfLsm { active } => {
                return Some(format!(
                    "boot with `lsm={active},bpf` on the kernel command line (on Debian: \
                     GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub)"
                ));
            }
            Self::NoBtf(_) => "use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
            Self::NoField { .. } | Self::NoHook(_) => {
                "this kernel is not supported yet: please report its version"
            }
            Self::NoObject => "run `cargo xtask ebpf` and build again",
            Self::NoBpffs { .. } => "mount -t bpf bpf /sys/fs/bpf",
            Self::Program { .. } => {
                "`reeve doctor` shows what this kernel lacks; loading needs CAP_BPF, CAP_PERFMON \
                 and CAP_SYS_ADMIN over the host"
            }
            Self::NotEnforced { .. } => {
                "see that /proc/sys/kernel/ftrace_enabled is 1, and that `bpf` is in \
                 /sys/kernel/security/lsm"
            }
            Self::Incomplete { .. } => {
                "stop the containers that have a policy; the next start loads afresh"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}
