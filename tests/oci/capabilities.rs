//! `process.capabilities`: the five sets.

use serde_json::{Value, json};

use crate::support::{Bundle, Seen, covers};

const SETS: [(&str, &str); 5] = [
    ("bounding", "CapBnd"),
    ("effective", "CapEff"),
    ("permitted", "CapPrm"),
    ("inheritable", "CapInh"),
    ("ambient", "CapAmb"),
];

const CHOWN: u64 = 1 << 0;
const KILL: u64 = 1 << 5;
const NET_BIND: u64 = 1 << 10;
const NET_RAW: u64 = 1 << 13;

fn sets(seen: &Seen) -> Vec<u64> {
    SETS.iter()
        .map(|(_, name)| seen.capabilities(name))
        .collect()
}

fn see(capabilities: Value, uid: u32) -> Seen {
    let bundle = Bundle::new().set("process.capabilities", capabilities);
    bundle
        .set("process.user", json!({ "uid": uid, "gid": uid }))
        .see()
}

#[test]
fn the_same_in_all_sets() {
    covers(&[
        "process.capabilities.bounding",
        "process.capabilities.effective",
        "process.capabilities.permitted",
        "process.capabilities.inheritable",
        "process.capabilities.ambient",
    ])
    .run(|| {
        let list = json!(["CAP_CHOWN", "CAP_NET_RAW"]);
        let all = json!({
            "bounding": list, "effective": list, "permitted": list,
            "inheritable": list, "ambient": list,
        });
        for uid in [0, 1000] {
            assert_eq!(
                sets(&see(all.clone(), uid)),
                [CHOWN | NET_RAW; 5],
                "uid {uid}"
            );
        }
    });
}

#[test]
fn a_bounding_set_is_all_that_root_gets() {
    covers(&["process.capabilities.bounding"]).run(|| {
        let list = json!({ "bounding": ["CAP_KILL", "CAP_CHOWN"] });
        // Root gains the bounding set at its exec; anybody else gains nothing.
        let both = CHOWN | KILL;
        assert_eq!(sets(&see(list.clone(), 0)), [both, both, both, 0, 0]);
        assert_eq!(sets(&see(list, 1000)), [both, 0, 0, 0, 0]);
    });
}

#[test]
fn ambient_ones_survive_for_a_user() {
    covers(&[
        "process.capabilities.ambient",
        "process.capabilities.inheritable",
    ])
    .run(|| {
        let list = json!({
            "bounding": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "permitted": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "effective": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "inheritable": ["CAP_NET_BIND_SERVICE"],
            "ambient": ["CAP_NET_BIND_SERVICE"],
        });
        let wanted = [KILL | NET_BIND, NET_BIND, NET_BIND, NET_BIND, NET_BIND];
        assert_eq!(sets(&see(list, 1000)), wanted);
    });
}

#[test]
fn inheritable_alone_gives_nothing() {
    covers(&["process.capabilities.inheritable"]).run(|| {
        let list = json!({
            "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "inheritable": ["CAP_KILL"],
        });
        assert_eq!(sets(&see(list, 1000)), [KILL, 0, 0, KILL, 0]);
    });
}

#[test]
fn permitted_and_effective_end_with_the_exec_of_a_user() {
    covers(&[
        "process.capabilities.permitted",
        "process.capabilities.effective",
    ])
    .run(|| {
        let list = json!({
            "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"],
        });
        assert_eq!(sets(&see(list, 1000)), [KILL, 0, 0, 0, 0]);
    });
}

#[test]
fn absent_ones_are_none() {
    covers(&["process.capabilities: absent is none"]).run(|| {
        assert_eq!(sets(&see(json!({}), 0)), [0; 5]);
        let bundle = Bundle::new().without("process.capabilities");
        assert_eq!(sets(&bundle.see()), [0; 5]);
    });
}

#[test]
fn an_unknown_name() {
    covers(&["process.capabilities: an unknown name"]).run(|| {
        let list = json!({ "bounding": ["CAP_KILL", "CAP_NO_SUCH"] });
        let bundle = Bundle::doing(&["see"]).set("process.capabilities", list);
        let ended = bundle.run();
        // A warning and the others, or an error: either way, nothing is gained.
        match ended.status.success() {
            true => assert_eq!(Seen::of(&ended).capabilities("CapBnd"), KILL),
            false => drop(ended.refused_naming(&["CAP_NO_SUCH"])),
        }
    });
}

#[test]
fn what_a_capability_is_for() {
    covers(&["process.capabilities.effective"]).run(|| {
        let attempt = |list: Value| {
            let bundle = Bundle::new().set("process.capabilities", list);
            bundle.attempt_one("chown /own 5 5")
        };
        assert!(
            attempt(
                json!({ "bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"],
            "permitted": ["CAP_CHOWN"] })
            )
            .is_done()
        );
        let refused = attempt(json!({ "bounding": [], "effective": [], "permitted": [] }));
        assert_eq!(refused.errno(), Some(libc::EPERM));
    });
}
