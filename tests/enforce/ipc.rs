//! System V and POSIX IPC in the host's namespace and in one of the container's own.

use std::process::Command;

use libc::{EACCES, EPERM};
use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;
use reeve_tests::{Fixture, PolicyText, tools};

use crate::support::{Contained, on_host};

/// `IPC_CREAT` and the mode that lets every user in.
const MAKE: &str = "01666";

/// A container in the host's IPC namespace.
fn among_host_objects(policy: PolicyText) -> Contained {
    let config = Config {
        host_ipc: true,
        ..Config::default()
    };
    Contained::with(config, policy)
}

/// An object of the host's, removed when this is dropped.
struct Object {
    class: &'static str,
    key: u32,
    id: String,
}

impl Object {
    fn new(class: &'static str) -> Self {
        let key = 0x5e_0000 + reeve_tests::fixture::unique();
        let id = on_host(&format!("{class}-get {key} {MAKE}"));
        Self { class, key, id }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        on_host(&format!("{}-ctl {} 0", self.class, self.id));
    }
}

/// Everything that the container may do to what it made itself in the host's namespace.
fn own(contained: &mut Contained, class: &str, uses: &[&str]) {
    let hook = match class {
        "msg" => "msg_queue_alloc_security".to_owned(),
        class => format!("{class}_alloc_security"),
    };
    let id = contained.allowed(&hook, format!("{class}-get 0 {MAKE}"));
    for action in uses {
        contained.allowed(&hook, action.replace("{}", &id));
    }
    contained.allowed(&hook, format!("{class}-ctl {id} 0"));
}

#[test]
fn shm_granted() {
    let object = Object::new("shm");
    let policy = PolicyText::new("shm").ipc("shm: [read, write, create]");
    let mut contained = among_host_objects(policy);
    contained.allowed("shm_associate", format!("shm-get {} 0600", object.key));
    contained.allowed("shm_shmat", format!("shm-at {} 0", object.id));
    contained.allowed("shm_shmctl", format!("shm-ctl {} 2", object.id));
    own(
        &mut contained,
        "shm",
        &["shm-at {} 0", "shm-ctl {} 2", "shm-ctl {} 11"],
    );
    contained.end();
    let policy = PolicyText::new("shm").ipc("shm: [read]");
    let mut contained = among_host_objects(policy);
    contained.allowed("shm_shmat", format!("shm-at {} 010000", object.id));
    contained.refused("shm_shmat", EACCES, format!("shm-at {} 0", object.id));
    contained.refused(
        "shm_associate",
        EACCES,
        format!("shm-get {} 0600", object.key),
    );
    contained.refused("shm_shmctl", EPERM, format!("shm-ctl {} 11", object.id));
    contained.end();
}

#[test]
fn shm_refused() {
    let object = Object::new("shm");
    let mut contained = among_host_objects(PolicyText::new("shm").ipc("sem: [read, create]"));
    contained.refused("shm_associate", EACCES, format!("shm-get {} 0", object.key));
    contained.refused("shm_shmat", EACCES, format!("shm-at {} 010000", object.id));
    contained.refused("shm_shmctl", EACCES, format!("shm-ctl {} 2", object.id));
    contained.refused("shm_shmctl", EPERM, format!("shm-ctl {} 0", object.id));
    contained.refused("shm_alloc_security", EACCES, format!("shm-get 0 {MAKE}"));
    contained.end();
}

#[test]
fn sem_granted() {
    let object = Object::new("sem");
    let policy = PolicyText::new("sem").ipc("sem: [read, write, create]");
    let mut contained = among_host_objects(policy);
    contained.allowed("sem_associate", format!("sem-get {} 0600", object.key));
    contained.allowed("sem_semop", format!("sem-op {} 1", object.id));
    contained.allowed("sem_semctl", format!("sem-ctl {} 12", object.id));
    own(
        &mut contained,
        "sem",
        &["sem-op {} 1", "sem-op {} -1", "sem-ctl {} 12"],
    );
    contained.end();
    let mut contained = among_host_objects(PolicyText::new("sem").ipc("sem: [read]"));
    contained.allowed("sem_semctl", format!("sem-ctl {} 12", object.id));
    contained.refused("sem_semop", EACCES, format!("sem-op {} 1", object.id));
    contained.refused("sem_semctl", EACCES, format!("sem-ctl {} 17", object.id));
    contained.end();
}

