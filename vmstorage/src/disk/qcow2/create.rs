//! New images.

use std::rc::Rc;

use super::OpenOptions;
use super::header::{
    BACKING_FORMAT, COMPRESSION_TYPE, Compression, EXTENDED_L2, Extension, FEATURE_NAMES, Header,
    LAZY_REFCOUNTS,
};
use super::image::Image;
use super::layout::{COPIED, Entry, Layout};
use super::refcount::set_in;
use crate::disk::{Disk, Durability, Error, ErrorKind, Result};
use crate::engine::IoBuf;

/// What is allocated of a new image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preallocation {
    /// Nothing.
    #[default]
    None,
    /// A place in the file for each cluster, so that writes change no tables.
    Metadata,
}

/// A file that an image stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingName {
    /// Its name, relative to the image's folder.
    pub file: String,
    /// Its format, as QEMU names it: `raw`, `qcow2`.
    pub format: String,
}

/// How an image is made.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// Size of the disk.
    pub size_bytes: u64,
    /// 2 or 3.
    pub version: u32,
    /// A power of two, 512 bytes to 2 MiB; with extended L2 entries 16 KiB at least.
    pub cluster_bytes: u64,
    /// Width of a reference count, a power of two from 1 to 64; 16 for version 2.
    pub refcount_bits: u32,
    /// Clusters have subclusters.
    pub extended_l2: bool,
    /// How clusters would be compressed.
    pub compression: Compression,
    /// Reference counts may be written late.
    pub lazy_refcounts: bool,
    /// What the image stands on.
    pub backing: Option<BackingName>,
    /// What is allocated.
    pub preallocation: Preallocation,
}

impl CreateOptions {
    /// A disk of `size_bytes` with QEMU's defaults: version 3, clusters of 64 KiB.
    pub fn new(size_bytes: u64) -> Self {
        Self {
            size_bytes,
            version: 3,
            cluster_bytes: 65_536,
            refcount_bits: 16,
            extended_l2: false,
            compression: Compression::Zlib,
            lazy_refcounts: false,
            backing: None,
            preallocation: Preallocation::None,
        }
    }

    fn layout(&self) -> Result<Layout> {
        let wrong = |what: &str| Err(Error::new(ErrorKind::Unsupported, what));
        let cluster = self.cluster_bytes;
        if !cluster.is_power_of_two() || !(512..=2 << 20).contains(&cluster) {
            return wrong("the cluster size must be a power of two from 512 bytes to 2 MiB");
        }
        if !self.refcount_bits.is_power_of_two() || self.refcount_bits > 64 {
            return wrong("the width of reference counts must be a power of two from 1 to 64 bits");
        }
        if self.extended_l2 && cluster < 16 << 10 {
            return wrong("extended L2 entries need clusters of 16 KiB at least");
        }
        if self.extended_l2 && self.preallocation != Preallocation::None && self.backing.is_some()
            || self.preallocation != Preallocation::None && self.backing.is_some()
        {
            return wrong("an image with a backing file cannot be preallocated");
        }
        let plain = self.refcount_bits == 16
            && !self.extended_l2
            && !self.lazy_refcounts
            && self.compression == Compression::Zlib;
        if !(2..=3).contains(&self.version) || self.version == 2 && !plain {
            return wrong("only version 3 has these features");
        }
        Ok(Layout {
            version: self.version,
            cluster_bits: cluster.trailing_zeros(),
            refcount_order: self.refcount_bits.trailing_zeros(),
            extended: self.extended_l2,
        })
    }

