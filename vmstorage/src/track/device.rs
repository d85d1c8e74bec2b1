//! What tells a block device from another one, as the kernel shows it under `/sys`.

use std::fs;
use std::path::Path;

/// Where devices tell who they are, the surest first: mapped devices, arrays and loop devices, then
/// what disks say of themselves (SCSI, NVMe, virtio).
const NAMES: [&str; 8] = [
    "dm/uuid",
    "md/uuid",
    "loop/backing_file",
    "wwid",
    "device/wwid",
    "serial",
    "device/serial",
    "device/cid",
];

/// What stays the same of the device with this number (`st_rdev`) for as long as it is that one; a
/// device that says nothing of itself is told by its number among those of this boot
/// (`diskseq`, Linux 5.15). Nothing if that cannot be had either.
pub(super) fn identity(number: u64) -> Option<Vec<u8>> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let device = format!("/sys/dev/block/{major}:{minor}");
    identity_in(
        Path::new(&device),
        Path::new("/proc/sys/kernel/random/boot_id"),
    )
}

fn identity_in(device: &Path, boot_id: &Path) -> Option<Vec<u8>> {
    let read = |path: &Path| {
        let text = fs::read(path).ok()?;
        let text = text.trim_ascii();
        (!text.is_empty()).then(|| text.to_vec())
    };
    let partition = read(&device.join("partition"));
    let disk = match partition {
        Some(_) => device.join(".."),
        None => device.to_owned(),
    };
    let said = NAMES
        .iter()
        .find_map(|name| Some((*name, read(&disk.join(name))?)));
    let (name, value) = match said {
        Some(said) => said,
        None => {
            let boot = read(boot_id)?;
            ("diskseq", [boot, read(&disk.join("diskseq"))?].join(&b' '))
        }
    };
    let start = read(&device.join("start")).unwrap_or_default();
    let part = partition.unwrap_or_default();
    Some([name.as_bytes(), &value, &part, &start].join(&0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_by_what_it_says_of_itself_or_by_its_number_of_this_boot() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), text).unwrap();
        };
        let ask = |name: &str| identity_in(&at(name), &at("boot"));
        write("vda/size", "1000\n");
        assert_eq!(ask("vda"), None);
        write("boot", "one\n");
        write("vda/diskseq", "3\n");
        write("vda/serial", "\n");
        let first = ask("vda").unwrap();
        write("vda/diskseq", "4\n");
        let later = ask("vda").unwrap();
        assert_ne!(first, later);
        write("boot", "two\n");
        assert_ne!(ask("vda").unwrap(), later);
        write("vda/serial", "root-1\n");
        let named = ask("vda").unwrap();
        write("vda/diskseq", "9\n");
        assert_eq!(ask("vda").unwrap(), named);
        write("vda/vda1/partition", "1\n");
        write("vda/vda1/start", "2048\n");
        let part = ask("vda/vda1").unwrap();
        assert_ne!(part, named);
        write("vda/vda1/start", "4096\n");
        assert_ne!(ask("vda/vda1").unwrap(), part);
    }
}
