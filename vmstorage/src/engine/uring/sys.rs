//! The ring itself: requests are told to the kernel as addresses, so their owners are kept here
//! until the kernel has answered.
#![allow(
    unsafe_code,
    reason = "the kernel is given addresses of memory that this module keeps"
)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use io_uring::squeue::Entry;
use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};

use super::polling::Polling;
use crate::engine::arena::Arena;
use crate::engine::request::{Answer, Handle, MAX_CALL_BYTES, Request};

/// Requests submitted by one system call; more take another.
const SUBMISSIONS: u32 = 256;
/// Answers that the ring holds; the kernel keeps more than these in a list of its own.
const COMPLETIONS: u32 = 4096;
/// Marks answers that nobody waits for.
const NOBODY: u64 = u64::MAX;
/// Marks the answer that another thread woke the loop.
const EVENT: u64 = u64::MAX - 1;
/// How long a ring that goes away waits for requests that cannot be called off.
const PARTING: Duration = Duration::from_secs(5);

/// Which request it is, until its answer is taken.
pub(super) type Key = u32;

/// One io_uring with what its requests use.
pub(super) struct Ring {
    io: IoUring,
    slots: Vec<Slot>,
    free: Vec<Key>,
    /// Requests that the kernel has not answered.
    busy: usize,
    /// Those of them that are for a disk rather than a client.
    transfers: usize,
    /// There were some since the last wait for clients alone.
    transferred: bool,
    /// What did not fit the submission queue.
    backlog: VecDeque<Entry>,
    /// Buffers in it are known to the kernel by number 0.
    arena: Option<Arc<Arena>>,
    event: Arc<OwnedFd>,
    /// Where the kernel writes the event's count.
    count: Box<u64>,
    event_asked: bool,
    polling: Polling,
}

enum Slot {
    Free,
    Busy {
        _handle: Handle,
        request: Request,
        /// Nobody when the task has gone.
        waker: Option<Waker>,
    },
    Done(io::Result<usize>, Request),
}

