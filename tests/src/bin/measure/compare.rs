//! Two commands in turn, so that whatever else the machine does falls on both.

use std::ffi::OsStr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::timed::{self, micros};

/// A command that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs both commands once unmeasured, then `rounds` times each, beginning with either in turn; the
/// wall times in microseconds.
pub(crate) fn run(rounds: u64, a: &[&OsStr], b: &[&OsStr]) -> Result<Value, Failure> {
    wall_us(a)?;
    wall_us(b)?;
    let (mut a_us, mut b_us) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            a_us.push(wall_us(a)?);
            b_us.push(wall_us(b)?);
        } else {
            b_us.push(wall_us(b)?);
            a_us.push(wall_us(a)?);
        }
    }
    Ok(json!({ "a_us": a_us, "b_us": b_us }))
}

fn wall_us(command: &[&OsStr]) -> Result<u64, Failure> {
    let sample = timed::run(command, LIMIT)?;
    let status = sample.used.status;
    if status.success() {
        return Ok(micros(sample.wall));
    }
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    let how = match sample.overdue {
        true => format!("no end within {} s", LIMIT.as_secs()),
        false => status.to_string(),
    };
    Err(Failure::Command {
        line: words.join(" "),
        how,
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::run;

    #[test]
    fn both_have_as_many_times_as_rounds_and_a_failure_is_no_time() {
        let (good, bad) = ([OsStr::new("true")], [OsStr::new("false")]);
        let times = run(3, &good, &good).expect("there is `true`");
        for side in ["a_us", "b_us"] {
            assert_eq!(times[side].as_array().map(Vec::len), Some(3));
        }
        assert!(run(3, &good, &bad).is_err());
    }
}
