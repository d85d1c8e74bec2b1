//! What an engine promises, asked of every driver.

use std::fs;
use std::future::Future;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use rustix::fs::FallocateFlags;

use super::{
    Budget, Choice, Driver, Engine, File, IoBuf, IoBufMut, Listener, Stream, sleep, spawn, unblock,
    yield_now,
};

/// Runs a test on an engine of each driver.
fn on_both<F: Future<Output = ()>>(test: impl Fn() -> F) {
    for choice in [Choice::Uring, Choice::Threads] {
        let engine = Engine::with(choice).unwrap();
        let wanted = match choice {
            Choice::Uring => Driver::Uring,
            _ => Driver::Threads,
        };
        assert_eq!(engine.driver(), wanted);
        engine.block_on(test());
    }
}

fn scratch_file() -> File {
    File::new(tempfile::tempfile().unwrap())
}

/// Polls a future once, which does not end it.
fn begin(future: std::pin::Pin<&mut impl Future>) {
    let mut context = Context::from_waker(Waker::noop());
    assert!(future.poll(&mut context).is_pending());
}

#[test]
fn files_are_written_and_read_back() {
    on_both(|| async {
        let file = scratch_file();
        file.write_at(10, IoBuf::copy_of(b"hello")).await.unwrap();
        file.write_durably_at(15, IoBuf::copy_of(b" world"))
            .await
            .unwrap();
        file.sync_data().await.unwrap();
        let read = file.read_at(0, IoBufMut::zeroed(100)).await.unwrap();
        assert_eq!(&read[..], b"\0\0\0\0\0\0\0\0\0\0hello world");
        assert!(
            file.read_at(500, IoBufMut::zeroed(9))
                .await
                .unwrap()
                .is_empty()
        );
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        file.allocate(punch, 12, 5).await.unwrap();
        let read = file.read_at(10, IoBufMut::scratch(11)).await.unwrap();
        assert_eq!(&read[..], b"he\0\0\0\0\0orld");
    });
}

#[test]
fn errors_are_those_of_the_kernel() {
    on_both(|| async {
        let file = File::new(fs::File::open("/dev/null").unwrap());
        let refused = file.write_at(0, IoBuf::copy_of(b"x")).await.unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EBADF));
        let refused = file.read_at(u64::MAX, IoBufMut::zeroed(1)).await;
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        let full = File::new(fs::File::options().write(true).open("/dev/full").unwrap());
        let refused = full.write_at(0, IoBuf::copy_of(b"x")).await.unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOSPC));
    });
}

#[test]
fn more_requests_than_the_queue_holds_are_all_answered() {
    on_both(|| async {
        let file = scratch_file();
        let write = |at: u64| file.write_at(at * 8, IoBuf::copy_of(&at.to_le_bytes()));
        for done in join_all((0..2000).map(write)).await {
            done.unwrap();
        }
        let read = |at: u64| file.read_at(at * 8, IoBufMut::zeroed(8));
        for (at, read) in join_all((0..2000).map(read)).await.iter().enumerate() {
            assert_eq!(read.as_ref().unwrap()[..], (at as u64).to_le_bytes());
        }
    });
}

#[test]
fn buffers_from_everywhere_are_read_and_written() {
    on_both(|| async {
        let file = scratch_file();
        // The first buffers are always of the heap.
        let first: Vec<IoBufMut> = (0..300).map(|_| IoBufMut::scratch(4096)).collect();
        drop(first);
        // More than the engine's own memory, and small ones, which have none of it.
        let lens: Vec<usize> = (0..60).map(|n| (n % 3 + 1) * 300_000).chain(1..9).collect();
        let mut at = 0;
        let mut ranges = Vec::new();
        let mut bufs = Vec::new();
        for (n, &len) in lens.iter().enumerate() {
            ranges.push((at, len));
            bufs.push(IoBuf::copy_of(&vec![n as u8; len]));
            at += len as u64;
        }
        let writes = ranges.iter().zip(bufs);
        let writes = writes.map(|(&(at, _), data)| file.write_at(at, data));
        for done in join_all(writes).await {
            done.unwrap();
        }
        let reads = ranges
            .iter()
            .map(|&(at, len)| file.read_at(at, IoBufMut::scratch(len)));
        for (n, read) in join_all(reads).await.into_iter().enumerate() {
            assert!(read.unwrap()[..] == vec![n as u8; lens[n]]);
        }
    });
}

