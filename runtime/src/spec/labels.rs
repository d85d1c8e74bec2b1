//! Labels of Linux security modules: `process.apparmorProfile`, `process.selinuxLabel`,
//! `linux.mountLabel`.

use std::ffi::CString;

use oci_spec::runtime::{Linux, Process as RawProcess};

use super::{Error, Mount, MountKind, Problem};
use crate::lsm::Lsms;

/// File systems that take no `context` option: the kernel labels what is in the first two itself,
/// the others have one super block for all who mount them.
const NO_CONTEXT: &[&str] = &["proc", "sysfs", "mqueue"];

/// What a container is labelled with; an empty text in the configuration is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// AppArmor profile of the entry process.
    pub apparmor: Option<CString>,
    /// SELinux context of the entry process.
    pub selinux: Option<CString>,
    /// SELinux context of file systems that are mounted for the container.
    pub mount: Option<String>,
}

impl Labels {
    pub(super) fn check(process: &RawProcess, linux: &Linux) -> Result<Self, Error> {
        Ok(Self {
            apparmor: text("process.apparmorProfile", process.apparmor_profile())?,
            selinux: text("process.selinuxLabel", process.selinux_label())?,
            mount: text("linux.mountLabel", linux.mount_label())?
                .and_then(|label| label.into_string().ok()),
        })
    }

    /// Those of another process, and the same for mounts.
    pub(super) fn with_process(self, process: &RawProcess) -> Result<Self, Error> {
        Ok(Self {
            apparmor: text("process.apparmorProfile", process.apparmor_profile())?,
            selinux: text("process.selinuxLabel", process.selinux_label())?,
            ..self
        })
    }

    /// Refuses labels of modules that are not in force: the container would run without.
    pub fn refuse_inactive(&self, active: Lsms) -> Result<(), Error> {
        for (key, wanted, active, module) in [
            (
                "process.apparmorProfile",
                self.apparmor.is_some(),
                active.apparmor,
                "AppArmor",
            ),
            (
                "process.selinuxLabel",
                self.selinux.is_some(),
                active.selinux,
                "SELinux",
            ),
            (
                "linux.mountLabel",
                self.mount.is_some(),
                active.selinux,
                "SELinux",
            ),
        ] {
            if wanted && !active {
                return Err(Error::invalid(key, Problem::InactiveLsm(module)));
            }
        }
        Ok(())
    }

    /// Gives the mount label to new file systems that do not say their own.
    pub(super) fn apply(&self, mounts: &mut [Mount]) {
        let Some(label) = &self.mount else { return };
        for mount in mounts {
            if let MountKind::New {
                fs_type, options, ..
            } = &mut mount.kind
            {
                let own = options.iter().any(|(name, _)| name == "context");
                if !own && !NO_CONTEXT.contains(&fs_type.as_str()) {
                    options.push(("context".to_owned(), Some(label.clone())));
                }
            }
        }
    }

    /// Whether a mount's root gets the mount label as an attribute instead.
    pub(crate) fn of_mount_root(&self, mount: &Mount) -> Option<String> {
        match &mount.kind {
            MountKind::New { fs_type, .. } if fs_type == "mqueue" => self.mount.clone(),
            _ => None,
        }
    }
}

fn text(key: &str, raw: &Option<String>) -> Result<Option<CString>, Error> {
    let text = raw.as_deref().filter(|text| !text.is_empty());
    let text = text.map(|text| {
        // One line is one command to the module.
        if text.contains('\n') {
            let problem = Problem::UnknownWord(text.to_owned());
            return Err(Error::invalid(key, problem));
        }
        CString::new(text).map_err(|_| Error::invalid(key, Problem::Nul))
    });
    text.transpose()
}
