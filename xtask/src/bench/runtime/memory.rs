//! The smallest memory limit under which a program runs.

use anyhow::Result;

use super::bundle::TRUE;
use super::results::Measured;
use super::settings::Contestant;
use super::stand::Stand;
use crate::bench::progress::Progress;

/// In KiB, from the largest.
const LIMITS_KIB: [u64; 7] = [4096, 3072, 2048, 1536, 1024, 512, 256];

/// Each has to succeed.
const TRIES: usize = 4;

/// Seconds; a container that meets its limit may stall.
const LIMIT_SECONDS: u64 = 10;

/// Lowers the limit of each runtime's container until it fails.
pub(crate) fn measure(stand: &Stand<'_>, measured: &mut Measured) -> Result<()> {
    for one in stand.settings.runtimes() {
        let title = format!("memory limits, {}", one.name);
        let progress = Progress::new(title, LIMITS_KIB.len() as u64);
        let mut smallest = None;
        for limit in LIMITS_KIB.map(|kib| kib * 1024) {
            if !runs_under(stand, one, limit)? {
                break;
            }
            smallest = Some(limit);
            progress.step();
        }
        measured.memory.insert(one.name.clone(), smallest);
    }
    Ok(())
}

fn runs_under(stand: &Stand<'_>, one: &Contestant, limit: u64) -> Result<bool> {
    let id = format!("{}-limited", one.name);
    stand.bundle(&id, &[TRUE], Some(limit))?;
    for _ in 0..TRIES {
        if stand.run(one, &id, LIMIT_SECONDS)?.failure().is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}
