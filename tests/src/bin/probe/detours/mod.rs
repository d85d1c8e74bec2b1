//! What only somebody asks for who looks for a way round: any system call, io_uring, descriptors
//! from elsewhere, storms and races.

pub(crate) mod calls;
pub(crate) mod handing;
pub(crate) mod places;
pub(crate) mod uring;
