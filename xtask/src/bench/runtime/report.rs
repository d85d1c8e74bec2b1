//! The results as tables.

use serde::Serialize;

use super::goals::{Goal, goals, median_ms};
use super::policy::Policy;
use super::programs::{CRUN, Description, FLOOR, REEVE};
use super::results::{Measured, Step};
use crate::bench::machine::Machine;
use crate::bench::stats::{mean_ms, summary};
use crate::bench::table::Table;

/// Everything that a benchmark found, and where.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The command that measured it.
    pub(crate) command: String,
    /// The machine.
    pub(crate) machine: Machine,
    /// What the contestants saw of its cgroups.
    pub(crate) cgroups: String,
    /// The runtimes.
    pub(crate) programs: Vec<Description>,
    /// What was measured on the machine.
    pub(crate) measured: Measured,
    /// What was measured in a virtual one.
    pub(crate) policy: Option<Policy>,
    /// What was to be reached.
    pub(crate) goals: Vec<Goal>,
}

impl Report {
    /// Compares the results with the goals.
    pub(crate) fn judge(&mut self) {
        self.goals = goals(&self.measured, self.policy.as_ref());
    }

    /// Where and when, in a few lines.
    pub(crate) fn place(&self) -> Vec<String> {
        let Machine {
            processor,
            processors,
            memory_mib,
            kernel,
            load,
            date,
        } = &self.machine;
        let programs = self.programs.iter();
        let versions: Vec<_> = programs
            .map(|one| format!("{} {}", one.name, one.version))
            .collect();
        let mut lines = vec![
            format!("{date}, `{}`", self.command),
            format!("{processors} × {processor}, {memory_mib} MiB, load before the start {load}"),
            format!("Linux {kernel}, {}", self.cgroups),
            versions.join(", "),
        ];
        let left = self.measured.left.iter();
        lines.extend(left.map(|path| format!("left behind by a contestant: `{path}`")));
        lines
    }

    /// The tables of what was measured.
    pub(crate) fn tables(&self) -> Vec<Table> {
        let mut tables = Vec::new();
        if !self.measured.rows.is_empty() {
            tables.push(self.run_table());
            tables.push(self.steps_table());
        }
        let size = &self.measured;
        if !size.syscalls.is_empty() || !size.memory.is_empty() || !size.rows.is_empty() {
            tables.push(self.size_table());
        }
        if !self.measured.parallel.is_empty() {
            tables.push(self.parallel_table());
        }
        if !self.measured.hangs.is_empty() {
            tables.push(self.hangs_table());
        }
        tables.extend(self.policy.as_ref().map(policy_table));
        if !self.goals.is_empty() {
            tables.push(self.goals_table());
        }
        tables
    }

    /// The contestants, in order.
    fn names(&self) -> impl Iterator<Item = &str> {
        let programs = self.programs.iter().map(|one| one.name.as_str());
        programs.chain([FLOOR])
    }

    fn run_table(&self) -> Table {
        let title = "`run` of a program that ends at once, in milliseconds";
        let header = [
            "",
            "median",
            "min",
            "q1",
            "q3",
            "CPU, mean",
            "× crun",
            "× floor",
        ];
        let mut table = Table::new(title, &header);
        for name in self.names() {
            let series = self.measured.series(name, Step::Run);
            let Some((series, times)) =
                series.and_then(|series| Some((series, summary(&series.wall_us)?)))
            else {
                continue;
            };
            let over = |other| ratio(Some(times.median_ms), self.median(other, Step::Run));
            table.row([
                name.to_owned(),
                ms(Some(times.median_ms)),
                ms(Some(times.min_ms)),
                ms(Some(times.q1_ms)),
                ms(Some(times.q3_ms)),
                ms(mean_ms(&series.cpu_us)),
                over(CRUN),
                over(FLOOR),
            ]);
        }
        self.note_failures(&mut table, |step| step == Step::Run);
        table
    }

    fn steps_table(&self) -> Table {
        let mut header = vec![""];
        header.extend(self.names());
        header.push("reeve / crun");
        let mut table = Table::new("each command, median in milliseconds", &header);
        for step in Step::ALL {
            let mut row = vec![step.name().to_owned()];
            row.extend(self.names().map(|name| ms(self.median(name, step))));
            row.push(ratio(self.median(REEVE, step), self.median(CRUN, step)));
            table.row(row);
        }
        for name in &self.measured.killed_for {
            table.note(format!(
                "`{name}` has no `kill`: its containers were killed by the benchmark"
            ));
        }
        table.note("`--version` is the start of the program; for the floor, of a static busybox");
        self.note_failures(&mut table, |step| step != Step::Run);
        table
    }

