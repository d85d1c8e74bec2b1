//! What a process that was killed still holds for a moment.
//!
//! The kernel ends the requests of an io_uring after its process is gone, and only then lets go of
//! its files: of their locks, which is right, since such a request may still write; and of sockets
//! that listen. Whoever starts again at once finds them taken.

use std::thread;
use std::time::{Duration, Instant};

/// How long another holder is taken for one that ends.
const PATIENCE: Duration = Duration::from_secs(2);

const STEP: Duration = Duration::from_millis(10);

/// Tries again for two seconds while the error says that somebody else has it; this blocks.
///
/// # Errors
/// The last one of `attempt`.
pub(crate) fn wait_while_held<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    is_held: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let begin = Instant::now();
    loop {
        match attempt() {
            Err(error) if is_held(&error) && begin.elapsed() < PATIENCE => thread::sleep(STEP),
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_is_taken_and_another_error_is_told_at_once() {
        let mut left = 3;
        let taken = wait_while_held(
            || {
                left -= 1;
                if left == 0 { Ok("taken") } else { Err("held") }
            },
            |&error| error == "held",
        );
        assert_eq!(taken, Ok("taken"));
        let mut tries = 0;
        let refused: Result<(), _> = wait_while_held(
            || {
                tries += 1;
                Err("refused")
            },
            |&error| error == "held",
        );
        assert_eq!((refused, tries), (Err("refused"), 1));
    }
}
