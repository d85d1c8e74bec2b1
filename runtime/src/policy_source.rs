//! Policies from files: the policy itself and what it includes. The policy crate does no I/O.

use std::io::Read;
use std::path::{Path, PathBuf};

use policy::{Diagnostics, Files, Policy, Variables, parse_with, yaml};

use crate::failure::{Called, Failure};
use crate::plain_file;

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its file cannot be read.
    #[error(transparent)]
    Call(#[from] Failure),
    /// It is no file to be read to its end.
    #[error("`{path}` cannot be read: {why}")]
    Irregular {
        /// Its path.
        path: PathBuf,
        /// What it is.
        why: std::io::Error,
    },
    /// What it says is not right.
    #[error("{0}")]
    Policy(Diagnostics),
}

/// Reads a policy and the files that it includes.
///
/// # Errors
/// A file that cannot be read, or everything that is wrong with the policy.
pub fn load(path: &Path, vars: &Variables) -> Result<Policy, Error> {
    let text = read(path)?;
    let name = path.display().to_string();
    parse_with(&name, &text, vars, &mut Included).map_err(Error::Policy)
}

/// Files beside the one that includes them.
#[derive(Debug)]
pub struct Included;

impl Files for Included {
    fn read(&mut self, from: &str, path: &str) -> Result<(String, String), String> {
        let folder = Path::new(from).parent().unwrap_or(Path::new(""));
        let path = plain(&folder.join(path));
        let text = read(&path).map_err(|error| match error {
            Error::Call(failure) => crate::report::in_a_line(&failure),
            Error::Policy(found) => found.in_a_line(),
            Error::Irregular { why, .. } => why.to_string(),
        })?;
        Ok((path.display().to_string(), text))
    }
}

/// The path without `.`; `..` stays, as what it means depends on links.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Reads a policy, and not much more than one may be long: the parser says what is wrong with a
/// longer one.
///
/// # Errors
/// The file cannot be opened or read, or is not UTF-8.
pub fn read(path: &Path) -> Result<String, Error> {
    let call = || format!("open(\"{}\", O_RDONLY)", path.display());
    let most = yaml::MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let opened = match plain_file::open(path) {
        Err(why) if why.raw_os_error().is_none() => {
            let path = path.to_owned();
            return Err(Error::Irregular { path, why });
        }
        other => other.called(call)?,
    };
    opened.take(most).read_to_end(&mut bytes).called(call)?;
    yaml::decode(&path.display().to_string(), bytes).map_err(Error::Policy)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_include_is_relative_to_the_file_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("parts")).unwrap();
        fs::write(
            at("p.yaml"),
            "reeve: v1\nname: a\ninclude: [parts/a.yaml]\n",
        )
        .unwrap();
        fs::write(at("parts/a.yaml"), "include: [./b.yaml]\n").unwrap();
        fs::write(
            at("parts/b.yaml"),
            "files: [{ path: '${at}', allow: [read] }]\n",
        )
        .unwrap();
        let mut vars = Variables::default();
        vars.give("at=/srv").unwrap();
        let policy = load(&at("p.yaml"), &vars).unwrap();
        assert_eq!(policy.files[0].path.value.as_str(), "/srv");
        let place = policy.file_of(policy.files[0].span);
        assert_eq!(Path::new(place), at("parts/b.yaml"));
    }

    #[test]
    fn a_cycle_and_a_missing_file_are_told_with_their_line() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let text = "reeve: v1\nname: a\ninclude: [./p.yaml, none.yaml]\n";
        fs::write(at("p.yaml"), text).unwrap();
        let error = load(&at("p.yaml"), &Variables::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("p.yaml:3:11: error: includes go round"),
            "{error}"
        );
        assert!(
            error.contains("`none.yaml` cannot be included: open("),
            "{error}"
        );
    }

    #[test]
    fn what_is_not_utf_8_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.yaml");
        let line = b"files:\n  - { path: /srv/\xc3\xa9caf\xe9, allow: none }\n";
        for (text, place) in [
            (&line[..], "p.yaml:2:22: error: byte 0xe9 is not UTF-8\n"),
            (b"\xff\xfen", "p.yaml:1:1: error: byte 0xff is not UTF-8\n"),
            (b"a: b\n\xc3", "p.yaml:2:1: error: byte 0xc3 is not UTF-8\n"),
        ] {
            fs::write(&file, text).unwrap();
            let error = load(&file, &Variables::default()).unwrap_err().to_string();
            assert!(error.contains(place), "{error}");
            assert!(error.contains("help: save the file as UTF-8"), "{error}");
        }
        let outer = dir.path().join("outer.yaml");
        fs::write(&file, line).unwrap();
        fs::write(&outer, "reeve: v1\nname: a\ninclude: [p.yaml]\n").unwrap();
        let error = load(&outer, &Variables::default()).unwrap_err().to_string();
        let told = "`p.yaml` cannot be included: line 2, column 22: byte 0xe9 is not UTF-8";
        assert!(error.contains(told), "{error}");
        // Too long is all that is said of what is cut in a character.
        let mut long = vec![b'#'; yaml::MAX_BYTES];
        long.extend("éé".as_bytes());
        fs::write(&file, long).unwrap();
        let error = load(&file, &Variables::default()).unwrap_err().to_string();
        assert!(error.contains("longer than"), "{error}");
    }
}
