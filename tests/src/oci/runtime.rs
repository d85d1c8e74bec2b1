//! The runtime under test.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::{Error, tools};

/// Names the runtime to test; `reeve` without it.
pub const VARIABLE: &str = "REEVE_TEST_RUNTIME";

/// An OCI runtime: a program with the usual command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// The program.
    pub path: PathBuf,
    /// What it calls itself: the first word of `--version`.
    pub name: String,
    /// Its version, for messages.
    pub version: String,
}

impl Runtime {
    /// The runtime that this run of the suite is about; asked for its name once.
    pub fn under_test() -> Result<&'static Self, Error> {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        if let Some(runtime) = RUNTIME.get() {
            return Ok(runtime);
        }
        let path = match std::env::var_os(VARIABLE) {
            Some(path) => PathBuf::from(path),
            None => tools::find("reeve")?,
        };
        let text = tools::output(Command::new(&path).arg("--version"))?;
        let (name, version) = name_and_version(&text);
        Ok(RUNTIME.get_or_init(|| Self {
            path,
            name,
            version,
        }))
    }
}

/// The first line of `--version` is `NAME version 1.2` or `NAME 1.2`.
fn name_and_version(text: &str) -> (String, String) {
    let mut words = text.split_whitespace().filter(|word| *word != "version");
    let mut next = || words.next().unwrap_or_default().to_owned();
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_version_are_read() {
        let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(
            name_and_version("runc version 1.1.5+ds1\ncommit: x\n"),
            pair("runc", "1.1.5+ds1")
        );
        assert_eq!(name_and_version("reeve 0.1.0\n"), pair("reeve", "0.1.0"));
    }
}
