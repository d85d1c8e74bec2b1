//! Images beside a model, through power cuts, and wrong on purpose.

mod crash;
mod growth;
mod hostile;
mod model;
mod races;
mod sizes;
mod structure;

use std::rc::Rc;

use rand::Rng;
use rand::rngs::StdRng;

use crate::disk::memory::Memory;
use crate::disk::qcow2::{BackingName, CreateOptions, OpenOptions, Preallocation, Qcow2};
use crate::disk::{Disk, Durability, Extent, Result, Zeroes};
use crate::engine::{IoBuf, IoBufMut};

/// One shape of an image, and what it stands on.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    options: CreateOptions,
    /// Size of the backing disk.
    backing_bytes: Option<u64>,
}

/// What is done to a disk.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write {
        offset: u64,
        data: Vec<u8>,
        how: Durability,
    },
    Zero {
        extent: Extent,
        how: Zeroes,
    },
    Discard(Extent),
    Flush,
}

fn shape(size: u64, cluster: u64, refcount_bits: u32) -> Shape {
    let mut options = CreateOptions::new(size);
    options.cluster_bytes = cluster;
    options.refcount_bits = refcount_bits;
    Shape {
        options,
        backing_bytes: None,
    }
}

/// Shapes that differ in all that matters.
pub(super) fn shapes() -> Vec<Shape> {
    let mut all = vec![
        shape(300_000, 512, 16),
        shape(1_000_000, 4096, 1),
        shape(700_000, 512, 64),
        shape(3_000_000, 65_536, 8),
        shape(2_000_001, 16_384, 2),
    ];
    let mut below = shape(400_000, 4096, 16);
    below.backing_bytes = Some(300_123);
    all.push(below);
    let mut extended = shape(3_000_000, 65_536, 16);
    extended.options.extended_l2 = true;
    all.push(extended.clone());
    extended.options.size_bytes = 900_000;
    extended.options.cluster_bytes = 16_384;
    extended.backing_bytes = Some(700_000);
    all.push(extended);
    let mut old = shape(500_000, 4096, 16);
    old.options.version = 2;
    all.push(old.clone());
    old.backing_bytes = Some(600_000);
    all.push(old);
    let mut full = shape(500_000, 4096, 4);
    full.options.preallocation = Preallocation::Metadata;
    all.push(full);
    all
}

impl Shape {
    pub(super) fn backing(&self) -> Option<Rc<dyn Disk>> {
        let bytes = pattern(7, self.backing_bytes? as usize);
        Some(Rc::new(Memory::with_content(bytes).read_only()))
    }

    /// What a new image of the shape reads as.
    pub(super) fn content(&self) -> Vec<u8> {
        let mut bytes = pattern(7, self.backing_bytes.unwrap_or(0) as usize);
        bytes.resize(self.options.size_bytes as usize, 0);
        bytes
    }

    pub(super) async fn create(&self) -> Rc<Memory> {
        let file = Rc::new(Memory::new(0));
        let mut options = self.options.clone();
        options.backing = self.backing_bytes.map(|_| BackingName {
            file: "base".into(),
            format: "raw".into(),
        });
        Qcow2::create(file.clone(), &options).await.unwrap();
        file
    }

    pub(super) async fn open(&self, file: Rc<dyn Disk>) -> Result<Qcow2> {
        let options = OpenOptions {
            read_only: false,
            backing: self.backing(),
        };
        Qcow2::open(file, options).await
    }
}

impl Change {
    /// A change of whole sectors, mostly small.
    pub(super) fn random(rng: &mut StdRng, size: u64, sector: u64) -> Self {
        let longest = [4096, 70_000, 300_000][rng.random_range(0..3)];
        let offset = rng.random_range(0..size / sector) * sector;
        let len = rng.random_range(1..=longest / sector) * sector;
        let len = len.min(size - offset);
        let how = if rng.random_bool(0.1) {
            Durability::Durable
        } else {
            Durability::Volatile
        };
        match rng.random_range(0..10) {
            0..=4 => {
                let data = pattern(rng.random(), len as usize);
                Self::Write { offset, data, how }
            }
            5 | 6 => Self::Zero {
                extent: Extent::new(offset, len),
                how: Zeroes {
                    durability: how,
                    may_unmap: rng.random_bool(0.5),
                    fast_only: false,
                },
            },
            7 | 8 => Self::Discard(Extent::new(offset, len)),
            _ => Self::Flush,
        }
    }

    pub(super) async fn apply(&self, disk: &dyn Disk) -> Result<()> {
        match self {
            Self::Write { offset, data, how } => {
                disk.write(*offset, IoBuf::copy_of(data), *how).await
            }
            Self::Zero { extent, how } => disk.write_zeroes(*extent, *how).await,
            Self::Discard(extent) => disk.discard(*extent).await,
            Self::Flush => disk.flush().await,
        }
    }
}

/// Bytes that tell one write from another, and one sector from the next.
pub(super) fn pattern(seed: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut state = seed | 1;
    for part in bytes.chunks_mut(64) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        part.fill((state >> 24) as u8);
    }
    bytes
}

pub(super) async fn content(disk: &dyn Disk) -> Vec<u8> {
    let len = disk.geometry().size_bytes as usize;
    let bytes = disk.read(0, IoBufMut::zeroed(len)).await.unwrap();
    bytes.to_vec()
}
