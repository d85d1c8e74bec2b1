//! A thread with an engine and the disks that live on it.
//!
//! The control plane never touches a disk: it sends a closure to the disk's thread, which makes a
//! future of it there, and waits for what that answers.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::control::{Failure, Kind};
use super::host::Host;
use crate::disk::open;
use crate::engine::Notify;
use crate::engine::{self, Choice, Engine, Remote};

thread_local! {
    static HOST: RefCell<Option<Rc<Host>>> = const { RefCell::new(None) };
}

/// A thread of the service.
#[derive(Debug)]
pub(super) struct Worker {
    remote: Remote,
    thread: Option<JoinHandle<()>>,
}

/// Tells the thread to end.
#[derive(Debug, Default)]
pub(super) struct Stop {
    asked: std::cell::Cell<bool>,
    changed: Notify,
}

impl Stop {
    pub(super) fn ask(&self) {
        self.asked.set(true);
        self.changed.wake();
    }

    async fn asked(&self) {
        self.changed.when(|| self.asked.get()).await;
    }
}

impl Worker {
    /// Starts a thread without disks.
    ///
    /// # Errors
    /// When the system gives no thread or no engine.
    pub(super) fn start(name: &str, engine: open::Engine) -> io::Result<Self> {
        let (sender, receiver) = std::sync::mpsc::channel();
        // The kernel keeps 15 bytes of it.
        let thread = std::thread::Builder::new().name(format!("disk {name}"));
        let thread = thread.spawn(move || {
            let choice = match engine {
                open::Engine::Auto => Choice::Auto,
                open::Engine::Uring => Choice::Uring,
                open::Engine::Threads => Choice::Threads,
            };
            let engine = match Engine::with(choice) {
                Ok(engine) => engine,
                Err(error) => {
                    let _ = sender.send(Err(error));
                    return;
                }
            };
            let host = Rc::new(Host::default());
            HOST.with(|slot| slot.borrow_mut().replace(Rc::clone(&host)));
            if sender.send(Ok(engine.remote())).is_ok() {
                engine.block_on(host.stop.asked());
            }
            HOST.with(|slot| slot.borrow_mut().take());
        })?;
        let remote = receiver
            .recv()
            .map_err(|_| io::Error::other("a thread for disks ended at once"))??;
        Ok(Self {
            remote,
            thread: Some(thread),
        })
    }

    /// Has something done on the thread.
    ///
    /// # Errors
    /// What it answers, and [`Kind::Failed`] when the thread has gone.
    pub(super) async fn call<T, F>(
        &self,
        make: impl FnOnce(Rc<Host>) -> F + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.remote.call(move || {
            let Some(host) = HOST.with(|host| host.borrow().clone()) else {
                return; // the sender is dropped, which the caller sees
            };
            let work = make(host);
            engine::spawn(async move {
                let _ = sender.send(work.await);
            })
            .detach();
        });
        let gone = |_| Failure::new(Kind::Failed, "the thread of the disk has ended");
        receiver.await.map_err(gone)?
    }

    /// Ends the thread, whose disks have been closed.
    pub(super) fn end(mut self) {
        self.remote.call(|| {
            if let Some(host) = HOST.with(|host| host.borrow().clone()) {
                host.stop.ask();
            }
        });
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a thread for disks has panicked");
        }
    }
}
