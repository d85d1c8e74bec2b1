//! A server on a thread of its own.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use tempfile::TempDir;
use vmstorage::disk::memory::Memory;
use vmstorage::disk::{Answer, Disk};
use vmstorage::engine::{self, IoBufMut, Stream};
use vmstorage::vhost::{Options, Server};

/// A disk behind a socket, until it is dropped.
pub(crate) struct Served {
    dir: TempDir,
    /// The server stops when it is closed; a byte makes the disk twice as large.
    control: Option<UnixStream>,
    resized: Receiver<()>,
    thread: Option<JoinHandle<Vec<u8>>>,
}

impl Served {
    pub(crate) fn start(disk: impl FnOnce() -> Memory + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (control, controlled) = UnixStream::pair().unwrap();
        let (up, is_up) = channel();
        let (was_resized, resized) = channel();
        let thread = std::thread::spawn(move || {
            let serve = async move {
                let disk = Rc::new(disk());
                let options = Options {
                    serial: "serial".into(),
                    ..Options::default()
                };
                let shown: Rc<dyn Disk> = disk.clone();
                let server = Server::start(&path, shown, &options).unwrap();
                up.send(()).unwrap();
                let controlled = Stream::from_fd(controlled.into()).unwrap();
                while !controlled
                    .recv(IoBufMut::zeroed(1))
                    .await
                    .unwrap()
                    .is_empty()
                {
                    let resize: Answer<'_, ()> = disk.resize(disk.geometry().size_bytes * 2);
                    resize.await.unwrap();
                    server.resized();
                    was_resized.send(()).unwrap();
                }
                server.stop().await;
                disk.content()
            };
            engine::run(serve).unwrap()
        });
        is_up.recv().unwrap();
        Self {
            dir,
            control: Some(control),
            resized,
            thread: Some(thread),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    /// Makes the disk twice as large.
    pub(crate) fn grow(&self) {
        use std::io::Write;
        self.control.as_ref().unwrap().write_all(&[0]).unwrap();
        self.resized.recv().unwrap();
    }

    /// Ends the server; what the disk holds.
    pub(crate) fn stop(mut self) -> Vec<u8> {
        drop(self.control.take());
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.control.take());
        if let Some(thread) = self.thread.take() {
            let stopped = thread.join();
            assert!(
                stopped.is_ok() || std::thread::panicking(),
                "the server panicked"
            );
        }
    }
}
