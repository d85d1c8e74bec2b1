//! TLS for both sides of NBD, over the engine's sockets.
//!
//! Peers are known by X.509 certificates: the server by its own, the client by one that the server
//! may ask for. Pre-shared keys without certificates, which other programs offer for NBD, are not
//! possible here: rustls implements external PSKs neither for TLS 1.2 nor for 1.3. TLS 1.2 and 1.3
//! are spoken, nothing older.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::engine::{IoBuf, IoBufMut, Stream};

/// How much is received at once, in bytes: two records.
const RECEIVE_BYTES: usize = 32 << 10;
/// How much is encrypted before it is sent, in bytes.
const SEND_BYTES: usize = 256 << 10;

/// A certificate could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file does not hold what it should.
    #[error("read {what} from `{path}`: {source}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: String,
        /// Why it was not found.
        source: rustls_pki_types::pem::Error,
    },
    /// A certificate, a key or both together are refused.
    #[error("{what}: {source}")]
    Refused {
        /// What was refused.
        what: String,
        /// Why.
        source: rustls::Error,
    },
    /// The name of a server is none.
    #[error("`{0}` is neither a host name nor an address")]
    Name(String),
}

/// A server's side of TLS: its certificate chain and key in PEM files, and, to ask clients for
/// certificates, the authorities that sign them.
///
/// # Errors
/// When a file cannot be read or a certificate is refused.
pub fn server_config(
    certificates: &Path,
    key: &Path,
    client_authorities: Option<&Path>,
) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| refused("TLS versions", source))?;
    let builder = match client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| {
                    refused(
                        format!("authorities of clients in `{}`", path.display()),
                        rustls::Error::General(error.to_string()),
                    )
                })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder
        .with_single_cert(chain(certificates)?, private_key(key)?)
        .map_err(|source| {
            refused(
                format!("certificate in `{}`", certificates.display()),
                source,
            )
        })?;
    Ok(Arc::new(config))
}

/// A client's side of TLS: the authorities that sign certificates of servers, and the client's own
/// certificate chain and key, all PEM files.
///
/// # Errors
/// When a file cannot be read or a certificate is refused.
pub fn client_config(
    authorities_path: &Path,
    own: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| refused("TLS versions", source))?
        .with_root_certificates(authorities(authorities_path)?);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((certificates, key)) => builder
            .with_client_auth_cert(chain(certificates)?, private_key(key)?)
            .map_err(|source| {
                refused(
                    format!("certificate in `{}`", certificates.display()),
                    source,
                )
            })?,
    };
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn refused(what: impl Into<String>, source: rustls::Error) -> Error {
    Error::Refused {
        what: what.into(),
        source,
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = |source| Error::Pem {
        what: "certificates",
        path: path.display().to_string(),
        source,
    };
    CertificateDer::pem_file_iter(path)
        .map_err(pem)?
        .collect::<Result<_, _>>()
        .map_err(pem)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| Error::Pem {
        what: "a private key",
        path: path.display().to_string(),
        source,
    })
}

fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots
            .add(certificate)
            .map_err(|source| refused(format!("authority in `{}`", path.display()), source))?;
    }
    Ok(roots)
}

/// A stream inside TLS. Clones are the same stream; one task may receive while another sends.
#[derive(Clone)]
pub struct TlsStream {
    inner: Rc<Inner>,
}

struct Inner {
    stream: Stream,
    connection: RefCell<Connection>,
    /// What was received and not yet decrypted, and how much of its front was.
    received: RefCell<(Vec<u8>, usize)>,
}

impl TlsStream {
    /// Makes a server's handshake.
    ///
    /// # Errors
    /// Of the socket and of TLS, such as a client without the certificate that is asked for.
    pub async fn accept(stream: Stream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
        Self::handshake(stream, connection.into()).await
    }

