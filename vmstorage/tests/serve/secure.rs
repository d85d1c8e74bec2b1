//! TCP with TLS.

use std::fs;

use crate::service::{World, output, run};

#[test]
fn tcp_clients_need_the_certificate_that_they_trust() {
    let world = World::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(world.path("ca-cert.pem"), made.cert.pem()).unwrap();
    fs::write(world.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let listen = ["memory:1M", "--name", "d", "--listen", "tcp:localhost:0"];
    let tls = ["--tls-cert", "ca-cert.pem", "--tls-key", "key.pem"];
    let service = world.serve(&[&listen[..], &tls].concat());
    let (_, uri) = service.ready.trim_end().split_once('(').unwrap();
    let uri = uri.trim_end_matches(')');
    assert!(uri.starts_with("nbds://localhost:"), "{uri}");
    let trusting = format!("{uri}?tls-certificates={}", world.path("").display());
    let info = run("nbdinfo", &[&trusting]);
    assert!(info.contains("newstyle-fixed with TLS"), "{info}");
    let clear = output("nbdinfo", &[&uri.replacen("nbds", "nbd", 1)]);
    assert!(!clear.status.success(), "a client without TLS is served");
    service.stop();
    let missing = ["--tls-cert", "ca-cert.pem", "--tls-key", "nothing.pem"];
    let refused = world
        .command(&[&listen[..], &missing].concat())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("nothing.pem"), "{message}");
}
