//! Every hook that is attached has the tests that its table names.

use ebpf_common::hooks::HOOKS;

/// Hooks whose tests are not among `functions`, in words.
pub(crate) fn untested(functions: &[String]) -> Vec<String> {
    let mut missing = Vec::new();
    for hook in HOOKS {
        for (kind, test) in [("allow", hook.allow_test), ("deny", hook.deny_test)] {
            if !functions.iter().any(|function| function == test) {
                missing.push(format!("hook `{}` has no {kind} test `{test}`", hook.name));
            }
        }
    }
    missing
}
