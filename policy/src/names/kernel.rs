//! Parts of the kernel, uses of io_uring, reasons of lockdown, and classes of IPC with their
//! rights.

use ebpf_common::Rights;
use ebpf_common::abi::{ipc_class, switch};
use ebpf_common::rights::ipc;

/// Keys of the section `kernel` that are `true` or `false`, and what they open.
pub const SWITCHES: [(&str, u32); 9] = [
    ("syslog", switch::SYSLOG),
    ("perf", switch::PERF),
    ("kexec", switch::KEXEC),
    ("hostname", switch::HOSTNAME),
    ("reboot", switch::REBOOT),
    ("swap", switch::SWAP),
    ("quota", switch::QUOTA),
    ("acct", switch::ACCT),
    ("userns", switch::USERNS),
];

/// Uses of io_uring that need a line.
pub const URING: [(&str, u32); 3] = [
    ("sqpoll", switch::URING_SQPOLL),
    ("personality", switch::URING_PERSONALITY),
    ("command", switch::URING_COMMAND),
];

/// What lockdown knows, and the kernel's number for it (`enum lockdown_reason`).
pub const LOCKDOWN: [(&str, u32); 10] = [
    ("dev_mem", 2),
    ("hibernation", 5),
    ("pci_access", 6),
    ("ioport", 7),
    ("msr", 8),
    ("acpi_tables", 9),
    ("pcmcia_cis", 11),
    ("tiocsserial", 12),
    ("module_parameters", 13),
    ("mmiotrace", 14),
];

/// Classes of the section `ipc`.
pub const IPC: [(&str, u32); 5] = [
    ("shm", ipc_class::SHM),
    ("sem", ipc_class::SEM),
    ("msg", ipc_class::MSG),
    ("mqueue", ipc_class::MQUEUE),
    ("keys", ipc_class::KEYS),
];

/// Rights that objects of a class have.
pub fn ipc_rights(class: u32) -> Rights {
    let content = ipc::READ | ipc::WRITE;
    match class {
        ipc_class::MQUEUE => content | ipc::CREATE | ipc::DELETE,
        ipc_class::KEYS => content | ipc::VIEW | ipc::SEARCH | ipc::LINK | ipc::SETATTR,
        _ => content | ipc::CREATE | ipc::CONTROL,
    }
}

/// The words for them.
pub fn ipc_words(class: u32) -> Vec<&'static str> {
    ipc::names(ipc_rights(class)).collect()
}

/// The right of this word, if the class has it.
pub fn ipc_right(class: u32, word: &str) -> Option<Rights> {
    let known = ipc::NAMES.into_iter().find(|(name, _)| *name == word);
    known
        .map(|(_, right)| right)
        .filter(|right| ipc_rights(class).contains(*right))
}

/// The number of a word in one of the tables above.
pub fn number(table: &[(&'static str, u32)], word: &str) -> Option<u32> {
    table
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, number)| *number)
}

/// The word of a number in one of the tables above.
pub fn word(table: &[(&'static str, u32)], number: u32) -> Option<&'static str> {
    table
        .iter()
        .find(|(_, known)| *known == number)
        .map(|(name, _)| *name)
}

/// A part of the kernel as questions name it: `syslog`, `io_uring.sqpoll`.
pub fn part(text: &str) -> Option<u32> {
    match text.strip_prefix("io_uring.") {
        Some(word) => number(&URING, word),
        None => number(&SWITCHES, text),
    }
}

/// What [`part`] reads.
pub fn part_text(which: u32) -> String {
    match word(&URING, which) {
        Some(word) => format!("io_uring.{word}"),
        None => word(&SWITCHES, which).unwrap_or("?").to_owned(),
    }
}
