//! TLS with certificates that the test makes, spoken by GnuTLS on the other side.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use vmstorage::disk::memory::Memory;
use vmstorage::nbd::server::{Options, Tls};
use vmstorage::nbd::tls;

use crate::disks::random;
use crate::running::{MIB, Running, export, output, run};

/// Makes an authority and certificates for a server and a client, named as QEMU and libnbd look for
/// them.
fn certificates(dir: &Path) {
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

fn start(clients: bool, wrap: fn(std::sync::Arc<rustls::ServerConfig>) -> Tls) -> Running {
    Running::with(
        || {
            let mut secret = export("secret", Memory::new(4 * MIB));
            secret.tls_only = true;
            vec![export("disk", Memory::new(4 * MIB)), secret]
        },
        |dir| {
            certificates(dir);
            let authorities = dir.join("ca-cert.pem");
            let (certificate, key) = (dir.join("server-cert.pem"), dir.join("server-key.pem"));
            let authorities = clients.then_some(authorities.as_path());
            let config = tls::server_config(&certificate, &key, authorities).unwrap();
            Options {
                tls: wrap(config),
                ..Options::default()
            }
        },
    )
}

/// The address for libnbd's tools.
fn secure_uri(running: &Running, export: &str) -> String {
    let dir = running.path("").display().to_string();
    format!(
        "nbds+unix://localhost/{export}?socket={}&tls-certificates={dir}",
        running.socket().display()
    )
}

/// What QEMU's tools take before an image to speak TLS.
fn qemu(running: &Running, export: &str) -> [String; 2] {
    let dir = running.path("").display().to_string();
    [
        format!("tls-creds-x509,id=tls0,endpoint=client,dir={dir}"),
        format!(
            "driver=nbd,server.type=unix,server.path={},export={export},tls-creds=tls0,\
             tls-hostname=localhost",
            running.socket().display()
        ),
    ]
}

#[test]
fn qemu_and_libnbd_go_through_tls() {
    let running = start(true, Tls::Require);
    let raw = running
        .file("raw", &random(4 * MIB, 8))
        .display()
        .to_string();
    let [object, image] = qemu(&running, "disk");
    let info = run(
        "qemu-img",
        &["info", "--object", &object, "--image-opts", &image],
    );
    assert!(info.contains("4 MiB"), "{info}");
    let convert = [
        "convert",
        "-n",
        "-f",
        "raw",
        "--object",
        &object,
        "--target-image-opts",
    ];
    run("qemu-img", &[&convert[..], &[&raw, &image]].concat());
    let uri = secure_uri(&running, "disk");
    let copy = running.path("copy").display().to_string();
    run("nbdcopy", &["--connections=3", &uri, &copy]);
    assert!(fs::read(&raw).unwrap() == fs::read(&copy).unwrap());
    run("nbdcopy", &[&raw, &secure_uri(&running, "secret")]);
    let listed = run("nbdinfo", &["--list", &secure_uri(&running, "")]);
    assert!(
        listed.contains("secret") && listed.contains("TLS"),
        "{listed}"
    );
    running.stop();
}

#[test]
fn who_has_to_use_tls_gets_nothing_without_it() {
    let running = start(false, Tls::Require);
    for args in [&["--size"][..], &["--list"]] {
        let refused = output("nbdinfo", &[args, &[&running.uri("disk")]].concat());
        assert!(!refused.status.success());
    }
    let refused = output("qemu-img", &["info", &running.uri("disk")]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("TLS"), "{said}");
    running.stop();
}

#[test]
fn tls_is_a_choice_but_for_exports_that_want_it() {
    let running = start(false, Tls::Allow);
    assert_eq!(
        run("nbdinfo", &["--size", &running.uri("disk")]).trim(),
        "4194304"
    );
    assert_eq!(
        run("nbdinfo", &["--size", &secure_uri(&running, "secret")]).trim(),
        "4194304"
    );
    assert!(
        !output("nbdinfo", &["--size", &running.uri("secret")])
            .status
            .success()
    );
    let listed = run("nbdinfo", &["--list", &running.uri("")]);
    assert!(
        listed.contains("disk") && !listed.contains("secret"),
        "{listed}"
    );
    running.stop();
}

#[test]
fn clients_without_the_certificate_that_is_asked_for_are_refused() {
    let running = start(true, Tls::Allow);
    fs::remove_file(running.path("client-cert.pem")).unwrap();
    fs::remove_file(running.path("client-key.pem")).unwrap();
    assert!(
        !output("nbdinfo", &["--size", &secure_uri(&running, "disk")])
            .status
            .success()
    );
    assert_eq!(
        run("nbdinfo", &["--size", &running.uri("disk")]).trim(),
        "4194304"
    );
    running.stop();
}
