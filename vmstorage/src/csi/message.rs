//! The messages, with the field numbers of `csi.proto`.

use std::collections::HashMap;

/// How the extents of a stream are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum BlockMetadataType {
    /// Not said.
    Unknown = 0,
    /// All are of one size.
    FixedLength = 1,
    /// Each has its own size.
    VariableLength = 2,
}

/// An extent.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BlockMetadata {
    /// Its first byte.
    #[prost(int64, tag = "1")]
    pub byte_offset: i64,
    /// Its length in bytes.
    #[prost(int64, tag = "2")]
    pub size_bytes: i64,
}

/// Asks what of a snapshot is allocated.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetMetadataAllocatedRequest {
    /// The snapshot.
    #[prost(string, tag = "1")]
    pub snapshot_id: String,
    /// The byte to begin at: where an earlier stream ended.
    #[prost(int64, tag = "2")]
    pub starting_offset: i64,
    /// Most extents in a message; 0 leaves it to the service.
    #[prost(int32, tag = "3")]
    pub max_results: i32,
    /// Not used.
    #[prost(map = "string, string", tag = "4")]
    pub secrets: HashMap<String, String>,
}

/// Asks what changed from one snapshot until another.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetMetadataDeltaRequest {
    /// The earlier snapshot.
    #[prost(string, tag = "1")]
    pub base_snapshot_id: String,
    /// The later one.
    #[prost(string, tag = "2")]
    pub target_snapshot_id: String,
    /// The byte to begin at: where an earlier stream ended.
    #[prost(int64, tag = "3")]
    pub starting_offset: i64,
    /// Most extents in a message; 0 leaves it to the service.
    #[prost(int32, tag = "4")]
    pub max_results: i32,
    /// Not used.
    #[prost(map = "string, string", tag = "5")]
    pub secrets: HashMap<String, String>,
}

/// Part of an answer; `GetMetadataAllocatedResponse` and `GetMetadataDeltaResponse` are the same.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetMetadataResponse {
    /// The same in all messages of a stream.
    #[prost(enumeration = "BlockMetadataType", tag = "1")]
    pub block_metadata_type: i32,
    /// Size of the volume in the snapshot; the same in all messages of a stream.
    #[prost(int64, tag = "2")]
    pub volume_capacity_bytes: i64,
    /// Extents in ascending order, apart from each other.
    #[prost(message, repeated, tag = "3")]
    pub block_metadata: Vec<BlockMetadata>,
}

/// A request without fields: `GetPluginInfoRequest`, `GetPluginCapabilitiesRequest`,
/// `ProbeRequest`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Nothing {}

/// Who answers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetPluginInfoResponse {
    /// Name in domain form.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Version of this program.
    #[prost(string, tag = "2")]
    pub vendor_version: String,
}

/// What it can do.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetPluginCapabilitiesResponse {
    /// One for each service.
    #[prost(message, repeated, tag = "1")]
    pub capabilities: Vec<PluginCapability>,
}

/// A capability; of its kinds only services are used here.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct PluginCapability {
    /// The service.
    #[prost(message, optional, tag = "1")]
    pub service: Option<PluginService>,
}

/// A service that a plugin has.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct PluginService {
    /// Which; [`SNAPSHOT_METADATA_SERVICE`].
    #[prost(int32, tag = "1")]
    pub r#type: i32,
}

/// `PluginCapability.Service.Type.SNAPSHOT_METADATA_SERVICE`.
pub const SNAPSHOT_METADATA_SERVICE: i32 = 4;

/// Whether it works.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ProbeResponse {
    /// `google.protobuf.BoolValue`.
    #[prost(message, optional, tag = "1")]
    pub ready: Option<BoolValue>,
}

/// A boolean that may be absent.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct BoolValue {
    /// The value.
    #[prost(bool, tag = "1")]
    pub value: bool,
}
