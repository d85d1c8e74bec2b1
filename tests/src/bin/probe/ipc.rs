//! System V and POSIX IPC, and keys: by number, as the system calls take them.

use crate::act::{Action, Done, Failure, action, done, number, path};
use crate::sys::{Arg, call, descriptor};

pub(crate) const ACTIONS: &[Action] = &[
    action("shm-get", "KEY FLAGS", |words| {
        let [key, flags] = numbers(words)?;
        told(call(
            "shmget",
            libc::SYS_shmget,
            [key, 4096, flags].map(Arg::Int),
        ))
    }),
    action("shm-at", "ID FLAGS", |words| {
        let [id, flags] = numbers(words)?;
        call("shmat", libc::SYS_shmat, [id, 0, flags].map(Arg::Int))?;
        done()
    }),
    action("shm-ctl", "ID COMMAND", |words| {
        let [id, command] = numbers(words)?;
        control("shmctl", libc::SYS_shmctl, &[id, command])
    }),
    action("sem-get", "KEY FLAGS", |words| {
        let [key, flags] = numbers(words)?;
        told(call(
            "semget",
            libc::SYS_semget,
            [key, 1, flags].map(Arg::Int),
        ))
    }),
    action("sem-op", "ID CHANGE", sem_op),
    action("sem-ctl", "ID COMMAND", |words| {
        let [id, command] = numbers(words)?;
        control("semctl", libc::SYS_semctl, &[id, 0, command])
    }),
    action("msg-get", "KEY FLAGS", |words| {
        let [key, flags] = numbers(words)?;
        told(call("msgget", libc::SYS_msgget, [key, flags].map(Arg::Int)))
    }),
    action("msg-send", "ID", msg_send),
    action("msg-receive", "ID", |words| {
        msg_receive(words, libc::IPC_NOWAIT)
    }),
    action("msg-wait", "ID", |words| msg_receive(words, 0)),
    action("msg-ctl", "ID COMMAND", |words| {
        let [id, command] = numbers(words)?;
        control("msgctl", libc::SYS_msgctl, &[id, command])
    }),
    action("mq-open", "NAME FLAGS", mq_open),
    action("mq-unlink", "NAME", mq_unlink),
    action("key-add", "KEYRING NAME", key_add),
    action("key-read", "ID", key_read),
    action("keyctl", "COMMAND ARGUMENT…", keyctl),
];

fn numbers<const N: usize>(words: &[&str]) -> Result<[i64; N], Failure> {
    let read: Result<Vec<i64>, Failure> = words.iter().map(|word| number(word)).collect();
    read?.try_into().map_err(|_| Failure::Usage)
}

fn told(result: Result<i64, Failure>) -> Done {
    Ok(result?.to_string())
}

/// A command of `shmctl` and its like, with room for whatever it answers, or zeroes to set.
fn control(name: &'static str, call_number: i64, words: &[i64]) -> Done {
    let mut buffer = [0u8; 512];
    let result = match *words {
        [id, command] => {
            let arguments = [Arg::Int(id), Arg::Int(command), Arg::Out(&mut buffer)];
            call(name, call_number, arguments)
        }
        [id, index, command] => {
            let arguments = [
                Arg::Int(id),
                Arg::Int(index),
                Arg::Int(command),
                Arg::Out(&mut buffer),
            ];
            call(name, call_number, arguments)
        }
        _ => return Err(Failure::Usage),
    };
    told(result)
}

/// Changes semaphore 0 by a number without waiting; by 0, asks whether it is 0.
fn sem_op(words: &[&str]) -> Done {
    let [id, change] = numbers(words)?;
    // `struct sembuf`: number, operation, flags, 16 bits each.
    let mut operation = [0u8; 6];
    operation[2..4].copy_from_slice(&(change as i16).to_ne_bytes());
    operation[4..6].copy_from_slice(&(libc::IPC_NOWAIT as i16).to_ne_bytes());
    let arguments = [Arg::Int(id), Arg::In(&operation), Arg::Int(1)];
    call("semop", libc::SYS_semop, arguments)?;
    done()
}

fn msg_send(words: &[&str]) -> Done {
    let [id] = numbers(words)?;
    // `struct msgbuf`: the type, then the text.
    let mut message = [0u8; 16];
    message[..8].copy_from_slice(&1i64.to_ne_bytes());
    let flags = Arg::Int(libc::IPC_NOWAIT.into());
    let arguments = [Arg::Int(id), Arg::In(&message), Arg::Int(8), flags];
    call("msgsnd", libc::SYS_msgsnd, arguments)?;
    done()
}

fn msg_receive(words: &[&str], flags: i32) -> Done {
    let [id] = numbers(words)?;
    let mut message = [0u8; 16];
    let flags = Arg::Int(flags.into());
    let arguments = [
        Arg::Int(id),
        Arg::Out(&mut message),
        Arg::Int(8),
        Arg::Int(0),
        flags,
    ];
    call("msgrcv", libc::SYS_msgrcv, arguments)?;
    done()
}

fn mq_open(words: &[&str]) -> Done {
    let [name, flags] = words else {
        return Err(Failure::Usage);
    };
    let arguments = [
        Arg::Text(&path(name)?),
        Arg::Int(number(flags)?),
        Arg::Int(0o666),
        Arg::Int(0),
    ];
    descriptor("mq_open", libc::SYS_mq_open, arguments)?;
    done()
}

fn mq_unlink(words: &[&str]) -> Done {
    let [name] = words else {
        return Err(Failure::Usage);
    };
    call("mq_unlink", libc::SYS_mq_unlink, [Arg::Text(&path(name)?)])?;
    done()
}

const KEYCTL_SETPERM: i64 = 5;
const KEYCTL_READ: i64 = 11;
/// Everything for the possessor and for the user.
const KEY_PERMISSIONS: i64 = 0x3f3f_0000;

/// Adds a key that the user may use in every way; tells its number.
fn key_add(words: &[&str]) -> Done {
    let [keyring, name] = words else {
        return Err(Failure::Usage);
    };
    let payload = b"payload";
    let arguments = [
        Arg::Text(c"user"),
        Arg::Text(&path(name)?),
        Arg::In(payload),
        Arg::Int(payload.len() as i64),
        Arg::Int(number(keyring)?),
    ];
    let key = call("add_key", libc::SYS_add_key, arguments)?;
    let arguments = [KEYCTL_SETPERM, key, KEY_PERMISSIONS].map(Arg::Int);
    call("keyctl", libc::SYS_keyctl, arguments)?;
    Ok(key.to_string())
}

fn key_read(words: &[&str]) -> Done {
    let [key] = numbers(words)?;
    let mut payload = [0u8; 64];
    let arguments = [
        Arg::Int(KEYCTL_READ),
        Arg::Int(key),
        Arg::Out(&mut payload),
        Arg::Int(64),
    ];
    told(call("keyctl", libc::SYS_keyctl, arguments))
}

/// `keyctl(2)` with numbers.
fn keyctl(words: &[&str]) -> Done {
    let mut all = [0; 5];
    for (to, word) in all.iter_mut().zip(words) {
        *to = number(word)?;
    }
    told(call("keyctl", libc::SYS_keyctl, all.map(Arg::Int)))
}
