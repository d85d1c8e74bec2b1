//! Limits, written where the controller is: in the version 1 hierarchy that has it, else in the
//! version 2 tree.
//!
//! They are set before the first process is in the group. What it uses before its `execve` is
//! counted and limited as well, so that nothing a configuration says can take more than it gives;
//! and a limit that leaves no room for the start is an error of the start, not of the container. A
//! process is moved into version 1 groups without what it had in memory, so there the order costs
//! nothing.

mod convert;
mod v1;
mod v2;

use std::borrow::Cow;
use std::path::Path;

use rustix::io::Errno;

use super::Error;
use super::controller::{Controller, Group, Groups};
use super::devices;
use super::files::{number, read, write};
use crate::spec::Resources;

pub(super) use convert::{cpu_weight, io_weight};

/// A file of a group and what to write to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    /// The key below `linux.resources` that asks for it.
    key: &'static str,
    file: Cow<'static, str>,
    value: String,
    /// Whether a kernel without the file does what is asked for anyway.
    optional: bool,
}

impl Setting {
    fn new(key: &'static str, file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        Self {
            key,
            file: file.into(),
            value: value.to_string(),
            optional: false,
        }
    }

    fn optional_if(mut self, optional: bool) -> Self {
        self.optional = optional;
        self
    }
}

/// What is read of a group to know what to write.
trait Current {
    /// Whether it has a file.
    fn has(&self, file: &str) -> bool;
    /// The text of a file.
    fn text(&self, file: &str) -> Option<String>;
}

impl Current for &Path {
    fn has(&self, file: &str) -> bool {
        self.join(file).exists()
    }

    fn text(&self, file: &str) -> Option<String> {
        read(&self.join(file)).ok().flatten()
    }
}

/// Writes what is given and leaves the rest as it is.
pub(super) fn apply(groups: &Groups<'_>, limits: &Resources) -> Result<(), Error> {
    for controller in Controller::ALL {
        if !controller.is_needed(limits) {
            continue;
        }
        let found = groups.find(controller).ok_or(Error::NoController {
            controller: controller.v1_name(),
        })?;
        if controller == Controller::Memory && limits.memory.check_before_update {
            check_usage(found, limits)?;
        }
        match found {
            Group::V1(dir) => write_all(dir, v1::settings(controller, limits, &dir))?,
            Group::V2(dir) => write_all(dir, v2::settings(controller, limits, &dir)?)?,
        }
    }
    apply_unified(groups, limits)?;
    devices::apply(groups, &limits.devices)
}

/// Writes the settings of one controller. Values depend on each other in ways that depend on what
/// was there before (a quota and its period, a burst and its quota), so one that the kernel refuses
/// is tried again after the others.
fn write_all(dir: &Path, settings: Vec<Setting>) -> Result<(), Error> {
    let mut again = Vec::new();
    for setting in settings {
        match write(&dir.join(&*setting.file), &setting.value) {
            Ok(()) => {}
            Err(failure) if setting.optional && failure.is(Errno::NOENT) => {
                tracing::debug!(key = setting.key, %failure, "not needed on this kernel");
            }
            Err(failure) if failure.is(Errno::INVAL) => again.push(setting),
            Err(source) => return Err(Error::setting(setting.key, source)),
        }
    }
    for setting in again {
        write(&dir.join(&*setting.file), &setting.value)
            .map_err(|source| Error::setting(setting.key, source))?;
    }
    Ok(())
}

/// Files of the version 2 group, as the configuration has them.
fn apply_unified(groups: &Groups<'_>, limits: &Resources) -> Result<(), Error> {
    for (file, value) in &limits.unified {
        let controller = file
            .split_once('.')
            .map_or("", |(controller, _)| controller);
        let dir = match controller {
            "cgroup" => groups.dirs.v2.as_deref(),
            _ => groups.v2(controller),
        };
        let dir = dir.ok_or_else(|| Error::NotUnified {
            file: file.clone(),
            controller: controller.to_owned(),
        })?;
        write(&dir.join(file), value).map_err(|source| Error::setting("unified", source))?;
    }
    Ok(())
}

fn check_usage(group: Group<'_>, limits: &Resources) -> Result<(), Error> {
    let path = match group {
        Group::V1(dir) => dir.join("memory.usage_in_bytes"),
        Group::V2(dir) => dir.join("memory.current"),
    };
    let limit = limits
        .memory
        .limit
        .and_then(|limit| u64::try_from(limit).ok());
    match (limit, number(&path)) {
        (Some(limit), Some(usage)) if usage > limit => Err(Error::BelowUsage { limit, usage }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
