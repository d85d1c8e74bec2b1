//! Names looked up, one question at a time: a resolver that hangs holds a thread of the engine for
//! each, and every lane asks again and again while its server cannot be reached.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};

use crate::engine::unblock;

/// Addresses, or why there are none.
type Found = Result<Vec<SocketAddr>, (io::ErrorKind, String)>;

/// The question that is being asked, if there is one. Clones ask together.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookup {
    asked: Rc<RefCell<Option<Shared<LocalBoxFuture<'static, Found>>>>>,
}

impl Lookup {
    /// The addresses of a host, which is always the same one.
    ///
    /// # Errors
    /// Of the resolver.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let host = host.to_owned();
        self.ask(move || Ok((host.as_str(), port).to_socket_addrs()?.collect()))
            .await
    }

    /// Asks, unless that goes on already, also for somebody who did not wait for the answer.
    async fn ask(
        &self,
        question: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        let asking = || {
            let answer = async {
                let found = unblock(question).await;
                found.map_err(|error| (error.kind(), error.to_string()))
            };
            answer.boxed_local().shared()
        };
        let answer = self.asked.borrow_mut().get_or_insert_with(asking).clone();
        let found = answer.clone().await;
        let mut asked = self.asked.borrow_mut();
        if asked.as_ref().is_some_and(|other| other.ptr_eq(&answer)) {
            *asked = None;
        }
        found.map_err(|(kind, why)| io::Error::new(kind, why))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::engine::run;

    #[test]
    fn a_resolver_that_hangs_is_asked_once() {
        run(async {
            let (lookup, times) = (Lookup::default(), Arc::new(AtomicUsize::new(0)));
            let hanging = Arc::new(Barrier::new(2));
            let ask = || {
                let (lookup, times, hanging) = (lookup.clone(), times.clone(), hanging.clone());
                Box::pin(async move {
                    let question = move || {
                        times.fetch_add(1, Ordering::Relaxed);
                        hanging.wait();
                        Ok(vec![SocketAddr::from(([127, 0, 0, 1], 1))])
                    };
                    lookup.ask(question).await
                })
            };
            // Some give up waiting.
            for _ in 0..20 {
                assert!(futures_util::poll!(ask()).is_pending());
            }
            let last = ask();
            hanging.wait();
            assert_eq!(last.await.unwrap().len(), 1);
            assert_eq!(times.load(Ordering::Relaxed), 1);
            // The next question is a new one.
            let mut next = ask();
            assert!(futures_util::poll!(&mut next).is_pending());
            hanging.wait();
            next.await.unwrap();
            assert_eq!(times.load(Ordering::Relaxed), 2);
        })
        .unwrap();
    }
}
