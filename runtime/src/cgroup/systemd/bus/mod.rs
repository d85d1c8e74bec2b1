//! As much of a D-Bus client as systemd needs: calls one after the other, and the one signal
//! that tells how a job ended.
//!
//! Blocking, without a thread and without a dependency: the clients there are bring an event loop
//! or a copy of `nix`, and what is needed is less than what they would have to be told.

mod wire;

pub(super) use wire::Value;

use std::collections::VecDeque;
use std::env;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::{Kind, Message};

/// How long systemd may take to answer, or a job to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// No message of systemd that is read here is near it.
const LONGEST: usize = 1 << 20;

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// Why a call was not answered well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nobody to talk to.
    #[error("connect(\"{path}\")")]
    Connect {
        /// The socket that was tried last.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke, or nothing came for too long.
    #[error("{call}: no answer from systemd")]
    Io {
        /// What was asked.
        call: String,
        /// Why.
        source: io::Error,
    },
    /// The other side does not know us.
    #[error("authentication was refused: {0:?}")]
    Refused(String),
    /// An answer that is none.
    #[error("{call}: the answer cannot be understood")]
    Malformed {
        /// What was asked.
        call: String,
    },
    /// systemd says no.
    #[error("{call}: {message} ({name})")]
    Reply {
        /// What was asked.
        call: String,
        /// Name of the error, such as `org.freedesktop.systemd1.UnitExists`.
        name: String,
        /// What it says.
        message: String,
    },
}

impl Error {
    /// Whether it is the answer of this name.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Reply { name, .. } if name == wanted)
    }
}

/// A connection to a systemd, direct or over a message bus.
#[derive(Debug)]
pub(super) struct Bus {
    stream: BufReader<UnixStream>,
    serial: u32,
    /// Over a message bus, where a call names whom it is for.
    routed: bool,
    /// Signals that came while an answer was awaited.
    signals: VecDeque<Message>,
}

impl Bus {
    /// The system's systemd, or the user's.
    pub(super) fn connect(user: bool) -> Result<Self, Error> {
        let mut last = None;
        for (path, routed) in addresses(user) {
            match Self::open(&path, routed) {
                Ok(bus) => return Ok(bus),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Connect {
            path: PathBuf::from("XDG_RUNTIME_DIR"),
            source: io::ErrorKind::NotFound.into(),
        }))
    }

    fn open(path: &Path, routed: bool) -> Result<Self, Error> {
        let stream = UnixStream::connect(path).map_err(|source| Error::Connect {
            path: path.to_owned(),
            source,
        })?;
        Self::over(stream, routed)
    }

    /// Says who we are: the socket tells the other side, so the answer to its question is empty.
    ///
    /// All of it is sent at once, as systemd's own clients do. A systemd that finds the end of this
    /// and the first call in one read looks at the call only when something else comes.
    fn over(stream: UnixStream, routed: bool) -> Result<Self, Error> {
        let io = |source| Error::Io {
            call: "AUTH EXTERNAL".to_owned(),
            source,
        };
        stream.set_read_timeout(Some(PATIENCE)).map_err(io)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(io)?;
        let mut stream = BufReader::new(stream);
        let hello = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";
        stream.get_mut().write_all(hello).map_err(io)?;
        for expected in ["DATA", "OK "] {
            let mut line = String::new();
            stream
                .by_ref()
                .take(4096)
                .read_line(&mut line)
                .map_err(io)?;
            if !line.starts_with(expected) {
                return Err(Error::Refused(line.trim_end().to_owned()));
            }
        }
        let mut bus = Self {
            stream,
            serial: 0,
            routed,
            signals: VecDeque::new(),
        };
        if routed {
            bus.introduce()?;
        }
        Ok(bus)
    }

    /// A message bus gives us a name, and passes on the signals that are asked for; systemd sends
    /// them when somebody has subscribed. A direct connection needs neither.
    fn introduce(&mut self) -> Result<(), Error> {
        let rule = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
        let bus = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
        self.call(bus.0, bus.1, bus.0, "Hello", &[])?;
        self.call(
            bus.0,
            bus.1,
            bus.0,
            "AddMatch",
            &[Value::Text(rule.to_owned())],
        )?;
        self.manager("Subscribe", &[]).map(|_| ())
    }

