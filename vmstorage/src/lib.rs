//! Storage services for virtual machines. Nothing is here yet: the crate holds the name and the
//! place.
//!
//! It will hold a block service for virtual disks, change tracking with reference points,
//! checkpoints of one machine and of clusters, background migration of disks, and memory objects
//! read and written over network file protocols: one library and one binary, `vmstorage`, whose
//! agents run in Reeve containers.
//!
//! What it will not do: know of containers. It depends on no other crate of this workspace, and
//! none depends on it.
