//! What loading costs: the verifier's work, program by program.

use reeve_tests::{PolicyText, host, tools};
use serde_json::Value;

use crate::support::Contained;

/// Instructions that the verifier may go through for one program. Before 6.7 it forgets less, so
/// that it sees more ways; from a million on it gives up.
const MOST: u64 = 60_000;
const MOST_BEFORE_6_7: u64 = 150_000;

#[test]
fn no_program_is_dear_to_verify() {
    let contained = Contained::start(PolicyText::new("budget"));
    let mut command = tools::reeve().expect("reeve");
    let text =
        tools::output(command.args(["doctor", "--loaded", "--json"])).expect("what is loaded");
    let loaded: Value = serde_json::from_str(&text).expect("JSON");
    let programs = loaded["programs"].as_array().expect("programs");
    assert!(programs.len() > 50, "{text}");
    let release = host::kernel_release().expect("uname");
    let most = match host::version(&release) < (6, 7) {
        true => MOST_BEFORE_6_7,
        false => MOST,
    };
    let cost = |program: &Value| {
        program["verified_instructions"]
            .as_u64()
            .unwrap_or(u64::MAX)
    };
    let dear: Vec<_> = programs
        .iter()
        .filter(|program| cost(program) > most)
        .collect();
    assert!(dear.is_empty(), "more than {most}: {dear:#?}");
    contained.end();
}
