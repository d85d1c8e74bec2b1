//! Groups that systemd makes: each container is a transient scope.
//!
//! systemd moves the first process into the scope, and leaves what is below to the container
//! (`Delegate`). Limits are given to it as properties, so that it does not set them back, and then
//! written to the files as well, since it knows less of them than the kernel.

mod annotation;
mod bus;
mod properties;

pub use annotation::BadProperty;
pub use bus::Error as BusError;

use std::path::PathBuf;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::spec::{Resources, ScopePath};
use crate::user;
use bus::{Bus, Value};

/// Why systemd did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection, or a call.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A job that did not end well.
    #[error("the job for `{unit}` ended as `{result}`")]
    Job {
        /// The unit.
        unit: String,
        /// `canceled`, `timeout`, `failed`, `dependency` or `skipped`.
        result: String,
    },
    /// An annotation `org.systemd.property.*`.
    #[error(transparent)]
    Property(#[from] BadProperty),
}

impl Error {
    /// What the user can do about it, if anything.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Bus(BusError::Connect { .. }) => {
                Some("without systemd, leave `--systemd-cgroup` away")
            }
            Self::Property(_) => {
                Some("values have the text form of GVariant: `uint64 5`, `'text'`")
            }
            Self::Bus(_) | Self::Job { .. } => None,
        }
    }
}

/// A unit that exists, as remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Name, ending in `.scope`.
    pub name: String,
    /// Whether it is of the user's systemd, not of the system's.
    pub user: bool,
}

/// A scope to be made.
#[derive(Debug, Clone)]
pub struct Scope {
    unit: Unit,
    slice: String,
    /// From annotations.
    more: Vec<(String, Value)>,
}

impl Scope {
    /// One for a path, in the systemd of whoever runs this.
    pub fn new(path: ScopePath) -> Self {
        Self {
            unit: Unit {
                name: path.unit().to_owned(),
                user: user::is_rootless(),
            },
            slice: path.slice().to_owned(),
            more: Vec::new(),
        }
    }

    /// What it will be.
    pub fn unit(&self) -> &Unit {
        &self.unit
    }

    /// Adds the properties of annotations `org.systemd.property.NAME`; others are passed over.
    ///
    /// # Errors
    /// A name or value that cannot be understood.
    pub fn annotate<'a>(
        &mut self,
        annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), Error> {
        for (key, text) in annotations {
            if let Some(property) = annotation::parse(key, text)? {
                self.more.push(property);
            }
        }
        Ok(())
    }

    /// Makes it around a process, and waits until that is in it. The group is returned, as a path
    /// below the root of the hierarchies.
    ///
    /// # Errors
    /// systemd cannot be reached, or does not make the scope.
    pub fn start(&self, pid: Pid, limits: &Resources, pure_v2: bool) -> Result<PathBuf, Error> {
        let mut bus = Bus::connect(self.unit.user)?;
        let properties = self.properties(pid, limits, pure_v2);
        let start = |bus: &mut Bus| {
            let body = [
                Value::Text(self.unit.name.clone()),
                Value::Text("fail".to_owned()),
                Value::Properties(properties.clone()),
                Value::NoUnits,
            ];
            bus.manager("StartTransientUnit", &body)
        };
        let job = match start(&mut bus) {
            // What is left of a scope that failed keeps its name taken.
            Err(error) if error.is("org.freedesktop.systemd1.UnitExists") => {
                bus.manager("ResetFailedUnit", &[Value::Text(self.unit.name.clone())])?;
                start(&mut bus)?
            }
            job => job?,
        };
        let made = self.unit.wait(&mut bus, &job);
        let group =
            made.and_then(|()| Ok(bus.property(&self.unit.name, "Scope", "ControlGroup")?));
        if group.is_err() {
            self.unit.stop();
        }
        let group = PathBuf::from(group?);
        Ok(group
            .strip_prefix("/")
            .map(ToOwned::to_owned)
            .unwrap_or(group))
    }

    fn properties(&self, pid: Pid, limits: &Resources, pure_v2: bool) -> Vec<(String, Value)> {
        let pid = pid.as_raw_nonzero().get().cast_unsigned();
        let io = if pure_v2 {
            "IOAccounting"
        } else {
            "BlockIOAccounting"
        };
        let mut all = vec![
            (
                "Description".to_owned(),
                Value::Text(format!("reeve container {}", self.unit.name)),
            ),
            ("Slice".to_owned(), Value::Text(self.slice.clone())),
            ("Delegate".to_owned(), Value::Bool(true)),
            ("PIDs".to_owned(), Value::Numbers(vec![pid])),
            ("DefaultDependencies".to_owned(), Value::Bool(false)),
            (
                "CollectMode".to_owned(),
                Value::Text("inactive-or-failed".to_owned()),
            ),
        ];
        let accounting = ["CPUAccounting", "MemoryAccounting", "TasksAccounting", io];
        all.extend(accounting.map(|name| (name.to_owned(), Value::Bool(true))));
        all.extend(properties::of(limits, pure_v2));
        // The last of a name holds.
        all.extend(self.more.iter().cloned());
        all
    }
}

impl Unit {
    /// Sets what is given of `limits`, until the unit ends.
    ///
    /// # Errors
    /// systemd cannot be reached, or refuses a value.
    pub fn update(&self, limits: &Resources, pure_v2: bool) -> Result<(), Error> {
        let properties = properties::of(limits, pure_v2);
        if properties.is_empty() {
            return Ok(());
        }
        let mut bus = Bus::connect(self.user)?;
        let body = [
            Value::Text(self.name.clone()),
            Value::Bool(true),
            Value::Properties(properties),
        ];
        bus.manager("SetUnitProperties", &body)?;
        Ok(())
    }

    /// Ends it. A scope ends by itself with its last process, so that there may be nothing to end,
    /// and nothing of it holds a process: failures are only told.
    pub fn stop(&self) {
        let name = || Value::Text(self.name.clone());
        let stop = || -> Result<(), Error> {
            let mut bus = Bus::connect(self.user)?;
            match bus.manager("StopUnit", &[name(), Value::Text("replace".to_owned())]) {
                Err(error) if error.is("org.freedesktop.systemd1.NoSuchUnit") => return Ok(()),
                job => self.wait(&mut bus, &job?)?,
            }
            match bus.manager("ResetFailedUnit", &[name()]) {
                Err(error) if error.is("org.freedesktop.systemd1.NoSuchUnit") => Ok(()),
                result => Ok(result.map(|_| ())?),
            }
        };
        if let Err(error) = stop() {
            tracing::warn!(%error, unit = self.name, "the container's scope is left over");
        }
    }

    fn wait(&self, bus: &mut Bus, job: &str) -> Result<(), Error> {
        let result = bus.job_result(job)?;
        if result == "done" {
            return Ok(());
        }
        let unit = self.name.clone();
        Err(Error::Job { unit, result })
    }
}
