//! `linux.cgroupsPath`: a path, or the name of a unit of systemd.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::{ContainerId, Error, Problem, rooted};

const KEY: &str = "linux.cgroupsPath";

/// Where the cgroups of a container lie, below the root of every hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupPath {
    /// Groups that `reeve` makes; an absolute path that is not the root.
    Path(PathBuf),
    /// A scope that systemd makes, given as `slice:prefix:name`.
    Scope(ScopePath),
}

/// A transient scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopePath {
    slice: String,
    unit: String,
    path: PathBuf,
}

impl CgroupPath {
    pub(super) fn check(raw: Option<&Path>) -> Result<Option<Self>, Error> {
        let Some(path) = raw.filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(None);
        };
        let text = path.to_string_lossy();
        if !text.contains('/')
            && let [slice, prefix, name] = text.split(':').collect::<Vec<_>>()[..]
        {
            let slice = if slice.is_empty() {
                "system.slice"
            } else {
                slice
            };
            return Ok(Some(Self::Scope(ScopePath::new(slice, prefix, name)?)));
        }
        let path = rooted(KEY, &Path::new("/").join(path))?;
        if path == Path::new("/") {
            // The container would own the host's root group, and every process in it.
            let problem = Problem::UnknownWord("/".to_owned());
            return Err(Error::invalid(KEY, problem));
        }
        Ok(Some(Self::Path(path)))
    }

    /// The default for a container without systemd.
    pub fn default_for(id: &ContainerId) -> Self {
        Self::Path(Path::new("/reeve").join(id))
    }

    /// What `given` comes to with `--systemd-cgroup` or without. A path of the other form is an
    /// error: nobody who asks for a unit wants a directory that is called like one.
    ///
    /// # Errors
    /// The forms do not go together, or the id makes no name of a unit.
    pub fn for_driver(
        given: Option<Self>,
        id: &ContainerId,
        systemd: bool,
        rootless: bool,
    ) -> Result<Self, Error> {
        match (given, systemd) {
            (None, false) => Ok(Self::default_for(id)),
            (None, true) => {
                let slice = if rootless {
                    "user.slice"
                } else {
                    "system.slice"
                };
                Ok(Self::Scope(ScopePath::new(slice, "reeve", id.as_str())?))
            }
            (Some(path @ Self::Path(_)), false) => Ok(path),
            (Some(path @ Self::Scope(_)), true) => Ok(path),
            (Some(path @ Self::Scope(_)), false) => {
                let problem = Problem::SystemdCgroup(path.to_string());
                Err(Error::invalid(KEY, problem))
            }
            (Some(path @ Self::Path(_)), true) => {
                let problem = Problem::NotSystemdCgroup(path.to_string());
                Err(Error::invalid(KEY, problem))
            }
        }
    }

    /// Relative to the root of a hierarchy; for a scope of a user's systemd, relative to the group
    /// of that.
    pub fn relative(&self) -> &Path {
        match self {
            Self::Path(path) => path.strip_prefix("/").unwrap_or(path),
            Self::Scope(scope) => &scope.path,
        }
    }

    /// The scope, if systemd makes it.
    pub fn scope(&self) -> Option<&ScopePath> {
        match self {
            Self::Path(_) => None,
            Self::Scope(scope) => Some(scope),
        }
    }
}

impl ScopePath {
    fn new(slice: &str, prefix: &str, name: &str) -> Result<Self, Error> {
        let unit = match prefix {
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        let refuse = |text: &str| {
            let problem = Problem::UnknownWord(text.to_owned());
            Error::invalid(KEY, problem)
        };
        // `systemd.unit(5)`: 255 characters of these. A name of dots only would be a directory
        // of another kind.
        for (part, name) in [(slice, slice), (prefix, prefix), (name, unit.as_str())] {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\".contains(&byte);
            if name.len() > 255 || part.starts_with('.') || !name.bytes().all(good) {
                return Err(refuse(part));
            }
        }
        // A slice as name would be a unit without processes of its own.
        if name.is_empty() || name.ends_with(".slice") {
            return Err(refuse(name));
        }
        let path = expand(slice).ok_or_else(|| refuse(slice))?.join(&unit);
        Ok(Self {
            slice: slice.to_owned(),
            unit,
            path,
        })
    }

    /// Name of the slice, such as `machine.slice`.
    pub fn slice(&self) -> &str {
        &self.slice
    }

    /// Name of the unit, ending in `.scope`.
    pub fn unit(&self) -> &str {
        &self.unit
    }
}

/// The directory of a slice: each dash in its name is a level (`systemd.slice(5)`).
fn expand(slice: &str) -> Option<PathBuf> {
    let name = slice.strip_suffix(".slice")?;
    if name == "-" {
        return Some(PathBuf::new());
    }
    let mut path = PathBuf::new();
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return None;
        }
        prefix.push_str(part);
        path.push(format!("{prefix}.slice"));
        prefix.push('-');
    }
    Some(path)
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Scope(scope) => write!(f, "{} in {}", scope.unit, scope.slice),
        }
    }
}

impl Serialize for CgroupPath {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<CgroupPath, Error> {
        CgroupPath::check(Some(Path::new(text))).map(Option::unwrap)
    }

    #[test]
    fn slices_are_expanded() {
        for (text, path) in [
            ("system.slice:reeve:a", "system.slice/reeve-a.scope"),
            ("a-b-c.slice:x:y", "a.slice/a-b.slice/a-b-c.slice/x-y.scope"),
            ("-.slice:x:y", "x-y.scope"),
            (":x:y", "system.slice/x-y.scope"),
            ("m.slice::y", "m.slice/y.scope"),
        ] {
            assert_eq!(check(text).unwrap().relative(), Path::new(path), "{text}");
        }
    }

    #[test]
    fn parts_that_are_no_names_are_refused() {
        for text in [
            "system:x:y",
            "-a.slice:x:y",
            "a--b.slice:x:y",
            ".slice:x:y",
            "...slice:x:y",
            "a.slice:x:",
            "a.slice:x:b.slice",
            "a.slice:..:y",
            "a.slice:x:..",
            "a.slice:x y:z",
            "a.slice:x:y\n",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
        assert!(check(&format!("a.slice:x:{}", "y".repeat(255))).is_err());
        assert!(matches!(check("a.slice/b:x:y"), Ok(CgroupPath::Path(_))));
        assert!(check("/").is_err());
        assert!(check("../x").is_err());
    }

    #[test]
    fn a_form_goes_with_its_driver() {
        let id: ContainerId = "one".parse().unwrap();
        let path = |given: Option<&str>, systemd| {
            let given = given.map(|text| check(text).unwrap());
            CgroupPath::for_driver(given, &id, systemd, false)
        };
        assert_eq!(
            path(None, false).unwrap().relative(),
            Path::new("reeve/one")
        );
        let scope = path(None, true).unwrap();
        assert_eq!(scope.relative(), Path::new("system.slice/reeve-one.scope"));
        assert_eq!(scope.to_string(), "reeve-one.scope in system.slice");
        assert!(path(Some("/x"), true).is_err());
        assert!(path(Some("a.slice:b:c"), false).is_err());
        assert!(path(Some("a.slice:b:c"), true).is_ok());
    }
}