    /// Calls a method of the manager; what it answers, as text, is a job or nothing.
    pub(super) fn manager(&mut self, member: &str, body: &[Value]) -> Result<String, Error> {
        self.call(SERVICE, MANAGER_PATH, MANAGER, member, body)
    }

    /// A property of a unit, of type string.
    pub(super) fn property(
        &mut self,
        unit: &str,
        interface: &str,
        name: &str,
    ) -> Result<String, Error> {
        let path = format!("{MANAGER_PATH}/unit/{}", escape(unit));
        let body = [
            Value::Text(format!("{SERVICE}.{interface}")),
            Value::Text(name.to_owned()),
        ];
        self.call(
            SERVICE,
            &path,
            "org.freedesktop.DBus.Properties",
            "Get",
            &body,
        )
    }

    /// How a job ended.
    pub(super) fn job_result(&mut self, job: &str) -> Result<String, Error> {
        let call = || format!("JobRemoved({job})");
        loop {
            let signal = match self.signals.pop_front() {
                Some(signal) => signal,
                None => self.receive(&call)?,
            };
            if signal.kind != Kind::Signal || signal.member != "JobRemoved" {
                continue;
            }
            let malformed = || Error::Malformed { call: call() };
            let (removed, result) = signal.job_removed().ok_or_else(malformed)?;
            if removed == job {
                return Ok(result);
            }
        }
    }

    fn call(
        &mut self,
        service: &str,
        path: &str,
        interface: &str,
        member: &str,
        body: &[Value],
    ) -> Result<String, Error> {
        let call = || match body.first() {
            Some(Value::Text(first)) => format!("{member}(\"{first}\")"),
            _ => format!("{member}()"),
        };
        self.serial += 1;
        let destination = self.routed.then_some(service);
        let bytes = wire::method_call(self.serial, destination, path, interface, member, body);
        let written = self.stream.get_mut().write_all(&bytes);
        written.map_err(|source| Error::Io {
            call: call(),
            source,
        })?;
        loop {
            let message = self.receive(&call)?;
            match message.kind {
                Kind::Signal => self.signals.push_back(message),
                Kind::Return if message.reply_to == self.serial => {
                    return message
                        .text()
                        .ok_or_else(|| Error::Malformed { call: call() });
                }
                Kind::Error if message.reply_to == self.serial => {
                    return Err(Error::Reply {
                        call: call(),
                        message: message.text().unwrap_or_default(),
                        name: message.error,
                    });
                }
                // Nobody else asks us anything.
                _ => {}
            }
        }
    }

    fn receive(&mut self, call: &dyn Fn() -> String) -> Result<Message, Error> {
        let io = |source| Error::Io {
            call: call(),
            source,
        };
        let malformed = || Error::Malformed { call: call() };
        let mut bytes = vec![0; wire::HEAD];
        self.stream.read_exact(&mut bytes).map_err(io)?;
        let length = wire::length(&bytes).filter(|length| *length <= LONGEST);
        bytes.resize(length.ok_or_else(malformed)?, 0);
        self.stream
            .read_exact(&mut bytes[wire::HEAD..])
            .map_err(io)?;
        Message::parse(&bytes).ok_or_else(malformed)
    }
}

/// Sockets to try, and whether a message bus is behind them. systemd's own is for root, or the
/// user, alone, and works early and late in the life of a system.
fn addresses(user: bool) -> Vec<(PathBuf, bool)> {
    if !user {
        return vec![
            ("/run/systemd/private".into(), false),
            ("/run/dbus/system_bus_socket".into(), true),
        ];
    }
    let mut all = Vec::new();
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    all.extend(
        runtime
            .iter()
            .map(|dir| (dir.join("systemd/private"), false)),
    );
    let session = env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    let paths = session.split(';').filter_map(|address| {
        let pairs = address.strip_prefix("unix:")?.split(',');
        pairs
            .into_iter()
            .find_map(|pair| pair.strip_prefix("path="))
    });
    all.extend(paths.map(|path| (PathBuf::from(path), true)));
    all.extend(runtime.iter().map(|dir| (dir.join("bus"), true)));
    all
}

/// A unit's name as part of an object path: what is neither letter nor digit is `_` and its number.
fn escape(unit: &str) -> String {
    let mut path = String::new();
    for (at, byte) in unit.bytes().enumerate() {
        let plain = byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit());
        if plain {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests;
