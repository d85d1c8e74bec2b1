//! Network devices that are moved into the container (`linux.netDevices`, specification 1.3).

use std::collections::HashMap;

use oci_spec::runtime::LinuxNetDevice;
use serde::Serialize;

use super::{Error, NamespaceKind, Namespaces, Problem};

/// `IFNAMSIZ`, with the NUL byte.
const NAME_SIZE: usize = 16;

/// A network device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetDevice {
    /// Its name on the host.
    pub host_name: String,
    /// Its name in the container; with `%d` in it, the kernel finds a number that is free.
    pub name: String,
}

pub(super) fn check(
    raw: Option<&HashMap<String, LinuxNetDevice>>,
    namespaces: &Namespaces,
) -> Result<Vec<NetDevice>, Error> {
    let mut devices = Vec::new();
    for (host_name, raw) in raw.into_iter().flatten() {
        let key = format!("linux.netDevices[{host_name}]");
        if !namespaces.private(NamespaceKind::Network) {
            let problem = Problem::NeedsNamespace(NamespaceKind::Network);
            return Err(Error::invalid(key, problem));
        }
        let name = raw.name().as_deref().filter(|name| !name.is_empty());
        let name = name.unwrap_or(host_name);
        if !is_name(host_name) || host_name.contains('%') {
            let problem = Problem::DeviceName(host_name.clone());
            return Err(Error::invalid(key, problem));
        }
        if !is_name(name) || !is_template_at_most(name) {
            let problem = Problem::DeviceName(name.to_owned());
            return Err(Error::invalid(format!("{key}.name"), problem));
        }
        devices.push(NetDevice {
            host_name: host_name.clone(),
            name: name.to_owned(),
        });
    }
    // A map has no order; the numbers that templates give should not depend on chance.
    devices.sort_by(|one, other| one.host_name.cmp(&other.host_name));
    let mut names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    names.sort_unstable();
    let mut pairs = names.windows(2);
    if let Some([name, _]) = pairs.find(|pair| pair[0] == pair[1] && !pair[0].contains('%')) {
        let problem = Problem::Twice((*name).to_owned());
        return Err(Error::invalid("linux.netDevices", problem));
    }
    Ok(devices)
}

/// What the kernel takes as a name (`dev_valid_name` in `net/core/dev.c`).
fn is_name(name: &str) -> bool {
    let forbidden = |byte: u8| matches!(byte, b'/' | b':' | 0) || byte.is_ascii_whitespace();
    let vertical_tab = name.contains('\x0b');
    (1..NAME_SIZE).contains(&name.len())
        && !matches!(name, "." | "..")
        && !vertical_tab
        && !name.bytes().any(forbidden)
}

/// No `%` but one `%d`, which is the only one that the kernel fills in.
fn is_template_at_most(name: &str) -> bool {
    match name.split_once('%') {
        None => true,
        Some((_, rest)) => rest.starts_with('d') && !rest.contains('%'),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn checked(devices: Value) -> Result<Vec<NetDevice>, Error> {
        let raw: HashMap<String, LinuxNetDevice> = serde_json::from_value(devices).unwrap();
        let kinds = json!({ "namespaces": [ { "type": "mount" }, { "type": "network" } ] });
        let linux = serde_json::from_value(kinds).unwrap();
        check(Some(&raw), &Namespaces::check(&linux).unwrap())
    }

    #[test]
    fn names_are_kept_unless_given() {
        let found = checked(json!({ "eth1": {}, "eth0": { "name": "net%d" } })).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|device| (device.host_name.as_str(), device.name.as_str()))
            .collect();
        assert_eq!(names, [("eth0", "net%d"), ("eth1", "eth1")]);
    }

    #[test]
    fn names_that_the_kernel_does_not_take() {
        for name in [
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "0123456789abcdef",
            "a%",
            "%d%d",
            "%s",
        ] {
            assert!(
                checked(json!({ "eth0": { "name": name } })).is_err(),
                "{name}"
            );
        }
        assert!(checked(json!({ "eth%d": {} })).is_err());
        assert!(checked(json!({ "a": { "name": "x" }, "b": { "name": "x" } })).is_err());
        checked(json!({ "a": { "name": "x%d" }, "b": { "name": "x%d" } })).unwrap();
    }

    #[test]
    fn the_hosts_network_keeps_its_devices() {
        let raw = HashMap::from([("eth0".to_owned(), LinuxNetDevice::default())]);
        check(Some(&raw), &Namespaces::default()).unwrap_err();
    }
}
