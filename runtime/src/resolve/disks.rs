//! Which block devices the host's file systems are on, for warnings.

use std::fs;
use std::path::Path;

use policy::Disk;

use crate::mountinfo::Mount;

/// The devices below mounted file systems: partitions, and the disks that they are parts of.
pub(super) fn below_mounts(mounts: &[Mount]) -> Vec<Disk> {
    let mut found: Vec<Disk> = Vec::new();
    for mount in mounts {
        // Major 0: not on a device.
        if mount.device.0 == 0 {
            continue;
        }
        let whole = whole_disk(mount.device);
        for (major, minor) in [Some(mount.device), whole].into_iter().flatten() {
            if !found
                .iter()
                .any(|disk| (disk.major, disk.minor) == (major, minor))
            {
                let mounted_at = mount.point.to_string_lossy().into_owned();
                found.push(Disk {
                    major,
                    minor,
                    mounted_at,
                });
            }
        }
    }
    found
}

/// The disk that a partition is part of.
fn whole_disk((major, minor): (u32, u32)) -> Option<(u32, u32)> {
    let device = format!("/sys/dev/block/{major}:{minor}");
    if !Path::new(&device).join("partition").exists() {
        return None;
    }
    let text = fs::read_to_string(format!("{device}/../dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
