//! What came of it, as tables.

use serde::Serialize;

use super::load::{LOADS, Load, Outcome};
use super::server::Server;
use crate::bench::machine::Machine;
use crate::bench::table::Table;

/// How much faster than the best peer, at depth 8 and more,
const FASTER_LEAST: f64 = 1.3;
/// unless it is this near to what the disk, or the client, can do alone.
const CEILING_LEAST: f64 = 0.95;
/// Processor time of a 4 KiB request at depth 64, in microseconds.
const SERVER_US_MOST: f64 = 10.0;
/// What tracking may cost of the rate.
const TRACKING_LEAST: f64 = 0.97;

/// One measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Sample {
    /// The group of contestants: one disk.
    pub(crate) group: &'static str,
    /// Whose it is.
    pub(crate) server: &'static str,
    /// The load.
    pub(crate) load: &'static str,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// Where it was measured.
pub(crate) struct Place {
    /// The machine.
    pub(crate) machine: Machine,
    /// The programs' versions.
    pub(crate) versions: Vec<String>,
}

impl Place {
    /// A line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let machine = &self.machine;
        vec![
            format!("{}, `cargo xtask bench block`", machine.date),
            format!(
                "{} × {}, {} MiB, Linux {}, load before the start {}",
                machine.processors,
                machine.processor,
                machine.memory_mib,
                machine.kernel,
                machine.load
            ),
            self.versions.join(", "),
        ]
    }
}

/// The samples of the servers of groups.
struct Report<'a> {
    samples: &'a [Sample],
    groups: &'a [(&'static str, &'a [Server])],
}

