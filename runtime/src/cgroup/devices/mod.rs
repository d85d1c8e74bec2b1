//! Which devices the container may use: `devices.allow` and `devices.deny` of version 1, or a
//! program of type `BPF_PROG_TYPE_CGROUP_DEVICE` at the version 2 group.
//!
//! Without any rule in the configuration nothing is written and no program attached: the
//! specification gives a list that is absent no meaning, and crun does the same (runc denies what
//! is not among the defaults). With rules, a device that none speaks of is denied. Where a policy
//! is enforced, its programs govern devices too; what is done here is in addition.

mod list;
mod program;

use std::fs;
use std::path::Path;

use super::Error;
use super::controller::Groups;
use super::files::{open_dir, read, write};
use crate::failure::{Called, Failure};
use crate::spec::{Access, DeviceClass, DeviceRule};
use crate::sys::bpf;
use crate::user::in_user_namespace;

/// Name of our programs, by which an update finds its predecessor.
const PROGRAM: &str = "reeve_devices";

/// Devices of every container and its terminals, by the major and minor numbers of character
/// devices.
const DEFAULTS: [(u32, Option<u32>); 9] = [
    // null, zero, full, random, urandom.
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    // tty, console, ptmx, pts/*.
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// The rules of a configuration, and after them what every container may do: make nodes (to open
/// them is another matter), and use its devices and terminals.
fn with_defaults(rules: &[DeviceRule]) -> Vec<DeviceRule> {
    let allow = |class, major, minor, access| DeviceRule {
        allow: true,
        class: Some(class),
        major,
        minor,
        access,
    };
    let make =
        [DeviceClass::Char, DeviceClass::Block].map(|class| allow(class, None, None, Access::MAKE));
    let devices =
        DEFAULTS.map(|(major, minor)| allow(DeviceClass::Char, Some(major), minor, Access::ALL));
    let rules = rules.iter().copied();
    rules.chain(make).chain(devices).collect()
}

/// Puts the rules into effect, in place of those there were.
pub(super) fn apply(groups: &Groups<'_>, rules: &[DeviceRule]) -> Result<(), Error> {
    if rules.is_empty() {
        return Ok(());
    }
    if let Some(dir) = groups.v1("devices") {
        return apply_v1(dir, &with_defaults(rules));
    }
    let dir = groups.dirs.v2.as_deref().ok_or(Error::NoController {
        controller: "devices",
    })?;
    match attach(dir, rules) {
        // A program would need a privilege that the creator of a user namespace does not get; and
        // without it nobody in there can make a node of a device that was not given to them.
        Err(failure) if in_user_namespace() => {
            tracing::debug!(%failure, "no device program in a user namespace");
            Ok(())
        }
        result => result.map_err(|source| Error::setting("devices", source)),
    }
}

/// The kernel has one default and exceptions from it. What can be is changed one by one, so that
/// processes never find a device closed that is open before and after.
fn apply_v1(dir: &Path, rules: &[DeviceRule]) -> Result<(), Error> {
    let wanted = list::List::of(rules).map_err(Error::DeviceRule)?;
    let lines = wanted.lines();
    let now = read(&dir.join("devices.list"))?.unwrap_or_default();
    let now: Vec<&str> = now.lines().map(str::trim).collect();
    let allow = |line: &str| write(&dir.join("devices.allow"), line);
    let deny = |line: &str| write(&dir.join("devices.deny"), line);
    let result = if wanted.allow_by_default {
        allow("a *:* rwm").and_then(|()| lines.iter().try_for_each(|line| deny(line)))
    } else if now.contains(&"a *:* rwm") {
        deny("a *:* rwm").and_then(|()| lines.iter().try_for_each(|line| allow(line)))
    } else {
        let superfluous = now.iter().filter_map(|line| excess(line, &lines));
        let superfluous: Vec<String> = superfluous.collect();
        let mut added = lines.iter();
        added
            .try_for_each(|line| allow(line))
            .and_then(|()| superfluous.iter().try_for_each(|line| deny(line)))
    };
    result.map_err(|source| Error::setting("devices", source))
}

/// What of an exception (`c 10:229 rwm`) is not wanted any more.
fn excess(line: &str, wanted: &[String]) -> Option<String> {
    let (subject, access) = line.rsplit_once(' ')?;
    let mut same = wanted.iter().filter_map(|wanted| wanted.rsplit_once(' '));
    let kept = same.find(|(wanted, _)| *wanted == subject);
    let kept = kept.map_or("", |(_, access)| access);
    let letters: String = access
        .chars()
        .filter(|letter| !kept.contains(*letter))
        .collect();
    (!letters.is_empty()).then(|| format!("{subject} {letters}"))
}

/// One program that is ours, which replaces the one before it in one step.
pub(super) fn attach(dir: &Path, rules: &[DeviceRule]) -> Result<(), Failure> {
    let rules = &with_defaults(rules);
    let group = open_dir(dir)?;
    let call = |name: &str| format!("bpf({name}, \"{}\")", dir.display());
    let mut before = Vec::new();
    for id in bpf::attached(&group).called(|| call("BPF_PROG_QUERY"))? {
        // One that is gone meanwhile is nobody's any more.
        if let Some(program) = bpf::program(id).called(|| call("BPF_PROG_GET_FD_BY_ID"))?
            && bpf::name(&program).called(|| call("BPF_OBJ_GET_INFO_BY_FD"))? == PROGRAM
        {
            before.push(program);
        }
    }
    let detach = |old| bpf::detach(&group, old).called(|| call("BPF_PROG_DETACH"));
    if list::List::of(rules).is_ok_and(|list| list.allows_all()) {
        return before.iter().try_for_each(detach);
    }
    let instructions = program::assemble(rules);
    let program = bpf::load_device_program(PROGRAM, &instructions)
        .called(|| format!("bpf(BPF_PROG_LOAD, {} instructions)", instructions.len()))?;
    let mut before = before.iter();
    bpf::attach(&group, &program, before.next()).called(|| call("BPF_PROG_ATTACH"))?;
    before.try_for_each(detach)
}

/// What is allowed, as `DeviceAllow` names it (`systemd.resource-control(5)`). `None` if something
/// of it has no name there, such as the devices of a driver that the host has not now: systemd
/// would deny it, so the list is left to [`apply`] alone.
pub(super) fn for_systemd(rules: &[DeviceRule]) -> Option<Vec<(String, String)>> {
    let list = list::List::of(&with_defaults(rules)).ok()?;
    if list.allow_by_default {
        return None;
    }
    let drivers = fs::read_to_string("/proc/devices").unwrap_or_default();
    let allowed = list.exceptions().iter().map(|rule| {
        let class = match rule.class? {
            DeviceClass::Block => "block",
            DeviceClass::Char => "char",
        };
        let name = match (rule.major, rule.minor) {
            (Some(major), Some(minor)) => format!("/dev/{class}/{major}:{minor}"),
            (Some(major), None) => format!("{class}-{}", driver(&drivers, class, major)?),
            (None, None) => format!("{class}-*"),
            (None, Some(_)) => return None,
        };
        Some((name, rule.access.to_string()))
    });
    allowed.collect()
}

/// Name of the driver of a major number in `/proc/devices`.
fn driver<'a>(drivers: &'a str, class: &str, major: u32) -> Option<&'a str> {
    let heading = if class == "block" {
        "Block devices:"
    } else {
        "Character devices:"
    };
    let lines = drivers.lines().skip_while(|line| *line != heading).skip(1);
    let mut lines = lines.take_while(|line| !line.is_empty());
    lines.find_map(|line| {
        let (number, name) = line.trim().split_once(' ')?;
        (number.parse() == Ok(major)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_takes_away_only_what_is_not_wanted() {
        let wanted = ["c 10:229 r".to_owned(), "c 1:3 rwm".to_owned()];
        assert_eq!(
            excess("c 10:229 rwm", &wanted).as_deref(),
            Some("c 10:229 wm")
        );
        assert_eq!(excess("c 1:3 rwm", &wanted), None);
        assert_eq!(excess("b 8:0 r", &wanted).as_deref(), Some("b 8:0 r"));
    }
}
