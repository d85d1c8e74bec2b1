//! Shares of caches and memory bandwidth (`linux.intelRdt`).

use oci_spec::runtime::LinuxIntelRdt;
use serde::Serialize;

use super::{Error, Problem};

/// What a container asks of resctrl.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rdt {
    /// The class of service; `None` is one of the container's own, named like it.
    pub class: Option<String>,
    /// Lines for the file `schemata`, in order, such as `L3:0=7f0;1=1f`.
    pub schemata: Vec<String>,
    /// Whether it gets a monitoring group of its own.
    pub monitor: bool,
}

impl Rdt {
    pub(super) fn check(raw: Option<&LinuxIntelRdt>) -> Result<Option<Self>, Error> {
        let Some(raw) = raw else {
            return Ok(None);
        };
        let key = |name: &str| format!("linux.intelRdt.{name}");
        let class = raw.clos_id().clone().filter(|class| !class.is_empty());
        if let Some(class) = &class
            && !is_directory(class)
        {
            let problem = Problem::UnknownWord(class.clone());
            return Err(Error::invalid(key("closID"), problem));
        }
        let l3 = raw.l3_cache_schema().as_deref().unwrap_or_default();
        let bandwidth = raw.mem_bw_schema().as_deref().unwrap_or_default();
        if !bandwidth.is_empty() && (!bandwidth.starts_with("MB:") || bandwidth.contains('\n')) {
            let problem = Problem::UnknownWord(bandwidth.to_owned());
            return Err(Error::invalid(key("memBwSchema"), problem));
        }
        let mut schemata: Vec<String> = lines(l3)
            // The bandwidth has a key of its own, which goes before.
            .filter(|line| bandwidth.is_empty() || !line.starts_with("MB:"))
            .collect();
        schemata.extend(lines(bandwidth));
        schemata.extend(raw.schemata().iter().flatten().flat_map(|text| lines(text)));
        if let Some(line) = schemata.iter().find(|line| !is_schema(line)) {
            let problem = Problem::UnknownWord(line.clone());
            return Err(Error::invalid(key("schemata"), problem));
        }
        #[allow(deprecated, reason = "configurations of before 1.3 say it so")]
        let old = [raw.enable_cmt(), raw.enable_mbm()];
        let monitor = old.into_iter().chain([raw.enable_monitoring()]);
        Ok(Some(Self {
            class,
            schemata,
            monitor: monitor.flatten().any(|wanted| *wanted),
        }))
    }
}

fn lines(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).map(str::to_owned)
}

/// One component of a path, and none of the directories that resctrl has itself.
fn is_directory(name: &str) -> bool {
    !matches!(name, "." | ".." | "info" | "mon_data" | "mon_groups")
        && !name.contains(['/', '\0', '\n'])
}

/// `RESOURCE:DOMAIN=VALUE;…`
fn is_schema(line: &str) -> bool {
    line.split_once(':').is_some_and(|(resource, domains)| {
        !resource.is_empty()
            && !line.contains('\0')
            && domains.split(';').all(|domain| domain.contains('='))
    })
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxIntelRdtBuilder;
    use serde_json::{Value, json};

    use super::*;

    fn checked(raw: Value) -> Result<Rdt, Error> {
        let raw: LinuxIntelRdt = serde_json::from_value(raw).unwrap();
        Ok(Rdt::check(Some(&raw))?.unwrap())
    }

    #[test]
    fn schemata_come_in_the_order_of_the_specification() {
        let found = checked(json!({
            "closID": "gold",
            "l3CacheSchema": "L3:0=f\nMB:0=10",
            "memBwSchema": "MB:0=20;1=70",
            "schemata": ["L2:0=3", "MB:0=30"],
            "enableMonitoring": true,
        }))
        .unwrap();
        assert_eq!(found.class.as_deref(), Some("gold"));
        assert_eq!(
            found.schemata,
            ["L3:0=f", "MB:0=20;1=70", "L2:0=3", "MB:0=30"]
        );
        assert!(found.monitor);
        let alone = checked(json!({ "l3CacheSchema": "L3:0=f\nMB:0=10" })).unwrap();
        assert_eq!(alone.schemata, ["L3:0=f", "MB:0=10"]);
        assert!(alone.class.is_none() && !alone.monitor);
        let old = LinuxIntelRdtBuilder::default().enable_cmt(true).build();
        assert!(Rdt::check(old.ok().as_ref()).unwrap().unwrap().monitor);
        assert!(Rdt::check(None).unwrap().is_none());
    }

    #[test]
    fn what_would_lead_elsewhere_is_refused() {
        for raw in [
            json!({ "closID": ".." }),
            json!({ "closID": "a/b" }),
            json!({ "closID": "info" }),
            json!({ "memBwSchema": "L3:0=f" }),
            json!({ "memBwSchema": "MB:0=1\nL3:0=1" }),
            json!({ "schemata": ["nonsense"] }),
            json!({ "schemata": ["L3:0"] }),
        ] {
            assert!(checked(raw.clone()).is_err(), "{raw}");
        }
    }
}
