//! Work that ends even when nobody waits for it any more.
//!
//! A client that goes away drops the future of its request. Its write may be in the kernel by then:
//! if a lock were let go, or a checkpoint believed that it had ended, another could have half of it
//! inside.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::exec::{is_running, spawn};

/// `future`, which runs to its end as a task of its own when it is dropped half-way.
pub(crate) fn to_the_end<T: 'static>(
    future: impl Future<Output = T> + 'static,
) -> Pin<Box<dyn Future<Output = T>>> {
    Box::pin(Finish {
        future: Some(Box::pin(future)),
        begun: false,
    })
}

struct Finish<F: Future + 'static> {
    future: Option<Pin<Box<F>>>,
    begun: bool,
}

impl<F: Future + 'static> Future for Finish<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.begun = true;
        let Some(future) = &mut self.future else {
            return Poll::Pending; // polled after its end: nothing is left to wake for
        };
        let ended = future.as_mut().poll(context);
        if ended.is_ready() {
            self.future = None;
        }
        ended
    }
}

impl<F: Future + 'static> Drop for Finish<F> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take()
            && self.begun
            && is_running()
        {
            spawn(async move {
                future.await;
            })
            .detach();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::engine::{run, yield_now};

    #[test]
    fn what_has_begun_ends() {
        run(async {
            let done = Rc::new(Cell::new(0));
            let count = |done: &Rc<Cell<u32>>| {
                let done = Rc::clone(done);
                to_the_end(async move {
                    yield_now().await;
                    done.set(done.get() + 1);
                })
            };
            drop(count(&done));
            let mut begun = count(&done);
            assert!(futures_util::poll!(&mut begun).is_pending());
            drop(begun);
            for _ in 0..4 {
                yield_now().await;
            }
            assert_eq!(done.get(), 1);
        })
        .unwrap();
    }
}
