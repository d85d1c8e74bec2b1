//! The pinned maps, opened.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ebpf_common::PolicyId;
use ebpf_common::abi::{GlobalState, Subject, SuperKey};

use crate::sys::{self, Plain};
use crate::{Error, load};

/// Every pinned map by name.
pub(crate) struct Maps {
    opened: Vec<(&'static str, OwnedFd)>,
}

impl Maps {
    /// Opens the maps below a pin directory.
    ///
    /// # Errors
    /// [`Error::Incomplete`] names the first that is missing.
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let open = |name: &'static str| {
            let path = directory.join("maps").join(name);
            match sys::object_get(&path) {
                Ok(fd) => Ok((name, fd)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    Err(Error::Incomplete {
                        path: directory.into(),
                        missing: name.to_owned(),
                    })
                }
                Err(error) => Err(Error::system(format!("bpf(BPF_OBJ_GET, {path:?})"), error)),
            }
        };
        let opened = load::MAPS.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { opened })
    }

    fn fd(&self, name: &str) -> BorrowedFd<'_> {
        let found = self.opened.iter().find(|(known, _)| *known == name);
        found
            .unwrap_or_else(|| unreachable!("{name} is not one of MAPS"))
            .1
            .as_fd()
    }

    /// Sets an element.
    pub(crate) fn set<K: Plain, V: Plain>(
        &self,
        name: &str,
        key: &K,
        value: &V,
    ) -> Result<(), Error> {
        sys::update(self.fd(name), key, value)
            .map_err(|error| Error::system(format!("bpf(BPF_MAP_UPDATE_ELEM, {name})"), error))
    }

    /// Reads an element.
    pub(crate) fn get<K: Plain, V: Plain>(&self, name: &str, key: &K) -> Result<Option<V>, Error> {
        sys::lookup(self.fd(name), key)
            .map_err(|error| Error::system(format!("bpf(BPF_MAP_LOOKUP_ELEM, {name})"), error))
    }

    /// Every key of a hash map.
    pub(crate) fn keys<K: Plain>(&self, name: &str) -> Result<Vec<K>, Error> {
        sys::keys(self.fd(name))
            .map_err(|error| Error::system(format!("bpf(BPF_MAP_GET_NEXT_KEY, {name})"), error))
    }

    /// Removes the elements whose key `of_policy` picks.
    pub(crate) fn remove_where<K: Plain>(
        &self,
        name: &str,
        of_policy: impl Fn(&K) -> bool,
    ) -> Result<(), Error> {
        for key in self.keys::<K>(name)?.iter().filter(|key| of_policy(key)) {
            sys::delete(self.fd(name), key).map_err(|error| {
                Error::system(format!("bpf(BPF_MAP_DELETE_ELEM, {name})"), error)
            })?;
        }
        Ok(())
    }

    /// Labels the thread-group leader behind a pidfd.
    pub(crate) fn label(&self, pidfd: BorrowedFd<'_>, subject: Subject) -> Result<(), Error> {
        use std::os::fd::AsRawFd;
        self.set("SUBJECTS", &pidfd.as_raw_fd(), &subject)
    }

    /// The label of the thread-group leader behind a pidfd.
    pub(crate) fn label_of(&self, pidfd: BorrowedFd<'_>) -> Result<Option<Subject>, Error> {
        use std::os::fd::AsRawFd;
        self.get("SUBJECTS", &pidfd.as_raw_fd())
    }

    /// The one [`GlobalState`].
    pub(crate) fn state(&self) -> Result<GlobalState, Error> {
        Ok(self.get("STATE", &0u32)?.unwrap_or_default())
    }

    /// Replaces it; only under the lock.
    pub(crate) fn set_state(&self, state: GlobalState) -> Result<(), Error> {
        self.set("STATE", &0u32, &state)
    }

    /// Removes everything that belongs to a policy. The header goes first: without it every
    /// decision is a refusal.
    pub(crate) fn remove_policy(&self, policy: PolicyId) -> Result<(), Error> {
        use ebpf_common::abi::{CapabilityKey, DeviceKey, InodeKey, MountKey};
        self.remove_where::<PolicyId>("POLICIES", |key| *key == policy)?;
        for name in ["FILES", "PROCESSES", "MODULES"] {
            self.remove_where::<InodeKey>(name, |key| key.policy == policy)?;
        }
        self.remove_where::<DeviceKey>("DEVICES", |key| key.policy == policy)?;
        self.remove_where::<MountKey>("MOUNTS", |key| key.policy == policy)?;
        self.remove_where::<CapabilityKey>("CAPABILITIES", |key| key.policy == policy)?;
        self.remove_where::<SuperKey>("SUPERS", |key| key.policy == policy)?;
        for address in self.keys::<u64>("SUPER_OWNERS")? {
            let owner: Option<SuperKey> = self.get("SUPER_OWNERS", &address)?;
            if owner.is_some_and(|key| key.policy == policy) {
                self.remove_where::<u64>("SUPER_OWNERS", |key| *key == address)?;
            }
        }
        for group in self.keys::<u64>("CGROUPS")? {
            if self.get("CGROUPS", &group)? == Some(policy) {
                self.remove_where::<u64>("CGROUPS", |key| *key == group)?;
            }
        }
        Ok(())
    }
}
