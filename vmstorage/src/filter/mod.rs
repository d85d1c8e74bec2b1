//! Filters between a front end and a disk.

pub mod throttle;
