//! Connections made: names looked up, sockets connected, TLS agreed on.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;

use super::handshake::Handshake;
use super::lookup::Lookup;
use super::loss::Loss;
use super::uri::{Address, Target};
use crate::disk::{Error, ErrorKind, Result};
use crate::engine::Stream;
use crate::nbd::tls::{self, TlsStream};
use crate::nbd::wire::Wire;

/// What is needed to connect, as often as it has to be.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    pub(super) target: Target,
    tls: Option<Arc<ClientConfig>>,
    lookup: Lookup,
}

impl Dial {
    /// Reads the certificates that the target names, unless a configuration is given.
    ///
    /// # Errors
    /// When TLS is asked for and there is nothing to check the server with.
    pub(super) fn new(target: Target, tls: Option<Arc<ClientConfig>>) -> Result<Self> {
        let tls = match (target.tls, tls, &target.tls_certificates) {
            (false, ..) => None,
            (true, Some(config), _) => Some(config),
            (true, None, Some(dir)) => Some(certificates(dir)?),
            (true, None, None) => {
                let what = format!(
                    "{target}: no certificates to check the server with; help: add \
                     `?tls-certificates=DIRECTORY`"
                );
                return Err(Error::new(ErrorKind::Unsupported, what));
            }
        };
        Ok(Self {
            target,
            tls,
            lookup: Lookup::default(),
        })
    }

    /// Connects, and agrees on everything but the export.
    pub(super) async fn connect(&self) -> std::result::Result<Handshake, Loss> {
        let stream = self.stream().await;
        let stream = stream.map_err(|error| Loss::Lost(format!("connect: {error}")))?;
        let mut handshake = Handshake::begin(Wire::Plain(stream.clone())).await?;
        if let Some(config) = &self.tls {
            handshake.start_tls().await?;
            let name = self.target.certificate_name();
            let secure = TlsStream::connect(stream, Arc::clone(config), name).await;
            let secure = secure.map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                    Loss::Lost(format!("TLS handshake: {error}"))
                }
                _ => Loss::refused(format!("TLS handshake: {error}")),
            })?;
            handshake.over(Wire::Tls(secure));
        }
        handshake.agree_on_headers().await?;
        Ok(handshake)
    }

    async fn stream(&self) -> io::Result<Stream> {
        let (host, port) = match &self.target.address {
            Address::Unix(path) => return Stream::connect_unix(path).await,
            Address::Tcp(host, port) => (host, *port),
        };
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in self.lookup.addresses(host, port).await? {
            match Stream::connect_tcp(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// The configuration that a directory's PEM files make.
fn certificates(dir: &Path) -> Result<Arc<ClientConfig>> {
    let (certificate, key) = (dir.join("client-cert.pem"), dir.join("client-key.pem"));
    let own = certificate.exists().then_some((&*certificate, &*key));
    tls::client_config(&dir.join("ca-cert.pem"), own)
        .map_err(|error| Error::new(ErrorKind::Io, error.to_string()))
}
