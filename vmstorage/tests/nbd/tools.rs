//! libnbd's tools, QEMU's and fio.

use std::rc::Rc;

use vmstorage::disk::memory::Memory;
use vmstorage::nbd::server::Options;

use crate::disks::{Sparse, Stripes, holey, random};
use crate::running::{MIB, Running, export, json, run};

#[test]
fn nbdinfo_shows_what_an_export_offers() {
    let running = Running::start(|| {
        let mut first = export("first", Sparse(Memory::with_content(holey(4 * MIB, 1))));
        first.description = "the first of them".into();
        first
            .contexts
            .push(Rc::new(Stripes("reeve:changes:monday")));
        let mut second = export("second", Memory::new(MIB));
        second.read_only = true;
        let mut hidden = export("hidden", Memory::new(MIB));
        hidden.hidden = true;
        vec![first, second, hidden]
    });
    let listed = json(&run("nbdinfo", &["--json", "--list", &running.uri("")]));
    let exports = listed["exports"].as_array().unwrap();
    let names: Vec<_> = exports
        .iter()
        .map(|export| &export["export-name"])
        .collect();
    assert_eq!(names, ["first", "second"]);
    let first = &exports[0];
    assert_eq!(first["description"], "the first of them");
    assert_eq!(first["contexts"][0], "base:allocation");
    assert_eq!(first["contexts"][1], "reeve:changes:monday");
    for flag in [
        "can_multi_conn",
        "can_fua",
        "can_flush",
        "can_trim",
        "can_zero",
        "can_df",
    ] {
        assert_eq!(first[flag], true, "{flag}: {first}");
    }
    assert_eq!(exports[1]["is_read_only"], true);
    assert_eq!(exports[1]["can_zero"], false);
    let size = run("nbdinfo", &["--size", &running.uri("hidden")]);
    assert_eq!(size.trim(), "1048576");
    let map = json(&run("nbdinfo", &["--json", "--map", &running.uri("first")]));
    let of = |index: usize| {
        (
            map[index]["offset"].as_u64(),
            map[index]["description"].as_str(),
        )
    };
    assert_eq!(of(0), (Some(0), Some("data")));
    assert_eq!(of(1), (Some(MIB), Some("hole,zero")));
    assert_eq!(of(2), (Some(2 * MIB), Some("data")));
    let changes = "--map=reeve:changes:monday";
    let map = json(&run("nbdinfo", &["--json", changes, &running.uri("first")]));
    assert_eq!(map.as_array().unwrap().len(), 64);
    assert_eq!(map[1]["type"], 1);
    running.stop();
}

#[test]
fn nbdcopy_copies_both_ways_over_several_connections() {
    let content = holey(8 * MIB, 2);
    let copy = content.clone();
    let running = Running::start(move || {
        vec![
            export("from", Sparse(Memory::with_content(copy))),
            export("to", Memory::with_content(random(8 * MIB, 3))),
        ]
    });
    let copied = running.path("copied");
    let copied_text = copied.display().to_string();
    let (from, to) = (running.uri("from"), running.uri("to"));
    run(
        "nbdcopy",
        &["--connections=4", "--requests=32", &from, &copied_text],
    );
    assert!(std::fs::read(&copied).unwrap() == content);
    run(
        "nbdcopy",
        &["--connections=3", "--flush", &copied_text, &to],
    );
    run("nbdcopy", &["--synchronous", &to, &copied_text]);
    assert!(std::fs::read(&copied).unwrap() == content);
    run("nbdcopy", &["--connections=2", &from, &to]);
    running.stop();
}

#[test]
fn qemu_img_converts_compares_and_asks() {
    let content = holey(8 * MIB, 4);
    let running = Running::start(move || vec![export("disk", Memory::new(8 * MIB))]);
    let raw = running.file("raw", &content).display().to_string();
    let uri = running.uri("disk");
    run(
        "qemu-img",
        &["convert", "-n", "-f", "raw", "-O", "raw", &raw, &uri],
    );
    run(
        "qemu-img",
        &["compare", "-f", "raw", "-F", "raw", &raw, &uri],
    );
    let info = json(&run("qemu-img", &["info", "--output=json", &uri]));
    assert_eq!(info["virtual-size"], 8 * MIB);
    let qcow2 = running.path("copy.qcow2").display().to_string();
    run(
        "qemu-img",
        &["convert", "-W", "-m", "16", "-O", "qcow2", &uri, &qcow2],
    );
    run("qemu-img", &["compare", "-F", "raw", &qcow2, &raw]);
    running.stop();
}

