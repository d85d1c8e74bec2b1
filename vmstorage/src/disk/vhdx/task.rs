//! Work that must not stop halfway when its caller goes away.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use crate::engine::{Task, spawn};

/// A task that goes on alone when nobody waits for it any more.
struct Running<T>(Option<Task<T>>);

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }
}

/// Runs `future` to its end even if the future that this returns is dropped.
pub(super) async fn to_the_end<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    let mut running = Running(Some(spawn(future)));
    poll_fn(|context| {
        let Some(task) = &mut running.0 else {
            return Poll::Pending;
        };
        let answer = Pin::new(task).poll(context);
        if answer.is_ready() {
            running.0 = None;
        }
        answer
    })
    .await
}
