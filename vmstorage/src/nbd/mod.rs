//! Network Block Device: the protocol, a server and a client.
//!
//! The protocol is spoken as `doc/proto.md` of the NBD project defines it: fixed newstyle
//! handshake, structured replies, extended headers, metadata contexts, TLS. [`proto`] has the bytes
//! and does no I/O; [`wire`] carries them, in the clear or through [`tls`]; [`server`] and
//! [`client`] stand on these and on [`crate::engine`].

pub mod client;
pub mod proto;
pub mod server;
pub mod tls;
pub mod wire;
