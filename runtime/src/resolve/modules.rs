//! Kernel modules by name, from the lists that `depmod` writes (`modules.dep(5)`).

/// The file of a module and of everything that it depends on, relative to the modules' directory.
pub(super) fn files<'a>(dependencies: &'a str, name: &str) -> Option<Vec<&'a str>> {
    dependencies.lines().find_map(|line| {
        let (file, needs) = line.split_once(':')?;
        let found = is_named(file.trim(), name);
        found.then(|| {
            std::iter::once(file.trim())
                .chain(needs.split_whitespace())
                .collect()
        })
    })
}

/// Whether a list of files, one a line, has the module.
pub(super) fn is_listed(list: &str, name: &str) -> bool {
    list.lines().any(|file| is_named(file.trim(), name))
}

/// Whether a file such as `kernel/drivers/block/nbd.ko.xz` is the module; `-` and `_` are one in
/// module names.
fn is_named(file: &str, name: &str) -> bool {
    let last = file.rsplit_once('/').map_or(file, |(_, last)| last);
    let Some((stem, compression)) = last.split_once(".ko") else {
        return false;
    };
    let known = matches!(compression, "" | ".gz" | ".xz" | ".zst");
    known && stem.replace('-', "_") == name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "kernel/drivers/block/nbd.ko.xz:\n\
        kernel/drivers/md/dm-era.ko: kernel/drivers/md/persistent-data/dm-persistent-data.ko \
        kernel/drivers/md/dm-mod.ko\nkernel/x/not-a-module:\n";

    #[test]
    fn a_module_comes_with_what_it_depends_on() {
        assert_eq!(
            files(LIST, "nbd"),
            Some(vec!["kernel/drivers/block/nbd.ko.xz"])
        );
        let era = files(LIST, "dm_era").expect("listed");
        assert_eq!(era.len(), 3);
        assert_eq!(era.first(), Some(&"kernel/drivers/md/dm-era.ko"));
        assert_eq!(files(LIST, "dm"), None);
        assert_eq!(files(LIST, "not_a_module"), None);
    }

    #[test]
    fn built_in_modules_are_listed_by_file() {
        assert!(is_listed("kernel/fs/ext4/ext4.ko\n", "ext4"));
        assert!(!is_listed("kernel/fs/ext4/ext4.ko\n", "ext"));
    }
}
