//! From the units of version 1, which configurations use, to those of version 2.

/// CPU shares, 2 to 262144, as a weight, 1 to 10000.
///
/// The smallest, the default and the largest of one scale are those of the other: 2 is 1, 1024 is
/// 100, 262144 is 10000, and between them the logarithm of the weight is a polynomial of that of
/// the shares. A linear scale, which runtimes used before, makes 39 of the default shares: such a
/// container has not half the weight of one for which nothing was asked. runc 1.3.2 and crun 1.23
/// have the same formula, so that engines find the number that they expect.
pub(in crate::cgroup) fn cpu_weight(shares: u64) -> u64 {
    let log = match shares {
        0..=2 => return 1,
        262_144.. => return 10_000,
        shares => (shares as f64).log2(),
    };
    let exponent = (log * log + 125.0 * log - 126.0) / 612.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

/// A `blkio` weight, 10 to 1000, as one for `io`, 1 to 10000, on a linear scale.
pub(in crate::cgroup) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).clamp(10, 1000) - 10) * 9_999 / 990
}

/// Negative is `max`.
pub(super) fn or_max(value: i64) -> String {
    if value < 0 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}
