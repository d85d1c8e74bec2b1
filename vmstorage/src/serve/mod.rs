//! The block service: disks, their exports, and the control socket.

pub mod config;
