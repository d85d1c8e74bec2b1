//! A service that is killed and started again.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::fs::{FlockOperation, fcntl_lock, flock};
use serde_json::json;

use crate::service::{TRACKED, World, changes, nbdsh, pull, wait_for, write};

const MIB: u64 = 1 << 20;

#[test]
fn nothing_that_was_flushed_is_lost_and_no_change_is_forgotten() {
    let world = World::new();
    world.raw("d.raw", 64 * MIB);
    let uri = world.uri("nbd", "d");
    let service = world.serve(&TRACKED);
    service.ask(json!({"command": "checkpoint-create", "name": "p"}));
    service.ask(json!({"command": "checkpoint-convert", "name": "p"}));
    service.stop();
    for round in 1..=4u64 {
        let service = world.serve(&TRACKED);
        let at = round * 5;
        write(&uri, &[&format!("-P {round} {at}M 100k")]);
        // Killed in the middle of more writes.
        let begun = world.path("begun");
        let script = format!(
            "h.connect_uri({uri:?})\n\
             try:\n\
             \x20   for i in range(10000000):\n\
             \x20       h.pwrite(b'x' * 4096, 40 * 1048576 + i % 64 * 4096)\n\
             \x20       if i == 100:\n\
             \x20           open({begun:?}, 'w')\n\
             except nbd.Error:\n\
             \x20   pass\n"
        );
        let mut writer = nbdsh(&script);
        wait_for(|| begun.exists());
        std::fs::remove_file(&begun).unwrap();
        service.crash();
        writer.wait().unwrap();
        let service = world.serve(&TRACKED);
        let beginning = service.disk("d")["tracking"]["beginning"].clone();
        assert!(
            beginning.as_str().unwrap().starts_with("recovered"),
            "{beginning}"
        );
        let content = pull(&uri, &world.path("copy"));
        for round in 1..=round {
            let start = (round * 5 * MIB) as usize;
            let written = &content[start..start + 102_400];
            assert!(
                written.iter().all(|&byte| u64::from(byte) == round),
                "round {round}"
            );
        }
        let changed = changes(&uri, "reeve:changes:p");
        for (at, &byte) in content.iter().enumerate().step_by(4096) {
            let at = at as u64;
            let claimed = changed
                .iter()
                .any(|(start, len)| (*start..start + len).contains(&at));
            assert!(byte == 0 || claimed, "the change at {at} is forgotten");
        }
        service.stop();
    }
}

/// What a process that ends holds: its sockets, the lock of the map and that of the disk.
fn held(world: &World) -> (Vec<UnixListener>, Vec<File>) {
    let sockets = ["nbd", "control"].map(|name| {
        let path = world.path(name);
        std::fs::remove_file(&path).unwrap();
        UnixListener::bind(path).unwrap()
    });
    let open = |name| {
        let path = world.path(name);
        File::options().read(true).write(true).open(path).unwrap()
    };
    let files = [open("d.raw.reeve-map"), open("d.raw")];
    flock(&files[0], FlockOperation::LockExclusive).unwrap();
    fcntl_lock(&files[1], FlockOperation::LockExclusive).unwrap();
    (sockets.into(), files.into())
}

/// The kernel lets go of a killed process's files only after the requests of its ring have ended.
#[test]
fn a_killed_service_that_still_holds_its_files_is_waited_for() {
    let world = World::new();
    world.raw("d.raw", MIB);
    let service = world.serve(&TRACKED);
    service.ask(json!({"command": "checkpoint-create", "name": "p"}));
    service.crash();
    let held = held(&world);
    let letting_go = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(held);
    });
    world.serve(&TRACKED).stop();
    letting_go.join().unwrap();
}

#[test]
fn a_disk_that_was_changed_behind_our_back_needs_a_full_backup() {
    let world = World::new();
    let path = world.raw("d.raw", MIB);
    let service = world.serve(&TRACKED);
    service.ask(json!({"command": "checkpoint-create", "name": "p"}));
    service.ask(json!({"command": "checkpoint-convert", "name": "p"}));
    service.stop();
    std::fs::write(&path, vec![1; MIB as usize]).unwrap();
    let service = world.serve(&TRACKED);
    let request = json!({
        "command": "refpoint", "disk": "d", "request": {
            "refpoint": "changes", "since": "p", "offset_bytes": 0, "limit": 10,
        },
    });
    let error = service.try_ask(request).unwrap_err().to_string();
    assert!(error.contains("a full backup is needed"), "{error}");
    service.stop();
}
