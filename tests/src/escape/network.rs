//! Sockets, System V and POSIX objects, keys.

use libc::{EACCES, ENOKEY, EPERM};

use super::{Attempt, Class, attempt};

pub(super) const CLASS: Class = Class {
    name: "network",
    about: "Network and IPC: to reach the host, or have it act, without a file.",
    attempts: ATTEMPTS,
};

const KEYRING: &str = "an ordinary user has a keyring of its own to begin with";

#[rustfmt::skip]
const ATTEMPTS: &[Attempt] = &[
    attempt("raw_socket", "open a raw socket", &["raw-socket"], "socket_create", EPERM),
    attempt("packet_socket", "open a packet socket", &["packet-socket"], "socket_create", EPERM),
    attempt("connect", "connect to a service of the host",
        &["call socket 2 1 0", "call connect $1 [2:2,2:{port},4:0x100007f] 16"],
        "socket_connect", EPERM)
        .differs(0, "an ordinary user may connect"),
    attempt("connect_with_first_data", "connect to a service of the host by sending to it",
        &["call socket 2 1 0",
          "call sendto $1 'x 1 0x20000000 [2:2,2:{port},4:0x100007f] 16"],
        "socket_sendmsg", EPERM)
        .differs(0, "an ordinary user may connect"),
    attempt("connect_by_multipath", "connect to a service of the host by MPTCP",
        &["call socket 2 1 262", "call connect $1 [2:2,2:{port},4:0x100007f] 16"],
        "socket_connect", EPERM)
        .differs(0, "an ordinary user may connect"),
    attempt("connect_mapped", "connect to a service of the host by an IPv4-mapped address",
        &["call socket 10 1 0",
          "call connect $1 [2:10,2:{port},4:0,8:0,4:0xffff0000,4:0x100007f,4:0] 28"],
        "socket_connect", EPERM)
        .differs(0, "an ordinary user may connect"),
    attempt("send_datagram", "send a datagram to the host",
        &["call socket 2 2 0", "call sendto $1 'x 1 0 [2:2,2:{port},4:0x100007f] 16"],
        "socket_sendmsg", EPERM)
        .differs(0, "an ordinary user may send"),
    attempt("listen_low", "listen in the place of a service of the host",
        &["call socket 2 1 0", "call bind $1 [2:2,2:0x5903,4:0] 16", "call listen $1 1"],
        "socket_bind", EACCES),
    attempt("connect_abstract", "connect to a service of the host by abstract name",
        &["call socket 1 1 0", "call connect $1 [2:1,1:0,{name}] {namelength}"],
        "unix_stream_connect", EACCES)
        .differs(0, "an ordinary user may connect"),
    attempt("kernel_events", "listen to the kernel's events",
        &["call socket 16 3 15", "call bind $1 [2:16,2:0,4:0,4:1] 12"], "socket_create", EACCES)
        .differs(0, "an ordinary user may listen"),
    attempt("fake_kernel_event", "tell the host's device manager of a device",
        &["call socket 16 3 15",
          "call sendto $1 'add@/devices/reeve 19 0 [2:16,2:0,4:0,4:2] 12"], "socket_create", EACCES)
        .differs(EPERM, "an ordinary user may open the socket"),
    attempt("audit_messages", "read the kernel's audit messages",
        &["call socket 16 3 9", "call bind $1 [2:16,2:0,4:0,4:1] 12"], "capable", EPERM),
    attempt("interface_flags", "take an interface of the host down and up",
        &["call socket 2 2 0", "call ioctl $1 0x8914 [16:0x6f6c,2:0x49]"], "capable", EPERM),
    attempt("firewall_mark", "mark packets, to get round the host's firewall",
        &["call socket 2 1 0", "call setsockopt $1 1 36 [4:1] 4"], "capable", EPERM),
    attempt("force_buffer", "take more kernel memory than the host lets sockets have",
        &["call socket 2 1 0", "call setsockopt $1 1 33 [4:100000] 4"], "capable", EPERM),
    attempt("tunnel", "make a network interface",
        &["mknod {own}/tun char:10:200", "open rw {own}/tun"], "file_open", EACCES)
        .differs(EPERM, "an ordinary user may not make the node"),
    attempt("claim_pid", "tell a service that it is another process",
        &["claim-pid {pid}"], "capable", EPERM),
    attempt("shared_memory", "attach shared memory of the host",
        &["call shmat {shm} 0 0"], "shm_shmat", EACCES),
    attempt("remove_shared_memory", "remove shared memory of the host",
        &["call shmctl {shm} 0 0"], "shm_shmctl", EPERM),
    attempt("semaphore", "change a semaphore of the host",
        &["call semctl {sem} 0 16 1"], "sem_semctl", EACCES),
    attempt("add_to_semaphore", "add to a semaphore of the host",
        &["call semop {sem} [2:0,2:1,2:0] 1"], "sem_semop", EACCES),
    attempt("read_semaphore", "read a semaphore of the host",
        &["call semctl {sem} 0 12 0"], "sem_semctl", EACCES),
    attempt("remove_semaphores", "remove semaphores of the host",
        &["call semctl {sem} 0 0 0"], "sem_semctl", EPERM),
    attempt("look_at_shared_memory", "look at shared memory of the host",
        &["call shmctl {shm} 2 z:256"], "shm_shmctl", EACCES),
    attempt("send_message", "send to a message queue of the host",
        &["call msgsnd {msg} [8:1,8:0] 8 0"], "msg_queue_msgsnd", EACCES),
    attempt("remove_queue", "remove a message queue of the host",
        &["call msgctl {msg} 0 0"], "msg_queue_msgctl", EPERM),
    attempt("posix_queue", "open a message queue of the host by a file system of its own",
        &["mount none /mnt mqueue", "list /mnt"], "sb_mount", EPERM)
        .after(&["umount /mnt detach"]),
    attempt("posix_queue_by_call", "make a message queue of the host's",
        &["call mq_open 'reeve-escape 0102 0600 0"], "inode_create", EACCES)
        .after(&["call mq_unlink 'reeve-escape"])
        .differs(0, "an ordinary user may make one"),
    attempt("remove_posix_queue", "remove a message queue of the host by a system call",
        &["call mq_unlink '{queue}"], "inode_unlink", EPERM),
    attempt("posix_shared_memory", "make shared memory of the host's",
        &["create /host/dev/shm/reeve-escape"], "path_mknod", EACCES)
        .after(&["unlink /host/dev/shm/reeve-escape"])
        .differs(0, "the directory's mode is open to everyone"),
    attempt("read_key", "read a key of the host's root",
        &["call keyctl 8 -4 -2", "call keyctl 11 {key} z:16 16"], "key_permission", ENOKEY)
        .differs(EACCES, KEYRING),
    attempt("view_key", "read what a key of the host's root is called",
        &["call keyctl 6 {key} 0 0"], "key_permission", EACCES),
    attempt("revoke_key", "revoke a key of the host's root",
        &["call keyctl 8 -4 -2", "call keyctl 3 {key}"], "key_permission", ENOKEY)
        .differs(EACCES, KEYRING),
    attempt("add_key", "add a key to those of the host's root",
        &["call add_key 'user 'reeve-escape 'x 1 -4"], "key_permission", ENOKEY)
        .differs(0, "an ordinary user has keys of its own"),
];
