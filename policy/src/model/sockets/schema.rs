//! The section as written, for the schema only.
#![allow(dead_code, reason = "the form as written, for the schema only")]

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Cidr, Ports, SocketGrant};
use crate::model::HostPath;
use crate::names::socket::{FAMILIES, NETLINK};

impl JsonSchema for SocketGrant {
    fn schema_name() -> Cow<'static, str> {
        Written::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

/// A line about sockets; exactly one key besides `allow` and `optional`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "SocketGrant")]
struct Written {
    /// TCP and MPTCP.
    tcp: Option<AnyOr<SocketAddresses>>,
    /// UDP and UDP-Lite.
    udp: Option<AnyOr<SocketAddresses>>,
    /// SCTP.
    sctp: Option<AnyOr<SocketAddresses>>,
    /// ICMP echo.
    icmp: Option<AnyOr<SocketAddresses>>,
    /// Channels to the other side of a virtual machine.
    vsock: Option<AnyOr<VsockAddresses>>,
    /// A unix socket, or a directory that holds some.
    unix: Option<HostPath>,
    /// An abstract unix socket.
    r#abstract: Option<String>,
    /// Netlink protocols.
    netlink: Option<Vec<NetlinkProtocol>>,
    /// Raw IP.
    raw: Option<bool>,
    /// Packets of a link.
    packet: Option<bool>,
    /// Other address families.
    families: Option<Vec<Family>>,
    /// What may be done.
    allow: Option<Vec<SocketRight>>,
    /// The unix path may be missing.
    optional: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum AnyOr<T> {
    Any(Any),
    Some(T),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Any {
    Any,
}

/// Addresses of the other side (`to`) or of this one (`on`), and ports.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SocketAddresses {
    to: Option<Vec<Cidr>>,
    on: Option<Vec<Cidr>>,
    ports: Option<Vec<Ports>>,
}

/// Context ids and ports.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct VsockAddresses {
    cid: Option<Vec<u32>>,
    ports: Option<Vec<Ports>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum SocketRight {
    Create,
    Bind,
    Listen,
    Connect,
    Send,
}

struct NetlinkProtocol;

impl JsonSchema for NetlinkProtocol {
    fn schema_name() -> Cow<'static, str> {
        "NetlinkProtocol".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": NETLINK.map(|(name, _)| name) })
    }
}

struct Family;

impl JsonSchema for Family {
    fn schema_name() -> Cow<'static, str> {
        "Family".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": FAMILIES.map(|(name, _)| name) })
    }
}
