//! Signals by name and number (`signal(7)`, x86-64 and aarch64).

/// Names without `SIG`; the index is the number. 0 asks whether a process exists.
pub const NAMES: [&str; 32] = [
    "probe", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV",
    "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU",
    "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Highest number that a rule has a bit for.
pub const MAX: u32 = 63;

/// A signal by number, 0 to [`MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Signal(u32);

impl Signal {
    /// By name, with or without `SIG`, or by number in decimal.
    pub fn from_word(word: &str) -> Option<Self> {
        if let Ok(number) = word.parse() {
            return Self::from_number(number);
        }
        let bare = word.strip_prefix("SIG").unwrap_or(word);
        let at = NAMES.iter().position(|known| *known == bare)?;
        Self::from_number(u32::try_from(at).ok()?)
    }

    /// By number.
    pub fn from_number(number: u32) -> Option<Self> {
        (number <= MAX).then_some(Self(number))
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The name without `SIG`, or the number of a real-time signal.
    pub fn name(self) -> String {
        match NAMES.get(self.0 as usize) {
            Some(name) => (*name).to_owned(),
            None => self.0.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for (word, number) in [
            ("TERM", 15),
            ("SIGKILL", 9),
            ("probe", 0),
            ("34", 34),
            ("SYS", 31),
        ] {
            assert_eq!(
                Signal::from_word(word).map(Signal::number),
                Some(number),
                "{word}"
            );
        }
        for word in ["64", "-1", "term", "SIG", ""] {
            assert_eq!(Signal::from_word(word), None, "{word}");
        }
    }
}
