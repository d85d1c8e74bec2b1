//! Moves network devices of the host into the network namespace of a container
//! (`linux.netDevices`, runtime specification 1.3).
//!
//! Done by the parent, which has the privileges over both namespaces, before the first process is
//! released. When the namespace ends, the kernel gives physical devices back to the host and
//! removes virtual ones; nobody moves them back.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::failure::{Called, Failure};
use crate::netlink::{Request, Socket, attributes, u32_at};
use crate::spec::NetDevice;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;

const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

/// Bytes of `struct ifinfomsg`.
const LINK_BYTES: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFF_UP: u32 = 1;

/// Bytes of `struct ifaddrmsg`.
const ADDRESS_BYTES: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_PROTO: u16 = 11;
const IFA_F_PERMANENT: u32 = 0x80;
/// `IFA_F_NODAD`, `IFA_F_HOMEADDRESS`, `IFA_F_MANAGETEMPADDR`, `IFA_F_NOPREFIXROUTE`,
/// `IFA_F_MCAUTOJOIN`: what was chosen; the other flags are states.
const IFA_F_CHOSEN: u32 = 0x2 | 0x10 | 0x100 | 0x200 | 0x400;
const RT_SCOPE_UNIVERSE: u8 = 0;

/// A device as the kernel lists it.
#[derive(Debug)]
struct Link {
    index: u32,
    name: String,
}

/// An address that goes with its device.
#[derive(Debug)]
struct Address {
    /// `struct ifaddrmsg`, but for the index.
    family: u8,
    prefix: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

/// Moves the devices into a network namespace, with their new names and their permanent addresses
/// of global scope, and brings them up there.
///
/// # Errors
/// There is no such device, it cannot be moved, or its name is taken in the namespace. Devices that
/// were moved before stay there.
pub(crate) fn move_all(devices: &[NetDevice], namespace: BorrowedFd<'_>) -> Result<(), Failure> {
    if devices.is_empty() {
        return Ok(());
    }
    let mut host = Socket::open().called(|| "socket(AF_NETLINK, NETLINK_ROUTE)")?;
    let mut inside = socket_inside(namespace)?;
    let devices = devices.iter();
    devices
        .into_iter()
        .try_for_each(|device| move_one(&mut host, &mut inside, device, namespace))
}

fn move_one(
    host: &mut Socket,
    inside: &mut Socket,
    device: &NetDevice,
    namespace: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let NetDevice { host_name, name } = device;
    let mut links = links(host)?.into_iter();
    let link = links.find(|link| link.name == *host_name).ok_or_else(|| {
        Failure::new(
            format!("rtnetlink(RTM_GETLINK, \"{host_name}\")"),
            Errno::NODEV,
        )
    })?;
    let before = self::links(inside)?;
    if before.iter().any(|there| there.name == *name) {
        let call = format!("rtnetlink(move \"{host_name}\" to the container as \"{name}\")");
        return Err(Failure::new(call, Errno::EXIST));
    }
    let addresses = addresses(host, link.index)?;
    let request = Request::new(RTM_NEWLINK, 0, &link_message(link.index, 0))
        .attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes())
        .string(IFLA_IFNAME, name);
    host.carry_out(request)
        .called(|| format!("rtnetlink(move \"{host_name}\" to the container as \"{name}\")"))?;
    // Neither its number nor, with a template, its name is known: it is the one that is new.
    let mut after = self::links(inside)?.into_iter();
    let is_new = |link: &Link| before.iter().all(|there| there.index != link.index);
    let moved = after.find(is_new).ok_or_else(|| {
        Failure::new(
            format!("rtnetlink(RTM_GETLINK, \"{name}\" inside)"),
            Errno::NODEV,
        )
    })?;
    for address in &addresses {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let mut request = Request::new(RTM_NEWADDR, flags, &address.message(moved.index));
        for (kind, value) in &address.attributes {
            request = request.attribute(*kind, value);
        }
        inside
            .carry_out(request)
            .called(|| format!("rtnetlink(RTM_NEWADDR, \"{}\" inside)", moved.name))?;
    }
    let request = Request::new(RTM_NEWLINK, 0, &link_message(moved.index, IFF_UP));
    inside
        .carry_out(request)
        .called(|| format!("rtnetlink(RTM_NEWLINK, \"{}\" up inside)", moved.name))
}

