//! The order in which things are done and shown.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use crate::columns;
use crate::failure::Failure;
use crate::stage::Stage;
use crate::table::{Row, Style, render, side_by_side, verdict};

/// Whether everything came out as it should.
pub(crate) fn run(words: impl Iterator<Item = String>) -> Result<bool, Failure> {
    let size_mib = size_from(words)?;
    let style = Style::of(std::io::stdout().is_terminal());
    let mut out = std::io::stdout().lock();
    let start = Instant::now();
    let stage = Stage::set(size_mib)?;
    writeln!(out, "{}", stage.describe(&style))?;

    writeln!(out, "trying ten things without a policy …")?;
    let free = columns::without_policy(&stage)?;
    writeln!(out, "trying them as user 65534, without capabilities …")?;
    let user = columns::unprivileged(&stage)?;
    writeln!(
        out,
        "backing the disk up under the policy, then trying them again …\n"
    )?;
    let (backup, held) = columns::under_policy(&stage)?;

    writeln!(out, "{}\n", backup.describe(&style))?;
    let rows = side_by_side(&free, &user, &held.results);
    writeln!(out, "{}", render(&rows, &style))?;
    writeln!(out, "{}", style.heading("what `reeve audit` says"))?;
    writeln!(out, "{}\n", held.audit.trim_end())?;
    let good = backup.equal && rows.iter().all(Row::holds);
    let sentence = verdict(&rows, backup.equal);
    writeln!(
        out,
        "{} in {:.1} s",
        style.verdict(good, &sentence),
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
