//! Network Block Device: the protocol, a server and a client.
//!
//! The protocol is spoken as `doc/proto.md` of the NBD project defines it: fixed newstyle handshake,
//! structured replies, extended headers, metadata contexts, TLS. [`proto`] has the bytes and does no
//! I/O; the server and the client stand on it and on [`crate::engine`].

pub mod proto;