    /// The header of an image without a disk: tables are in the clusters 1, 2 and 3.
    fn header(&self, layout: &Layout) -> Result<Header> {
        let cluster = self.cluster_bytes;
        let mut extensions = Vec::new();
        if let Some(backing) = &self.backing {
            let data = backing.format.clone().into_bytes();
            extensions.push(Extension {
                id: BACKING_FORMAT,
                data,
            });
        }
        let zstd = self.compression == Compression::Zstd;
        let mut incompatible = 0;
        if zstd {
            incompatible |= COMPRESSION_TYPE;
        }
        if self.extended_l2 {
            incompatible |= EXTENDED_L2;
        }
        let mut header = Header {
            version: self.version,
            cluster_bits: layout.cluster_bits,
            size_bytes: 0,
            crypt_method: 0,
            l1_entries: 1,
            l1_offset: 3 * cluster,
            reftable_offset: cluster,
            reftable_clusters: 1,
            snapshots: 0,
            snapshots_offset: 0,
            incompatible,
            compatible: if self.lazy_refcounts {
                LAZY_REFCOUNTS
            } else {
                0
            },
            autoclear: 0,
            refcount_order: layout.refcount_order,
            compression: self.compression,
            unknown_fields: match self.version {
                2 => Vec::new(),
                _ => vec![u8::from(zstd), 0, 0, 0, 0, 0, 0, 0],
            },
            extensions,
            backing: self.backing.as_ref().map(|backing| backing.file.clone()),
            tail_at: 0,
            end: 0,
        };
        let length = |header: &Header| header.header_bytes() + header.tail(0).0.len();
        let too_long = header
            .backing
            .as_ref()
            .is_some_and(|name| name.len() > 1023);
        if too_long || length(&header) as u64 > cluster {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the backing file's name does not fit the image's first cluster",
            ));
        }
        // In small clusters the room is kept for extensions that matter.
        if self.version >= 3 && cluster >= 4096 {
            let data = feature_names();
            if (length(&header) + data.len() + 8) as u64 <= cluster {
                header.extensions.push(Extension {
                    id: FEATURE_NAMES,
                    data,
                });
            }
        }
        Ok(header)
    }
}

/// The names of all features that the format has.
fn feature_names() -> Vec<u8> {
    let names = [
        (0, 0, "dirty bit"),
        (0, 1, "corrupt bit"),
        (0, 2, "external data file"),
        (0, 3, "compression type"),
        (0, 4, "extended L2 entries"),
        (1, 0, "lazy refcounts"),
        (2, 0, "bitmaps"),
        (2, 1, "raw external data"),
    ];
    let mut table = Vec::new();
    for (kind, bit, name) in names {
        let start = table.len();
        table.extend([kind, bit]);
        table.extend(name.as_bytes());
        table.resize(start + 48, 0);
    }
    table
}

/// Makes an image of `file`, whose content is lost.
pub(super) async fn create(file: Rc<dyn Disk>, options: &CreateOptions) -> Result<()> {
    let layout = options.layout()?;
    let header = options.header(&layout)?;
    match file.resize(0).await {
        Err(error) if error.kind() != ErrorKind::Unsupported => return Err(error),
        _ => {}
    }
    let cluster = options.cluster_bytes as usize;
    if file.geometry().size_bytes < 4 * cluster as u64 {
        file.resize(4 * cluster as u64).await?;
    }
    let mut bytes = vec![0; 4 * cluster];
    let (tail, name_at) = header.tail(header.header_bytes());
    let fields = header.fields(name_at);
    bytes[..fields.len()].copy_from_slice(&fields);
    bytes[fields.len()..fields.len() + tail.len()].copy_from_slice(&tail);
    bytes[cluster..cluster + 8].copy_from_slice(&(2 * cluster as u64).to_be_bytes());
    let counts = &mut bytes[2 * cluster..3 * cluster];
    (0..4).for_each(|number| set_in(counts, number, layout.refcount_order, 1));
    file.write(0, IoBuf::copy_of(&bytes), Durability::Volatile)
        .await?;
    let image = Image::open(file, OpenOptions::default(), true).await?;
    image.resize(options.size_bytes).await?;
    if options.preallocation == Preallocation::Metadata {
        image.preallocate().await?;
    }
    image.settle().await
}

impl Image {
    /// Gives every cluster a place in the file, whose content is zeroes.
    async fn preallocate(self: &Rc<Self>) -> Result<()> {
        let bits = self.layout.cluster_bits;
        let mut guest = 0;
        while guest < self.size_bytes.get() {
            self.make_room().await?;
            self.own_table(guest).await?;
            let left = self.layout.clusters(self.size_bytes.get() - guest);
            let wanted = left.min(self.clusters_in_slice(guest));
            let run = self.allocate(wanted).await?;
            let (host, len) = (run.first << bits, run.count << bits);
            self.file.reserve(host, len).await?;
            let fresh = self.file.claim(host, len);
            let entries: Vec<Entry> = (0..run.count)
                .map(|number| Entry {
                    word: (host + (number << bits))
                        | COPIED
                        | u64::from(!fresh && !self.layout.extended),
                    bitmap: match (self.layout.extended, fresh) {
                        (false, _) => 0,
                        (true, true) => 0xffff_ffff,
                        (true, false) => super::layout::ALL_ZERO,
                    },
                })
                .collect();
            self.put_entries(guest, &entries).await?;
            guest += len;
        }
        Ok(())
    }
}
