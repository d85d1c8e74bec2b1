//! The snapshot metadata service of the Container Storage Interface (KEP-3314): reference points as
//! snapshots, over gRPC on a unix socket, so that backup products which speak it can use them.
//!
//! A snapshot's id is that of a reference point (or its name). The messages are those of package
//! `csi.v1` of `csi.proto`, release 1.11, by hand, as far as they are needed:
//!
//! ```text
//! service SnapshotMetadata {
//!   rpc GetMetadataAllocated(GetMetadataAllocatedRequest) returns (stream
//! GetMetadataAllocatedResponse);
//!   rpc GetMetadataDelta(GetMetadataDeltaRequest) returns (stream GetMetadataDeltaResponse);
//! }
//! service Identity {
//!   rpc GetPluginInfo(GetPluginInfoRequest) returns (GetPluginInfoResponse);
//!   rpc GetPluginCapabilities(GetPluginCapabilitiesRequest) returns
//! (GetPluginCapabilitiesResponse);
//!   rpc Probe(ProbeRequest) returns (ProbeResponse);
//! }
//! ```
//!
//! Nothing here touches a disk: a [`Source`] is asked, which asks the disk's own thread through the
//! control socket, or opens the map of a closed disk.

mod grpc;
pub mod message;
mod service;
mod source;
#[cfg(test)]
mod tests;

pub use grpc::serve;
pub use service::SnapshotMetadata;
pub use source::{Closed, Served, Source};
