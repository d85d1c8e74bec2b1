//! Holds against changes of all lengths.

use super::*;
use crate::disk::Result;
use crate::disk::memory::Memory;
use crate::engine::{run, spawn, yield_now};

#[test]
fn a_hold_waits_for_who_is_inside_and_keeps_others_out() {
    run(async {
        let gate = Rc::new(Gate::default());
        let pass = gate.enter().await;
        let mut hold = Box::pin(gate.hold());
        assert!(futures_util::poll!(&mut hold).is_pending());
        let mut late = Box::pin(gate.enter());
        assert!(futures_util::poll!(&mut late).is_pending());
        drop(pass);
        let held = hold.await;
        assert!(futures_util::poll!(&mut late).is_pending());
        drop(held);
        drop(late.await);
        // A holder that gives up lets others in.
        let pass = gate.enter().await;
        let mut hold = Box::pin(gate.hold());
        assert!(futures_util::poll!(&mut hold).is_pending());
        drop(hold);
        let _second = gate.enter().await;
        drop(pass);
    })
    .unwrap();
}

/// A vast disk that zeroes slowly.
#[derive(Debug, Default)]
struct Slow {
    zeroed: Cell<u64>,
    flushes: Cell<u32>,
}

impl Slow {
    fn done(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(async move {
            yield_now().await;
            assert_eq!(extent.offset_bytes, self.zeroed.get());
            self.zeroed.set(extent.end_bytes());
            Ok(())
        })
    }
}

impl Disk for Slow {
    fn name(&self) -> String {
        "slow".into()
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: 1 << 50,
            min_block_bytes: 1,
            preferred_block_bytes: 4096,
            read_only: false,
        }
    }

    fn read(&self, _: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(async { Ok(buf) })
    }

    fn write(&self, _: u64, _: IoBuf, _: Durability) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        assert!(how.durability == Durability::Volatile || extent.len_bytes < 1 << 20);
        self.done(extent)
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        self.done(extent)
    }

    fn flush(&self) -> Answer<'_, ()> {
        self.flushes.set(self.flushes.get() + 1);
        Box::pin(async { Ok(()) })
    }

    fn status(&self, _: Extent, _: usize) -> Answer<'_, Vec<Status>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn resize(&self, _: u64) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

fn zeroing(disk: &Rc<Gated>, extent: Extent) -> crate::engine::Task<Result<()>> {
    let disk = Rc::clone(disk);
    let how = Zeroes {
        durability: Durability::Durable,
        may_unmap: false,
        fast_only: false,
    };
    spawn(async move { disk.write_zeroes(extent, how).await })
}

#[test]
fn a_long_change_keeps_no_hold_waiting() {
    run(async {
        let (gate, slow) = (Rc::new(Gate::default()), Rc::new(Slow::default()));
        let below = Rc::clone(&slow) as Rc<dyn Disk>;
        let disk = Rc::new(Gated::new(below, Rc::clone(&gate)));
        let whole = Extent::new(0, (1 << 40) + 5);
        let zero = zeroing(&disk, whole);
        while slow.zeroed.get() == 0 {
            yield_now().await;
        }
        let held = gate.hold().await;
        let zeroed = slow.zeroed.get();
        assert!(zeroed < 1 << 38, "{zeroed} bytes before it is held");
        drop(held);
        zero.await.unwrap();
        assert_eq!(
            (slow.zeroed.get(), slow.flushes.get()),
            (whole.end_bytes(), 1)
        );
        let over = Extent::new((1 << 50) - 1, 2);
        assert_eq!(
            disk.discard(over).await.unwrap_err().kind(),
            ErrorKind::OutOfRange
        );
    })
    .unwrap();
}

#[test]
fn a_long_change_keeps_no_end_waiting() {
    run(async {
        let (gate, slow) = (Rc::new(Gate::default()), Rc::new(Slow::default()));
        let below = Rc::clone(&slow) as Rc<dyn Disk>;
        let disk = Rc::new(Gated::new(below, Rc::clone(&gate)));
        let zero = zeroing(&disk, Extent::new(0, 1 << 50));
        while slow.zeroed.get() == 0 {
            yield_now().await;
        }
        gate.hurry();
        let error = zero.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Shutdown);
        // What is short is done to the end.
        slow.zeroed.set(0);
        zeroing(&disk, Extent::new(0, 4096)).await.unwrap();
    })
    .unwrap();
}

#[test]
fn writes_wait_and_reads_go_by() {
    run(async {
        let gate = Rc::new(Gate::default());
        let disk = Rc::new(Gated::new(Rc::new(Memory::new(4096)), Rc::clone(&gate)));
        let held = gate.hold().await;
        let writer = Rc::clone(&disk);
        let write = spawn(async move {
            let data = IoBuf::copy_of(b"x");
            writer.write(0, data, Durability::Volatile).await
        });
        for _ in 0..4 {
            yield_now().await;
        }
        assert_eq!(disk.read(0, IoBufMut::zeroed(1)).await.unwrap()[0], 0);
        drop(held);
        write.await.unwrap();
        assert_eq!(disk.read(0, IoBufMut::zeroed(1)).await.unwrap()[0], b'x');
    })
    .unwrap();
}