impl Ring {
    pub(super) fn new(event: Arc<OwnedFd>) -> Result<Self, String> {
        let io = set_up().map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM) => {
                "io_uring_setup: not permitted (seccomp or `kernel.io_uring_disabled`)".to_owned()
            }
            Some(libc::ENOSYS) => "io_uring_setup: the kernel has no io_uring".to_owned(),
            _ => format!("io_uring_setup: {error}"),
        })?;
        let params = io.params();
        if !(params.is_feature_ext_arg()
            && params.is_feature_nodrop()
            && params.is_feature_fast_poll())
        {
            return Err("io_uring of a kernel before 5.11".to_owned());
        }
        Ok(Self {
            io,
            slots: Vec::new(),
            free: Vec::new(),
            busy: 0,
            transfers: 0,
            transferred: false,
            backlog: VecDeque::new(),
            arena: None,
            event,
            count: Box::new(0),
            event_asked: false,
            polling: Polling::default(),
        })
    }

    /// Registers an arena; without the right to lock that much memory its buffers work as others
    /// do.
    pub(super) fn register(&mut self, arena: &Arc<Arena>) {
        let region = libc::iovec {
            iov_base: arena.region().at(0).as_ptr().cast(),
            iov_len: arena.region().len(),
        };
        // SAFETY: the region is mapped, and lives until the ring is gone: `self.arena` keeps it.
        let registered = unsafe { self.io.submitter().register_buffers(&[region]) };
        match registered {
            Ok(()) => self.arena = Some(Arc::clone(arena)),
            Err(error) => tracing::debug!(%error, "io_uring: buffers are not registered"),
        }
    }

    /// Queues a request for the next turn.
    pub(super) fn start(&mut self, handle: Handle, request: Request, waker: Waker) -> Key {
        let key = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free);
            (self.slots.len() - 1) as Key
        });
        let entry = self.entry(&handle, &request).user_data(key.into());
        let is_transfer = request.is_transfer();
        self.slots[key as usize] = Slot::Busy {
            _handle: handle,
            request,
            waker: Some(waker),
        };
        self.busy += 1;
        self.transfers += usize::from(is_transfer);
        self.transferred |= is_transfer;
        self.push(entry);
        key
    }

    /// The answer, once it is there; until then `waker` is told.
    pub(super) fn take(&mut self, key: Key, waker: &Waker) -> Option<Answer> {
        let slot = &mut self.slots[key as usize];
        if let Slot::Busy { waker: told, .. } = slot {
            match told {
                Some(told) => told.clone_from(waker),
                None => *told = Some(waker.clone()),
            }
            return None;
        }
        let Slot::Done(result, request) = std::mem::replace(slot, Slot::Free) else {
            return None;
        };
        self.free.push(key);
        Some((result, request))
    }

    /// Nobody waits for a request any more. Waiting for readiness is called off, everything else
    /// runs to its end. Returns what is to be dropped when the ring is not borrowed.
    pub(super) fn abandon(&mut self, key: Key, call_off: bool) -> Option<Request> {
        let slot = &mut self.slots[key as usize];
        if let Slot::Busy { waker, .. } = slot {
            *waker = None;
            if call_off {
                self.call_off(key);
            }
            return None;
        }
        let left = std::mem::replace(slot, Slot::Free);
        self.free.push(key);
        match left {
            Slot::Done(_, request) => Some(request),
            _ => None,
        }
    }

    /// Takes away who waits, as the loop is going away.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        let wakers = self.slots.iter_mut().filter_map(|slot| match slot {
            Slot::Busy { waker, .. } => waker.take(),
            _ => None,
        });
        wakers.collect()
    }

    /// See [`super::Uring::turn`].
    pub(super) fn turn(&mut self, wait: Option<Duration>) {
        if !self.event_asked {
            self.ask_event();
        }
        self.push_backlog();
        let wait = if self.backlog.is_empty() {
            wait
        } else {
            Some(Duration::ZERO)
        };
        // Where a disk is waited for as well, a client's next request is not what takes the time.
        let for_client = self.transfers == 0
            && wait != Some(Duration::ZERO)
            && !std::mem::take(&mut self.transferred);
        let begun = for_client.then(Instant::now);
        let answered = begun.is_some_and(|begun| self.poll(begun, wait));
        let entered = match wait {
            _ if answered => self.submit(),
            Some(Duration::ZERO) => self.submit(),
            Some(wait) => {
                let wait = Timespec::from(wait);
                let args = SubmitArgs::new().timespec(&wait);
                self.io.submitter().submit_with_args(1, &args)
            }
            None => self.io.submit_and_wait(1),
        };
        match entered.map_err(|error| error.raw_os_error()) {
            // Time is over, a signal came, or answers are to be taken first.
            Ok(_) | Err(Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
            Err(errno) => tracing::error!(?errno, "io_uring_enter"),
        }
        if let Some(begun) = begun {
            self.polling.learn(begun.elapsed());
        }
        self.reap();
    }

    /// Submits, and looks for answers without sleeping; whether there are any.
    fn poll(&mut self, begun: Instant, most: Option<Duration>) -> bool {
        let window = self.polling.window().min(most.unwrap_or(Duration::MAX));
        if window.is_zero() || self.submit().is_err() {
            return false;
        }
        loop {
            // Short enough that looking at the clock does not matter.
            for _ in 0..32 {
                if self.has_answers() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if begun.elapsed() >= window {
                return false;
            }
        }
    }

    fn has_answers(&mut self) -> bool {
        let mut queue = self.io.submission();
        queue.sync();
        if queue.taskrun() || queue.cq_overflow() {
            return true;
        }
        drop(queue);
        !self.io.completion().is_empty()
    }

    /// Submits what is queued, if that or anything else needs the kernel.
    fn submit(&mut self) -> io::Result<usize> {
        let mut queue = self.io.submission();
        queue.sync();
        if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
            return Ok(0);
        }
        drop(queue);
        self.io.submit()
    }

    fn reap(&mut self) {
        let Self {
            io,
            slots,
            free,
            busy,
            transfers,
            event_asked,
            ..
        } = self;
        for entry in io.completion() {
            let key = match entry.user_data() {
                NOBODY => continue,
                EVENT => {
                    *event_asked = false;
                    continue;
                }
                key => key as Key,
            };
            let Some(slot) = slots.get_mut(key as usize) else {
                continue;
            };
            let Slot::Busy { request, waker, .. } = std::mem::replace(slot, Slot::Free) else {
                continue;
            };
            *busy -= 1;
            *transfers -= usize::from(request.is_transfer());
            match waker {
                Some(waker) => {
                    *slot = Slot::Done(result(entry.result()), request);
                    waker.wake();
                }
                None => free.push(key),
            }
        }
    }

    /// What the kernel is told of a request.
    fn entry(&self, handle: &Handle, request: &Request) -> Entry {
        let fd = Fd(handle.as_raw_fd());
        match request {
            Request::Read { buf, done, offset } => {
                let len = (buf.len() - done).min(MAX_CALL_BYTES) as u32;
                let (address, at) = (buf.address(*done), offset + *done as u64);
                if self.is_registered(buf.arena()) {
                    opcode::ReadFixed::new(fd, address, len, 0)
                        .offset(at)
                        .build()
                } else {
                    opcode::Read::new(fd, address, len).offset(at).build()
                }
            }
            Request::Write {
                data,
                done,
                offset,
                durable,
            } => {
                let len = (data.len() - done).min(MAX_CALL_BYTES) as u32;
                let (address, at) = (data.address(*done), offset + *done as u64);
                let flags = if *durable { libc::RWF_DSYNC } else { 0 };
                if self.is_registered(data.arena()) {
                    let write = opcode::WriteFixed::new(fd, address, len, 0);
                    write.offset(at).rw_flags(flags).build()
                } else {
                    let write = opcode::Write::new(fd, address, len);
                    write.offset(at).rw_flags(flags).build()
                }
            }
            Request::SyncData => opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build(),
            Request::Allocate { mode, offset, len } => opcode::Fallocate::new(fd, *len)
                .offset(*offset)
                .mode(mode.bits() as i32)
                .build(),
            Request::Poll(flags) => opcode::PollAdd::new(fd, flags.bits().into()).build(),
        }
    }

    fn is_registered(&self, arena: Option<&Arc<Arena>>) -> bool {
        match (&self.arena, arena) {
            (Some(registered), Some(arena)) => Arc::ptr_eq(registered, arena),
            _ => false,
        }
    }

    fn call_off(&mut self, key: Key) {
        self.push(
            opcode::AsyncCancel::new(key.into())
                .build()
                .user_data(NOBODY),
        );
    }

    fn ask_event(&mut self) {
        let fd = Fd(self.event.as_raw_fd());
        let count: *mut u64 = &mut *self.count;
        self.push(
            opcode::Read::new(fd, count.cast(), 8)
                .build()
                .user_data(EVENT),
        );
        self.event_asked = true;
    }

    fn push(&mut self, entry: Entry) {
        if !self.backlog.is_empty() || !self.push_now(&entry) {
            self.backlog.push_back(entry);
            // It submits less when answers are to be taken first; the next turn goes on.
            let _ = self.io.submit();
            self.push_backlog();
        }
    }

    fn push_backlog(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.push_now(&entry) {
                self.backlog.push_front(entry);
                return;
            }
        }
    }

    fn push_now(&mut self, entry: &Entry) -> bool {
        // SAFETY: every entry is made by `entry` of a request that its slot keeps until the kernel
        // has answered, by `ask_event` for `count`, which lives as long as the ring, or has no
        // address.
        unsafe { self.io.submission().push(entry) }.is_ok()
    }
}

