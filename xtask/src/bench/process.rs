//! What processes cost, read from Linux's `/proc` (proc(5)).

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};

/// CPU time of each thread of some processes, in nanoseconds, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuTime(BTreeMap<u32, u64>);

impl CpuTime {
    /// Reads the clock of every thread: `schedstat`, which counts nanoseconds on a core.
    ///
    /// # Errors
    /// There is no such process.
    pub(crate) fn now(processes: &[u32]) -> Result<Self> {
        let mut threads = BTreeMap::new();
        for process in processes {
            for thread in numbers_in(&format!("/proc/{process}/task"))? {
                // A thread may end while we read; what it used since the last look is lost.
                let path = format!("/proc/{process}/task/{thread}/schedstat");
                let Ok(text) = fs::read_to_string(path) else {
                    continue;
                };
                let nanos = text
                    .split_ascii_whitespace()
                    .next()
                    .context("an empty schedstat")?;
                threads.insert(thread, nanos.parse()?);
            }
        }
        Ok(Self(threads))
    }

    /// What was used since `earlier`, in nanoseconds.
    pub(crate) fn since(&self, earlier: &Self) -> u64 {
        let used = self.0.iter().map(|(thread, nanos)| {
            nanos.saturating_sub(earlier.0.get(thread).copied().unwrap_or_default())
        });
        used.sum()
    }
}

/// Resident memory of processes, in KiB; pages that they share are counted for each.
///
/// # Errors
/// There is no such process.
pub(crate) fn resident_kib(processes: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for process in processes {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
            .with_context(|| format!("process {process} has ended:\n{status}"))?;
        sum += kib.trim().parse::<u64>()?;
    }
    Ok(sum)
}

/// A process and those of its children that work for requests: nginx's cache loader ends after a
/// minute, and neither it nor the cache manager is part of what is compared.
///
/// # Errors
/// `/proc` cannot be read.
pub(crate) fn family(parent: u32) -> Result<Vec<u32>> {
    let mut family = vec![parent];
    for process in numbers_in("/proc")? {
        let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else {
            continue;
        };
        // The second field is the name in parentheses, which may hold anything.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let is_child = after_name.split_ascii_whitespace().nth(1) == Some(&*parent.to_string());
        if is_child && !title(process).starts_with("nginx: cache") {
            family.push(process);
        }
    }
    Ok(family)
}

/// The command line of a process, as it may have rewritten it.
fn title(process: u32) -> String {
    fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default()
}

fn numbers_in(folder: &str) -> Result<Vec<u32>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {folder}"))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}
