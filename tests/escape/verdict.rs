//! Whether an attempt came out as its row says.

use std::fmt;

use reeve_tests::Outcome;
use reeve_tests::escape::Attempt;
use reeve_tests::outcome::errno_name;

/// What came of an attempt.
pub(crate) struct Seen {
    /// As an ordinary user, without a policy.
    pub(crate) ordinary: Outcome,
    /// With every capability, under the policy.
    pub(crate) governed: Outcome,
    /// Whether the closed directory was changed by that.
    pub(crate) changed: bool,
    /// With every capability, without a policy.
    pub(crate) free: Outcome,
    /// Hooks that refused something meanwhile, by the audit log.
    pub(crate) hooks: Vec<String>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "free {}; governed {} by {:?}; ordinary {}",
            self.free, self.governed, self.hooks, self.ordinary
        )
    }
}

/// What is wrong, if anything.
pub(crate) fn complaint(attempt: &Attempt, seen: &Seen, kernel: (u32, u32)) -> Option<String> {
    let about = |what: String| Some(format!("{}: {what} ({seen})", attempt.name));
    if !seen.free.is_done() {
        return about("does not succeed without a policy either".to_owned());
    }
    if let Some(reason) = attempt.open {
        return match seen.governed.is_done() {
            true => None,
            false => about(format!("is closed, and marked as open: {reason}")),
        };
    }
    if seen.governed.is_done() {
        return about("gets out".to_owned());
    }
    if seen.governed.errno() != Some(attempt.errno) {
        let wanted = errno_name(attempt.errno);
        return about(format!("is not refused with {wanted}"));
    }
    if seen.changed {
        return about("is refused, and changed something".to_owned());
    }
    let hook = attempt.hook(kernel);
    if !seen.hooks.iter().any(|refused| refused == hook) {
        return about(format!("the audit says nothing of `{hook}`"));
    }
    let ordinary = attempt.ordinary(kernel);
    if seen.ordinary.errno() != Some(ordinary) {
        let wanted = errno_name(ordinary);
        return about(format!("an ordinary user does not get {wanted}"));
    }
    None
}