#[test]
fn sem_refused() {
    let object = Object::new("sem");
    let mut contained = among_host_objects(PolicyText::new("sem"));
    contained.refused("sem_associate", EACCES, format!("sem-get {} 0", object.key));
    contained.refused("sem_semop", EACCES, format!("sem-op {} 1", object.id));
    contained.refused("sem_semop", EACCES, format!("sem-op {} 0", object.id));
    contained.refused("sem_semctl", EACCES, format!("sem-ctl {} 12", object.id));
    contained.refused("sem_semctl", EPERM, format!("sem-ctl {} 0", object.id));
    contained.refused("sem_alloc_security", EACCES, format!("sem-get 0 {MAKE}"));
    contained.end();
}

#[test]
fn msg_granted() {
    let object = Object::new("msg");
    let policy = PolicyText::new("msg").ipc("msg: [read, write, create]");
    let mut contained = among_host_objects(policy);
    contained.allowed(
        "msg_queue_associate",
        format!("msg-get {} 0600", object.key),
    );
    contained.allowed("msg_queue_msgsnd", format!("msg-send {}", object.id));
    contained.allowed("ipc_permission", format!("msg-receive {}", object.id));
    contained.allowed("msg_queue_msgctl", format!("msg-ctl {} 2", object.id));
    own(
        &mut contained,
        "msg",
        &["msg-send {}", "msg-receive {}", "msg-ctl {} 2"],
    );
    contained.end();
}

#[test]
fn msg_refused() {
    let object = Object::new("msg");
    on_host(&format!("msg-send {}", object.id));
    let mut contained = among_host_objects(PolicyText::new("msg"));
    contained.refused(
        "msg_queue_associate",
        EACCES,
        format!("msg-get {} 0", object.key),
    );
    contained.refused(
        "msg_queue_msgsnd",
        EACCES,
        format!("msg-send {}", object.id),
    );
    contained.refused(
        "ipc_permission",
        EACCES,
        format!("msg-receive {}", object.id),
    );
    contained.refused(
        "msg_queue_msgctl",
        EACCES,
        format!("msg-ctl {} 2", object.id),
    );
    contained.refused(
        "msg_queue_msgctl",
        EPERM,
        format!("msg-ctl {} 0", object.id),
    );
    contained.refused(
        "msg_queue_alloc_security",
        EACCES,
        format!("msg-get 0 {MAKE}"),
    );
    contained.end();
}

#[test]
fn mqueue_granted() {
    on_host("mq-open reeve-granted 0102");
    let policy = PolicyText::new("mqueue").ipc("mqueue: [read, write, create, delete]");
    let mut contained = among_host_objects(policy);
    contained.allowed("file_open", "mq-open reeve-granted 02");
    contained.allowed("inode_unlink", "mq-unlink reeve-granted");
    contained.allowed("inode_create", "mq-open reeve-made 0102");
    contained.allowed("inode_unlink", "mq-unlink reeve-made");
    contained.end();
}

#[test]
fn mqueue_refused() {
    on_host("mq-open reeve-refused 0102");
    let mut contained = among_host_objects(PolicyText::new("mqueue").ipc("mqueue: [read]"));
    contained.allowed("file_open", "mq-open reeve-refused 0");
    contained.refused("file_open", EACCES, "mq-open reeve-refused 02");
    contained.refused("inode_unlink", EPERM, "mq-unlink reeve-refused");
    contained.refused("inode_create", EACCES, "mq-open reeve-other 0102");
    contained.end();
    let mut contained = among_host_objects(PolicyText::new("mqueue"));
    contained.refused("file_open", EACCES, "mq-open reeve-refused 0");
    contained.end();
    on_host("mq-unlink reeve-refused");
}

