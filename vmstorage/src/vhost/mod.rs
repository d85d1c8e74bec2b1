//! vhost-user-blk: a disk for QEMU over shared memory.
