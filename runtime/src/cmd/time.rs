//! Points in time as RFC 3339 writes them, in UTC.

const MS_PER_SECOND: u64 = 1000;
const SECONDS_PER_DAY: u64 = 86_400;

/// To the second, as log lines have it; `ms` is milliseconds since 1970.
pub(super) fn seconds(ms: u64) -> String {
    format!("{}Z", up_to_seconds(ms))
}

/// With a fraction of a second that has no trailing zeros, and none if it is zero: what other
/// runtimes print as the time of a container's creation.
pub(super) fn fraction(ms: u64) -> String {
    let rest = ms % MS_PER_SECOND;
    if rest == 0 {
        return seconds(ms);
    }
    let digits = format!("{rest:03}");
    format!("{}.{}Z", up_to_seconds(ms), digits.trim_end_matches('0'))
}

fn up_to_seconds(ms: u64) -> String {
    let total = ms / MS_PER_SECOND;
    let (year, month, day) = date(total / SECONDS_PER_DAY);
    let second = total % SECONDS_PER_DAY;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a day counted from 1 January 1970 in the Gregorian calendar.
///
/// Years are counted from March, so that the day that leap years have more is a year's last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    /// From 1 March of the year 0 to 1 January 1970.
    const BEFORE_1970: u64 = 719_468;
    let days = days + BEFORE_1970;
    let cycle = days / DAYS_IN_400_YEARS;
    let day = days % DAYS_IN_400_YEARS;
    // Without the leap days before it, a day's year is a division by 365.
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // Five months from March on have 153 days, and so have the next five.
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let year = cycle * 400 + year;
    if month < 10 {
        (year, month + 3, day_of_month)
    } else {
        (year + 1, month - 9, day_of_month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_at_the_edges_of_leap_years() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (10_956, (1999, 12, 31)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (19_782, (2024, 2, 29)),
            (20_779, (2026, 11, 22)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..150_000 {
            assert_eq!(date(days), (year, month, day), "{days}");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = lengths[month as usize - 1] + u64::from(month == 2 && leap);
            day += 1;
            if day > last {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn fractions_have_no_trailing_zeros() {
        assert_eq!(fraction(1_795_356_073_000), "2026-11-22T14:01:13Z");
        assert_eq!(fraction(1_795_356_073_120), "2026-11-22T14:01:13.12Z");
        assert_eq!(fraction(1_795_356_073_005), "2026-11-22T14:01:13.005Z");
        assert_eq!(seconds(1_795_356_073_999), "2026-11-22T14:01:13Z");
    }
}
