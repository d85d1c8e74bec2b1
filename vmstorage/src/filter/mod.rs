//! Filters between a front end and a disk.
