//! Hooks: programs of the host or the container that run at moments of a container's life.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use oci_spec::runtime::{Hook as RawHook, Hooks as RawHooks};
use serde::Serialize;

use super::process::strings;
use super::{Error, Problem, rooted};

/// The hooks of a container, each kind in its order (runtime-spec config.md, "POSIX-platform
/// Hooks").
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Hooks {
    /// In the runtime's namespaces, once those of the container exist. Deprecated, and still what
    /// many engines write.
    pub prestart: Vec<Hook>,
    /// As `prestart`, after it.
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, with the host's file system still in sight.
    pub create_container: Vec<Hook>,
    /// In the container, right before its entry process; programs of its root file system.
    pub start_container: Vec<Hook>,
    /// In the runtime's namespaces, when the entry process runs.
    pub poststart: Vec<Hook>,
    /// In the runtime's namespaces, when the container is gone.
    pub poststop: Vec<Hook>,
}

/// One program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// Absolute path.
    pub path: PathBuf,
    /// Its arguments, its name first.
    #[serde(serialize_with = "crate::plan::as_text")]
    pub args: Vec<CString>,
    /// Its whole environment.
    #[serde(serialize_with = "crate::plan::as_text")]
    pub env: Vec<CString>,
    /// How long it may take; killed then. `None` is without end.
    pub timeout: Option<Duration>,
}

impl Hooks {
    pub(super) fn check(raw: Option<&RawHooks>) -> Result<Self, Error> {
        let Some(raw) = raw else {
            return Ok(Self::default());
        };
        #[allow(deprecated, reason = "deprecated is not gone: engines still write it")]
        let prestart = raw.prestart();
        Ok(Self {
            prestart: check_all("prestart", prestart)?,
            create_runtime: check_all("createRuntime", raw.create_runtime())?,
            create_container: check_all("createContainer", raw.create_container())?,
            start_container: check_all("startContainer", raw.start_container())?,
            poststart: check_all("poststart", raw.poststart())?,
            poststop: check_all("poststop", raw.poststop())?,
        })
    }

    /// Whether any runs while the container is made, before its root is its root.
    pub fn before_pivot(&self) -> bool {
        let kinds = [&self.prestart, &self.create_runtime, &self.create_container];
        kinds.iter().any(|hooks| !hooks.is_empty())
    }
}

fn check_all(kind: &str, raw: &Option<Vec<RawHook>>) -> Result<Vec<Hook>, Error> {
    let raw = raw.iter().flatten().enumerate();
    raw.map(|(at, raw)| check(&format!("hooks.{kind}[{at}]"), raw))
        .collect()
}

fn check(key: &str, raw: &RawHook) -> Result<Hook, Error> {
    let path = rooted(&format!("{key}.path"), raw.path())?;
    let mut args = strings(
        &format!("{key}.args"),
        raw.args().as_deref().unwrap_or_default(),
    )?;
    if args.is_empty() {
        let nul = |_| Error::invalid(format!("{key}.path"), Problem::Nul);
        args.push(CString::new(path.as_os_str().as_bytes()).map_err(nul)?);
    }
    let seconds = raw.timeout();
    if let Some(seconds) = seconds.filter(|seconds| *seconds <= 0) {
        let problem = Problem::OutOfRange(seconds);
        return Err(Error::invalid(format!("{key}.timeout"), problem));
    }
    let env = raw.env().as_deref().unwrap_or_default();
    Ok(Hook {
        args,
        env: strings(&format!("{key}.env"), env)?,
        timeout: seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs),
        path,
    })
}