impl Drop for Ring {
    /// Calls everything off and waits for it, so that the kernel writes to no memory of others.
    fn drop(&mut self) {
        for key in 0..self.slots.len() {
            if let Slot::Busy { waker, .. } = &mut self.slots[key] {
                *waker = None;
                self.call_off(key as Key);
            }
        }
        if self.event_asked {
            self.push(opcode::AsyncCancel::new(EVENT).build().user_data(NOBODY));
        }
        let until = Instant::now() + PARTING;
        while self.busy > 0 || self.event_asked {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::error!(requests = self.busy, "the kernel does not end requests");
                std::mem::forget(std::mem::take(&mut self.slots));
                std::mem::forget(std::mem::take(&mut self.count));
                std::mem::forget(self.arena.take());
                return;
            }
            self.push_backlog();
            let wait = Timespec::from(left.min(Duration::from_millis(100)));
            let args = SubmitArgs::new().timespec(&wait);
            let _ = self.io.submitter().submit_with_args(1, &args);
            self.reap();
        }
    }
}

/// A ring with the cheapest way to learn of answers that the kernel has.
fn set_up() -> io::Result<IoUring> {
    let mut last = io::Error::from_raw_os_error(libc::ENOSYS);
    for attempt in 0..3 {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(COMPLETIONS).dontfork();
        match attempt {
            // 6.1: answers are made when the loop asks for them, without interrupting it.
            0 => {
                builder.setup_single_issuer().setup_defer_taskrun();
                builder.setup_taskrun_flag().setup_submit_all();
            }
            // 5.19: without interrupting, but with a lock.
            1 => {
                builder.setup_coop_taskrun().setup_taskrun_flag();
            }
            _ => {}
        }
        match builder.build(SUBMISSIONS) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => last = error,
            built => return built,
        }
    }
    Err(last)
}

/// A result as the kernel writes it: a count, or an errno below zero.
fn result(value: i32) -> io::Result<usize> {
    usize::try_from(value).map_err(|_| io::Error::from_raw_os_error(-value))
}

#[cfg(test)]
mod tests {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};

    use crate::engine::{Choice, Driver, Engine, unblock};

    /// Has the kernel refuse `io_uring_setup` to this thread, as containers' profiles do.
    fn refuse_io_uring() {
        let statement = |code: u32, k: u32, jf: u8| libc::sock_filter {
            code: code as u16,
            jt: 0,
            jf,
            k,
        };
        let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        let mut filter = [
            statement(BPF_LD | BPF_W | BPF_ABS, 0, 0),
            statement(
                BPF_JMP | BPF_JEQ | BPF_K,
                libc::SYS_io_uring_setup as u32,
                1,
            ),
            statement(BPF_RET | BPF_K, refuse, 0),
            statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW, 0),
        ];
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: a flag of this thread, no memory.
        let flagged = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        assert_eq!(flagged, 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        // SAFETY: the program lives during the call, which copies it.
        let filtered = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &program) };
        assert_eq!(filtered, 0);
    }

    #[test]
    fn a_refused_io_uring_is_replaced_by_threads() {
        let refused = std::thread::spawn(|| {
            refuse_io_uring();
            let error = Engine::with(Choice::Uring).unwrap_err();
            assert!(error.to_string().contains("seccomp"), "{error}");
            let engine = Engine::new().unwrap();
            assert_eq!(engine.driver(), Driver::Threads);
            assert!(engine.driver_reason().contains("not permitted"));
            assert_eq!(engine.block_on(unblock(|| 5)), 5);
        });
        refused.join().unwrap();
    }
}
