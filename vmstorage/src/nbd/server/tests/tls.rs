//! TLS from within: what clients of other programs never do.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, ServerConfig};

use super::{Raw, SIZE, disk, on_engine, server_with};
use crate::nbd::proto::{Headers, InfoRequest, command, option, reply};
use crate::nbd::server::input::Input;
use crate::nbd::server::{Export, Options, Server, Tls};
use crate::nbd::tls::{TlsStream, client_config, server_config};
use crate::nbd::wire::Wire;

/// Configurations of both sides, with certificates of one authority.
fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(at("ca"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["disks".to_owned()]).unwrap();
    std::fs::write(at("cert"), leaf.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    std::fs::write(at("key"), key.serialize_pem()).unwrap();
    let server = server_config(&at("cert"), &at("key"), None).unwrap();
    (server, client_config(&at("ca"), None).unwrap())
}

fn server(tls: Tls) -> Server {
    let options = Options {
        tls,
        ..Options::default()
    };
    server_with(vec![Export::new("disk", disk())], options)
}

/// Goes on with TLS.
async fn secured(mut raw: Raw, config: Arc<ClientConfig>, name: &str) -> std::io::Result<Raw> {
    assert_eq!(
        raw.option(option::STARTTLS, &[]).await,
        [(reply::ACK, vec![])]
    );
    let Wire::Plain(stream) = raw.input.wire().clone() else {
        panic!("TLS in TLS");
    };
    let stream = TlsStream::connect(stream, config, name).await?;
    raw.input = Input::new(Wire::Tls(stream));
    raw.headers = Headers::Simple;
    Ok(raw)
}

#[test]
fn nothing_that_was_said_in_the_clear_counts_inside_tls() {
    on_engine(async {
        let (accept, connect) = configs();
        let server = server(Tls::Allow(accept));
        let mut raw = Raw::greeted(&server).await;
        raw.agree(Headers::Structured).await;
        let mut raw = secured(raw, connect, "disks").await.unwrap();
        assert_eq!(raw.refused(option::STARTTLS, &[]).await, reply::ERR_INVALID);
        let contexts = ["base:allocation"];
        let refused = raw.meta(option::SET_META_CONTEXT, "disk", &contexts).await;
        assert_eq!(refused, Err(reply::ERR_INVALID));
        raw.go("disk").await;
        let data = raw.ask(command::READ, 0, 0, SIZE, &[]).await.data;
        assert!(data.len() as u64 == SIZE && data[..3] == [0, 1, 2]);
        let wrote = raw
            .ask(command::WRITE, 0, 0, SIZE, &vec![7; SIZE as usize])
            .await;
        assert_eq!(wrote.error, 0);
        assert_eq!(raw.ask(command::READ, 0, 9, 2, &[]).await.data, [7, 7]);
    });
}

#[test]
fn options_before_tls_are_refused_where_it_is_required() {
    on_engine(async {
        let (accept, connect) = configs();
        let server = server(Tls::Require(accept));
        let mut raw = Raw::greeted(&server).await;
        let about = InfoRequest {
            name: "disk".into(),
            wanted: vec![],
        };
        for (kind, data) in [
            (option::LIST, vec![]),
            (option::STRUCTURED_REPLY, vec![]),
            (option::GO, about.encode()),
            (99, vec![]),
        ] {
            assert_eq!(raw.refused(kind, &data).await, reply::ERR_TLS_REQD);
        }
        let mut raw = secured(raw, connect, "disks").await.unwrap();
        raw.go("disk").await;
        let mut old = Raw::greeted(&server).await;
        old.send_option(option::EXPORT_NAME, b"disk").await;
        assert!(old.is_over().await);
    });
}

#[test]
fn what_comes_between_starttls_and_tls_ends_the_session() {
    on_engine(async {
        let (accept, connect) = configs();
        let server = server(Tls::Allow(accept));
        // Options that somebody in between slips in, to be taken for the client's.
        let mut raw = Raw::greeted(&server).await;
        let mut both = Vec::new();
        for kind in [option::STARTTLS, option::LIST] {
            let header = crate::nbd::proto::OptionHeader {
                option: kind,
                len_bytes: 0,
            };
            both.extend(header.encode());
        }
        raw.send(&both).await;
        assert!(raw.is_over().await);
        // What is no TLS at all.
        let mut raw = Raw::greeted(&server).await;
        raw.option(option::STARTTLS, &[]).await;
        raw.send(&[0x16, 3, 1, 0xff, 0xff, 1, 2, 3]).await;
        raw.finish();
        while !raw.is_over().await {
            let alert = raw.input.len();
            raw.input.take(alert);
        }
        // A client that asked for somebody else goes itself.
        let raw = Raw::greeted(&server).await;
        assert!(secured(raw, connect, "others").await.is_err());
    });
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty");
    std::fs::write(&path, "").unwrap();
    let error = server_config(&path, &path, None).unwrap_err().to_string();
    assert!(error.contains("empty"), "{error}");
    let missing = Path::new("/nonexistent");
    let error = client_config(missing, None).unwrap_err().to_string();
    assert!(error.contains("/nonexistent"), "{error}");
}
