//! Numbers of policies: whose one is, and which of the container's policies in turn.

use core::cmp::Ordering;
use core::hash::{Hash, Hasher};

/// Bits of the number that tell a container's policies apart.
const GENERATION_BITS: u32 = 2;

/// Number of a loaded policy: the container's, and which generation of its policy it is. 0 is
/// never given out, and no container's number is given out twice per load.
///
/// Labels and what else belongs to the container hold its number with generation 0
/// ([`PolicyId::container`]); tables are kept under the whole number. **Equality asks whose it
/// is**: two generations of one container's policy are equal.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct PolicyId(pub u32);

impl PolicyId {
    /// Generations before numbers are used again. At most two are loaded at a time, and one more
    /// may be left by an update that was killed.
    pub const GENERATIONS: u32 = 1 << GENERATION_BITS;

    /// Never given out: under it there are no tables, so that everything is refused.
    pub const NOBODY: Self = Self(u32::MAX);

    /// The number of the `n`th container; nothing when all are used up.
    pub const fn nth(n: u32) -> Option<Self> {
        match n < u32::MAX >> GENERATION_BITS {
            true => Some(Self(n << GENERATION_BITS)),
            false => None,
        }
    }

    /// The container's number: that of its first policy.
    #[inline(always)]
    pub const fn container(self) -> Self {
        Self(self.0 & !(Self::GENERATIONS - 1))
    }

    /// The number that follows for the same container.
    pub const fn next(self) -> Self {
        Self(self.container().0 | (self.0 + 1) & (Self::GENERATIONS - 1))
    }

    /// Every number of the container.
    pub fn generations(self) -> impl Iterator<Item = Self> {
        (0..Self::GENERATIONS).map(move |generation| Self(self.container().0 | generation))
    }
}

impl PartialEq for PolicyId {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.container().0 == other.container().0
    }
}

impl Eq for PolicyId {}

impl Ord for PolicyId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.container().0.cmp(&other.container().0)
    }
}

impl PartialOrd for PolicyId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for PolicyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.container().0.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_turn_and_never_leave_their_container() {
        let first = PolicyId::nth(7).expect("small");
        assert_eq!(first.0, first.container().0);
        let mut at = first;
        for number in first.generations() {
            assert_eq!(number.0, at.0);
            assert_eq!(at, first);
            at = at.next();
        }
        assert_eq!(at.0, first.0);
        assert_ne!(PolicyId::nth(8), Some(first));
    }

    #[test]
    fn numbers_end_before_nobody() {
        let last = PolicyId::nth((u32::MAX >> GENERATION_BITS) - 1).expect("the last one");
        assert_ne!(last, PolicyId::NOBODY);
        assert_eq!(PolicyId::nth(u32::MAX >> GENERATION_BITS), None);
        assert_eq!(PolicyId::nth(u32::MAX), None);
    }
}