    /// Makes a client's handshake with the server that has a certificate of `name`.
    ///
    /// # Errors
    /// Of the socket and of TLS, such as a certificate that no authority signed.
    pub async fn connect(
        stream: Stream,
        config: Arc<ClientConfig>,
        name: &str,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::other(Error::Name(name.to_owned())))?;
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Self::handshake(stream, connection.into()).await
    }

    async fn handshake(stream: Stream, connection: Connection) -> io::Result<Self> {
        let this = Self {
            inner: Rc::new(Inner {
                stream,
                connection: RefCell::new(connection),
                received: RefCell::default(),
            }),
        };
        loop {
            this.send_pending().await?;
            if !this.inner.connection.borrow().is_handshaking() {
                return Ok(this);
            }
            match this.inner.decrypt() {
                Ok(true) => {}
                Ok(false) => this.inner.receive().await?,
                Err(error) => {
                    // The peer is told why; whether it hears does not matter any more.
                    let _ = this.send_pending().await;
                    return Err(error);
                }
            }
        }
    }

    /// As [`super::wire::Wire::recv`].
    ///
    /// # Errors
    /// As there.
    pub async fn recv(&self, mut buf: IoBufMut) -> io::Result<IoBufMut> {
        loop {
            let read = self.inner.connection.borrow_mut().reader().read(&mut buf);
            match read {
                Ok(len) => {
                    buf.truncate(len);
                    return Ok(buf);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if !self.inner.decrypt()? {
                self.inner.receive().await?;
            }
        }
    }

    /// As [`super::wire::Wire::send_all`].
    ///
    /// # Errors
    /// As there.
    pub async fn send_all(&self, bufs: &[IoBuf]) -> io::Result<()> {
        let mut out = Vec::new();
        for buf in bufs {
            let mut rest: &[u8] = buf;
            while !rest.is_empty() {
                {
                    let mut connection = self.inner.connection.borrow_mut();
                    let taken = connection.writer().write(rest)?;
                    rest = &rest[taken..];
                    write_pending(&mut connection, &mut out)?;
                }
                if out.len() >= SEND_BYTES {
                    let full = IoBuf::copy_of(&out);
                    out.clear();
                    self.inner.stream.send_all(&[full]).await?;
                }
            }
        }
        self.inner.stream.send_all(&[IoBuf::copy_of(&out)]).await
    }

    /// As [`super::wire::Wire::close`].
    pub async fn close(&self) {
        self.inner.connection.borrow_mut().send_close_notify();
        // It fails when the peer was faster.
        let _ = self.send_pending().await;
        self.inner.stream.shutdown();
    }

    /// As [`super::wire::Wire::shutdown`].
    pub fn shutdown(&self) {
        self.inner.stream.shutdown();
    }

    /// As [`super::wire::Wire::moved_bytes`].
    pub fn moved_bytes(&self) -> u64 {
        self.inner.stream.moved_bytes()
    }

    /// As [`super::wire::Wire::is_lost`].
    pub fn is_lost(&self, half: bool) -> bool {
        self.inner.stream.is_lost(half)
    }

    async fn send_pending(&self) -> io::Result<()> {
        let mut out = Vec::new();
        write_pending(&mut self.inner.connection.borrow_mut(), &mut out)?;
        if out.is_empty() {
            return Ok(());
        }
        self.inner.stream.send_all(&[IoBuf::copy_of(&out)]).await
    }
}

fn write_pending(connection: &mut Connection, out: &mut Vec<u8>) -> io::Result<()> {
    while connection.wants_write() {
        connection.write_tls(out)?;
    }
    Ok(())
}

impl Inner {
    /// Takes the next part of what was received; false if there is nothing.
    fn decrypt(&self) -> io::Result<bool> {
        let mut received = self.received.borrow_mut();
        let (bytes, taken) = &mut *received;
        if *taken == bytes.len() {
            return Ok(false);
        }
        let mut connection = self.connection.borrow_mut();
        *taken += connection.read_tls(&mut &bytes[*taken..])?;
        connection
            .process_new_packets()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(true)
    }

    /// Receives more, or learns that the stream has ended.
    async fn receive(&self) -> io::Result<()> {
        let got = self.stream.recv(IoBufMut::zeroed(RECEIVE_BYTES)).await?;
        if got.is_empty() {
            let mut connection = self.connection.borrow_mut();
            if connection.is_handshaking() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            connection.read_tls(&mut io::empty())?;
            return Ok(());
        }
        let mut received = self.received.borrow_mut();
        received.0.clear();
        received.0.extend_from_slice(&got);
        received.1 = 0;
        Ok(())
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsStream({:?})", self.inner.stream)
    }
}
