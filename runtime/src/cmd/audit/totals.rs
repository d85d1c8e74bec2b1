//! Counters of entries, in Prometheus's text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::audit::{Counted, Record};

/// Series that are kept. Containers make them, so there must be an end; what is beyond counts for
/// one series that says so.
const SERIES_MAX: usize = 4096;

/// What a series is of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    container: String,
    policy: String,
    section: String,
    action: String,
    verdict: String,
    rule: String,
}

/// Entries since the server began.
#[derive(Default)]
pub(super) struct Totals {
    series: BTreeMap<Labels, u64>,
    beyond: u64,
}

impl Totals {
    /// Counts an entry.
    pub(super) fn add(&mut self, record: &Record) {
        let rule = record.rule.as_ref();
        let labels = Labels {
            container: record.container.clone(),
            policy: record.policy.clone(),
            section: record.section.clone(),
            action: record.action.clone(),
            verdict: record.verdict.clone(),
            rule: rule.map_or_else(|| "none".to_owned(), |rule| rule.line.to_string()),
        };
        if self.series.len() < SERIES_MAX || self.series.contains_key(&labels) {
            *self.series.entry(labels).or_default() += 1;
        } else {
            self.beyond += 1;
        }
    }

    /// The page: these, and what the kernel side counts of containers that live.
    pub(super) fn page(&self, living: &[Counted]) -> String {
        let mut page = String::new();
        head(
            &mut page,
            "reeve_audit_entries_total",
            "Refusals, by what was tried.",
        );
        for (labels, count) in &self.series {
            let pairs = [
                ("container", &*labels.container),
                ("policy", &*labels.policy),
                ("section", &*labels.section),
                ("action", &*labels.action),
                ("verdict", &*labels.verdict),
                ("rule", &*labels.rule),
            ];
            line(&mut page, "reeve_audit_entries_total", &pairs, *count);
        }
        let name = "reeve_audit_entries_beyond_total";
        head(
            &mut page,
            name,
            "Refusals for which there were too many series.",
        );
        line(&mut page, name, &[], self.beyond);
        type Of = fn(&Counted) -> u64;
        let counters: [(&str, &str, Of); 3] = [
            (
                "reeve_audit_recorded_total",
                "Entries that were recorded.",
                |one| one.recorded,
            ),
            (
                "reeve_audit_suppressed_total",
                "Entries that came too fast and were left out.",
                |one| one.suppressed,
            ),
            (
                "reeve_audit_lost_total",
                "Entries that found the buffer full.",
                |one| one.lost,
            ),
        ];
        for (name, help, of) in counters {
            head(&mut page, name, help);
            for one in living {
                line(&mut page, name, &[("container", &one.container)], of(one));
            }
        }
        page
    }
}

// Writing to a string cannot fail.
fn head(page: &mut String, name: &str, help: &str) {
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} counter");
}

fn line(page: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    let labels = labels.iter();
    let labels: Vec<_> = labels
        .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
        .collect();
    let _ = match labels.is_empty() {
        true => writeln!(page, "{name} {value}"),
        false => writeln!(page, "{name}{{{}}} {value}", labels.join(",")),
    };
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::sample;

    #[test]
    fn a_page_as_prometheus_reads_it() {
        let mut totals = Totals::default();
        totals.add(&sample("web\"\n", "/a"));
        totals.add(&sample("web\"\n", "/b"));
        let living = Counted {
            time_us: 0,
            container: "web".to_owned(),
            recorded: 2,
            suppressed: 5,
            lost: 1,
        };
        let page = totals.page(&[living]);
        let entries = "reeve_audit_entries_total{container=\"web\\\"\\n\",policy=\"p\",\
                       section=\"files\",action=\"write\",verdict=\"refused\",rule=\"none\"} 2\n";
        assert!(page.contains(entries), "{page}");
        assert!(
            page.contains("reeve_audit_suppressed_total{container=\"web\"} 5\n"),
            "{page}"
        );
        assert!(
            page.contains("# TYPE reeve_audit_lost_total counter\n"),
            "{page}"
        );
    }

    #[test]
    fn series_are_bounded() {
        let mut totals = Totals::default();
        for number in 0..SERIES_MAX + 10 {
            totals.add(&sample(&number.to_string(), "/a"));
        }
        totals.add(&sample("0", "/a"));
        assert_eq!(totals.series.len(), SERIES_MAX);
        assert_eq!(totals.beyond, 10);
    }
}
