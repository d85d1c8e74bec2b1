//! Reading the ring buffer.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{Map, MapData, RingBuf};
use ebpf_common::event::Event;

use crate::pins::Pins;
use crate::{Error, sys};

/// The consuming end of the ring buffer. An event is read once, so readers share a lock and a log
/// (see the runtime's `audit`).
pub struct Events {
    ring: RingBuf<MapData>,
}

impl Events {
    /// Opens the pinned ring buffer; `None` if nothing is loaded.
    ///
    /// # Errors
    /// A failed call.
    pub fn open() -> Result<Option<Self>, Error> {
        let path = Pins::at_bpffs()?.ready().join("maps/EVENTS");
        if !path.exists() {
            return Ok(None);
        }
        let failed = |error| Error::Load(Box::new(aya::EbpfError::MapError(error)));
        let map = MapData::from_pin(&path).map_err(failed)?;
        let ring = RingBuf::try_from(Map::RingBuf(map)).map_err(failed)?;
        Ok(Some(Self { ring }))
    }

    /// The next event, if one waits.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            let item = self.ring.next()?;
            if let Some(event) = sys::from_bytes::<Event>(&item) {
                return Some(event);
            }
        }
    }
}

impl AsFd for Events {
    /// Readable when an event waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// The kernel side's debug log. It is empty unless the programs were loaded with debug logging on;
/// otherwise the verifier has removed the code.
pub struct DebugLog {
    logger: aya_log::EbpfLogger<ToStderr>,
}

impl DebugLog {
    /// Opens the log of the pinned programs; `None` if nothing is loaded.
    ///
    /// # Errors
    /// A failed call.
    pub fn open() -> Result<Option<Self>, Error> {
        let path = Pins::at_bpffs()?.ready().join("programs/file_open");
        if !path.exists() {
            return Ok(None);
        }
        let info = aya::programs::ProgramInfo::from_pin(&path).map_err(|error| Error::Pin {
            path: path.clone(),
            source: Box::new(error),
        })?;
        let logger = aya_log::EbpfLogger::init_from_id_with_logger(info.id(), ToStderr).map_err(
            |error| Error::Pin {
                path,
                source: Box::new(error),
            },
        )?;
        Ok(Some(Self { logger }))
    }

    /// Prints what waits to stderr.
    pub fn flush(&mut self) {
        self.logger.flush();
    }
}

/// Prints records as they come.
struct ToStderr;

impl log::Log for ToStderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("kernel: {}", record.args());
    }

    fn flush(&self) {}
}
