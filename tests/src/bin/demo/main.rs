//! The main job on real input: a container with every capability and the host's file system backs up a virtual disk,
//! and then tries ten things that a privileged container can do to its host.
//!
//! `demo [--size MIB]` needs root, `reeve`, the probe and `qemu-img`. It prints a row for each attempt with what it
//! comes to without a policy, for an unprivileged user, and under the policy, and ends with 0 only if the first succeeds
//! and the other two agree in every row.
//!
//! Reading order: [`stage`] the disk, the policy and the containers; [`attempts`] the ten; [`columns`] running them;
//! [`table`] showing them.

mod attempts;
mod columns;
mod failure;
mod stage;
mod table;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use failure::Failure;
use table::Style;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("demo: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything came out as it should.
fn run() -> Result<bool, Failure> {
    let size_mib = size_from(std::env::args().skip(1))?;
    let style = Style::of(std::io::stdout().is_terminal());
    let mut out = std::io::stdout().lock();
    let start = Instant::now();
    let stage = stage::Stage::set(size_mib)?;
    writeln!(out, "{}", stage.describe(&style))?;

    let free = columns::without_policy(&stage)?;
    let user = columns::unprivileged(&stage)?;
    let (backup, held) = columns::under_policy(&stage)?;

    writeln!(out, "{}\n", backup.describe(&style))?;
    let rows = table::rows(&free, &user, &held.results);
    writeln!(out, "{}", table::render(&rows, &style))?;
    writeln!(out, "{}", style.heading("what `reeve audit` says"))?;
    writeln!(out, "{}\n", held.audit.trim_end())?;
    let good = backup.equal && rows.iter().all(table::Row::holds);
    let verdict = table::verdict(&rows, backup.equal);
    writeln!(
        out,
        "{} in {:.1} s",
        style.verdict(good, &verdict),
        start.elapsed().as_secs_f64()
    )?;
    Ok(good)
}

/// Size of the disk, 32 MiB unless told.
fn size_from(mut words: impl Iterator<Item = String>) -> Result<u64, Failure> {
    let size = match (words.next().as_deref(), words.next()) {
        (None, _) => Some(32),
        (Some("--size"), Some(size)) => size.parse().ok(),
        _ => None,
    };
    size.filter(|size| (1..=1024).contains(size))
        .ok_or(Failure::Usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_read() {
        let size = |words: &[&str]| size_from(words.iter().map(|word| (*word).to_owned())).ok();
        assert_eq!(size(&[]), Some(32));
        assert_eq!(size(&["--size", "8"]), Some(8));
        assert_eq!(size(&["--size", "0"]), None);
        assert_eq!(size(&["--help"]), None);
    }
}
