//! The caller's terminal while a container has one of its own.

use std::io::{IsTerminal, stdin};

use rustix::termios::{
    OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::failure::{Called, Failure};
use crate::plan::Terminal;

/// Columns and rows that the container's terminal starts with: those of its configuration, else the
/// caller's.
pub(super) fn initial_size(terminal: Option<Terminal>) -> Option<(u16, u16)> {
    let terminal = terminal?;
    let callers = || {
        tcgetwinsize(stdin())
            .ok()
            .map(|size| (size.ws_col, size.ws_row))
    };
    terminal.size.or_else(callers)
}

/// Gives a terminal the size of the caller's.
pub(super) fn follow_size(master: impl std::os::fd::AsFd) -> Result<(), Failure> {
    let Ok(Winsize { ws_col, ws_row, .. }) = tcgetwinsize(stdin()) else {
        return Ok(());
    };
    let size = Winsize {
        ws_col,
        ws_row,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).called(|| "ioctl(TIOCSWINSZ)")
}

/// The caller's terminal in raw mode; given back as it was when dropped, on every way out.
pub(super) struct RawMode(Option<Termios>);

impl RawMode {
    /// Does nothing if standard input is no terminal.
    pub(super) fn enter() -> Result<Self, Failure> {
        if !stdin().is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(stdin()).called(|| "tcgetattr(0)")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).called(|| "tcsetattr(0, raw)")?;
        Ok(Self(Some(before)))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(before) = &self.0
            && let Err(error) = tcsetattr(stdin(), OptionalActions::Now, before)
        {
            tracing::warn!(%error, "the terminal could not be reset");
        }
    }
}
