//! How many events a container may have recorded: a bound on what one can take of the ring buffer
//! that all share. It is about recording only; what is decided does not depend on it.

/// Events in a row that are always recorded, less than half of what the ring buffer holds.
pub const BURST: u64 = 512;
/// Events a second that are recorded for as long as it takes.
pub const PER_SECOND: u64 = 128;

const INTERVAL_NS: u64 = 1_000_000_000 / PER_SECOND;

/// Whether an event is to be recorded at `now_ns`, and then when the next one is due. `due_ns` is
/// the last answer, or 0.
#[inline(always)]
pub const fn admit(due_ns: u64, now_ns: u64) -> Option<u64> {
    let due_ns = if due_ns > now_ns { due_ns } else { now_ns };
    match due_ns - now_ns < BURST * INTERVAL_NS {
        true => Some(due_ns + INTERVAL_NS),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(due: &mut u64, now: u64, tried: u64) -> u64 {
        let mut count = 0;
        for _ in 0..tried {
            if let Some(next) = admit(*due, now) {
                *due = next;
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_burst_then_so_many_a_second() {
        let (mut due, now) = (0, 5_000_000_000);
        assert_eq!(admitted(&mut due, now, 10_000), BURST);
        assert_eq!(admitted(&mut due, now + 1_000_000_000, 10_000), PER_SECOND);
        assert_eq!(admitted(&mut due, now + 1_000_000_000, 10), 0);
        // After a rest the burst is whole again, and not larger.
        assert_eq!(admitted(&mut due, now + 100_000_000_000, 10_000), BURST);
    }
}
