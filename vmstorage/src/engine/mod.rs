//! Asynchronous I/O of one thread: a disk, its filters and all of its clients run on one engine, so
//! nothing in the data path needs a lock.

mod arena;
mod budget;
mod buf;
mod exec;
mod file;
mod net;
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
pub use net::{Listener, Stream};
pub use pool::unblock;
pub use shared::Remote;
pub use timer::{sleep, yield_now};