#[test]
fn a_request_whose_future_is_dropped_keeps_its_buffer() {
    on_both(|| async {
        let file = scratch_file();
        let expected = vec![7; 1 << 20];
        {
            let mut write = pin!(file.write_at(0, IoBuf::copy_of(&expected)));
            // A thread may be so fast that it has ended.
            let _ = write.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        // Whoever takes the memory next must not be written to the file.
        for _ in 0..100 {
            IoBufMut::scratch(1 << 20).fill(9);
            yield_now().await;
        }
        for _ in 0..200 {
            let read = file.read_at(0, IoBufMut::zeroed(1 << 20)).await.unwrap();
            if read[..] == expected {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("the write was lost or wrote other bytes");
    });
}

#[test]
fn an_engine_that_goes_away_leaves_nothing_to_write_to() {
    for choice in [Choice::Uring, Choice::Threads] {
        let (here, mut there) = UnixStream::pair().unwrap();
        let dropped = Rc::new(());
        let engine = Engine::with(choice).unwrap();
        let held = Rc::clone(&dropped);
        engine.block_on(async move {
            let stream = Stream::from_fd(here.into()).unwrap();
            spawn(async move {
                let _held = held;
                let _ = stream.recv(IoBufMut::zeroed(10)).await;
                sleep(Duration::from_secs(1000)).await;
            })
            .detach();
            yield_now().await;
            yield_now().await;
        });
        drop(engine);
        assert_eq!(Rc::strong_count(&dropped), 1, "the task was not dropped");
        assert_eq!(there.read(&mut [0; 10]).unwrap(), 0, "its stream is open");
    }
}

#[test]
fn streams_carry_more_than_the_socket_holds() {
    on_both(|| async {
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_address().unwrap();
        let (client, server) = join(Stream::connect_tcp(address), listener.accept()).await;
        let (client, server) = (client.unwrap(), server.unwrap());
        let part = |value: u8| IoBuf::copy_of(&vec![value; 1 << 20]);
        let parts = [part(1), IoBuf::zeroed(0), part(2), part(3)];
        let (sent, received) = join(client.send_all(&parts), async {
            let mut all = Vec::new();
            while all.len() < 3 << 20 {
                let more = server.recv(IoBufMut::scratch(1 << 16)).await.unwrap();
                assert!(!more.is_empty());
                all.extend_from_slice(&more);
            }
            all
        })
        .await;
        sent.unwrap();
        assert!(received == [vec![1; 1 << 20], vec![2; 1 << 20], vec![3; 1 << 20]].concat());
        client.shutdown();
        assert!(server.recv(IoBufMut::zeroed(1)).await.unwrap().is_empty());
    });
}

#[test]
fn a_dropped_recv_takes_no_bytes_along() {
    on_both(|| async {
        let (here, mut there) = UnixStream::pair().unwrap();
        let stream = Stream::from_fd(here.into()).unwrap();
        for round in 0..20 {
            {
                let mut recv = pin!(stream.recv(IoBufMut::zeroed(1)));
                begin(recv.as_mut());
                yield_now().await;
            }
            there.write_all(&[round]).unwrap();
            let got = stream.recv(IoBufMut::zeroed(10)).await.unwrap();
            assert_eq!(&got[..], [round]);
        }
    });
}

#[test]
fn reader_and_writer_of_a_stream_wait_beside_each_other() {
    on_both(|| async {
        let (here, there) = UnixStream::pair().unwrap();
        let here = Stream::from_fd(here.into()).unwrap();
        let there = Stream::from_fd(there.into()).unwrap();
        let big = IoBuf::copy_of(&vec![5; 4 << 20]);
        let echo = async {
            let mut left = big.len();
            while left > 0 {
                left -= there.recv(IoBufMut::scratch(100_000)).await.unwrap().len();
            }
            there.send_all(&[IoBuf::copy_of(b"thanks")]).await.unwrap();
        };
        let answer = here.recv(IoBufMut::zeroed(6));
        let bufs = [big.clone()];
        let ((sent, answer), ()) = join(join(here.send_all(&bufs), answer), echo).await;
        sent.unwrap();
        assert_eq!(&answer.unwrap()[..], b"thanks");
    });
}

#[test]
fn other_threads_wake_the_loop() {
    on_both(|| async {
        let (sender, receiver) = std::sync::mpsc::channel::<u32>();
        for round in 0..500u32 {
            let sender = sender.clone();
            let answer = unblock(move || {
                sender.send(round).unwrap();
                round
            });
            assert_eq!(answer.await, round);
            assert_eq!(receiver.recv().unwrap(), round);
        }
    });
}

#[test]
fn a_call_that_panics_does_so_where_it_is_awaited() {
    on_both(|| async {
        for _ in 0..40 {
            let task = unblock(|| -> u8 { panic!("on purpose") });
            let caught =
                futures_util::future::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(task));
            caught.await.unwrap_err();
        }
        assert_eq!(unblock(|| 1).await, 1);
    });
}

#[test]
fn remotes_call_a_loop_that_sleeps() {
    for choice in [Choice::Uring, Choice::Threads] {
        let engine = Engine::with(choice).unwrap();
        let remote = engine.remote();
        let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
        let thread = std::thread::spawn(move || {
            for waker in receiver {
                remote.call(move || waker.wake());
            }
        });
        engine.block_on(async {
            for _ in 0..200 {
                let mut asked = false;
                std::future::poll_fn(|context| {
                    if std::mem::replace(&mut asked, true) {
                        return Poll::Ready(());
                    }
                    sender.send(context.waker().clone()).unwrap();
                    Poll::Pending
                })
                .await;
            }
        });
        drop(sender);
        thread.join().unwrap();
    }
}

#[test]
fn sleepers_wake_in_order_and_not_early() {
    on_both(|| async {
        let begun = Instant::now();
        let nap = |ms| async move {
            sleep(Duration::from_millis(ms)).await;
            ms
        };
        let mut first = pin!(nap(10));
        begin(first.as_mut());
        assert_eq!(join(nap(30), nap(20)).await, (30, 20));
        assert!(begun.elapsed() >= Duration::from_millis(30));
        assert_eq!(first.await, 10);
    });
}

#[test]
fn a_budget_makes_wait_in_order_and_never_for_ever() {
    on_both(|| async {
        let budget = Budget::new(100_000);
        let held = budget.take(60_000).await;
        assert!(budget.try_take(50_000).is_none());
        let order = Rc::new(std::cell::RefCell::new(Vec::new()));
        let ask = |len: usize| {
            let (budget, order) = (budget.clone(), Rc::clone(&order));
            spawn(async move {
                let buf = budget.take(len).await;
                order.borrow_mut().push(len);
                assert_eq!(buf.len(), len);
            })
        };
        let asked = [ask(1_000_000), ask(10), ask(99_000), ask(20)];
        yield_now().await;
        assert!(order.borrow().is_empty(), "a small one overtook");
        // A wait that is given up does not hold up the others.
        {
            let mut given_up = pin!(budget.take(90_000));
            begin(given_up.as_mut());
        }
        let shared = held.freeze();
        let part = shared.slice(5..6);
        drop(shared);
        yield_now().await;
        assert!(order.borrow().is_empty(), "a part of the buffer is alive");
        drop(part);
        for asked in asked {
            asked.await;
        }
        assert_eq!(*order.borrow(), [1_000_000, 10, 99_000, 20]);
        assert_eq!(budget.free_bytes(), 100_000);
    });
}

#[test]
fn tasks_that_wake_each_other_leave_io_its_turn() {
    on_both(|| async {
        let busy = spawn(async {
            loop {
                yield_now().await;
            }
        });
        let file = scratch_file();
        file.write_at(0, IoBuf::copy_of(b"x")).await.unwrap();
        drop(busy);
    });
}
