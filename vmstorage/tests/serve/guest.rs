//! QEMU with a guest on disks that the service serves, over NBD and over vhost-user.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::boot::{GOOD, image};
use crate::driver::Driver;
use crate::service::{World, changes, pull, run};

/// Boots the guest from a device, with what QEMU needs for it.
fn boot(world: &World, device: &[&str]) {
    let machine = Command::new("timeout")
        .args([
            "60",
            "qemu-system-x86_64",
            "-nodefaults",
            "-display",
            "none",
        ])
        .args(["-machine", "pc,accel=tcg,memory-backend=m", "-m", "64"])
        .args(["-object", "memory-backend-memfd,id=m,size=64M,share=on"])
        .args(device)
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .current_dir(world.path(""))
        .output()
        .unwrap_or_else(|error| panic!("qemu-system-x86_64 is needed: {error}"));
    let errors = String::from_utf8_lossy(&machine.stderr);
    assert_eq!(machine.status.code(), Some(GOOD), "{errors}");
}

#[test]
fn a_guest_boots_and_its_writes_are_tracked() {
    let world = World::new();
    let nbd = format!("if=none,id=d,format=raw,file={}", world.uri("nbd", "d"));
    for device in [
        [
            "-drive",
            &nbd,
            "-device",
            "virtio-blk-pci,drive=d,bootindex=0",
        ],
        [
            "-chardev",
            "socket,id=c,path=vhost",
            "-device",
            "vhost-user-blk-pci,chardev=c,bootindex=0",
        ],
    ] {
        std::fs::write(world.path("d.raw"), image()).unwrap();
        let service = world.serve_config(&json!([{
            "name": "d", "source": "d.raw", "listen": ["unix:nbd", "vhost-user:vhost"],
            "track": {"map": "map", "block": "4K"},
        }]));
        let create = json!({"command": "checkpoint-create", "name": "before"});
        service.ask(create);
        service.ask(json!({"command": "checkpoint-export", "name": "before"}));
        boot(&world, &device);
        let uri = world.uri("nbd", "d");
        let copy = pull(&world.uri("nbd", "d@before"), &world.path("copy"));
        assert!(
            copy == image(),
            "the checkpoint is not the disk before the guest"
        );
        assert!(pull(&uri, &world.path("copy"))[1024..1536] == [0xa5; 512]);
        service.ask(json!({"command": "checkpoint-convert", "name": "before"}));
        assert_eq!(changes(&uri, "reeve:changes:before"), [(0, 4096)]);
        service.stop();
        assert!(!world.path("vhost").exists());
        for file in ["map", "map.points"] {
            std::fs::remove_file(world.path(file)).unwrap();
        }
    }
}

#[test]
fn a_guest_that_lies_fills_no_log() {
    let world = World::new();
    world.raw("d.raw", 1 << 20);
    world.write_config(&json!([{
        "name": "d", "source": "d.raw", "listen": ["unix:nbd", "vhost-user:vhost"],
    }]));
    let mut command = world.command(&["--config", "config.json"]);
    let log = File::create(world.path("log")).unwrap();
    let mut service = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut ready = String::new();
    let mut out = BufReader::new(service.stdout.take().unwrap());
    out.read_line(&mut ready).unwrap();
    let driver = Driver::connect(&world.path("vhost"), 1);
    driver.lie(0, 40_000);
    for _ in 0..2000 {
        driver.kick(0);
        std::thread::sleep(Duration::from_micros(20));
    }
    drop(driver);
    assert!(run("nbdinfo", &[&world.uri("nbd", "d")]).contains("export-size: 1048576"));
    run("kill", &[&service.id().to_string()]);
    assert!(service.wait().unwrap().success());
    let said = std::fs::read_to_string(world.path("log")).unwrap();
    assert!(said.len() < 4096, "{} bytes: {}", said.len(), &said[..1000]);
}
