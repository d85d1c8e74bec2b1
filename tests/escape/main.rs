//! Every attempt of `reeve_tests::escape`, made in earnest.
//!
//! Runs as root in a machine to throw away, one test at a time; a test is a class of attempts. The
//! attacker holds every capability and shares the host's pid, network, IPC, UTS and cgroup
//! namespaces.

mod ground;
mod services;
mod stage;
mod verdict;

use reeve_tests::escape::CLASSES;
use reeve_tests::host;

use crate::stage::Stage;
use crate::verdict::complaint;

/// Makes all attempts of a class.
fn all_of(name: &str) {
    let class = CLASSES.iter().find(|class| class.name == name);
    let class = class.expect("the class is in the table");
    let kernel = host::version(&host::kernel_release().expect("the kernel's release"));
    let mut stage = Stage::new(class);
    let mut wrong = Vec::new();
    for attempt in class.attempts {
        if let Some(reason) = attempt.not_on(kernel) {
            println!("{}: not on this kernel: {reason}", attempt.name);
            continue;
        }
        let seen = stage.make(attempt);
        println!("{}: {seen}", attempt.name);
        wrong.extend(complaint(attempt, &seen, kernel));
    }
    stage.end();
    assert!(
        wrong.is_empty(),
        "{} of {} attempts:\n{}",
        wrong.len(),
        class.attempts.len(),
        wrong.join("\n")
    );
}

/// A test for each class.
macro_rules! classes {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            all_of(stringify!($name));
        })*

        /// No class is left out.
        #[test]
        fn every_class_is_tried() {
            let tried = [$(stringify!($name)),*];
            let all: Vec<&str> = CLASSES.iter().map(|class| class.name).collect();
            assert_eq!(all, tried);
        }
    };
}

classes! { plain subject object writing network kernel tampering exhausting racing }
