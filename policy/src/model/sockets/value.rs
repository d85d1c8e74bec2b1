//! Address ranges and port ranges of the section `sockets`.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ebpf_common::socket::{Address, version};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::diagnostic::Diagnostic;
use crate::reader::Reader;
use crate::yaml::Node;

/// An address range: an address and how many of its leading bits count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    /// First address.
    pub address: IpAddr,
    /// Bits that count.
    pub prefix: u8,
}

impl Cidr {
    /// `10.0.0.0/8`, `fd00::/8`, or a single address. The error says what is wrong and, where there
    /// is one, what was meant.
    pub fn parse(text: &str) -> Result<Self, (String, Option<String>)> {
        let unknown = || {
            let help = "write it as `10.0.0.0/8`, `fd00::/8` or `127.0.0.1`".to_owned();
            (format!("`{text}` is not an address range"), Some(help))
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| unknown())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(prefix) => {
                let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
                let number = prefix.parse().ok().filter(|n| digits && *n <= most);
                number.ok_or_else(unknown)?
            }
        };
        let range = Self { address, prefix };
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            let help = format!("write the IPv4 address `{v4}`");
            let message = format!("`{text}` stands for an IPv4 address");
            return Err((message, Some(help)));
        }
        match range.first() {
            first if first == address => Ok(range),
            first => {
                let message = format!("`{text}` has bits behind its prefix");
                Err((message, Some(format!("write `{first}/{prefix}`"))))
            }
        }
    }

    /// The first address of the range.
    fn first(self) -> IpAddr {
        let keep = |width: u32| {
            u128::MAX
                .checked_shl(width - u32::from(self.prefix))
                .unwrap_or(0)
        };
        match self.address {
            IpAddr::V4(v4) => {
                let kept = u128::from(v4.to_bits()) & keep(32);
                IpAddr::V4(Ipv4Addr::from_bits(kept as u32))
            }
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & keep(128))),
        }
    }

    /// The first address as the decision has it.
    pub(crate) fn start(self) -> Address {
        address(self.address, 0)
    }

    pub(crate) fn read(reader: &mut Reader, node: &Node) -> Option<Self> {
        let text = reader.word(node, "an address range")?;
        match Self::parse(text.value) {
            Ok(range) => Some(range),
            Err((message, help)) => {
                let error = Diagnostic::error(text.span, message).maybe_help(help);
                reader.out.push(error);
                None
            }
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let single = if self.address.is_ipv4() { 32 } else { 128 };
        match self.prefix {
            prefix if prefix == single => write!(f, "{}", self.address),
            prefix => write!(f, "{}/{prefix}", self.address),
        }
    }
}

impl JsonSchema for Cidr {
    fn schema_name() -> Cow<'static, str> {
        "AddressRange".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$" })
    }
}

/// An address of the decision from one of the standard library.
pub fn address(ip: IpAddr, port: u32) -> Address {
    match ip {
        IpAddr::V4(v4) => Address::v4(v4.to_bits(), port),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            Address::v6([(bits >> 64) as u64, bits as u64], port)
        }
    }
}

/// The other way round; `None` for an address of no version of IP.
pub fn ip_of(address: &Address) -> Option<IpAddr> {
    let [high, low] = address.bits;
    match address.version {
        version::V4 => Some(IpAddr::V4(Ipv4Addr::from_bits(low as u32))),
        version::V6 => {
            let bits = u128::from(high) << 64 | u128::from(low);
            Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
        }
        _ => None,
    }
}

/// A range of ports, both ends in it. 0 stands for a port that the kernel picks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

impl Ports {
    /// Every port.
    pub const ALL: Self = Self {
        first: 0,
        last: u32::MAX,
    };

    /// `80` or `8000-8100`, up to `most`.
    pub fn parse(text: &str, most: u32) -> Option<Self> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u32>().ok().filter(|n| digits && *n <= most)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self {
            first: number(first)?,
            last: number(last)?,
        };
        (range.first <= range.last).then_some(range)
    }

    pub(crate) fn read(reader: &mut Reader, node: &Node, most: u32) -> Option<Self> {
        let text = reader.word(node, "a port or a range of ports")?;
        let ports = Self::parse(text.value, most);
        if ports.is_none() {
            let message = format!("`{}` is not a port or a range of ports", text.value);
            let error = Diagnostic::error(text.span, message);
            let help = format!("write `80` or \"8000-8100\", at most {most}");
            reader.out.push(error.help(help));
        }
        ports
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "\"{}-{}\"", self.first, self.last),
        }
    }
}

impl JsonSchema for Ports {
    fn schema_name() -> Cow<'static, str> {
        "Ports".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [
            { "type": "integer", "minimum": 0, "maximum": u32::MAX },
            { "type": "string", "pattern": "^[0-9]+(-[0-9]+)?$" },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_back_as_they_print() {
        for text in [
            "10.0.0.0/8",
            "127.0.0.1",
            "fd00::/8",
            "::1",
            "0.0.0.0/0",
            "::/0",
            "::",
        ] {
            assert_eq!(Cidr::parse(text).expect(text).to_string(), text);
        }
        for (text, help) in [
            ("10.0.0.1/8", "write `10.0.0.0/8`"),
            ("::ffff:10.0.0.1", "write the IPv4 address `10.0.0.1`"),
            ("fd00::1/8", "write `fd00::/8`"),
        ] {
            assert_eq!(Cidr::parse(text).expect_err(text).1.as_deref(), Some(help));
        }
        for text in ["10.0.0.0/33", "10.0.0", "x", "", "::/129", "1.2.3.4/+8"] {
            assert!(Cidr::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_are_single_or_ranges() {
        let range = |first, last| Some(Ports { first, last });
        assert_eq!(Ports::parse("80", 65535), range(80, 80));
        assert_eq!(Ports::parse("0-65535", 65535), range(0, 65535));
        for text in ["65536", "9-8", "", "-", "1-", "a"] {
            assert_eq!(Ports::parse(text, 65535), None, "{text}");
        }
    }
}