#[test]
fn qemu_io_reads_what_it_wrote() {
    let running = Running::start(|| vec![export("disk", Memory::new(4 * MIB))]);
    let uri = running.uri("disk");
    let commands = [
        "aio_write -P 1 0 64k",
        "aio_write -P 2 64k 1M",
        "aio_flush",
        "write -f -P 3 12345 777",
        "write -z 128k 64k",
        "write -z -u 192k 64k",
        "discard 2M 1M",
        "flush",
        "read -P 1 0 12345",
        "read -P 3 12345 777",
        "read -P 0 128k 128k",
        "read -P 2 256k 512k",
    ];
    let mut args = vec!["-f", "raw", &uri];
    for command in commands {
        args.extend(["-c", command]);
    }
    let said = run("qemu-io", &args);
    assert!(
        !said.contains("failed") && !said.contains("error"),
        "{said}"
    );
    running.stop();
}

#[test]
fn fio_verifies_what_it_wrote() {
    let running = Running::start(|| vec![export("disk", Memory::new(16 * MIB))]);
    let uri = format!("--uri={}", running.uri("disk"));
    let said = run(
        "fio",
        &[
            "--name=verify",
            "--ioengine=nbd",
            &uri,
            "--rw=randrw",
            "--bssplit=512/10:4k/60:64k/20:256k/10",
            "--iodepth=32",
            "--size=16M",
            "--io_size=24M",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--verify_state_save=0",
            "--do_verify=1",
            "--fsync=64",
            "--randseed=7",
            "--thread",
        ],
    );
    assert!(said.contains("err= 0"), "{said}");
    running.stop();
}

#[test]
fn sockets_are_handed_over_and_tcp_is_served() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let running = Running::also(
        || vec![export("disk", Memory::new(2 * MIB))],
        |_| Options::default(),
        Some(listener.into()),
    );
    let uri = format!("nbd://127.0.0.1:{port}/disk");
    assert_eq!(run("nbdinfo", &["--size", &uri]).trim(), "2097152");
    let raw = running
        .file("raw", &random(2 * MIB, 5))
        .display()
        .to_string();
    run("nbdcopy", &[&raw, &uri]);
    run(
        "qemu-img",
        &[
            "compare",
            "-f",
            "raw",
            "-F",
            "raw",
            &raw,
            &running.uri("disk"),
        ],
    );
    running.stop();
}

#[test]
fn qemu_lists_exports_and_maps_contexts() {
    let running = Running::start(|| {
        let mut disk = export("disk", Sparse(Memory::with_content(holey(4 * MIB, 9))));
        disk.description = "with a bitmap".into();
        disk.contexts.push(Rc::new(Stripes("qemu:dirty-bitmap:b0")));
        vec![disk]
    });
    let socket = running.socket().display().to_string();
    let listed = run("qemu-nbd", &["--list", "-k", &socket]);
    for said in [
        "with a bitmap",
        "qemu:dirty-bitmap:b0",
        "base:allocation",
        "fast-zero",
    ] {
        assert!(listed.contains(said), "{listed}");
    }
    let map = json(&run(
        "qemu-img",
        &["map", "--output=json", &running.uri("disk")],
    ));
    let starts = |map: &serde_json::Value, flag: &str| -> Vec<(u64, bool)> {
        let parts = map.as_array().unwrap().iter();
        let of = |part: &serde_json::Value| {
            (
                part["start"].as_u64().unwrap(),
                part[flag].as_bool().unwrap(),
            )
        };
        parts.map(of).collect()
    };
    assert_eq!(
        starts(&map, "zero"),
        [(0, false), (MIB, true), (2 * MIB, false)]
    );
    // With this option QEMU takes the bitmap's answers for those of `base:allocation`.
    let image = format!(
        "driver=nbd,server.type=unix,server.path={socket},export=disk,\
         x-dirty-bitmap=qemu:dirty-bitmap:b0"
    );
    let map = json(&run(
        "qemu-img",
        &["map", "--output=json", "--image-opts", &image],
    ));
    let dirty = starts(&map, "data");
    assert_eq!(dirty.len(), 64);
    assert_eq!(dirty[..2], [(0, true), (65536, false)]);
    running.stop();
}
