//! Which parts of the map are hot: the write-intent log as it is and as it is to be.

use super::{Blocks, Span, Table};
use crate::track::page::{ALL_PARTS, ENTRIES, PART_BLOCKS, PARTS};
use crate::track::root::Hot;

/// Parts beyond the first that a first change makes hot: few, as each counts as changed if the
/// machine fails now.
const FIRST_PARTS: usize = 3;
/// Pages that are made hot ahead of a stream of changes.
const PAGES_AHEAD: u32 = 3;

#[derive(Debug, Clone, Copy)]
pub(super) struct HotPage {
    pub(super) since: u32,
    /// Parts that the next root is to list.
    pub(super) wanted: u32,
    /// Those of them that the root in the file lists.
    pub(super) durable: u32,
    pub(super) used: u64,
}

impl Table {
    /// Whether all of these blocks that are not covered are hot, in the file too.
    pub(in crate::track) fn is_hot(&self, blocks: Blocks, epoch: u32) -> bool {
        self.spans(blocks).all(|span| {
            let parts = parts(span.lo, span.hi);
            let durable = self.hot.get(&span.page).map_or(0, |hot| hot.durable);
            durable & parts == parts || self.span_covered(span, epoch)
        })
    }

    /// Makes blocks hot as soon as the next root is in the file. Answers `false` when no room is
    /// left, having done nothing.
    pub(in crate::track) fn heat(&mut self, blocks: Blocks, epoch: u32) -> bool {
        let spans: Vec<Span> = self
            .spans(blocks)
            .filter(|&span| !self.span_covered(span, epoch))
            .collect();
        let new = spans
            .iter()
            .filter(|span| !self.hot.contains_key(&span.page));
        if self.hot.len() + new.count() > self.max_hot {
            return false;
        }
        for span in spans {
            let streaming = span.page.checked_sub(1).is_some_and(|before| {
                self.hot
                    .get(&before)
                    .is_some_and(|hot| hot.wanted == ALL_PARTS)
            });
            let known = self.hot.contains_key(&span.page);
            let wanted = if known || streaming {
                ALL_PARTS
            } else {
                let ahead = span.lo + FIRST_PARTS * PART_BLOCKS;
                parts(span.lo, span.hi.max(ahead.min(ENTRIES - 1)))
            };
            self.want(span.page, wanted, epoch);
            if streaming {
                self.heat_ahead(span.page, epoch);
            }
        }
        true
    }

    fn heat_ahead(&mut self, page: u32, epoch: u32) {
        let pages = self.blocks.div_ceil(ENTRIES as u64);
        for next in page.saturating_add(1)..=page.saturating_add(PAGES_AHEAD) {
            if u64::from(next) >= pages || self.hot.len() >= self.max_hot {
                return;
            }
            self.want(next, ALL_PARTS, epoch);
        }
    }

    fn want(&mut self, page: u32, parts: u32, epoch: u32) {
        let clock = self.clock;
        let hot = self.hot.entry(page).or_insert(HotPage {
            since: epoch,
            wanted: 0,
            durable: 0,
            used: clock,
        });
        hot.wanted |= parts;
        hot.used = clock;
    }

    /// What the next root lists.
    pub(in crate::track) fn hot_list(&self) -> Vec<Hot> {
        let list = self.hot.iter().map(|(&page, hot)| Hot {
            page,
            since: hot.since,
            parts: hot.wanted,
        });
        list.collect()
    }

    /// A root that lists these is in the file.
    pub(in crate::track) fn hot_is_durable(&mut self, list: &[Hot]) {
        for listed in list {
            if let Some(hot) = self.hot.get_mut(&listed.page) {
                hot.durable = listed.parts & hot.wanted;
            }
        }
    }

    /// After a crash: the parts count as changed in every epoch from `hot.since` to `epoch`.
    pub(in crate::track) fn recover(&mut self, hot: Hot, epoch: u32, readable: bool) {
        self.hot.insert(
            hot.page,
            HotPage {
                since: hot.since,
                wanted: hot.parts,
                durable: hot.parts,
                used: 0,
            },
        );
        self.dirty.insert(hot.page);
        let first = u64::from(hot.page) * ENTRIES as u64;
        if !readable {
            self.claim_all(hot.page, epoch);
            return;
        }
        for part in (0..PARTS).filter(|part| hot.parts & (1 << part) != 0) {
            let span = Span {
                page: hot.page,
                lo: part * PART_BLOCKS,
                hi: (part + 1) * PART_BLOCKS - 1,
            };
            if first + span.lo as u64 >= self.blocks {
                break;
            }
            // Two touches leave what all of them would: the last two epochs.
            if epoch > hot.since {
                self.touch_span(span, epoch - 1);
            }
            self.touch_span(span, epoch);
        }
    }

    /// Hot pages.
    pub(in crate::track) fn hot_count(&self) -> usize {
        self.hot.len()
    }
}

/// A bit for each part that has one of the blocks from `lo` to `hi` of a page.
pub(super) fn parts(lo: usize, hi: usize) -> u32 {
    let (first, last) = (lo / PART_BLOCKS, hi / PART_BLOCKS);
    (ALL_PARTS >> (PARTS - 1 - last)) & (ALL_PARTS << first)
}
