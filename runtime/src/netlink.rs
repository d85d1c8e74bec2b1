//! The few messages of rtnetlink that moving network devices takes (`rtnetlink(7)`).
//!
//! A socket belongs to the network namespace that it was opened in, wherever its owner goes.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// Room for the largest message that the kernel sends in answer to a dump.
const BUFFER_BYTES: usize = 64 * 1024;

/// Bytes of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;

/// A request while it is put together.
#[derive(Debug)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// A message of type `kind` with more `flags` (`NLM_F_*`); `body` is the fixed part that the
    /// type has.
    pub(crate) fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    /// Adds an attribute. Its value is at most some hundred bytes of ours.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a string with its NUL byte.
    pub(crate) fn string(self, kind: u16, text: &str) -> Self {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.attribute(kind, &value)
    }
}

/// A socket of rtnetlink.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens one in the network namespace of the caller.
    pub(crate) fn open() -> Result<Self, Errno> {
        // No protocol is protocol 0, `NETLINK_ROUTE`.
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends a request and waits for the kernel's word that it is carried out.
    pub(crate) fn carry_out(&mut self, request: Request) -> Result<(), Errno> {
        self.exchange(request, NLM_F_ACK, |_| ())
    }

    /// Sends a request for a list; `each` gets the body of every answer.
    pub(crate) fn list(&mut self, request: Request, each: impl FnMut(&[u8])) -> Result<(), Errno> {
        self.exchange(request, NLM_F_DUMP, each)
    }

    fn exchange(
        &mut self,
        request: Request,
        more: u16,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Errno> {
        self.sequence += 1;
        let Request(mut bytes) = request;
        let length = u32::try_from(bytes.len()).map_err(|_| Errno::MSGSIZE)?;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        let flags = u16::from_ne_bytes([bytes[6], bytes[7]]) | more;
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        send(&self.socket, &bytes, SendFlags::empty())?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let (_, length) = rustix::io::retry_on_intr(|| {
                recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC)
            })?;
            let answer = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
            if let Some(end) = self.read(answer, &mut each)? {
                return end;
            }
        }
    }

    /// Reads the messages of one packet; `Some` when the exchange is over.
    fn read(
        &self,
        mut packet: &[u8],
        each: &mut impl FnMut(&[u8]),
    ) -> Result<Option<Result<(), Errno>>, Errno> {
        while let Some(header) = packet.get(..HEADER_BYTES) {
            let length = u32_at(header, 0).and_then(|length| usize::try_from(length).ok());
            let length = length.ok_or(Errno::BADMSG)?;
            let body = packet.get(HEADER_BYTES..length).ok_or(Errno::BADMSG)?;
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            packet = packet.get(length.next_multiple_of(4)..).unwrap_or_default();
            if u32_at(header, 8) != Some(self.sequence) {
                continue;
            }
            match kind {
                NLMSG_ERROR | NLMSG_DONE => {
                    let code = u32_at(body, 0).unwrap_or(0).cast_signed();
                    return Ok(Some(match code {
                        0 => Ok(()),
                        code => Err(Errno::from_raw_os_error(code.wrapping_neg())),
                    }));
                }
                _ => each(body),
            }
        }
        Ok(None)
    }
}

/// The number at an offset of a message.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// The attributes after the fixed part of a message: kind and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
        // The upper two bits are flags.
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_back() {
        let request = Request::new(1, 0, &[]).string(3, "eth0").attribute(4, &[7]);
        assert_eq!(request.0.len() % 4, 0);
        let found: Vec<_> = attributes(&request.0[HEADER_BYTES..]).collect();
        assert_eq!(found, [(3, b"eth0\0".as_slice()), (4, &[7])]);
    }

    #[test]
    fn what_is_cut_short_ends_the_list() {
        for bytes in [&[5, 0, 1][..], &[3, 0, 1, 0], &[9, 0, 1, 0, 2]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
    }

    #[test]
    fn the_kernel_lists_the_loopback_device() {
        const RTM_GETLINK: u16 = 18;
        let mut socket = Socket::open().unwrap();
        let mut names = Vec::new();
        let request = Request::new(RTM_GETLINK, 0, &[0; 16]);
        socket
            .list(request, |body| {
                let name = attributes(&body[16..]).find(|(kind, _)| *kind == 3);
                names.push(name.unwrap().1.to_vec());
            })
            .unwrap();
        assert!(names.contains(&b"lo\0".to_vec()));
        let unknown = Request::new(RTM_GETLINK, 0, &[0; 16]).string(3, "nosuchdevice");
        assert_eq!(socket.carry_out(unknown), Err(Errno::NODEV));
    }
}
