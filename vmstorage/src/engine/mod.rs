//! Asynchronous I/O of one thread: a disk, its filters and all of its clients run on one engine, so
//! nothing in the data path needs a lock.

mod buf;
mod exec;
mod file;
mod net;
mod pool;
mod sys;

pub use buf::{IoBuf, IoBufMut};
pub use exec::{Engine, Remote, Task, is_running, run, sleep, spawn, yield_now};
pub use file::File;
pub use net::{Listener, Stream};
pub use pool::unblock;
