//! Where an export is: NBD URIs (`doc/uri.md` of the NBD project) parsed.

use std::fmt;
use std::path::PathBuf;

use crate::disk::{Error, ErrorKind, Result};
use crate::nbd::proto::MAX_STRING_BYTES;

/// The port that is registered for NBD.
const PORT: u16 = 10809;

/// An export of a server, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where the server listens.
    pub address: Address,
    /// The export; the server's default one if empty.
    pub export: String,
    /// The connection is encrypted, or there is none.
    pub tls: bool,
    /// The name in the server's certificate, where it differs from the host.
    pub tls_name: Option<String>,
    /// A directory with `ca-cert.pem`, and perhaps `client-cert.pem` and `client-key.pem`.
    pub tls_certificates: Option<PathBuf>,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host, by name or address, and a port.
    Tcp(String, u16),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl Target {
    /// Parses `nbd://host:port/export`, `nbd+unix:///export?socket=PATH`, and both with `nbds`.
    ///
    /// Known in the query are `socket`, `tls-certificates` and `tls-hostname`.
    ///
    /// # Errors
    /// When it is another URI, or has something that is not understood: nothing is left out
    /// silently.
    pub fn parse(uri: &str) -> Result<Self> {
        let wrong =
            |what: String| Error::new(ErrorKind::Unsupported, format!("the URI `{uri}` {what}"));
        let (scheme, rest) = uri
            .split_once("://")
            .ok_or_else(|| wrong("has no scheme, such as `nbd://`".into()))?;
        let (tls, unix) = match scheme {
            "nbd" => (false, false),
            "nbds" => (true, false),
            "nbd+unix" => (false, true),
            "nbds+unix" => (true, true),
            other => return Err(wrong(format!("has the unknown scheme `{other}`"))),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let query = Query::parse(query).map_err(wrong)?;
        let export = decode(path).map_err(wrong)?;
        if export.len() > MAX_STRING_BYTES {
            return Err(wrong(format!("names an export of {} bytes", export.len())));
        }
        let (host, port) = split_host(authority).map_err(wrong)?;
        let (address, host) = match (unix, query.socket) {
            (true, Some(socket)) => (Address::Unix(socket.into()), host),
            (false, None) if !host.is_empty() => (Address::Tcp(host, port), String::new()),
            (true, None) => return Err(wrong("names no `?socket=`".into())),
            (false, Some(_)) => return Err(wrong("has a `socket` that is not `+unix`".into())),
            (false, None) => return Err(wrong("names no host".into())),
        };
        Ok(Self {
            address,
            export,
            tls,
            tls_name: query.tls_name.or((!host.is_empty()).then_some(host)),
            tls_certificates: query.tls_certificates.map(PathBuf::from),
        })
    }

    /// An export behind a unix socket, in the clear.
    pub fn unix(socket: impl Into<PathBuf>, export: impl Into<String>) -> Self {
        Self {
            address: Address::Unix(socket.into()),
            export: export.into(),
            tls: false,
            tls_name: None,
            tls_certificates: None,
        }
    }

    /// The name that the server's certificate has to have.
    pub(super) fn certificate_name(&self) -> &str {
        match (&self.tls_name, &self.address) {
            (Some(name), _) => name,
            (None, Address::Tcp(host, _)) => host,
            (None, Address::Unix(_)) => "localhost",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.tls { "s" } else { "" };
        match &self.address {
            Address::Tcp(host, port) if host.contains(':') => {
                write!(f, "nbd{s}://[{host}]:{port}/{}", self.export)
            }
            Address::Tcp(host, port) => write!(f, "nbd{s}://{host}:{port}/{}", self.export),
            Address::Unix(path) => {
                write!(
                    f,
                    "nbd{s}+unix:///{}?socket={}",
                    self.export,
                    path.display()
                )
            }
        }
    }
}

#[derive(Default)]
struct Query {
    socket: Option<String>,
    tls_name: Option<String>,
    tls_certificates: Option<String>,
}

impl Query {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let field = match key {
                "socket" => &mut query.socket,
                "tls-hostname" => &mut query.tls_name,
                "tls-certificates" => &mut query.tls_certificates,
                other => return Err(format!("has the unknown parameter `{other}`")),
            };
            if field.replace(decode(value)?).is_some() {
                return Err(format!("has `{key}` twice"));
            }
        }
        Ok(query)
    }
}

fn split_host(authority: &str) -> std::result::Result<(String, u16), String> {
    if authority.contains('@') {
        return Err("names a user, which NBD does not know".into());
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("has a `[` without its `]`")?;
            (host, rest)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => PORT,
        None => return Err(format!("has `{port}` after the host")),
        Some(digits) => digits
            .parse()
            .map_err(|_| format!("has the port `{digits}`, which is none"))?,
    };
    Ok((decode(host)?, port))
}

/// Replaces `%xx`.
fn decode(text: &str) -> std::result::Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| (digit as char).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return Err("has a `%` without two hexadecimal digits".into()),
        }
    }
    match String::from_utf8(out) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err("has an escape that is no text".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_say_where_an_export_is() {
        let tcp = Target::parse("nbd://example.org/a%20b").unwrap();
        assert_eq!(tcp.address, Address::Tcp("example.org".into(), PORT));
        assert_eq!(tcp.export, "a b");
        let six = Target::parse("nbds://[::1]:77/").unwrap();
        assert_eq!(six.address, Address::Tcp("::1".into(), 77));
        assert!(six.tls && six.export.is_empty());
        let unix = Target::parse("nbd+unix:///x/y?socket=/run/s%2e").unwrap();
        assert_eq!(unix, Target::unix("/run/s.", "x/y"));
        let secure = "nbds+unix://name/?socket=s&tls-certificates=/etc/pki";
        let secure = Target::parse(secure).unwrap();
        assert_eq!(secure.certificate_name(), "name");
        assert_eq!(secure.tls_certificates, Some("/etc/pki".into()));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for uri in [
            "",
            "nbd",
            "http://host/",
            "nbd:///x",
            "nbd+unix:///x",
            "nbd://h/?socket=s",
            "nbd://[::1/",
            "nbd://h:99999/",
            "nbd://[::1]x/",
            "nbd://h/%2",
            "nbd://h/%ff",
            "nbd://h/%00",
            "nbd://u@h/",
            "nbd+unix:///?socket=a&socket=b",
            "nbd://h/?colour=red",
        ] {
            Target::parse(uri).unwrap_err();
        }
    }
}
