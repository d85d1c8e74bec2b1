//! Errors as people read them: what failed, why, and what can be done about it.

use std::error::Error;
use std::fmt::Write;

/// The text of an error: `error:`, a `caused by:` for each cause, `help:` if there is a remedy.
pub fn text(error: &dyn Error, help: Option<&str>) -> String {
    let mut text = format!("error: {error}\n");
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // A transparent wrapper says what its cause says.
        if message != said {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "caused by: {message}");
        }
        said = message;
        cause = error.source();
    }
    if let Some(help) = help {
        let _ = writeln!(text, "help: {help}");
    }
    text
}

/// The error and its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::failure::Failure;
    use crate::launch;

    #[test]
    fn the_chain_and_the_remedy() {
        let error = launch::Error::Step {
            step: "execute".to_owned(),
            source: Failure::new("execve(\"nope\")", Errno::NOENT),
        };
        let help = error.help();
        assert_eq!(
            text(&error, help.as_deref()),
            "error: the container could not be set up: execute\n\
             caused by: execve(\"nope\") = ENOENT (no such file or directory)\n\
             help: `process.args[0]` must be in the root file system, and so must its interpreter\n"
        );
    }
}
