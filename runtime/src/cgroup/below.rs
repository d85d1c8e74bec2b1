//! Groups below those of a container, which one more process is put into (`exec --cgroup`).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::{Error, Layout};
use crate::failure::{Called as _, Failure};

/// One group below: in some hierarchies of version 1, or in each of any version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Below {
    /// Controllers of version 1 whose hierarchies it is in; none: it is in every hierarchy.
    controllers: Vec<String>,
    /// Relative to the container's group.
    path: PathBuf,
}

impl FromStr for Below {
    type Err = &'static str;

    /// `[CONTROLLER[,CONTROLLER…]:]DIR`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (controllers, path) = match text.split_once(':') {
            Some((controllers, path)) => {
                (controllers.split(',').map(str::to_owned).collect(), path)
            }
            None => (Vec::new(), text),
        };
        if path.contains(':') || controllers.iter().any(String::is_empty) {
            return Err("it is DIR, or CONTROLLER:DIR");
        }
        let path = path.trim_start_matches('/').into();
        Ok(Self { controllers, path })
    }
}

/// Where in the tree of a container's groups a process is put.
#[derive(Debug)]
pub(super) struct Places<'a> {
    layout: Layout,
    below: &'a [Below],
}

impl<'a> Places<'a> {
    /// # Errors
    /// A controller that no hierarchy of version 1 has.
    pub(super) fn new(below: &'a [Below]) -> Result<Self, Error> {
        let layout = match below {
            [] => Layout::default(),
            _ => Layout::detect(),
        };
        let mut named = below.iter().flat_map(|one| &one.controllers);
        match named.find(|name| layout.v1(name).is_none()) {
            Some(name) => Err(Error::NoSuchController(name.clone())),
            None => Ok(Self { layout, below }),
        }
    }

    /// Opens the group in the place of `dir`, one of the container's groups.
    pub(super) fn open(&self, dir: &Path) -> Result<OwnedFd, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = rustix::fs::open(dir, flags, Mode::empty())
            .called(|| format!("open(\"{}\", O_PATH|O_DIRECTORY)", dir.display()))?;
        let below = match self.path_below(dir) {
            Some(path) if !path.as_os_str().is_empty() => path,
            _ => return Ok(own),
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(&own, below, flags, Mode::empty(), resolve)
            .called(|| format!("openat2(\"{}\", \"{}\")", dir.display(), below.display()))
    }

    fn path_below(&self, dir: &Path) -> Option<&'a Path> {
        let is_in = |name: &String| {
            let hierarchy = self.layout.v1(name);
            hierarchy.is_some_and(|hierarchy| dir.starts_with(&hierarchy.root))
        };
        let mut below = self.below.iter();
        let found =
            below.find(|one| one.controllers.is_empty() || one.controllers.iter().any(is_in));
        found.map(|one| one.path.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read() {
        let below = |text: &str| text.parse::<Below>();
        assert_eq!(below("/a/b").unwrap().path, Path::new("a/b"));
        let some = below("cpu,memory:a").unwrap();
        assert_eq!(some.controllers, ["cpu", "memory"]);
        assert_eq!(some.path, Path::new("a"));
        for bad in [":a", "cpu,:a", "cpu:a:b"] {
            assert!(below(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_leads_out_of_the_containers_group() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        std::fs::create_dir_all(own.join("a")).unwrap();
        std::os::unix::fs::symlink("..", own.join("link")).unwrap();
        let open = |text: &str| {
            let below = [text.parse().unwrap()];
            let places = Places::new(&below).unwrap();
            places.open(&own).map(drop)
        };
        assert!(open("a").is_ok() && open("/").is_ok());
        for bad in ["..", "a/../..", "link", "none"] {
            assert!(open(bad).is_err(), "{bad}");
        }
    }
}
