//! From text to the types of `oci-spec`, with words that those types spell otherwise than the
//! specification.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Flags of `process.scheduler` as the specification has them, and as `oci-spec` 0.10 does.
const SCHEDULER_FLAGS: [(&str, &str); 2] = [
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
];

/// Parses a configuration, or with `process` as an empty pointer a process alone. `process` is the
/// JSON pointer to the process.
pub(crate) fn parse<T: DeserializeOwned>(
    text: &[u8],
    process: &str,
) -> Result<T, serde_json::Error> {
    let error = match serde_json::from_slice(text) {
        Ok(parsed) => return Ok(parsed),
        Err(error) => error,
    };
    let Ok(mut value) = serde_json::from_slice::<Value>(text) else {
        return Err(error);
    };
    let flags = value.pointer_mut(&format!("{process}/scheduler/flags"));
    let mut replaced = false;
    for flag in flags.and_then(Value::as_array_mut).into_iter().flatten() {
        let known = SCHEDULER_FLAGS
            .iter()
            .find(|(specified, _)| flag == *specified);
        if let Some((_, spelled)) = known {
            *flag = Value::from(*spelled);
            replaced = true;
        }
    }
    // Only the error of the text has a line and a column.
    match serde_json::from_value(value) {
        Ok(parsed) if replaced => Ok(parsed),
        _ => Err(error),
    }
}

/// Whether `linux.intelRdt` asks for monitoring by a key of before version 1.3, of which `oci-spec`
/// 0.10 expects other letters.
pub(crate) fn monitors(text: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(text) else {
        return false;
    };
    ["enableCMT", "enableMBM"].iter().any(|key| {
        let asked = value.pointer(&format!("/linux/intelRdt/{key}"));
        asked.and_then(Value::as_bool) == Some(true)
    })
}

/// Most lists and objects that may lie in each other. The parser stops at this depth where it
/// builds something, and passes over unknown keys at any.
pub(crate) const DEPTH_MAX: usize = 128;

/// The line, counted from 1, on which a text gets deeper than [`DEPTH_MAX`], if it does.
pub(crate) fn too_deep(text: &[u8]) -> Option<usize> {
    let (mut depth, mut line, mut in_string) = (0usize, 1, false);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\n' => line += 1,
            b'"' => in_string = !in_string,
            b'\\' if in_string => drop(bytes.next()),
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Some(line);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxSchedulerFlag, Process};

    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(too_deep(nested(DEPTH_MAX).as_bytes()), None);
        let text = format!("{{\n \"a\": {}}}", nested(DEPTH_MAX));
        assert_eq!(too_deep(text.as_bytes()), Some(2));
        let text = format!(r#"["\\\"{}"]"#, "[".repeat(1000));
        assert_eq!(too_deep(text.as_bytes()), None);
    }

    #[test]
    fn older_keys_for_monitoring_are_read() {
        for (key, wanted) in [("enableCMT", true), ("enableMBM", true), ("enableX", false)] {
            let text = format!(r#"{{ "linux": {{ "intelRdt": {{ "{key}": true }} }} }}"#);
            assert_eq!(monitors(text.as_bytes()), wanted, "{key}");
        }
    }

    #[test]
    fn every_scheduler_flag_of_the_specification_is_read() {
        let process = |flag: &str| {
            let text = serde_json::json!({
                "cwd": "/", "args": ["x"], "user": { "uid": 0, "gid": 0 },
                "scheduler": { "policy": "SCHED_OTHER", "flags": [flag] }
            });
            parse::<Process>(text.to_string().as_bytes(), "")
        };
        use LinuxSchedulerFlag as Flag;
        for (word, flag) in [
            ("SCHED_FLAG_RESET_ON_FORK", Flag::SchedResetOnFork),
            ("SCHED_FLAG_RECLAIM", Flag::SchedFlagReclaim),
            ("SCHED_FLAG_DL_OVERRUN", Flag::SchedFlagDLOverrun),
            ("SCHED_FLAG_KEEP_POLICY", Flag::SchedFlagKeepPolicy),
            ("SCHED_FLAG_KEEP_PARAMS", Flag::SchedFlagKeepParams),
            ("SCHED_FLAG_UTIL_CLAMP_MIN", Flag::SchedFlagUtilClampMin),
            ("SCHED_FLAG_UTIL_CLAMP_MAX", Flag::SchedFlagUtilClampMax),
        ] {
            let process = process(word).unwrap();
            let scheduler = process.scheduler().as_ref().unwrap();
            assert_eq!(scheduler.flags().as_deref(), Some(&[flag][..]), "{word}");
        }
        let error = process("SCHED_FLAG_NONE").unwrap_err();
        assert!(error.line() > 0, "{error}");
    }
}
