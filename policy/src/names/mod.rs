//! The words of the kernel's interface by name and number, and the nearest known word to a misspelt
//! one.

pub mod bpf;
pub mod capability;
pub mod kernel;
pub mod mount;
pub mod process;
pub mod signal;
pub mod socket;
pub mod syscall;

/// The known word that `word` was most likely meant to be.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance is quadratic in length; no word of the language is long.
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    let bound = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| {
            let distance = strsim::osa_distance(&lower, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The help line for a misspelt word.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    closest(word, known).map(|found| format!("did you mean `{found}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["read", "write", "rename", "create"];
        assert_eq!(closest("raed", known), Some("read"));
        assert_eq!(closest("WRITE", known), Some("write"));
        assert_eq!(closest("renam", known), Some("rename"));
        assert_eq!(closest("mknod", known), None);
        assert_eq!(closest("", known), None);
        assert_eq!(closest(&"read".repeat(1000), known), None);
    }
}
