//! Asynchronous I/O of one thread: a disk, its filters and all of its clients run on one engine, so
//! nothing in the data path needs a lock.
//!
//! An engine has one of two drivers ([`Driver`]): io_uring, where one system call in each turn of
//! the loop submits what all tasks ask for and takes what is done; or epoll and threads that block,
//! where the kernel refuses io_uring, as container runtimes have it do. Both promise the same, and
//! all tests run over both. What is not I/O of a disk's data path, such as opening files, is done
//! by threads with either ([`unblock`]).
//!
//! Buffers are owned by what uses them: a request whose future is dropped goes on, and its buffer
//! is free only when the kernel is done with it. How much memory requests take at once is limited
//! with a [`Budget`].
//!
//! Not here: work-stealing, tasks that move between threads, timers finer than what the loop does.

mod arena;
mod budget;
mod buf;
mod cached;
mod exec;
mod file;
mod finish;
mod net;
mod notify;
mod pool;
mod request;
mod shared;
mod sys;
#[cfg(test)]
mod tests;
mod threads;
mod timer;
mod uring;

pub use budget::Budget;
pub use buf::{IoBuf, IoBufMut};
pub use exec::{Choice, Driver, Engine, Task, is_running, run, spawn};
pub use file::File;
pub(crate) use finish::to_the_end;
pub use net::{Listener, Stream};
pub(crate) use notify::Notify;
pub use pool::unblock;
pub use shared::Remote;
pub use timer::{sleep, yield_now};
