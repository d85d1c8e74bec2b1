//! The results as tables.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Program, Samples};
use crate::bench::table::Table;

/// A process of the host, without the programs.
pub(crate) const HOST: &str = "host";
/// A process of the host, with the programs loaded and a container under a policy.
pub(crate) const HOST_LOADED: &str = "host-loaded";
/// In a container without a policy, without the programs.
pub(crate) const FREE: &str = "free";
/// Under a policy with the one line that the calls need.
pub(crate) const NO_RULES: &str = "policy-1";
/// With 10 lines more.
pub(crate) const SOME: &str = "policy-10";
/// With 1,000 lines more.
pub(crate) const MANY: &str = "policy-1000";

/// The row that the goal for containers is about.
const OPEN: &str = "open and close, 8 deep";

/// Most that any call of a process of the host may take, over the same without programs.
const BESIDE_MOST: f64 = 1.02;
/// Most that [`OPEN`] may take in a container with a policy, over one without.
const UNDER_MOST: f64 = 1.10;

/// Everything that the benchmark found, and where.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Day, in UTC.
    pub(crate) date: String,
    /// Model of the processor.
    pub(crate) processor: String,
    /// `uname -r` of the machine.
    pub(crate) kernel: String,
    /// The machine ran under KVM, or was emulated.
    pub(crate) accel: String,
    /// What was measured.
    pub(crate) samples: Samples,
    /// The programs, while a container under a policy measured itself.
    pub(crate) programs: Vec<Program>,
}

impl Report {
    /// Where and when, in a few lines.
    pub(crate) fn place(&self) -> Vec<String> {
        vec![
            format!("{}, `cargo xtask bench enforce`", self.date),
            format!(
                "a machine with Linux {} ({}) on {}; only the ratios mean something elsewhere",
                self.kernel, self.accel, self.processor
            ),
        ]
    }

    /// The tables of what was measured.
    pub(crate) fn tables(&self) -> Vec<Table> {
        vec![self.costs(), self.programs(), self.goals()]
    }

    fn kinds(&self) -> BTreeSet<&str> {
        let kinds = self.samples.0.values().flat_map(|kinds| kinds.keys());
        kinds.map(String::as_str).collect()
    }

    fn ratio(&self, label: &str, base: &str, kind: &str) -> Option<f64> {
        Some(self.samples.median(label, kind)? / self.samples.median(base, kind)?)
    }

    fn costs(&self) -> Table {
        let title = "one call, median, and how many times as long with the programs loaded";
        let header = [
            "",
            "host, ns",
            "loaded",
            "container, ns",
            "1 line",
            "10 lines",
            "1,000 lines",
        ];
        let mut table = Table::new(title, &header);
        let ns = |label, kind| {
            let median = self.samples.median(label, kind);
            median.map_or(String::new(), |median| format!("{median:.0}"))
        };
        let times = |label, base, kind| {
            let ratio = self.ratio(label, base, kind);
            ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"))
        };
        for kind in self.kinds() {
            table.row([
                kind.to_owned(),
                ns(HOST, kind),
                times(HOST_LOADED, HOST, kind),
                ns(FREE, kind),
                times(NO_RULES, FREE, kind),
                times(SOME, FREE, kind),
                times(MANY, FREE, kind),
            ]);
        }
        table
    }

    /// The programs that ran, the dearest first.
    fn programs(&self) -> Table {
        let title = "programs, while a container under a policy measured itself";
        let header = ["", "runs", "ns a run", "verified instructions", "KiB"];
        let mut table = Table::new(title, &header);
        let mut ran: Vec<_> = self.programs.iter().filter(|one| one.runs > 0).collect();
        ran.sort_by_key(|one| std::cmp::Reverse(one.run_time_ns));
        for one in ran {
            table.row([
                one.hook.clone(),
                one.runs.to_string(),
                (one.run_time_ns / one.runs).to_string(),
                one.verified_instructions.to_string(),
                one.memory_bytes.div_ceil(1024).to_string(),
            ]);
        }
        table
    }

    fn goals(&self) -> Table {
        let mut table = Table::new("goals", &["", "at most", "measured", ""]);
        let kinds = self.kinds();
        let beside = kinds
            .iter()
            .filter_map(|kind| self.ratio(HOST_LOADED, HOST, kind));
        let beside = beside.reduce(f64::max);
        let under = self.ratio(MANY, FREE, OPEN);
        for (what, most, measured) in [
            ("any call on the host, loaded / not", BESIDE_MOST, beside),
            (
                "open and close 8 deep, 1,000 lines / none",
                UNDER_MOST,
                under,
            ),
        ] {
            let Some(measured) = measured else { continue };
            let met = if measured <= most { "met" } else { "not met" };
            table.row([
                what.to_owned(),
                format!("{most:.2}"),
                format!("{measured:.2}"),
                met.to_owned(),
            ]);
        }
        table
    }
}
