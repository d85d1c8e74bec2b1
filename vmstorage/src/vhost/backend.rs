//! The side of the protocol: what `vhost-user-backend` asks for, on its threads.

use std::fmt;
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use vhost::vhost_user::Listener;
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost_user_backend::{ShutdownHandle, VhostUserBackend, VhostUserDaemon, VringMutex};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use super::Options;
use super::config::Config;
use super::mailbox::{Mailbox, lock};
use super::session::Session;

/// The guest's memory as it is at the moment.
pub(super) type Memory = GuestMemoryAtomic<GuestMemoryMmap<()>>;

/// What the engine's thread and the others share.
pub(super) struct Shared {
    pub(super) mailbox: Mailbox<Kick>,
    config: Mutex<Config>,
    queues: usize,
    queue_size: usize,
    hang_up: Mutex<Option<ShutdownHandle>>,
    /// Closed when the control thread is done.
    pub(super) ended: Mailbox<()>,
}

/// The control thread's work; it is done when this is dropped, also by a panic.
pub(super) struct Ended<'a>(pub(super) &'a Shared);

/// A guest has put requests into a queue.
#[derive(Clone)]
pub(super) struct Kick {
    pub(super) session: Arc<Session>,
    pub(super) queue: usize,
    pub(super) vring: VringMutex<Memory>,
    pub(super) memory: Memory,
}

/// One front end's device.
#[derive(Clone)]
struct Backend {
    shared: Arc<Shared>,
    session: Arc<Session>,
    memory: Memory,
}

impl Shared {
    pub(super) fn new(config: Config, options: &Options) -> Self {
        Self {
            mailbox: Mailbox::new(),
            config: Mutex::new(config),
            queues: options.queues.into(),
            queue_size: options.queue_size.into(),
            hang_up: Mutex::new(None),
            ended: Mailbox::new(),
        }
    }

    pub(super) fn config(&self) -> MutexGuard<'_, Config> {
        lock(&self.config)
    }

    /// Has a queue looked at. A guest may kick as often as it likes: once is enough.
    pub(super) fn look(&self, kick: Kick) {
        let same = |a: &Kick, b: &Kick| a.queue == b.queue && Arc::ptr_eq(&a.session, &b.session);
        self.mailbox.put_once(kick, same);
    }

    /// Ends the front end's connection, if there is one.
    pub(super) fn hang_up(&self) {
        if let Some(handle) = lock(&self.hang_up).take() {
            handle.shutdown();
        }
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.ended.close();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Serves one front end after the other until it is told to stop.
pub(super) fn control(listener: UnixListener, shared: &Arc<Shared>, stopping: &AtomicBool) {
    let mut listener = Listener::from(listener);
    while !stopping.load(Ordering::Acquire) {
        let session = Session::new(shared.queues);
        let memory = Memory::new(GuestMemoryMmap::new());
        let backend = Backend {
            shared: Arc::clone(shared),
            session: Arc::clone(&session),
            memory: memory.clone(),
        };
        let mut daemon = match VhostUserDaemon::new("vhost-user".into(), backend, memory) {
            Ok(daemon) => daemon,
            Err(error) => {
                tracing::error!(%error, "vhost-user ends");
                return;
            }
        };
        if let Err(error) = daemon.start(&mut listener) {
            if !stopping.load(Ordering::Acquire) {
                tracing::error!(%error, "vhost-user ends");
            }
            return;
        }
        *lock(&shared.hang_up) = daemon.shutdown_handle();
        // Told to stop between the accept and the line above.
        if stopping.load(Ordering::Acquire) {
            shared.hang_up();
        }
        match daemon.wait() {
            Ok(()) => tracing::debug!("vhost-user front end left"),
            Err(error) => tracing::info!(%error, "vhost-user front end left"),
        }
        lock(&shared.hang_up).take();
        // Late replies would land in rings that the next front end has set up anew.
        session.close();
    }
}

impl VhostUserBackend for Backend {
    type Bitmap = ();
    type Vring = VringMutex<Memory>;

    fn num_queues(&self) -> usize {
        self.shared.queues
    }

    fn max_queue_size(&self) -> usize {
        self.shared.queue_size
    }

    fn features(&self) -> u64 {
        self.shared.config().features
    }

    fn acked_features(&self, features: u64) {
        self.session.agree(features);
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    fn set_event_idx(&self, _: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        self.shared.config().read(offset, size)
    }

    fn update_memory(&self, _: Memory) -> io::Result<()> {
        Ok(()) // it is the one that the device has already
    }

    fn queues_per_thread(&self) -> Vec<u64> {
        vec![u64::MAX]
    }

    fn exit_event(&self, _: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC).ok()
    }

    fn stop_vring(&self, queue: u32) -> io::Result<()> {
        self.session.drain(queue as usize);
        Ok(())
    }

    fn handle_event(
        &self,
        event: u16,
        _: EventSet,
        vrings: &[VringMutex<Memory>],
        _: usize,
    ) -> io::Result<()> {
        let queue = usize::from(event);
        if let Some(vring) = vrings.get(queue) {
            self.shared.look(Kick {
                session: Arc::clone(&self.session),
                queue,
                vring: vring.clone(),
                memory: self.memory.clone(),
            });
        }
        Ok(())
    }
}
