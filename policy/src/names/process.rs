//! What may be done to host processes, by name: ways to trace, limits, types of namespaces.

use ebpf_common::abi::{limits, ptrace};

/// Every way into a process.
const ALL: u32 = ptrace::READ
    | ptrace::ATTACH
    | ptrace::READ_MEMORY
    | ptrace::WRITE_MEMORY
    | ptrace::TAKE_DESCRIPTORS
    | ptrace::COMPARE;

/// Ways to trace, with the bits of [`ptrace`] that each brings.
pub const TRACE: [(&str, u32); 6] = [
    ("read", ptrace::READ | ptrace::COMPARE),
    ("attach", ALL),
    ("process_vm_readv", ptrace::READ_MEMORY),
    ("process_vm_writev", ptrace::WRITE_MEMORY),
    ("pidfd_getfd", ptrace::TAKE_DESCRIPTORS),
    ("kcmp", ptrace::COMPARE),
];

/// What [`limits`] are called.
pub const LIMITS: [(&str, u32); 4] = [
    ("nice", limits::NICE),
    ("io-priority", limits::IO_PRIORITY),
    ("scheduler", limits::SCHEDULER),
    ("resources", limits::RESOURCES),
];

/// Types of namespaces with their `CLONE_NEW*` bits. A user namespace is not among them: who enters
/// one has every capability over it.
pub const NAMESPACES: [(&str, u32); 7] = [
    ("cgroup", 0x0200_0000),
    ("ipc", 0x0800_0000),
    ("mnt", 0x0002_0000),
    ("net", 0x4000_0000),
    ("pid", 0x2000_0000),
    ("time", 0x0000_0080),
    ("uts", 0x0400_0000),
];

/// The bits of a word.
pub fn bit(known: &[(&'static str, u32)], word: &str) -> Option<u32> {
    let found = known.iter().find(|(name, _)| *name == word);
    found.map(|(_, bits)| *bits)
}

/// The words whose bits are set.
pub fn names(known: &[(&'static str, u32)], bits: u32) -> Vec<&'static str> {
    let set = known.iter().filter(|(_, bit)| bits & bit == *bit);
    set.map(|(name, _)| *name).collect()
}

/// The bits of a way to trace.
pub fn trace(word: &str) -> Option<u32> {
    bit(&TRACE, word)
}

/// The fewest words that bring these bits.
pub fn trace_names(bits: u32) -> Vec<&'static str> {
    if bits & ptrace::ATTACH != 0 {
        return vec!["attach"];
    }
    let reads = bits & ptrace::READ != 0;
    let mut words = names(&TRACE, bits);
    words.retain(|word| !(reads && *word == "kcmp"));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bits_agree() {
        for (word, _) in TRACE {
            assert_eq!(trace_names(trace(word).expect(word)), [word]);
        }
        assert_eq!(names(&LIMITS, 5), ["nice", "scheduler"]);
        assert_eq!(bit(&NAMESPACES, "user"), None);
    }
}
