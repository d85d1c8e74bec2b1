//! A guest of one sector: firmware boots it from a disk, and it has the firmware read a sector and
//! write it elsewhere.

/// What QEMU ends with when the guest writes 0x10 to the exit port: twice that and one.
pub(crate) const GOOD: i32 = 0x21;

/// Code of a boot sector for 16-bit mode. It reads sector 1, writes it as sector 2, and ends the
/// machine: with 0x10, or with 1 if the firmware reports an error.
const CODE: [u8; 47] = [
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0x8e, 0xc0, // mov es, ax
    0x8e, 0xd0, // mov ss, ax
    0xbc, 0x00, 0x7c, // mov sp, 0x7c00
    0xbe, 0x40, 0x7c, // mov si, the packet
    0xb4, 0x42, // mov ah, extended read
    0xcd, 0x13, // int 0x13
    0x72, 0x15, // jc failed
    0xc6, 0x06, 0x48, 0x7c, 0x02, // mov byte [the packet's sector], 2
    0xbe, 0x40, 0x7c, // mov si, the packet
    0xb8, 0x00, 0x43, // mov ax, extended write
    0xcd, 0x13, // int 0x13
    0x72, 0x06, // jc failed
    0xb0, 0x10, // mov al, 0x10
    0xe6, 0xf4, // out 0xf4, al
    0xeb, 0xfe, // jmp here
    0xb0, 0x01, // failed: mov al, 1
    0xe6, 0xf4, // out 0xf4, al
    0xeb, 0xfe, // jmp here
];
/// One sector, at 0x8000, number 1.
const PACKET: [u8; 16] = [16, 0, 1, 0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];

/// A disk of 1 MiB that boots the code.
pub(crate) fn image() -> Vec<u8> {
    let mut image = vec![0; 1 << 20];
    image[..CODE.len()].copy_from_slice(&CODE);
    image[0x40..0x50].copy_from_slice(&PACKET);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image[512..1024].fill(0xa5);
    image
}
