//! The pinned maps, opened.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ebpf_common::abi::{GlobalState, Subject};

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
        let opened = load::MAPS
            .iter()
            .copied()
            .map(open)
            .collect::<Result<_, _>>()?;
        Ok(Self { opened })
    }

    /// Every map with its name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &OwnedFd)> {
        self.opened.iter().map(|(name, map)| (*name, map))
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

    /// Whether a hash map has an element.
    pub(crate) fn has_any<K: Plain>(&self, name: &str) -> Result<bool, Error> {
        Ok(self.next_key::<K>(name, None)?.is_some())
    }

    /// The key of a hash map that follows `after`, or its first.
    pub(crate) fn next_key<K: Plain>(
        &self,
        name: &str,
        after: Option<&K>,
    ) -> Result<Option<K>, Error> {
        sys::next_key(self.fd(name), after)
            .map_err(|error| Error::system(format!("bpf(BPF_MAP_GET_NEXT_KEY, {name})"), error))
    }

    /// Removes an element; one that is not there is as good.
    pub(crate) fn delete<K: Plain>(&self, name: &str, key: &K) -> Result<(), Error> {
        match sys::delete(self.fd(name), key) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::system(
                format!("bpf(BPF_MAP_DELETE_ELEM, {name})"),
                error,
            )),
            _ => Ok(()),
        }
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

    /// Takes the label of the thread-group leader behind a pidfd away.
    pub(crate) fn unlabel(&self, pidfd: BorrowedFd<'_>) -> Result<(), Error> {
        use std::os::fd::AsRawFd;
        self.delete("SUBJECTS", &pidfd.as_raw_fd())
    }

    /// The one [`GlobalState`].
    pub(crate) fn state(&self) -> Result<GlobalState, Error> {
        Ok(self.get("STATE", &0u32)?.unwrap_or_default())
    }

    /// Replaces it; only under the lock.
    pub(crate) fn set_state(&self, state: GlobalState) -> Result<(), Error> {
        self.set("STATE", &0u32, &state)
    }
}
