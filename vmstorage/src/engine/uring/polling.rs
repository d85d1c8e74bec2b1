//! How long to look for the next request of a client before sleeping.
//!
//! Waking a thread on another processor takes about as long as a cached read, and several times as
//! long on a virtual machine's idle processor. So a loop whose last waits for clients were short
//! looks at memory shared with the kernel for a while first; one whose waits are long, or that
//! waits for a disk, does not, and costs nothing. QEMU's I/O threads do the same, by default for
//! 32 us (`poll-max-ns`).

use std::time::Duration;

/// Longest time to look.
const MOST: Duration = Duration::from_micros(64);
/// First time to look, once a wait was short.
const FIRST: Duration = Duration::from_micros(4);

/// The time to look, which follows what the last waits took.
#[derive(Debug, Default)]
pub(super) struct Polling {
    window: Duration,
}

impl Polling {
    /// How long to look for an answer; not at all when it is zero.
    pub(super) fn window(&self) -> Duration {
        self.window
    }

    /// Learns how long it took, looking and sleeping, until there was an answer.
    pub(super) fn learn(&mut self, waited: Duration) {
        if waited > MOST {
            self.window = Duration::ZERO;
        } else if waited > self.window {
            self.window = (self.window * 2).clamp(FIRST, MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_waits_are_looked_for_and_long_ones_are_not() {
        let mut polling = Polling::default();
        assert!(polling.window().is_zero());
        for _ in 0..10 {
            polling.learn(Duration::from_micros(40));
        }
        assert_eq!(polling.window(), MOST);
        polling.learn(Duration::from_micros(5));
        assert_eq!(polling.window(), MOST);
        polling.learn(Duration::from_millis(1));
        assert!(polling.window().is_zero());
    }
}
