//! The cgroup path.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Error, Problem, rooted};

/// A path below the root of every cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CgroupPath(PathBuf);

impl CgroupPath {
    pub(super) fn check(raw: Option<&Path>) -> Result<Option<Self>, Error> {
        let key = "linux.cgroupsPath";
        let Some(path) = raw.filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(None);
        };
        let text = path.to_string_lossy();
        if text.matches(':').count() == 2 && !text.contains('/') {
            let problem = Problem::SystemdCgroup(text.into_owned());
            return Err(Error::invalid(key, problem));
        }
        let path = rooted(key, &Path::new("/").join(path))?;
        if path == Path::new("/") {
            // The container would own the host's root group, and every process in it.
            let problem = Problem::UnknownWord("/".to_owned());
            return Err(Error::invalid(key, problem));
        }
        Ok(Some(Self(path)))
    }

    /// The default for a container.
    pub fn default_for(id: &super::ContainerId) -> Self {
        Self(Path::new("/reeve").join(id))
    }

    /// Relative to the root of a hierarchy.
    pub fn relative(&self) -> &Path {
        self.0.strip_prefix("/").unwrap_or(&self.0)
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())
    }
}
