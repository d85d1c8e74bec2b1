//! TLS with certificates that the test makes, spoken by GnuTLS on the other side.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use vmstorage::nbd::client::{Options, Remote, Target};

use crate::servers::{MIB, Place, noise, on_engine, open, read};

/// An authority and certificates for a server and a client, named as nbdkit and QEMU look for them.
fn certificates(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = authority.self_signed(&key).unwrap();
    fs::write(dir.join("ca-cert.pem"), certificate.pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    for (name, purpose) in [
        ("server", ExtendedKeyUsagePurpose::ServerAuth),
        ("client", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        leaf.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        leaf.extended_key_usages = vec![purpose];
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        fs::write(dir.join(format!("{name}-cert.pem")), certificate.pem()).unwrap();
        fs::write(dir.join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    }
}

fn target(place: &Place, host: &str, certificates: &str) -> Target {
    let uri = format!(
        "nbds+unix://{host}/d?socket={}&tls-certificates={}",
        place.path("s"),
        place.path(certificates)
    );
    Target::parse(&uri).unwrap()
}

#[test]
fn nbdkit_and_qemu_are_spoken_to_through_tls() {
    let place = Place::new();
    certificates(&place.dir().join("pki"));
    certificates(&place.dir().join("others"));
    let content = noise(3 * MIB, 4);
    let file = place.file("disk", &content);
    let nbdkit = format!("--tls-certificates={}", place.path("pki"));
    let qemu = format!(
        "tls-creds-x509,id=t,endpoint=server,verify-peer=on,dir={}",
        place.path("pki")
    );
    for kind in 0..2 {
        let _server = match kind {
            0 => place.nbdkit(&["--tls=require", "--tls-verify-peer", &nbdkit, "file", &file]),
            _ => place.qemu_nbd(&["-f", "raw", "--object", &qemu, "--tls-creds=t", &file]),
        };
        on_engine(async {
            let remote = open(target(&place, "localhost", "pki")).await;
            assert!(read(&remote, 0, 3 * MIB).await == content);
            remote.close().await;
            // In the clear, by another name, and with another authority.
            for wrong in [
                place.target("d"),
                target(&place, "example.org", "pki"),
                target(&place, "localhost", "others"),
            ] {
                let error = Remote::open(wrong, Options::default()).await.unwrap_err();
                assert!(error.to_string().contains("TLS"), "{error}");
            }
        });
    }
}