    fn size_table(&self) -> Table {
        let header = [
            "",
            "peak RSS, KiB",
            "smallest memory limit, KiB",
            "system calls of `run`",
            "program, KiB",
            "linked",
        ];
        let mut table = Table::new("size", &header);
        for name in self.names() {
            let series = self.measured.series(name, Step::Run);
            let limit = self.measured.memory.get(name);
            let program = self.programs.iter().find(|one| one.name == name);
            let linked = |one: &Description| match one.is_static {
                true => "statically",
                false => "dynamically",
            };
            table.row([
                name.to_owned(),
                text(series.map(|series| series.max_rss_kib)),
                limit.map_or_else(String::new, |limit| match limit {
                    Some(bytes) => (bytes / 1024).to_string(),
                    None => "none tried".to_owned(),
                }),
                text(self.measured.syscalls.get(name)),
                text(program.map(|one| one.bytes / 1024)),
                text(program.map(linked)),
            ]);
        }
        table
    }

    fn parallel_table(&self) -> Table {
        let header = ["", "containers", "in turn", "in parallel", "ratio"];
        let title = "start of containers that stay, milliseconds for each";
        let mut table = Table::new(title, &header);
        for one in &self.measured.parallel {
            let each = |us: u64| us as f64 / 1000.0 / one.containers as f64;
            let (serial, parallel) = (each(one.serial_us), each(one.parallel_us));
            table.row([
                one.contestant.clone(),
                one.containers.to_string(),
                ms(Some(serial)),
                ms(Some(parallel)),
                ratio(Some(parallel), Some(serial)),
            ]);
            if let Some(why) = &one.failure {
                let (name, failed, all) = (&one.contestant, one.failed, 2 * one.containers);
                table.note(format!("`{name}`: {failed} of {all} starts failed: {why}"));
            }
        }
        table
    }

    fn hangs_table(&self) -> Table {
        let title = "`run` while every processor is busy";
        let mut table = Table::new(title, &["", "runs", "did not return", "failed"]);
        for one in &self.measured.hangs {
            let numbers = [one.runs, one.hung, one.failed].map(|number| number.to_string());
            table.row([one.contestant.clone()].into_iter().chain(numbers));
            if let Some(why) = &one.failure {
                table.note(format!("`{}`: the first failure: {why}", one.contestant));
            }
        }
        table
    }

    fn goals_table(&self) -> Table {
        let mut table = Table::new("goals", &["", "at most", "measured", ""]);
        for goal in &self.goals {
            table.row([
                goal.what.to_owned(),
                plain(goal.most),
                plain(goal.measured),
                if goal.is_met() { "met" } else { "not met" }.to_owned(),
            ]);
        }
        table
    }

    fn median(&self, name: &str, step: Step) -> Option<f64> {
        median_ms(&self.measured, name, step)
    }

    fn note_failures(&self, table: &mut Table, about: impl Fn(Step) -> bool) {
        for row in self.measured.rows.iter().filter(|row| about(row.step)) {
            if let Some(why) = &row.series.failure {
                let all = row.series.failed + row.series.wall_us.len() as u64;
                let (name, step, failed) = (&row.contestant, row.step.name(), row.series.failed);
                table.note(format!("`{name} {step}`: {failed} of {all} failed: {why}"));
            }
        }
    }
}

fn policy_table(policy: &Policy) -> Table {
    let title = format!(
        "`run` with a policy, in a virtual machine with Linux {} ({}), in milliseconds",
        policy.kernel, policy.accel
    );
    let mut table = Table::new(title, &["", "median", "min", "q1", "q3", "ratio"]);
    let ratio = ratio(Some(policy.with.median_ms), Some(policy.without.median_ms));
    for (name, times, ratio) in [
        ("without", policy.without, String::new()),
        ("with", policy.with, ratio),
    ] {
        let numbers = [times.median_ms, times.min_ms, times.q1_ms, times.q3_ms];
        let numbers = numbers.map(|number| ms(Some(number)));
        let row = [name.to_owned()].into_iter().chain(numbers);
        table.row(row.chain([ratio]));
    }
    table.note("emulated or not, only the ratio says something about other machines");
    table
}

fn ms(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.1}"))
}

fn ratio(one: Option<f64>, other: Option<f64>) -> String {
    match (one, other) {
        (Some(one), Some(other)) if other > 0.0 => format!("{:.2}", one / other),
        _ => String::new(),
    }
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A count without decimals, or a ratio with two.
fn plain(value: f64) -> String {
    match value.is_infinite() {
        true => "none".to_owned(),
        false if value == value.trunc() && value != 1.0 => format!("{value:.0}"),
        false => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{plain, ratio};

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        assert_eq!(plain(4096.0), "4096");
        assert_eq!(plain(0.5), "0.50");
        assert_eq!(plain(1.0), "1.00");
        assert_eq!(plain(0.0), "0");
        assert_eq!(plain(f64::INFINITY), "none");
    }

    #[test]
    fn a_ratio_needs_both() {
        assert_eq!(ratio(Some(3.0), Some(2.0)), "1.50");
        assert_eq!(ratio(Some(3.0), None), "");
    }
}
