//! Checkpoints and reference points under load.

use serde_json::{Value, json};

use crate::service::{Service, TRACKED, World, changes, nbdsh, pull, write};

const MIB: u64 = 1 << 20;
const BLOCK: usize = 4096;

fn create(service: &Service, name: &str) -> Value {
    service.ask(json!({"command": "checkpoint-create", "name": name}))
}

fn export(service: &Service, name: &str) {
    service.ask(json!({"command": "checkpoint-export", "name": name}));
}

fn convert(service: &Service, name: &str) {
    service.ask(json!({"command": "checkpoint-convert", "name": name}));
}

/// A writer that fills the blocks of disks one after the other, in rounds, each write acknowledged
/// before the next begins.
fn writer(uris: &[String], rounds: usize, blocks: usize) -> std::process::Child {
    let script = format!(
        "import nbd\n\
         handles = []\n\
         for uri in {uris:?}:\n\
         \x20   handle = nbd.NBD()\n\
         \x20   handle.connect_uri(uri)\n\
         \x20   handles.append(handle)\n\
         for value in range(1, {rounds} + 1):\n\
         \x20   for block in range({blocks}):\n\
         \x20       for handle in handles:\n\
         \x20           handle.pwrite(bytes([value]) * {BLOCK}, block * {BLOCK})\n\
         for handle in handles:\n\
         \x20   handle.shutdown()\n"
    );
    nbdsh(&script)
}

/// How many writes a disk holds: as they come one after the other, what it holds is a beginning of
/// them, with no write missing and none half there.
fn writes_in(content: &[u8], blocks: usize) -> usize {
    let blocks: Vec<_> = content.chunks(BLOCK).take(blocks).collect();
    let value = |block: &[u8]| {
        assert!(block.iter().all(|byte| *byte == block[0]), "half a write");
        usize::from(block[0])
    };
    let first = value(blocks[0]);
    let whole = blocks
        .iter()
        .take_while(|block| value(block) == first)
        .count();
    assert!(
        blocks[whole..]
            .iter()
            .all(|block| value(block) + 1 == first),
        "a write is missing"
    );
    (first.max(1) - 1) * blocks.len() + if first == 0 { 0 } else { whole }
}

#[test]
fn a_checkpoint_is_an_instant_of_all_disks_while_they_are_written() {
    let world = World::new();
    let disk = |name: &str, extra: Value| {
        let mut disk = json!({
            "name": name, "source": format!("{name}.raw"), "track": {},
            "listen": [format!("unix:{name}.sock")],
        });
        disk.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        world.raw(&format!("{name}.raw"), 4 * MIB);
        disk
    };
    let granule = json!({"checkpoints": {"granule": "4K"}});
    let disks = json!([disk("a", json!({"direct": true})), disk("b", granule)]);
    let service = world.serve_config(&disks);
    let uris = [world.uri("a.sock", "a"), world.uri("b.sock", "b")];
    let blocks = 256;
    let mut writer = writer(&uris, 200, blocks);
    let mut before = 0;
    for round in 0..5 {
        // Some writes more, so that the checkpoint is in the middle of them.
        let writes = |disk: &str| {
            service.disk(disk)["exports"][disk]["writes"]
                .as_u64()
                .unwrap()
        };
        while writes("a") < before as u64 + 100 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let name = format!("c{round}");
        create(&service, &name);
        export(&service, &name);
        let pulled = |disk: &str| {
            let uri = world.uri(&format!("{disk}.sock"), &format!("{disk}@{name}"));
            let first = pull(&uri, &world.path("pulled"));
            assert!(
                pull(&uri, &world.path("pulled")) == first,
                "an image changed"
            );
            writes_in(&first, blocks)
        };
        let (a, b) = (pulled("a"), pulled("b"));
        assert!(
            a == b || a == b + 1,
            "{a} writes in one disk, {b} in the other"
        );
        assert!(a > before, "{a} writes after {before}");
        before = a;
        if round % 2 == 0 {
            convert(&service, &name);
        }
    }
    assert!(
        before < 200 * blocks,
        "the writer was done before the last checkpoint"
    );
    writer.kill().unwrap();
    writer.wait().unwrap();
    for name in ["c1", "c3"] {
        service.ask(json!({"command": "checkpoint-delete", "name": name}));
    }
    for disk in ["a", "b"] {
        let report = service.disk(disk);
        assert_eq!(report["checkpoint_store_bytes"], 0, "{report}");
        assert_eq!(report["tracking"]["refpoints"], 3);
    }
    service.stop();
}

#[test]
fn changes_are_those_that_were_written() {
    let world = World::new();
    world.raw("d.raw", 64 * MIB);
    let service = world.serve(&TRACKED);
    let uri = world.uri("nbd", "d");
    write(&uri, &["-P 1 0 64M"]);
    create(&service, "one");
    convert(&service, "one");
    assert_eq!(changes(&uri, "reeve:changes:one"), []);
    write(&uri, &["-P 2 1M 4k", "-P 2 10M 65537"]);
    let expected = [(MIB, 65536), (10 * MIB, 2 * 65536)];
    assert_eq!(changes(&uri, "reeve:changes:one"), expected);
    assert_eq!(changes(&uri, "qemu:dirty-bitmap:one"), expected);
    create(&service, "two");
    export(&service, "two");
    write(&uri, &["-P 3 30M 4k"]);
    let image = world.uri("nbd", "d@two");
    assert_eq!(changes(&image, "reeve:changes:one"), expected);
    let copy = pull(&image, &world.path("copy"));
    assert!(copy[30 << 20] == 1 && copy[1 << 20] == 2);
    convert(&service, "two");
    assert_eq!(changes(&uri, "reeve:changes:two"), [(30 * MIB, 65536)]);
    let request = json!({
        "command": "refpoint", "disk": "d", "request": {
            "refpoint": "changes", "since": "one", "until": "two", "offset_bytes": 0, "limit": 10,
        },
    });
    let answer = service.ask(request);
    assert_eq!(answer["changes"]["extents"], json!(expected));
    service.stop();
    // After a stop in order nothing is claimed that was not written.
    let service = world.serve(&TRACKED);
    assert_eq!(service.disk("d")["tracking"]["beginning"], "continued");
    assert_eq!(changes(&uri, "reeve:changes:one").len(), 3);
    service.stop();
}

#[test]
fn a_checkpoint_without_room_is_lost_and_the_guest_goes_on() {
    let world = World::new();
    world.raw("d.raw", 16 * MIB);
    let service = world.serve_config(&json!([{
        "name": "d", "source": "d.raw", "listen": ["unix:nbd"],
        "checkpoints": {"limit": "1M"},
    }]));
    let uri = world.uri("nbd", "d");
    write(&uri, &["-P 1 0 16M"]);
    create(&service, "c");
    write(&uri, &["-P 2 0 1M"]);
    assert_eq!(service.disk("d")["checkpoints"][0]["held_bytes"], MIB);
    write(&uri, &["-P 3 8M 1M"]);
    let report = service.disk("d");
    let error = report["checkpoints"][0]["error"].as_str().unwrap();
    assert!(error.contains("has its limit"), "{error}");
    assert_eq!(report["checkpoint_store_bytes"], 0);
    service.ask(json!({"command": "checkpoint-delete", "name": "c"}));
    service.stop();
}
