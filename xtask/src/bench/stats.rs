//! From samples to a few numbers.

use serde::Serialize;

/// What is told of a series of times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Number of samples.
    pub(crate) count: usize,
    /// The shortest.
    pub(crate) min_ms: f64,
    /// A quarter is shorter.
    pub(crate) q1_ms: f64,
    /// Half is shorter.
    pub(crate) median_ms: f64,
    /// A quarter is longer.
    pub(crate) q3_ms: f64,
    /// The longest.
    pub(crate) max_ms: f64,
}

/// The summary of times in microseconds; none of no samples.
pub(crate) fn summary(samples_us: &[u64]) -> Option<Summary> {
    let mut sorted = samples_us.to_vec();
    sorted.sort_unstable();
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    Some(Summary {
        count: sorted.len(),
        min_ms: ms(first as f64),
        q1_ms: ms(quantile(&sorted, 0.25)),
        median_ms: ms(quantile(&sorted, 0.5)),
        q3_ms: ms(quantile(&sorted, 0.75)),
        max_ms: ms(last as f64),
    })
}

/// The mean of times in microseconds, in milliseconds; none of no samples.
pub(crate) fn mean_ms(samples_us: &[u64]) -> Option<f64> {
    let sum: u64 = samples_us.iter().sum();
    (!samples_us.is_empty()).then(|| ms(sum as f64 / samples_us.len() as f64))
}

/// The value below which `part` of the sorted samples lie, between the two nearest of them.
fn quantile(sorted: &[u64], part: f64) -> f64 {
    let at = part * (sorted.len() - 1) as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    let (low, high) = (sorted[below] as f64, sorted[above] as f64);
    low + (high - low) * at.fract()
}

fn ms(us: f64) -> f64 {
    us / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_does_not_depend_on_the_order_of_the_samples() {
        let expected = Summary {
            count: 5,
            min_ms: 1.0,
            q1_ms: 2.0,
            median_ms: 3.0,
            q3_ms: 4.0,
            max_ms: 9.0,
        };
        assert_eq!(summary(&[3000, 9000, 1000, 4000, 2000]), Some(expected));
    }

    #[test]
    fn quartiles_lie_between_samples_where_they_must() {
        let found = summary(&[1000, 2000, 3000, 4000]).expect("there are samples");
        assert_eq!(
            (found.q1_ms, found.median_ms, found.q3_ms),
            (1.75, 2.5, 3.25)
        );
        let one = summary(&[7000]).expect("there is a sample");
        assert_eq!((one.q1_ms, one.median_ms, one.q3_ms), (7.0, 7.0, 7.0));
    }

    #[test]
    fn nothing_comes_of_no_samples() {
        assert_eq!(summary(&[]), None);
        assert_eq!(mean_ms(&[]), None);
        assert_eq!(mean_ms(&[1000, 2000]), Some(1.5));
    }
}
