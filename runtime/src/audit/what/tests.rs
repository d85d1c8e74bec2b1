//! Whatever the ring buffer holds is put into words.

use std::sync::LazyLock;

use ebpf_common::event::{Action, COMPONENT_BYTES, COMPONENTS, Event};
use proptest::prelude::*;

use super::super::place::Mounts;
use super::What;

/// Numbers as they come, and many small ones, which mean something.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0..64u32, any::<u32>(), Just(u32::MAX)]
}

/// An event of these numbers and words, with nothing in its names yet.
fn event_of(n: [u32; 16], (time_ns, ino, detail): (u64, u64, u64)) -> Event {
    Event {
        time_ns,
        policy: n[0],
        pid: n[1],
        tid: n[2],
        uid: n[3],
        hook: n[4],
        action: n[5],
        rights: n[6],
        errno: n[7] as i32,
        enforced: n[8],
        reason: n[9],
        rule: n[10],
        dev: n[11],
        ino,
        detail,
        target_pid: n[12],
        magic: n[13],
        depth: n[14],
        reserved: 0,
        comm: [0; 16],
        components: [[0; COMPONENT_BYTES]; COMPONENTS],
    }
}

fn event() -> impl Strategy<Value = Event> {
    let numbers = proptest::array::uniform16(number());
    let names = proptest::collection::vec(any::<u8>(), COMPONENTS * COMPONENT_BYTES);
    (numbers, any::<(u64, u64, u64)>(), any::<[u8; 16]>(), names).prop_map(
        |(mut n, (time_ns, ino, detail), comm, names)| {
            n[5] %= Action::ALL.len() as u32 + 2;
            // Both halves mean something in turn.
            let detail = detail >> (n[15] % 64);
            let mut event = event_of(n, (time_ns, ino, detail));
            event.comm = comm;
            let chunks = names.chunks(COMPONENT_BYTES);
            for (to, from) in event.components.iter_mut().zip(chunks) {
                to.copy_from_slice(from);
            }
            event
        },
    )
}

/// Has words, and what it suggests is a line that a policy can hold.
fn has_words(event: &Event, mounts: &Mounts) {
    let what = What::of(event, None, mounts);
    assert!(!what.action.is_empty() && !what.object.is_empty());
    if let Some(line) = what.denied.as_ref().and_then(policy::suggest) {
        assert!(!line.contains('\n'), "{line}");
        let text = policy::edit::add_line("reeve: v1\nname: a\n", &line, None).expect("a line");
        if let Err(found) = policy::parse("p.yaml", &text) {
            panic!("{line}\n{found}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(4096)
    })]

    #[test]
    fn any_event_has_words_and_what_it_suggests_is_a_line(event in event()) {
        static MOUNTS: LazyLock<Mounts> = LazyLock::new(Mounts::of_host);
        has_words(&event, &MOUNTS);
    }
}

#[test]
fn what_has_no_name_here_has_words() {
    let mounts = Mounts::of_host();
    for action in 0..=Action::ALL.len() as u32 + 1 {
        for (rights, detail) in [(0, 0), (1 << 31, u64::MAX), (u32::MAX, 1 << 63 | 1 << 31)] {
            let mut n = [0; 16];
            (n[5], n[6]) = (action, rights);
            has_words(&event_of(n, (0, 0, detail)), &mounts);
        }
    }
}
