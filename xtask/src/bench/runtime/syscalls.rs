//! System calls of one `run`, as strace counts them.

use std::fs;

use anyhow::{Context as _, Result};

use super::bundle::TRUE;
use super::results::Measured;
use super::stand::Stand;
use crate::bench::progress::Progress;
use crate::cmd;

/// Seconds; under strace everything takes several times as long.
const LIMIT_SECONDS: u64 = 120;

/// Counts them for each contestant, with those of the program in the container. Nothing comes of it
/// where there is no strace.
pub(crate) fn measure(stand: &Stand<'_>, measured: &mut Measured) -> Result<()> {
    if !cmd::found("strace") {
        eprintln!("system calls: not counted, because there is no `strace`");
        return Ok(());
    }
    let contestants = &stand.settings.contestants;
    let progress = Progress::new("system calls", contestants.len() as u64);
    for one in contestants {
        let id = format!("{}-traced", one.name);
        stand.bundle(&id, &[TRUE], None)?;
        let counts = stand.settings.dir.join("strace");
        let mut line = ["strace", "-f", "-c", "-U", "calls,name", "-o"]
            .map(Into::into)
            .to_vec();
        line.push(counts.clone().into());
        line.extend(stand.run_line(one, &id));
        let outcome = stand.time(&line, LIMIT_SECONDS)?;
        progress.step();
        if let Some(why) = outcome.failure() {
            eprintln!("system calls of {}: not counted: {why}", one.name);
            stand.remove(one, &id)?;
            continue;
        }
        let text = fs::read_to_string(&counts);
        let text = text.with_context(|| format!("read `{}`", counts.display()))?;
        if let Some(total) = total(&text) {
            measured.syscalls.insert(one.name.clone(), total);
        }
    }
    Ok(())
}

/// The total of a table `CALLS NAME`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_suffix(" total"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_total_is_in_the_last_line() {
        let text = "    calls syscall\n--------- ----------------\n       12 read\n        3 \
                    total_of\n--------- ----------------\n       15 total\n";
        assert_eq!(total(text), Some(15));
        assert_eq!(total(""), None);
    }
}
