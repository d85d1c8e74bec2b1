//! vhost-user-blk: a disk for QEMU over shared memory.
//!
//! A [`Server`] listens on a unix socket for one front end at a time (QEMU's
//! `vhost-user-blk-pci`), again and again: a front end that goes away may come back. The protocol
//! itself is spoken by the crate `vhost-user-backend` on threads of its own; requests are carried
//! out on the thread of the disk's engine, so all filters sit behind this as they do behind NBD.
//! Data is copied between guest memory and I/O buffers.
//!
//! Three threads meet here: the control thread takes the front end's messages, the ring thread is
//! woken by the guest and passes this on, the engine's thread takes requests from the rings
//! ([`device`]). A ring is stopped, and a front end forgotten, only when none of its requests is
//! under way.
//!
//! # Guests are not trusted, front ends are
//! Descriptors, rings and headers are the guest's: loops, addresses outside of its memory, wrong
//! orders and lengths end in an error status or are left unanswered, never in more than that
//! ([`request`]). The front end owns the memory and the machine; if it truncates the memory that it
//! shares, this process ends, as it does with every vhost-user back end.
//!
//! Not here: migration of dirty memory logs, in-flight tracking over a restart of this process, and
//! the notification that the disk was resized (the crate has no such message); a guest sees the new
//! size when it asks again ([`Server::resized`]).

mod backend;
mod config;
mod device;
mod execute;
mod mailbox;
mod request;
mod session;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::disk::Disk;
use crate::engine::{Task, spawn};
use backend::Shared;
use config::Config;

/// How a disk is shown to the guest.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most queues, 1 to 64; the front end uses as many as it likes.
    pub queues: u16,
    /// Entries of a queue at most, a power of two.
    pub queue_size: u16,
    /// The serial number that the guest reads; 20 bytes of it.
    pub serial: String,
    /// Most memory for data under way, in bytes.
    pub memory_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queues: 4,
            queue_size: 256,
            serial: String::new(),
            memory_bytes: 32 << 20,
        }
    }
}

/// A disk behind a vhost-user socket.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    shared: Arc<Shared>,
    disk: Rc<dyn Disk>,
    control: Option<Control>,
    device: Option<Task<()>>,
}

/// The control thread and what stops it.
#[derive(Debug)]
struct Control {
    stopping: Arc<AtomicBool>,
    listener: UnixListener,
    thread: JoinHandle<()>,
}

impl Server {
    /// Listens; the path must not exist. To be called on the thread of the disk's engine.
    ///
    /// # Errors
    /// Of the socket and of starting a thread, and when an option is out of its range.
    pub fn start(path: &Path, disk: Rc<dyn Disk>, options: &Options) -> io::Result<Self> {
        let sizes = options.queue_size.is_power_of_two() && options.queue_size <= 1024;
        if !sizes || options.queues == 0 || options.queues > 64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} queues of {}", options.queues, options.queue_size),
            ));
        }
        let config = Config::new(&disk.geometry(), options);
        let shared = Arc::new(Shared::new(config, options));
        let listener = UnixListener::bind(path)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let control = {
            let (shared, stopping) = (Arc::clone(&shared), Arc::clone(&stopping));
            let listener = listener.try_clone()?;
            let thread = std::thread::Builder::new().name("vhost-user".into());
            thread.spawn(move || {
                let _ended = backend::Ended(&shared);
                backend::control(listener, &shared, &stopping);
            })?
        };
        let device = device::run(Rc::clone(&disk), Arc::clone(&shared), options.clone());
        Ok(Self {
            path: path.to_owned(),
            shared,
            disk,
            control: Some(Control {
                stopping,
                listener,
                thread: control,
            }),
            device: Some(spawn(device)),
        })
    }

    /// Takes over the disk's size, after it has changed.
    pub fn resized(&self) {
        self.shared.config().resize(self.disk.geometry().size_bytes);
    }

    /// Ends the front end's connection once its requests have ended, and listens no more.
    pub async fn stop(mut self) {
        if let Some(control) = self.begin_stop() {
            // Not by a thread of the engine: the requests that this waits for may need them all.
            self.shared.ended.next().await;
            // It failed only if the thread panicked, and then there is nothing to wait for.
            let _ = control.join();
        }
        if let Some(device) = self.device.take() {
            self.shared.mailbox.close();
            device.await;
        }
    }

    /// Tells the control thread to end.
    fn begin_stop(&mut self) -> Option<JoinHandle<()>> {
        let control = self.control.take()?;
        control.stopping.store(true, Ordering::Release);
        // Either may fail if it has ended already; a path that is gone is fine, too.
        let _ = rustix::net::shutdown(&control.listener, rustix::net::Shutdown::Both);
        self.shared.hang_up();
        let _ = std::fs::remove_file(&self.path);
        Some(control.thread)
    }
}

impl Drop for Server {
    /// As [`Server::stop`], without waiting.
    fn drop(&mut self) {
        if self.begin_stop().is_some() {
            self.shared.mailbox.close();
        }
        if let Some(device) = self.device.take() {
            device.detach();
        }
    }
}
