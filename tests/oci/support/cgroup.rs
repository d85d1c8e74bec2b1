//! Files of a container's control groups.

use std::fs;
use std::path::PathBuf;

use super::{Bundle, Cgroups};

/// The directory of a running container for a controller; the controller's name is the one of
/// version 1.
#[track_caller]
pub(crate) fn directory(bundle: &Bundle, controller: &str) -> PathBuf {
    let pid = bundle.pid();
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process's cgroups");
    let top = PathBuf::from("/sys/fs/cgroup");
    let path_of = |wanted: &str| {
        text.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let has = controllers.split(',').any(|known| known == wanted);
            has.then(|| path.trim_start_matches('/').to_owned())
        })
    };
    match Cgroups::of_host() {
        Cgroups::Version1 => {
            let path = path_of(controller);
            let path = path.unwrap_or_else(|| panic!("no controller {controller} in {text}"));
            top.join(controller).join(path)
        }
        Cgroups::Version2 => top.join(path_of("").expect("a cgroup of version 2")),
    }
}

/// What a file says, without the blanks at its end.
#[track_caller]
pub(crate) fn read(bundle: &Bundle, controller: &str, file: &str) -> String {
    let path = directory(bundle, controller).join(file);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim_end().to_owned(),
        Err(error) => panic!("read {}: {error}", path.display()),
    }
}

/// Where a limit shows: controller and file in version 1, file in version 2, and what they say.
pub(crate) struct Shows {
    pub(crate) v1: Option<(&'static str, &'static str, &'static str)>,
    pub(crate) v2: Option<(&'static str, &'static str)>,
}

/// A file that says the same in both versions.
pub(crate) const fn shows(
    v1: (&'static str, &'static str, &'static str),
    v2: (&'static str, &'static str),
) -> Shows {
    Shows {
        v1: Some(v1),
        v2: Some(v2),
    }
}

/// Checks a file; in version 2 one line of it may do.
#[track_caller]
pub(crate) fn check(bundle: &Bundle, shows: &Shows) {
    match (Cgroups::of_host(), shows.v1, shows.v2) {
        (Cgroups::Version1, Some((controller, file, wanted)), _) => {
            let found = read(bundle, controller, file);
            assert!(says(&found, wanted), "{file}: {found:?}, not {wanted:?}");
        }
        (Cgroups::Version2, _, Some((file, wanted))) => {
            let found = read(bundle, "", file);
            assert!(says(&found, wanted), "{file}: {found:?}, not {wanted:?}");
        }
        _ => {}
    }
}

fn says(found: &str, wanted: &str) -> bool {
    found == wanted || found.lines().any(|line| line == wanted)
}
