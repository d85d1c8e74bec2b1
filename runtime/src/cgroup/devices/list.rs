//! Rules as version 1 takes them: a default, and exceptions from it.
//!
//! The kernel's list is not a sequence: a denial removes an equal exception and leaves a wider one
//! as it is. So the sequence is carried out here, and what cannot be told the kernel is an error
//! rather than an open device.

use crate::spec::{DeviceClass, DeviceRule};

/// A default and the exceptions from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List {
    /// Whether what no exception speaks of is allowed.
    pub(super) allow_by_default: bool,
    /// All against the default, each of one class.
    exceptions: Vec<DeviceRule>,
}

impl List {
    /// What the sequence comes to.
    ///
    /// # Errors
    /// The rule that takes back a part of an earlier one in a way that no list can say.
    pub(super) fn of(rules: &[DeviceRule]) -> Result<Self, DeviceRule> {
        let mut list = Self {
            allow_by_default: false,
            exceptions: Vec::new(),
        };
        for rule in rules {
            if rule.is_about_all() {
                list.allow_by_default = rule.allow;
                list.exceptions.clear();
                continue;
            }
            for class in [DeviceClass::Block, DeviceClass::Char] {
                if rule.class.is_none_or(|only| only == class) {
                    let class = Some(class);
                    list.take(DeviceRule { class, ..*rule })?;
                }
            }
        }
        Ok(list)
    }

    fn take(&mut self, rule: DeviceRule) -> Result<(), DeviceRule> {
        if rule.allow != self.allow_by_default {
            let mut known = self.exceptions.iter_mut();
            match known.find(|known| is_about_same(known, &rule)) {
                Some(known) => known.access = known.access.union(rule.access),
                None => self.exceptions.push(rule),
            }
            return Ok(());
        }
        for known in &mut self.exceptions {
            if !overlaps(known, &rule) {
                continue;
            }
            if covers(&rule, known) {
                known.access = known.access.without(rule.access);
            } else if known.access.without(rule.access) != known.access {
                return Err(rule);
            }
        }
        self.exceptions.retain(|known| !known.access.is_empty());
        Ok(())
    }

    /// Whether nothing is denied.
    pub(super) fn allows_all(&self) -> bool {
        self.allow_by_default && self.exceptions.is_empty()
    }

    /// What is otherwise than the default says.
    pub(super) fn exceptions(&self) -> &[DeviceRule] {
        &self.exceptions
    }

    /// The exceptions as the kernel reads and writes them.
    pub(super) fn lines(&self) -> Vec<String> {
        self.exceptions.iter().map(ToString::to_string).collect()
    }
}

fn is_about_same(one: &DeviceRule, other: &DeviceRule) -> bool {
    let subject = |rule: &DeviceRule| (rule.class, rule.major, rule.minor);
    subject(one) == subject(other)
}

/// Whether every device of `inner` is one of `outer`.
fn covers(outer: &DeviceRule, inner: &DeviceRule) -> bool {
    let number = |outer: Option<u32>, inner: Option<u32>| outer.is_none() || outer == inner;
    outer.class == inner.class
        && number(outer.major, inner.major)
        && number(outer.minor, inner.minor)
}

/// Whether there is a device of both.
fn overlaps(one: &DeviceRule, other: &DeviceRule) -> bool {
    let number =
        |one: Option<u32>, other: Option<u32>| one.is_none() || other.is_none() || one == other;
    one.class == other.class && number(one.major, other.major) && number(one.minor, other.minor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::devices::with_defaults;
    use crate::spec::Access;

    const ANY: DeviceRule = DeviceRule {
        allow: false,
        class: None,
        major: None,
        minor: None,
        access: Access::ALL,
    };

    fn chars(allow: bool, major: Option<u32>, minor: Option<u32>, access: Access) -> DeviceRule {
        let class = Some(DeviceClass::Char);
        DeviceRule {
            allow,
            class,
            major,
            minor,
            access,
        }
    }

    #[test]
    fn what_engines_write() {
        let fuse = chars(true, Some(10), Some(229), Access::READ.union(Access::WRITE));
        let list = List::of(&with_defaults(&[ANY, fuse])).unwrap();
        assert!(!list.allow_by_default);
        let lines = list.lines();
        assert_eq!(lines[0], "c 10:229 rw");
        assert!(lines.contains(&"b *:* m".to_owned()));
        assert!(lines.contains(&"c 136:* rwm".to_owned()));
        let all = DeviceRule { allow: true, ..ANY };
        assert!(List::of(&with_defaults(&[ANY, all])).unwrap().allows_all());
    }

    #[test]
    fn the_last_rule_holds() {
        let rules = [
            chars(true, Some(10), None, Access::ALL),
            chars(true, Some(11), Some(1), Access::READ),
            chars(true, Some(11), Some(1), Access::WRITE),
            chars(false, None, Some(1), Access::READ),
        ];
        // `10:*` would need a hole at `10:1`.
        assert_eq!(List::of(&rules), Err(rules[3]));
        let rules = [rules[1], rules[2], rules[3]];
        assert_eq!(List::of(&rules).unwrap().lines(), ["c 11:1 w"]);
        let rules = [rules[0], rules[1], chars(false, None, None, Access::ALL)];
        assert!(List::of(&rules).unwrap().lines().is_empty());
    }

    #[test]
    fn any_class_is_both() {
        let rule = DeviceRule {
            allow: true,
            major: Some(8),
            ..ANY
        };
        assert_eq!(
            List::of(&[rule]).unwrap().lines(),
            ["b 8:* rwm", "c 8:* rwm"]
        );
    }
}
