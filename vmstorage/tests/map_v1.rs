//! The generation map of version 1, as files that this and every later version must read the same.
//!
//! `golden/` has the map of a disk of 40,000,000 bytes in blocks of 4 KiB after: a change of blocks
//! 3 and 4; point `one`; of block 3, of blocks 2000 to 4999 and of the last block; point `two`; of
//! block 4 and of blocks 600 and 601. `clean` was closed then, `crashed` was not: its last changes
//! are only in the log.

use std::rc::Rc;

use vmstorage::disk::memory::Memory;
use vmstorage::disk::{Disk, Extent};
use vmstorage::engine::run;
use vmstorage::track::catalog::{Catalog, Reply, Request};
use vmstorage::track::{Beginning, Fingerprint, Options, Store, open};

const SIZE: u64 = 40_000_000;
const BLOCK: u64 = 4096;
const CLEAN: &[u8] = include_bytes!("golden/map-v1-clean.zst");
const CRASHED: &[u8] = include_bytes!("golden/map-v1-crashed.zst");
const POINTS: &str = include_str!("golden/points-v1.json");

/// What the map says changed from one point until another, by first and last block.
fn changes(map: &[u8], since: &str, until: Option<&str>) -> (Beginning, Vec<(u64, u64)>) {
    let map = zstd::decode_all(map).expect("a golden file");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("points");
    std::fs::write(&path, POINTS).expect("a file");
    run(async {
        let map: Rc<dyn Disk> = Rc::new(Memory::with_content(map));
        let disk: Rc<dyn Disk> = Rc::new(Memory::new(SIZE));
        let look = Fingerprint::new().with("golden", b"disk", true);
        let (tracker, beginning) = open(disk, map, &look, &Options::default())
            .await
            .expect("a map");
        let catalog = Catalog::new(tracker, Store::load(path).expect("points"));
        let request = Request::Changes {
            since: since.into(),
            until: until.map(Into::into),
            offset_bytes: 0,
            limit: 99,
        };
        let Ok(Reply::Changes { extents, .. }) = catalog.answer(request).await else {
            panic!("the points of the map are known to it");
        };
        let blocks = |&(at, len): &(u64, u64)| (at / BLOCK, (at + len - 1) / BLOCK);
        (beginning, extents.iter().map(blocks).collect())
    })
    .expect("an engine")
}

#[test]
fn a_clean_map_answers_as_it_always_did() {
    let last = (SIZE - 1) / BLOCK;
    let (beginning, since_one) = changes(CLEAN, "one", None);
    assert_eq!(beginning, Beginning::Continued);
    let expected = [(3, 4), (600, 601), (2000, 4999), (last, last)];
    assert_eq!(since_one, expected);
    let (_, until_two) = changes(CLEAN, "one", Some("two"));
    assert_eq!(until_two, [(3, 3), (2000, 4999), (last, last)]);
    assert_eq!(changes(CLEAN, "two", None).1, [(4, 4), (600, 601)]);
}

#[test]
fn a_crashed_map_claims_its_hot_parts() {
    let (beginning, since_two) = changes(CRASHED, "two", None);
    assert_eq!(beginning, Beginning::Recovered { pages: 2 });
    // Four parts of 18 blocks from the one of block 4, four from that of block 600 (504 + 90).
    assert_eq!(since_two, [(0, 71), (594, 665)]);
    let (_, until_two) = changes(CRASHED, "one", Some("two"));
    let last = (SIZE - 1) / BLOCK;
    assert_eq!(until_two, [(3, 3), (2000, 4999), (last, last)]);
}

/// The bytes themselves, where `docs/reference/change-tracking.md` says they are.
#[test]
fn the_fields_are_where_the_reference_says() {
    let map = zstd::decode_all(CLEAN).expect("a golden file");
    let word = |at: usize| u32::from_le_bytes(map[at..at + 4].try_into().expect("4 bytes"));
    let long = |at: usize| u64::from_le_bytes(map[at..at + 8].try_into().expect("8 bytes"));
    assert_eq!(&map[..8], b"REEVEMAP");
    assert_eq!((word(8), word(28)), (1, 1), "version, clean");
    assert_eq!((long(80), long(88)), (SIZE, SIZE), "sizes");
    assert_eq!((word(96), word(100)), (4096, 3), "block size, epoch");
    let counts = (word(104), word(108), word(112), word(116));
    assert_eq!(
        counts,
        (1, 0, 1, 1),
        "segments, hot, branches, fingerprint fields"
    );
    assert_eq!(word(24) as usize, 256 + 24 + 24, "length");
    let mut root = map[..word(24) as usize].to_vec();
    root[12..16].fill(0);
    assert_eq!(crc32c::crc32c(&root), word(12), "checksum");
    assert_eq!(&map[256..262], b"golden");
    assert_eq!(map[..4096], map[65536..65536 + 4096], "the second copy");
    let index = 131_072;
    assert_eq!(&map[index..index + 4], b"RMIX");
    assert_eq!(map[index..index + 4096], map[index + 4096..index + 8192]);
    // Page 5, blocks 2520 to 3023, changed as a whole in epoch 2: it needs no page.
    let record = index + 64 + 5 * 24;
    let fields: Vec<u32> = (0..6).map(|field| word(record + field * 4)).collect();
    assert_eq!(fields, [2, 2, 0, 0, 0, 0]);
    let page = index + 2 * 4096;
    assert_eq!(&map[page..page + 4], b"RMPG");
    assert_eq!(
        (word(page + 64 + 3 * 8), word(page + 68 + 3 * 8)),
        (2, 1),
        "block 3"
    );
    assert_eq!(
        (word(page + 64 + 4 * 8), word(page + 68 + 4 * 8)),
        (3, 1),
        "block 4"
    );
    assert_eq!(
        word(index + 64 + 16),
        word(page + 4),
        "the record has the page's checksum"
    );
}

/// A range of the disk, to see that answers can be had in parts.
#[test]
fn answers_are_the_same_in_parts() {
    let map = zstd::decode_all(CLEAN).expect("a golden file");
    run(async {
        let map: Rc<dyn Disk> = Rc::new(Memory::with_content(map));
        let disk: Rc<dyn Disk> = Rc::new(Memory::new(SIZE));
        let look = Fingerprint::new().with("golden", b"disk", true);
        let (tracker, _) = open(disk, map, &look, &Options::default())
            .await
            .expect("a map");
        let points: serde_json::Value = serde_json::from_str(POINTS).expect("points");
        let one = serde_json::from_value(points["points"][0]["point"].clone()).expect("a point");
        let mut found = 0;
        let mut at = 0;
        while at < SIZE {
            let range = Extent::new(at, 1_000_001);
            let changes = tracker
                .changes(&one, None, range, 99)
                .await
                .expect("changes");
            found += changes
                .extents
                .iter()
                .map(|part| part.len_bytes)
                .sum::<u64>();
            at += 1_000_001;
        }
        let last_block = SIZE % BLOCK;
        assert_eq!(found, (2 + 2 + 3000) * BLOCK + last_block);
    })
    .expect("an engine");
}
