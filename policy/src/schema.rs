//! The JSON schema of the language, for editors: made from the model, so that it knows every key
//! and word.

use schemars::generate::SchemaSettings;

use crate::model::Policy;

/// The schema (JSON Schema 2020-12) of a policy.
pub fn schema() -> serde_json::Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Policy>();
    schema.insert("title".to_owned(), "Reeve policy".into());
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;

    fn keys_of(value: &serde_json::Value) -> Vec<String> {
        let object = value.get("properties").and_then(|found| found.as_object());
        let mut keys: Vec<String> = object.expect("properties").keys().cloned().collect();
        keys.sort();
        keys
    }

    fn sorted(keys: &[&str]) -> Vec<String> {
        let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        keys.sort();
        keys
    }

    #[test]
    fn the_schema_has_the_keys_that_the_reader_knows() {
        let schema = schema();
        assert_eq!(keys_of(&schema), sorted(model::KEYS));
        let sections = model::SECTIONS.map(|(name, _)| name);
        for (name, keys) in [
            ("FileGrant", model::files::KEYS),
            ("DeviceGrant", model::devices::KEYS),
            ("MountGrant", model::mounts::KEYS),
            ("Processes", model::processes::KEYS),
            ("SignalGrant", model::processes::SIGNAL_KEYS),
            ("PtraceGrant", model::processes::PTRACE_KEYS),
            ("SetnsGrant", model::reaching::SETNS_KEYS),
            ("LimitsGrant", model::reaching::LIMITS_KEYS),
            ("Kernel", model::kernel::KEYS),
            ("SocketGrant", model::sockets::KEYS),
            ("SocketAddresses", model::sockets::PLACE_KEYS),
            ("VsockAddresses", model::sockets::VSOCK_KEYS),
            ("Sysctl", model::sysctl::KEYS),
            ("Ipc", model::ipc::KEYS),
            ("Modes", sections.as_slice()),
        ] {
            let found = schema.pointer(&format!("/$defs/{name}"));
            let found = found.unwrap_or_else(|| panic!("{name} in {schema:#}"));
            assert_eq!(keys_of(found), sorted(keys), "{name}");
            assert_eq!(
                found.get("additionalProperties"),
                Some(&false.into()),
                "{name}"
            );
        }
    }

    #[test]
    fn a_policy_needs_a_version_and_a_name_only() {
        let schema = schema();
        let required = schema.get("required");
        assert_eq!(required, Some(&serde_json::json!(["reeve", "name"])));
    }
}
