//! Each command of each contestant, in turn.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::bundle::{SLEEP, TRUE};
use super::results::{Measured, Row, Series, Step};
use super::settings::{Contestant, Kind};
use super::stand::{LIMIT_SECONDS, Stand};
use crate::bench::progress::Progress;

/// A process that was killed is gone within this time, or something is wrong.
const DYING: Duration = Duration::from_secs(10);

/// Measures every command as often as asked for, after one round that does not count.
///
/// Within a round all contestants come one after another, so that whatever else the machine does
/// falls on all of them; who begins changes with the round.
pub(crate) fn measure(stand: &Stand<'_>, measured: &mut Measured) -> Result<()> {
    let contestants = &stand.settings.contestants;
    for one in contestants {
        stand.bundle(&ids(one).0, &[TRUE], None)?;
        stand.bundle(&ids(one).1, &SLEEP, None)?;
        if one.kind == (Kind::Runtime { can_kill: false }) {
            measured.killed_for.push(one.name.clone());
        }
    }
    let mut rows = empty_rows(contestants);
    round(stand, contestants, 0, &mut rows)?;
    must_work(&rows)?;
    rows = empty_rows(contestants);
    let progress = Progress::new("commands in turn, round", stand.settings.runs);
    for number in 0..stand.settings.runs {
        round(stand, contestants, number, &mut rows)?;
        progress.step();
    }
    let has_samples = |row: &Row| !row.series.wall_us.is_empty() || row.series.failed > 0;
    measured.rows = rows.into_iter().filter(has_samples).collect();
    Ok(())
}

/// Ids of the container that ends at once and of the one that stays.
fn ids(contestant: &Contestant) -> (String, String) {
    let name = &contestant.name;
    (format!("{name}-true"), format!("{name}-sleep"))
}

fn empty_rows(contestants: &[Contestant]) -> Vec<Row> {
    let rows = |one: &Contestant| {
        let contestant = one.name.clone();
        Step::ALL.map(|step| Row {
            contestant: contestant.clone(),
            step,
            series: Series::default(),
        })
    };
    contestants.iter().flat_map(rows).collect()
}

/// A contestant that cannot do one thing at all would only show as an empty row.
fn must_work(rows: &[Row]) -> Result<()> {
    for row in rows {
        if let Some(why) = &row.series.failure {
            bail!("`{} {}` fails: {why}", row.contestant, row.step.name());
        }
    }
    Ok(())
}

fn round(
    stand: &Stand<'_>,
    contestants: &[Contestant],
    number: u64,
    rows: &mut [Row],
) -> Result<()> {
    for one in rotated(contestants, number) {
        let outcome = match one.kind {
            Kind::Runtime { .. } => stand.command(one, &["--version"])?,
            // The start of a small program.
            Kind::Floor => {
                let program = stand.settings.rootfs().join("bin/true");
                stand.time(&[program.into()], LIMIT_SECONDS)?
            }
        };
        series(rows, one, Step::Version)?.add(&outcome);
    }
    for one in rotated(contestants, number) {
        let outcome = stand.run(one, &ids(one).0, LIMIT_SECONDS)?;
        series(rows, one, Step::Run)?.add(&outcome);
    }
    for one in rotated(contestants, number) {
        if let Kind::Runtime { can_kill } = one.kind {
            let life = Life {
                stand,
                one,
                id: &ids(one).1,
                can_kill,
            };
            if !life.lead(rows)? {
                stand.remove(one, life.id)?;
            }
        }
    }
    Ok(())
}

/// All of `items`, beginning with another one each round.
fn rotated<T>(items: &[T], round: u64) -> impl Iterator<Item = &T> {
    let first = usize::try_from(round).unwrap_or(0) % items.len().max(1);
    items[first..].iter().chain(&items[..first])
}

fn series<'a>(rows: &'a mut [Row], one: &Contestant, step: Step) -> Result<&'a mut Series> {
    let wanted = |row: &&mut Row| row.contestant == one.name && row.step == step;
    let row = rows.iter_mut().find(wanted);
    Ok(&mut row.context("a row for each contestant and step")?.series)
}

/// A container from its creation to its removal.
struct Life<'a> {
    stand: &'a Stand<'a>,
    one: &'a Contestant,
    id: &'a str,
    can_kill: bool,
}

impl Life<'_> {
    /// Leads it; whether each step succeeded. A step is not tried after one that failed.
    fn lead(&self, rows: &mut [Row]) -> Result<bool> {
        let bundle = self.stand.settings.dir.join("bundles").join(self.id);
        let pid_file = bundle.join("pid");
        let (bundle, pid_file) = (bundle.to_string_lossy(), pid_file.to_string_lossy());
        let create = ["create", "--bundle", &*bundle, "--pid-file", &*pid_file];
        let create: Vec<&str> = create.into_iter().chain([self.id]).collect();
        let went = self.step(rows, Step::Create, &create)?
            && self.step(rows, Step::State, &["state", self.id])?
            && self.step(rows, Step::Start, &["start", self.id])?
            && self.step(rows, Step::Exec, &["exec", self.id, TRUE])?;
        if !went {
            return Ok(false);
        }
        let pid = read_pid(Path::new(&*pid_file))?;
        if !self.can_kill {
            kill_process(pid, Signal::KILL).with_context(|| format!("kill({pid:?}, SIGKILL)"))?;
        } else if !self.step(rows, Step::Kill, &["kill", self.id, "KILL"])? {
            return Ok(false);
        }
        await_end(pid)?;
        self.step(rows, Step::Delete, &["delete", self.id])
    }

    fn step(&self, rows: &mut [Row], step: Step, words: &[&str]) -> Result<bool> {
        let outcome = self.stand.command(self.one, words)?;
        Ok(series(rows, self.one, step)?.add(&outcome))
    }
}

fn read_pid(path: &Path) -> Result<Pid> {
    let text = fs::read_to_string(path).with_context(|| format!("read `{}`", path.display()))?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    pid.with_context(|| format!("`{}` has {text:?}", path.display()))
}

/// Waits until the process is gone, which is not the runtime's work.
fn await_end(pid: Pid) -> Result<()> {
    let deadline = Instant::now() + DYING;
    while rustix::process::test_kill_process(pid) != Err(Errno::SRCH) {
        if Instant::now() > deadline {
            bail!("process {pid:?} does not end though it was killed");
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::rotated;

    #[test]
    fn everyone_begins_once_in_as_many_rounds_as_there_are() {
        let order = |round| {
            rotated(&["a", "b", "c"], round)
                .copied()
                .collect::<String>()
        };
        assert_eq!([0, 1, 2, 3].map(order), ["abc", "bca", "cab", "abc"]);
        assert_eq!(rotated::<u8>(&[], 5).count(), 0);
    }
}
