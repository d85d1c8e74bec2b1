//! QEMU's own front end with a guest of one sector: the firmware's virtio-blk driver boots it from
//! the disk, and has it read a sector and write it elsewhere.

use std::process::Command;

use vmstorage::disk::memory::Memory;

use crate::boot::{GOOD, image};
use crate::served::Served;

#[test]
fn a_guest_of_qemu_boots_reads_and_writes() {
    let served = Served::start(|| Memory::with_content(image()));
    let chardev = format!("socket,id=c,path={}", served.socket().display());
    // The second start finds the server as ready as the first one.
    for _ in 0..2 {
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
            .args(["-chardev", &chardev])
            .args([
                "-device",
                "vhost-user-blk-pci,chardev=c,num-queues=2,bootindex=0",
            ])
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&machine.stderr);
        assert_eq!(machine.status.code(), Some(GOOD), "{errors}");
    }
    let content = served.stop();
    assert!(content[1024..1536].iter().all(|&byte| byte == 0xa5));
    assert!(content[..1024] == image()[..1024] && content[1536..] == image()[1536..]);
}
