//! What keeps the demo from being shown.

use std::io;

/// A failure of the demo itself, not of an attempt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("usage: demo [--size MIB], from 1 to 1024")]
    Usage,
    #[error("not root\nhelp: run it with sudo; the containers of the demo hold every capability")]
    NotRoot,
    #[error(
        "this kernel cannot enforce a policy:\n{0}\n\
         help: `cargo xtask demo` shows it in a virtual machine instead"
    )]
    CannotEnforce(String),
    #[error(transparent)]
    Harness(#[from] reeve_tests::Error),
    #[error("cannot print")]
    Output(#[from] io::Error),
    #[error("{call}(`{path}`)")]
    Io {
        call: &'static str,
        path: String,
        source: io::Error,
    },
}
