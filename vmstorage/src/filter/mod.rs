//! Filters between a front end and a disk.
//!
//! They compose in this order, the front end first: throttle, [`gate`] (where all changes can be
//! held), change tracker, [`snapshot`], disk. The gate stands above the tracker, so that a
//! checkpoint cuts both at one moment.

pub mod gate;
pub mod snapshot;
pub mod throttle;
