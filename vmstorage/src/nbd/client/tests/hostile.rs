//! Servers that lie: replies put together wrongly, and bytes garbled at random.

use std::rc::Rc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Rig, SIZE, memory, on_engine, quick, read};
use crate::disk::{Disk, Durability, Extent};
use crate::engine::{IoBuf, IoBufMut, sleep};
use crate::nbd::client::Options;
use crate::nbd::client::loss::Loss;
use crate::nbd::client::pending::{Ask, Pending};
use crate::nbd::proto::{
    BlockStatus, Chunk, ErrorChunk, Headers, Hole, StatusExtent, chunk, command,
};

fn asked(command: u16, offset_bytes: u64, len: usize) -> Rc<Pending> {
    Pending::new(Ask {
        command,
        flags: 0,
        extent: Extent::new(offset_bytes, len as u64),
        payload: None,
        buf: Some(IoBufMut::zeroed(len)),
    })
}

fn violates<T: std::fmt::Debug>(result: Result<T, Loss>) {
    assert!(matches!(result, Err(Loss::Violated(_))), "{result:?}");
}

#[test]
fn parts_of_a_read_are_checked() {
    let read = asked(command::READ, 1000, 100);
    assert_eq!(read.reserve(1010, 10).unwrap(), 10);
    // Twice, in part twice, around, before, beyond, nothing at all, and far away.
    for (offset, len) in [
        (1010, 10),
        (1005, 6),
        (1019, 2),
        (1000, 100),
        (999, 2),
        (1099, 2),
        (1050, 0),
        (u64::MAX, 2),
        (0, u64::MAX),
        (1000, u64::MAX),
    ] {
        violates(read.reserve(offset, len));
    }
    violates(read.hole(&[0; 3]));
    violates(
        read.hole(
            &Hole {
                offset_bytes: 1015,
                len_bytes: 6,
            }
            .encode(),
        ),
    );
    read.reserve(1000, 10).unwrap();
    read.hole(
        &Hole {
            offset_bytes: 1020,
            len_bytes: 79,
        }
        .encode(),
    )
    .unwrap();
    // A byte is missing.
    violates(read.done(0));
    on_engine(async move {
        read.answered().await.unwrap_err();
    });
}

#[test]
fn a_read_in_any_order_is_whole() {
    let read = asked(command::READ, 0, 9);
    for at in [3, 0, 6] {
        let from = read.reserve(at, 3).unwrap();
        read.put(from, &[at as u8; 3]);
    }
    read.done(0).unwrap();
    on_engine(async move {
        let buf = read.answered().await.unwrap().buf.unwrap();
        assert_eq!(buf[..], [0, 0, 0, 3, 3, 3, 6, 6, 6]);
    });
}

#[test]
fn replies_of_the_wrong_kind_are_refused() {
    let write = asked(command::WRITE, 0, 512);
    violates(write.reserve(0, 1));
    let status = BlockStatus {
        context_id: 7,
        extents: vec![StatusExtent {
            len_bytes: 512,
            status: 0,
        }],
    };
    let bytes = status.encode(Headers::Structured);
    violates(write.status(Headers::Structured, &bytes, &[7]));
    let asks = asked(command::BLOCK_STATUS, 0, 512);
    violates(asks.status(Headers::Structured, &bytes, &[8]));
    violates(asks.status(Headers::Extended, &bytes, &[7]));
    asks.status(Headers::Structured, &bytes, &[7]).unwrap();
    violates(asks.status(Headers::Structured, &bytes, &[7]));
    violates(asked(command::BLOCK_STATUS, 0, 512).done(0));
    let none = ErrorChunk {
        error: 0,
        message: String::new(),
        offset_bytes: None,
    };
    violates(asks.error(chunk::ERROR, &none.encode()));
    let long = Chunk {
        flags: 0,
        kind: chunk::BLOCK_STATUS,
        cookie: 1,
        offset_bytes: 0,
        len_bytes: 1 << 40,
    };
    violates(asks.count(&long));
    let read = asked(command::READ, 0, 1 << 20);
    let scattered = (0..1 << 19)
        .map(|n| read.reserve(n * 2, 1))
        .find(Result::is_err);
    violates(scattered.unwrap());
}

#[test]
fn garbled_bytes_end_in_errors_only() {
    on_engine(async {
        for seed in 0..60 {
            let mut random = StdRng::seed_from_u64(seed);
            let rig = Rig::new(memory());
            let flips = (0..random.random_range(1..4))
                .map(|_| (random.random_range(0..900), random.random_range(1..=255)));
            rig.link.flips.borrow_mut().extend(flips);
            let options = Options {
                reconnect_delay: Duration::from_millis(100),
                connect_timeout: Duration::from_millis(100),
                reply_timeout: Some(Duration::from_millis(40)),
                ..quick()
            };
            let Ok(remote) = rig.open(options).await else {
                continue;
            };
            for round in 0..6_u64 {
                // Whether each fails depends on the bytes; that all of them end is what counts.
                let size = remote.geometry().size_bytes.min(SIZE);
                let _ = read(&remote, round * 50 % size.max(1), 40).await;
                let data = IoBuf::zeroed(30);
                let _ = remote.write(round, data, Durability::Durable).await;
                let _ = remote.status(Extent::new(0, size), 4).await;
                let _ = remote.flush().await;
            }
            drop(remote);
            sleep(Duration::ZERO).await;
        }
    });
}
