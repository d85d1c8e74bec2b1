//! The log ([MS-VHDX] section 2.3): changes of metadata stand in it before they are made in place.

mod entry;
mod overlay;
mod replay;

pub(super) use entry::{EntryHeader, Update, encode, entry_bytes};
pub(super) use overlay::Overlay;
pub(super) use replay::{MAX_LOG_BYTES, load};
