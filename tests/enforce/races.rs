//! Thousands of decisions while what they are about changes: directories are renamed under a
//! look-up, policies replaced, processes born and ended.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use reeve_tests::fixture::in_container;
use reeve_tests::{PolicyText, host, tools};

use crate::support::{Contained, Grounds};

const OPENS: u32 = 8000;
/// In parts, each of which is answered in time by a machine that is emulated.
const PARTS: u32 = 10;
const CHILDREN: u32 = 200;
const ENDS: u32 = 40;

/// The number after `name=` behind the word `of`.
fn counted(detail: &str, of: &str, name: &str) -> u64 {
    let behind = detail
        .split_once(&format!("{of} "))
        .map_or("", |(_, behind)| behind);
    let number = behind
        .split_once(&format!("{name}="))
        .map_or("", |(_, behind)| behind);
    let number = number.split(' ').next().unwrap_or_default();
    number
        .parse()
        .unwrap_or_else(|_| panic!("no {of} {name} in {detail:?}"))
}

/// Renames to and fro until told to stop; how often.
fn swing(one: &Path, other: &Path, stop: &AtomicBool) -> u64 {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        fs::rename(one, other).expect("rename");
        fs::rename(other, one).expect("rename back");
        count += 2;
    }
    count
}

/// What is granted stays so, and what is not does not open, while directories above both are moved.
#[test]
fn renames_during_look_ups() {
    let grounds = Grounds::new();
    let (granted, other) = (grounds.plot("granted"), grounds.plot("other"));
    let mut deep = Vec::new();
    for plot in [&granted, &other] {
        let file = plot.join("a/b/c/d/e/f/g/file");
        fs::create_dir_all(file.parent().expect("a parent")).expect("mkdir");
        fs::write(&file, "content\n").expect("write");
        deep.push(file);
    }
    let mut contained = Contained::start(PolicyText::new("renames").file(&granted, "read"));
    let stop = AtomicBool::new(false);
    let detail = thread::scope(|scope| {
        let swings: Vec<_> = [&granted, &other]
            .map(|plot| {
                let stop = &stop;
                scope.spawn(move || swing(&plot.join("a/b"), &plot.join("a/moved"), stop))
            })
            .into_iter()
            .collect();
        let (granted, refused) = (in_container(&deep[0]), in_container(&deep[1]));
        let asked = contained
            .running()
            .attempt(format!("storm-open {OPENS} {granted} {refused}"));
        stop.store(true, Ordering::Relaxed);
        for swing in swings {
            assert!(swing.join().expect("a thread") > 10, "nothing was renamed");
        }
        asked.expect("an answer").to_string()
    });
    assert_eq!(counted(&detail, "refused", "opened"), 0, "{detail}");
    assert_eq!(counted(&detail, "granted", "denied"), 0, "{detail}");
    assert!(counted(&detail, "granted", "opened") > 0, "{detail}");
    assert!(counted(&detail, "refused", "denied") > 0, "{detail}");
    contained.end();
}

/// No child comes to its first deed without a policy, whichever is in force at its birth.
#[test]
fn births_during_updates() {
    let grounds = Grounds::new();
    let (one, two, other) = (
        grounds.plot("one"),
        grounds.plot("two"),
        grounds.plot("other"),
    );
    let policies = [&one, &two].map(|plot| PolicyText::new("births").file(plot, "read"));
    let mut contained = Contained::start(policies[0].clone());
    contained.attempt("pid");
    let id = contained.running().id().to_owned();
    let file = grounds.fixture().path().join("next.yaml");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let updates = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                fs::write(&file, policies[count % 2].to_string()).expect("write the policy");
                let mut command = tools::reeve().expect("reeve");
                let update = command.args(["policy", "update", &id]).arg(&file);
                tools::output(update).expect("reeve policy update");
            }
            count
        });
        let refused = in_container(other.join("file"));
        let storm = format!("storm-clone {CHILDREN} {refused}");
        let answers: Vec<_> = (0..PARTS)
            .map(|_| contained.running().attempt(&storm))
            .collect();
        stop.store(true, Ordering::Relaxed);
        let updates = updates.join().expect("a thread");
        assert!(updates > 10, "only {updates} policies came into force");
        for answer in answers {
            let detail = answer.expect("an answer").detail().to_owned();
            assert_eq!(counted(&detail, "children", "opened"), 0, "{detail}");
            assert_eq!(
                counted(&detail, "children", "denied"),
                u64::from(CHILDREN),
                "{detail}"
            );
        }
    });
    contained.end();
}

/// Containers that end in the middle of a storm leave the others, and the tables, as they were.
#[test]
fn ends_during_decisions() {
    let grounds = Grounds::new();
    let (granted, other) = (grounds.plot("granted"), grounds.plot("other"));
    let policy = PolicyText::new("ends").file(&granted, "read");
    let (open, refused) = (
        in_container(granted.join("file")),
        in_container(other.join("file")),
    );
    let mut stays = Contained::start(policy.clone());
    for _ in 0..ENDS {
        let mut contained = Contained::start(policy.clone());
        contained.attempt("pid");
        let storm = format!("storm-open 1000000 {open} {refused}");
        contained.running().send(&storm).expect("ask");
        stays.allowed("file_open", format!("open r {open}"));
        let id = contained.running().id().to_owned();
        let mut command = tools::reeve().expect("reeve");
        tools::output(command.args(["delete", "--force", &id])).expect("reeve delete");
        // `reeve run`, which waits for its container, ends by itself.
        drop(contained);
        let left = host::leftovers(&id);
        assert!(left.is_empty(), "{left:#?}");
    }
    let detail = stays
        .running()
        .attempt(format!("storm-open {OPENS} {open} {refused}"));
    let detail = detail.expect("an answer").to_string();
    assert_eq!(
        counted(&detail, "granted", "opened"),
        u64::from(OPENS),
        "{detail}"
    );
    assert_eq!(
        counted(&detail, "refused", "denied"),
        u64::from(OPENS),
        "{detail}"
    );
    stays.end();
}
