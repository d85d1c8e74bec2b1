//! The side of the engine: requests taken from rings, carried out beside each other, put back.

use std::rc::Rc;
use std::sync::Arc;

use vhost_user_backend::{VringMutex, VringT};
use virtio_queue::QueueT;
use vm_memory::{GuestAddressSpace, GuestMemoryLoadGuard, GuestMemoryMmap};

use super::Options;
use super::backend::{Kick, Memory, Shared};
use super::config::feature;
use super::execute::{Disposition, Executor};
use super::request::Request;
use super::session::Busy;
use crate::disk::{Disk, Durability};
use crate::engine::{spawn, yield_now};

/// The guest's memory while a request is under way.
pub(super) type Guest = GuestMemoryLoadGuard<GuestMemoryMmap<()>>;

/// Carries out requests until the mailbox is closed.
pub(super) async fn run(disk: Rc<dyn Disk>, shared: Arc<Shared>, options: Options) {
    let executor = Rc::new(Executor::new(disk, &options));
    while let Some(kick) = shared.mailbox.next().await {
        take(&executor, &shared, &kick);
        // A guest that kicks without end leaves others their turn.
        yield_now().await;
    }
}

/// Starts all requests that are in a ring.
fn take(executor: &Rc<Executor>, shared: &Arc<Shared>, kick: &Kick) {
    loop {
        // A ring that cannot be written has nothing in it that could be answered either.
        if kick.vring.disable_notification().is_err() {
            return;
        }
        let mut some = false;
        while let Some((busy, head, request, guest)) = pop(kick) {
            some = true;
            let (executor, shared, kick) = (Rc::clone(executor), Arc::clone(shared), kick.clone());
            spawn(async move {
                let durability = match kick.session.features() & feature::FLUSH {
                    0 => Durability::Durable, // a guest that cannot flush
                    _ => Durability::Volatile,
                };
                let done = executor.execute(request, &guest, durability).await;
                put_back(&kick.vring, head, done);
                drop(busy);
                // There was no room for more before.
                if kick.session.load(kick.queue) + 1
                    == usize::from(kick.vring.get_ref().get_queue().size())
                {
                    shared.look(kick);
                }
            })
            .detach();
        }
        // A ring whose index makes no sense says for ever that there is more.
        if !matches!(kick.vring.enable_notification(), Ok(true)) || !some {
            return;
        }
    }
}

/// The next request of a ring, unless it is stopped, empty, or has as many under way as it has
/// entries, which no honest guest surpasses.
fn pop(kick: &Kick) -> Option<(Busy, u16, Request, Guest)> {
    let guest = kick.memory.memory();
    let busy = kick.session.begin(kick.queue)?;
    let chain = {
        let mut state = kick.vring.get_mut();
        let enabled = state.is_enabled();
        let queue = state.get_queue_mut();
        if !enabled || !queue.ready() || kick.session.load(kick.queue) > queue.size().into() {
            return None;
        }
        queue.pop_descriptor_chain(guest.clone())?
    };
    let head = chain.head_index();
    let request = Request::parse(chain);
    Some((busy, head, request, guest))
}

fn put_back(vring: &VringMutex<Memory>, head: u16, done: Disposition) {
    // A head that is no entry of the ring, or a ring outside of memory: nobody waits for it.
    if vring.add_used(head, done.written_bytes).is_ok()
        && vring.needs_notification().unwrap_or(true)
        && let Err(error) = vring.signal_used_queue()
    {
        tracing::debug!(%error, "a guest cannot be notified");
    }
}
