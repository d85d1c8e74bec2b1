//! Which Linux security modules with labels are in force on this host.

use std::fs;
use std::path::Path;

/// The modules that a configuration can give labels of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lsms {
    /// AppArmor.
    pub apparmor: bool,
    /// SELinux.
    pub selinux: bool,
}

impl Lsms {
    /// Those of the running kernel: from its own list, or where securityfs is not mounted from what
    /// each module shows elsewhere.
    pub fn detect() -> Self {
        match fs::read_to_string("/sys/kernel/security/lsm") {
            Ok(list) => Self::parse(&list),
            Err(_) => Self {
                apparmor: fs::read_to_string("/sys/module/apparmor/parameters/enabled")
                    .is_ok_and(|text| text.starts_with('Y')),
                // The file system is registered only when the module is in force.
                selinux: Path::new("/sys/fs/selinux").is_dir()
                    && fs::read_to_string("/proc/filesystems")
                        .is_ok_and(|text| text.contains("\tselinuxfs\n")),
            },
        }
    }

    /// Reads the list of `/sys/kernel/security/lsm`.
    fn parse(list: &str) -> Self {
        let has = |name| list.trim_end().split(',').any(|module| module == name);
        Self {
            apparmor: has("apparmor"),
            selinux: has("selinux"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_by_whole_names() {
        let found = Lsms::parse("lockdown,capability,landlock,yama,apparmor,bpf\n");
        assert_eq!((found.apparmor, found.selinux), (true, false));
        let found = Lsms::parse("capability,selinux");
        assert_eq!((found.apparmor, found.selinux), (false, true));
        assert_eq!(Lsms::parse("capability,noselinux"), Lsms::default());
    }
}
