//! Errors as people read them: what failed, why, and what can be done about it.

use std::error::Error;
use std::fmt::Write;

/// The text of an error: `error:`, a `caused by:` for each cause, `help:` if there is a remedy.
pub fn text(error: &dyn Error, help: Option<&str>) -> String {
    let mut messages = chain(error).into_iter();
    let mut text = format!("error: {}\n", messages.next().unwrap_or_default());
    for message in messages {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "caused by: {message}");
    }
    if let Some(help) = help {
        let _ = writeln!(text, "help: {help}");
    }
    text
}

/// The same in one line, for logs.
pub fn line(error: &dyn Error, help: Option<&str>) -> String {
    let line = in_a_line(error);
    match help {
        Some(help) => format!("{line} (help: {help})"),
        None => line,
    }
}

/// The error and its causes in one line.
pub fn in_a_line(error: &dyn Error) -> String {
    chain(error).join(": ")
}

/// What an error and its causes say. A transparent wrapper says what its cause says: once is
/// enough.
fn chain(error: &dyn Error) -> Vec<String> {
    let mut messages = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        messages.push(error.to_string());
        cause = error.source();
    }
    messages.dedup();
    messages
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
        assert_eq!(
            line(&error, Some("look")),
            "the container could not be set up: execute: \
             execve(\"nope\") = ENOENT (no such file or directory) (help: look)"
        );
    }
}
