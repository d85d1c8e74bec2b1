//! Whatever the ring buffer holds is put into words.

use ebpf_common::event::{Action, COMPONENT_BYTES, COMPONENTS, Event};
use proptest::prelude::*;

use super::super::place::Mounts;
use super::What;

/// Numbers as they come, and many small ones, which mean something.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0..64u32, any::<u32>(), Just(u32::MAX)]
}

fn event() -> impl Strategy<Value = Event> {
    let numbers = proptest::array::uniform16(number());
    let names = proptest::collection::vec(any::<u8>(), COMPONENTS * COMPONENT_BYTES);
    (numbers, any::<(u64, u64, u64)>(), any::<[u8; 16]>(), names).prop_map(
        |(n, (time_ns, ino, detail), comm, names)| {
            let mut components = [[0; COMPONENT_BYTES]; COMPONENTS];
            for (to, from) in components.iter_mut().zip(names.chunks(COMPONENT_BYTES)) {
                to.copy_from_slice(from);
            }
            Event {
                time_ns,
                policy: n[0],
                pid: n[1],
                tid: n[2],
                uid: n[3],
                hook: n[4],
                action: n[5] % (Action::ALL.len() as u32 + 2),
                rights: n[6],
                errno: n[7] as i32,
                enforced: n[8],
                reason: n[9],
                rule: n[10],
                dev: n[11],
                ino,
                // Both halves mean something in turn.
                detail: detail >> (n[15] % 64),
                target_pid: n[12],
                magic: n[13],
                depth: n[14],
                reserved: 0,
                comm,
                components,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_event_has_words_and_what_it_suggests_is_a_line(event in event()) {
        let what = What::of(&event, None, &Mounts::of_host());
        prop_assert!(!what.action.is_empty());
        if let Some(line) = what.denied.as_ref().and_then(policy::suggest) {
            prop_assert!(!line.contains('\n'), "{line}");
        }
    }
}
