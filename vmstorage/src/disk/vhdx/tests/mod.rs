//! Tests of the whole format over disks in memory.

mod chain;
mod crash;
mod cuts;
mod hostile;
mod model;
mod slow;
mod structure;

use std::rc::Rc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::layout::MIB;
use super::{CreateOptions, Kind, Locator, OpenOptions, Parent, Vhdx};
use crate::disk::fault::Fault;
use crate::disk::memory::Memory;
use crate::disk::{Disk, Durability, Extent, Result, Zeroes};
use crate::engine::{IoBuf, IoBufMut};

/// A small disk in blocks of 1 MiB.
fn small(size_bytes: u64, kind: Kind) -> CreateOptions {
    CreateOptions {
        block_bytes: MIB,
        kind,
        ..CreateOptions::dynamic(size_bytes)
    }
}

/// The bytes of a new image.
async fn image(options: &CreateOptions) -> Vec<u8> {
    let file = Memory::new(0);
    Vhdx::create(&file, options).await.unwrap();
    file.content()
}

async fn open(bytes: &[u8]) -> Result<Vhdx> {
    Vhdx::open(
        Rc::new(Memory::with_content(bytes.to_vec())),
        OpenOptions::default(),
    )
    .await
}

async fn open_over(file: Rc<dyn Disk>, parent: &Parent) -> Result<Vhdx> {
    let options = OpenOptions {
        read_only: false,
        parent: Some(parent.clone()),
    };
    Vhdx::open(file, options).await
}

/// A parent of random content and the options of a child of it.
async fn parent(size_bytes: u64, seed: u64) -> (Parent, Vec<u8>, CreateOptions) {
    let content = noise(&mut StdRng::seed_from_u64(seed), size_bytes as usize);
    let parent = Parent {
        disk: Rc::new(Memory::with_content(content.clone()).read_only()),
        data_write_guid: uuid::Uuid::from_u128(1),
    };
    let locator = Locator {
        linkage: parent.data_write_guid,
        linkage2: None,
        relative_path: Some("parent.vhdx".into()),
        volume_path: None,
        absolute_path: None,
    };
    (
        parent,
        content,
        small(size_bytes, Kind::Differencing(locator)),
    )
}

async fn read_all(disk: &dyn Disk) -> Vec<u8> {
    let size = disk.geometry().size_bytes as usize;
    disk.read(0, IoBufMut::zeroed(size)).await.unwrap().to_vec()
}

/// What may be on the device if power fails now: as some seeds decide, and at worst, when of all
/// that was written since the last flush only the log has arrived.
fn outcomes(file: &Fault, seeds: u64) -> Vec<Vec<u8>> {
    let mut outcomes: Vec<_> = (0..seeds).map(|seed| file.after_power_cut(seed)).collect();
    let nothing = |seed: &u64| StdRng::seed_from_u64(*seed).random_range(0..=100) == 0;
    let mut worst = file.after_power_cut((0..).find(nothing).unwrap());
    let log = MIB as usize..2 * MIB as usize;
    worst[log.clone()].copy_from_slice(&file.content()[log]);
    outcomes.push(worst);
    outcomes
}

/// The first byte in which two disks differ.
fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    if a == b {
        return None;
    }
    if a.len() != b.len() {
        return Some(a.len().min(b.len()));
    }
    a.iter().zip(b).position(|(a, b)| a != b)
}

thread_local! {
    static NOISE: Vec<u8> = {
        let mut noise = vec![0; 1 << 20];
        StdRng::seed_from_u64(1).fill(&mut noise[..]);
        noise
    };
}

/// Random bytes, cheaper than new ones.
fn noise(rng: &mut StdRng, len: usize) -> Vec<u8> {
    NOISE.with(|noise| {
        let at = rng.random_range(0..noise.len());
        let mut bytes = noise[at..noise.len().min(at + len)].to_vec();
        while bytes.len() < len {
            bytes.extend_from_slice(noise);
        }
        bytes.truncate(len);
        bytes
    })
}

/// A change of a disk.
#[derive(Debug, Clone)]
enum Change {
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

impl Change {
    /// One of those that a guest asks for; positions are often at edges.
    fn random(rng: &mut StdRng, size: u64) -> Self {
        let align = *[1, 512, 4096, MIB].get(rng.random_range(0..4)).unwrap();
        let offset = rng.random_range(0..size) / align * align;
        let most = if rng.random_bool(0.3) {
            2 * MIB
        } else {
            20_000
        };
        let len = (rng.random_range(1..=most).next_multiple_of(align)).min(size - offset);
        let extent = Extent::new(offset, len);
        let durability = if rng.random_bool(0.1) {
            Durability::Durable
        } else {
            Durability::Volatile
        };
        match rng.random_range(0..10) {
            0..=5 => {
                let data = noise(rng, len.min(100_000) as usize);
                Self::Write {
                    offset,
                    data,
                    how: durability,
                }
            }
            6 | 7 => Self::Zero {
                extent,
                how: Zeroes {
                    durability,
                    may_unmap: rng.random_bool(0.7),
                    fast_only: false,
                },
            },
            8 => Self::Discard(extent),
            _ => Self::Flush,
        }
    }

    async fn apply(&self, disk: &dyn Disk) -> Result<()> {
        match self {
            Self::Write { offset, data, how } => {
                disk.write(*offset, IoBuf::copy_of(data), *how).await
            }
            Self::Zero { extent, how } => disk.write_zeroes(*extent, *how).await,
            Self::Discard(extent) => disk.discard(*extent).await,
            Self::Flush => disk.flush().await,
        }
    }

    /// What the change touches.
    fn extent(&self) -> Extent {
        match self {
            Self::Write { offset, data, .. } => Extent::new(*offset, data.len() as u64),
            Self::Zero { extent, .. } | Self::Discard(extent) => *extent,
            Self::Flush => Extent::new(0, 0),
        }
    }

    /// Whether the change, once acknowledged, makes all changes before it durable.
    fn is_flush(&self) -> bool {
        matches!(self, Self::Flush)
    }
}