/// The tables of the servers of groups.
pub(crate) fn tables(samples: &[Sample], groups: &[(&'static str, &[Server])]) -> Vec<Table> {
    Report { samples, groups }.tables()
}

impl Report<'_> {
    fn tables(&self) -> Vec<Table> {
        let mut tables = Vec::new();
        for (group, servers) in self.groups {
            tables.push(self.rates(group, servers));
            tables.push(self.one(group, servers, "p99 in microseconds", |outcome| {
                outcome.p99_us
            }));
            let title = "server's processor time a request, in microseconds";
            tables.push(self.one(group, servers, title, |outcome| outcome.server_us));
        }
        tables.push(self.goals());
        tables
    }

    fn median(
        &self,
        group: &str,
        server: Server,
        load: &Load,
        value: impl Fn(&Outcome) -> f64,
    ) -> Option<f64> {
        let of = |sample: &&Sample| {
            (sample.group, sample.server, sample.load) == (group, server.name(), load.name)
        };
        let samples = self.samples.iter().filter(of);
        median(samples.map(|sample| value(&sample.outcome)).collect())
    }

    fn rates(&self, group: &str, servers: &[Server]) -> Table {
        let mut header = vec![""];
        header.extend(servers.iter().map(|server| server.name()));
        header.extend(["× best peer", "× ceiling", "tracked / not"]);
        let mut table = Table::new(format!("{group}: requests a second, or MiB/s"), &header);
        for load in LOADS {
            let mut row = vec![load.name.to_owned()];
            for &server in servers {
                row.push(cell(
                    self.median(group, server, load, |outcome| outcome.iops),
                    0,
                ));
            }
            row.push(cell(self.ahead(group, servers, load), 2));
            row.push(cell(self.of_ceiling(group, load), 2));
            row.push(cell(self.tracking(group, load), 2));
            table.row(row);
        }
        table
    }

    fn one(
        &self,
        group: &str,
        servers: &[Server],
        what: &str,
        value: impl Fn(&Outcome) -> f64,
    ) -> Table {
        let mut header = vec![""];
        header.extend(servers.iter().map(|server| server.name()));
        let mut table = Table::new(format!("{group}: {what}"), &header);
        for load in LOADS {
            let cells = servers.iter().map(|&server| {
                if server == Server::Bare && !what.starts_with("p99") {
                    return String::new();
                }
                let places = if what.starts_with("p99") { 0 } else { 1 };
                cell(self.median(group, server, load, &value), places)
            });
            table.row(std::iter::once(load.name.to_owned()).chain(cells));
        }
        table
    }

    fn ahead(&self, group: &str, servers: &[Server], load: &Load) -> Option<f64> {
        let iops = |server: Server| self.median(group, server, load, |outcome| outcome.iops);
        let peers = servers.iter().filter(|server| server.is_peer());
        let best = peers.filter_map(|&peer| iops(peer)).reduce(f64::max)?;
        Some(iops(Server::Ours { tracked: false })? / best)
    }

    /// Our rate as a part of what disk and client can do at most, each alone. qcow2 has the ceiling
    /// of raw images, which are on the same disk.
    fn of_ceiling(&self, group: &str, load: &Load) -> Option<f64> {
        let raw = group.replace("qcow2", "raw");
        let alone = [Server::Bare, Server::Null]
            .map(|server| self.median(&raw, server, load, |outcome| outcome.iops));
        let ceiling = alone.into_iter().flatten().reduce(f64::min)?;
        let ours = Server::Ours { tracked: false };
        Some(self.median(group, ours, load, |outcome| outcome.iops)? / ceiling)
    }

    fn tracking(&self, group: &str, load: &Load) -> Option<f64> {
        let iops = |tracked| {
            self.median(group, Server::Ours { tracked }, load, |outcome| {
                outcome.iops
            })
        };
        Some(iops(true)? / iops(false)?)
    }

    fn goals(&self) -> Table {
        let mut table = Table::new("goals", &["", "wanted", "worst", ""]);
        let deep = |load: &&Load| !load.sequential && !load.name.ends_with("depth 1");
        for (group, servers) in self.groups {
            let least = |values: &mut dyn Iterator<Item = f64>| values.reduce(f64::min);
            let mut all = LOADS
                .iter()
                .filter_map(|load| self.ahead(group, servers, load));
            push(
                &mut table,
                group,
                "rate / best peer, every row",
                1.0,
                least(&mut all),
                true,
            );
            let below = |load: &&Load| {
                let part = self.of_ceiling(group, load);
                part.is_none_or(|part| part < CEILING_LEAST)
            };
            let deeper = LOADS.iter().filter(deep).filter(below);
            let mut deeper = deeper.filter_map(|load| self.ahead(group, servers, load));
            let what = "rate / best peer, 4 KiB at depth 8 and more, below the ceiling";
            push(
                &mut table,
                group,
                what,
                FASTER_LEAST,
                least(&mut deeper),
                true,
            );
            let mut tracked = LOADS.iter().filter_map(|load| self.tracking(group, load));
            let what = "tracked / not";
            push(
                &mut table,
                group,
                what,
                TRACKING_LEAST,
                least(&mut tracked),
                true,
            );
            let ours = Server::Ours { tracked: false };
            let cost = LOADS.iter().filter(|load| load.name.ends_with("depth 64"));
            let cost =
                cost.filter_map(|load| self.median(group, ours, load, |outcome| outcome.server_us));
            let what = "server's microseconds a request, depth 64";
            push(
                &mut table,
                group,
                what,
                SERVER_US_MOST,
                cost.reduce(f64::max),
                false,
            );
        }
        table
    }
}

fn push(
    table: &mut Table,
    group: &str,
    what: &str,
    wanted: f64,
    worst: Option<f64>,
    at_least: bool,
) {
    let Some(worst) = worst else { return };
    let met = if at_least {
        worst >= wanted
    } else {
        worst <= wanted
    };
    table.row([
        format!("{group}: {what}"),
        format!("{} {wanted:.2}", if at_least { "≥" } else { "≤" }),
        format!("{worst:.2}"),
        if met { "met" } else { "not met" }.to_owned(),
    ]);
}

/// Half of the values are below; none of no values.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some((values[last / 2] + values[values.len() / 2]) / 2.0)
}

pub(crate) fn cell(value: Option<f64>, places: usize) -> String {
    value.map_or(String::new(), |value| format!("{value:.places$}"))
}