/// In an IPC namespace of its own a container needs no line, not even to mount its queues.
#[test]
fn ipc_in_an_own_namespace() {
    let mut contained = Contained::start(PolicyText::new("own"));
    own(&mut contained, "shm", &["shm-at {} 0", "shm-ctl {} 2"]);
    own(&mut contained, "sem", &["sem-op {} 1"]);
    own(&mut contained, "msg", &["msg-send {}", "msg-receive {}"]);
    contained.allowed("inode_create", "mq-open reeve-own 0102");
    contained.allowed("file_open", "mq-open reeve-own 02");
    contained.allowed("inode_unlink", "mq-unlink reeve-own");
    contained.end();
}

/// Who may only send does not keep a receiver of the host from its message.
#[test]
fn a_receiver_of_the_host_is_woken() {
    let object = Object::new("msg");
    let receive = format!("msg-wait {}", object.id);
    let receiver = std::thread::spawn(move || on_host(&receive));
    let mut contained = among_host_objects(PolicyText::new("send").ipc("msg: [write]"));
    contained.refused(
        "ipc_permission",
        EACCES,
        format!("msg-receive {}", object.id),
    );
    contained.allowed("msg_queue_msgsnd", format!("msg-send {}", object.id));
    receiver.join().expect("a message");
    contained.end();
}

/// Queues of the host's are the host's through every mount that shows them, also to a container
/// with a namespace of its own.
#[test]
fn queues_that_a_mount_shows() {
    on_host("mq-open reeve-shown 0102");
    let fixture = Fixture::new().expect("a directory");
    let queues = fixture.directory("queues").expect("a mount point");
    let mount = |program: &str, words: &[&str]| {
        tools::output(Command::new(program).args(words).arg(&queues)).expect(program);
    };
    mount("mount", &["-t", "mqueue", "mqueue"]);
    let mut contained = Contained::start(PolicyText::new("shown"));
    let queue = in_container(queues.join("reeve-shown"));
    contained.refused("file_open", EACCES, format!("open r {queue}"));
    contained.refused("file_open", EACCES, format!("open w {queue}"));
    contained.refused("path_unlink", EACCES, format!("unlink {queue}"));
    contained.end();
    let policy = PolicyText::new("shown").ipc("mqueue: [read]");
    let mut contained = Contained::start(policy);
    contained.allowed("file_open", format!("open r {queue}"));
    contained.end();
    mount("umount", &[]);
    on_host("mq-unlink reeve-shown");
}

/// Of what another container made in the host's namespace nothing is one's own.
#[test]
fn objects_of_another_container() {
    let maker = PolicyText::new("maker").ipc("shm: [create]");
    let mut maker = among_host_objects(maker);
    let id = maker.allowed("shm_alloc_security", format!("shm-get 0 {MAKE}"));
    maker.allowed("shm_shmat", format!("shm-at {id} 0"));
    let mut other = among_host_objects(PolicyText::new("other"));
    other.refused("shm_shmat", EACCES, format!("shm-at {id} 0"));
    other.end();
    maker.allowed("shm_shmctl", format!("shm-ctl {id} 0"));
    maker.end();
}

/// Who enters the host's namespace is governed there, whatever the container was made with.
#[test]
fn an_entered_namespace_is_the_hosts() {
    let object = Object::new("shm");
    let exe = std::env::current_exe().expect("this program");
    let policy = PolicyText::new("enter")
        .capability("SYS_ADMIN", "setns")
        .ptrace(exe, "read");
    let config = Config {
        host_pid: true,
        ..Config::default()
    };
    let mut contained = Contained::with(config, policy);
    let at = format!("shm-at {} 0", object.id);
    let action = format!("setns /proc/{}/ns/ipc {at}", std::process::id());
    contained.refused("shm_shmat", EACCES, action);
    contained.end();
}