/// A socket of the namespace. This process is there while it is opened and for no other call.
fn socket_inside(namespace: BorrowedFd<'_>) -> Result<Socket, Failure> {
    let kind = Some(LinkNameSpaceType::Network);
    let own = File::open("/proc/self/ns/net").called(|| "open(\"/proc/self/ns/net\")")?;
    move_into_link_name_space(namespace, kind).called(|| "setns(container, CLONE_NEWNET)")?;
    let socket = Socket::open();
    move_into_link_name_space(own.as_fd(), kind).called(|| "setns(own, CLONE_NEWNET)")?;
    socket.called(|| "socket(AF_NETLINK, NETLINK_ROUTE)")
}

/// `struct ifinfomsg` of a device, with a flag to be set.
fn link_message(index: u32, flag: u32) -> [u8; LINK_BYTES] {
    let mut message = [0; LINK_BYTES];
    message[4..8].copy_from_slice(&index.to_ne_bytes());
    message[8..12].copy_from_slice(&flag.to_ne_bytes());
    // Which of the flags the message changes.
    message[12..16].copy_from_slice(&flag.to_ne_bytes());
    message
}

fn links(socket: &mut Socket) -> Result<Vec<Link>, Failure> {
    let mut links = Vec::new();
    let request = Request::new(RTM_GETLINK, 0, &[0; LINK_BYTES]);
    let list = socket.list(request, |body| {
        let Some(index) = u32_at(body, 4) else {
            return;
        };
        let mut attributes = attributes(body.get(LINK_BYTES..).unwrap_or_default());
        if let Some((_, name)) = attributes.find(|(kind, _)| *kind == IFLA_IFNAME) {
            let name = name.strip_suffix(b"\0").unwrap_or(name);
            let name = String::from_utf8_lossy(name).into_owned();
            links.push(Link { index, name });
        }
    });
    list.called(|| "rtnetlink(RTM_GETLINK)")?;
    Ok(links)
}

/// The addresses of a device that were given for good and hold everywhere.
fn addresses(socket: &mut Socket, index: u32) -> Result<Vec<Address>, Failure> {
    let mut addresses = Vec::new();
    let request = Request::new(RTM_GETADDR, 0, &[0; ADDRESS_BYTES]);
    let list = socket.list(request, |body| {
        if u32_at(body, 4) == Some(index) {
            addresses.extend(Address::read(body));
        }
    });
    list.called(|| "rtnetlink(RTM_GETADDR)")?;
    Ok(addresses)
}

impl Address {
    fn read(body: &[u8]) -> Option<Self> {
        let [family, prefix, flags, scope, ..] = *body else {
            return None;
        };
        let rest = body.get(ADDRESS_BYTES..)?;
        let given = attributes(rest).find(|(kind, _)| *kind == IFA_FLAGS);
        let long_flags = given.and_then(|(_, value)| u32_at(value, 0));
        let flags = long_flags.unwrap_or(u32::from(flags));
        if flags & IFA_F_PERMANENT == 0 || scope != RT_SCOPE_UNIVERSE {
            return None;
        }
        let kept = [
            IFA_ADDRESS,
            IFA_LOCAL,
            IFA_BROADCAST,
            IFA_RT_PRIORITY,
            IFA_PROTO,
        ];
        let mut kept: Vec<_> = attributes(rest)
            .filter(|(kind, _)| kept.contains(kind))
            .map(|(kind, value)| (kind, value.to_vec()))
            .collect();
        kept.push((IFA_FLAGS, (flags & IFA_F_CHOSEN).to_ne_bytes().to_vec()));
        Some(Self {
            family,
            prefix,
            attributes: kept,
        })
    }

    /// `struct ifaddrmsg` for a device.
    fn message(&self, index: u32) -> [u8; ADDRESS_BYTES] {
        let [a, b, c, d] = index.to_ne_bytes();
        [self.family, self.prefix, 0, RT_SCOPE_UNIVERSE, a, b, c, d]
    }
}
