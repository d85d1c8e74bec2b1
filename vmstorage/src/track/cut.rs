//! Where an epoch ends: checkpoints, new generations, changes of size. Their callers hold new
//! changes back.

use std::rc::Rc;

use uuid::Uuid;

use super::inner::{Inner, shorten};
use super::point::Point;
use super::root::{Branch, MAX_BRANCHES, page_count};
use crate::disk::{Error, ErrorKind, Result};

impl Inner {
    /// A point that would end the current epoch.
    pub(super) fn now(&self) -> Point {
        let root = self.root.borrow();
        Point {
            disk_id: root.disk_id,
            generation: root.generation,
            session: root.session,
            epoch: self.epoch.get(),
            size_bytes: root.size_bytes,
            block_bytes: root.block_bytes,
        }
    }

    /// Ends the epoch.
    pub(super) async fn checkpoint(self: &Rc<Self>) -> Result<Point> {
        let _turn = self.cutting.lock().await;
        self.check_void()?;
        if self.closed.get() {
            return Err(Error::new(ErrorKind::Shutdown, "the disk is closed"));
        }
        if self.epoch.get() >= u32::MAX - 1 {
            self.new_generation("the epochs are used up", None).await?;
        }
        // From here on no change begins. Those under way may reach the disk before or after the
        // point: they count for both epochs. Those that ended must not be lost with the power, or
        // the disk would differ from the point in blocks that did not change since.
        let under_way = self.flights.all();
        self.disk.flush().await?;
        let point = self.now();
        self.begin_branch(point);
        self.root.borrow_mut().epoch = point.epoch + 1;
        if let Err(error) = self.commit().await {
            self.root.borrow_mut().epoch = point.epoch;
            return Err(error);
        }
        self.epoch.set(point.epoch + 1);
        for blocks in under_way {
            self.cover(blocks).await?;
        }
        // Before anybody knows the point, copies of the disk from before it have an old mark.
        self.renew_mark().await?;
        Ok(point)
    }

    /// Notes that the session makes points.
    fn begin_branch(&self, point: Point) {
        let mut root = self.root.borrow_mut();
        if root
            .branches
            .last()
            .is_some_and(|last| last.session == point.session)
        {
            return;
        }
        if root.branches.len() == MAX_BRANCHES {
            root.branches.remove(0);
        }
        root.branches.push(Branch {
            session: point.session,
            first_epoch: point.epoch,
        });
    }

    /// The map is void: begins a generation in which it is right again.
    pub(super) async fn void_generation(self: &Rc<Self>, reason: &str) -> Result<()> {
        let _turn = self.cutting.lock().await;
        self.held.set(self.held.get() + 1);
        let begun = self.new_generation(reason, None).await;
        self.held.set(self.held.get() - 1);
        if self.held.get() == 0 {
            self.released.notify_waiters();
        }
        begun
    }

    /// Forgets all changes: no older point is answered any more. `size_bytes` is what the disk is
    /// about to have.
    pub(super) async fn new_generation(
        self: &Rc<Self>,
        reason: &str,
        size_bytes: Option<u64>,
    ) -> Result<()> {
        let _turn = self.settling.lock().await;
        let before = self.root.borrow().clone();
        let table = {
            let mut root = self.root.borrow_mut();
            root.generation = Uuid::new_v4();
            root.reason = shorten(reason);
            root.branches.clear();
            root.next_size_bytes = size_bytes.unwrap_or(before.size_bytes);
            root.epoch = if before.epoch >= u32::MAX - 1 {
                1
            } else {
                before.epoch + 1
            };
            let fresh = self
                .table
                .borrow()
                .fresh(before.size_bytes, before.block_bytes);
            self.replace_table(fresh)
        };
        let epoch = self.root.borrow().epoch;
        if let Err(error) = self.commit().await {
            let mut root = self.root.borrow_mut();
            let (seq, stamp) = (root.seq, root.stamp);
            *root = before;
            (root.seq, root.stamp) = (seq, stamp);
            drop(root);
            self.replace_table(table);
            return Err(error);
        }
        self.epoch.set(epoch);
        self.void.borrow_mut().take();
        Ok(())
    }

    /// Changes the size. New blocks need no mark: they are beyond the size that older points have.
    pub(super) async fn resize(self: &Rc<Self>, size_bytes: u64) -> Result<()> {
        let (old, block_bytes) = {
            let root = self.root.borrow();
            (root.size_bytes, root.block_bytes)
        };
        if page_count(size_bytes, block_bytes) > u64::from(u32::MAX) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("a map of blocks of {block_bytes} bytes cannot track {size_bytes} bytes"),
            ));
        }
        if size_bytes < old {
            let reason = format!("the disk shrank from {old} to {size_bytes} bytes");
            self.new_generation(&reason, Some(size_bytes)).await?;
        } else {
            self.root.borrow_mut().next_size_bytes = size_bytes;
            self.commit().await?;
        }
        let resized = self.disk.resize(size_bytes).await;
        self.follow_size(old, block_bytes).await;
        // The map must not tell of a size that the disk loses with the power.
        resized?;
        self.disk.flush().await?;
        self.commit().await
    }

    /// Takes the size that the disk has now, after `old`.
    async fn follow_size(&self, old: u64, block_bytes: u32) {
        // A write-back that is under way knows pages beyond the new end.
        let _turn = self.settling.lock().await;
        let now = {
            let mut root = self.root.borrow_mut();
            root.size_bytes = self.disk.geometry().size_bytes;
            root.next_size_bytes = root.size_bytes;
            root.size_bytes
        };
        if now >= old {
            self.table.borrow_mut().resize(now, block_bytes);
            return;
        }
        // Changes that wait to begin may have marked parts beyond the end; they begin anew. The
        // generation is new and has no point, so that no other mark is needed.
        let fresh = self.table.borrow().fresh(now, block_bytes);
        self.replace_table(fresh);
    }
}
