//! How long the threads of a process were ready to run and no processor was free: what a promise
//! about time cannot hold the process to. What a thread waits for otherwise (a disk, a lock, another
//! thread) is not in it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The time that each thread of a process has waited, by its id, with its name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits(BTreeMap<u32, (String, Duration)>);

impl Waits {
    /// Those of a process so far (proc(5): the second number of `schedstat`); none once it has ended.
    pub(crate) fn of(process: u32) -> Self {
        let mut waits = BTreeMap::new();
        let threads = std::fs::read_dir(format!("/proc/{process}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let read = |file| std::fs::read_to_string(thread.path().join(file)).ok();
            let id = thread.file_name().to_str().and_then(|id| id.parse().ok());
            let (Some(id), Some(name), Some(times)) = (id, read("comm"), read("schedstat")) else {
                continue;
            };
            let waited = times.split(' ').nth(1).and_then(|nanos| nanos.parse().ok());
            if let Some(waited) = waited {
                let waited = Duration::from_nanos(waited);
                waits.insert(id, (name.trim_end().to_owned(), waited));
            }
        }
        Self(waits)
    }

    /// How long `one` of its threads has waited since `before`, and the one of the others that has
    /// waited longest: what is done by the one after the other can have lost so much.
    pub(crate) fn since(&self, before: &Self, one: impl Fn(u32, &str) -> bool) -> Duration {
        let [mut ones, mut others] = [Duration::ZERO; 2];
        for (id, (name, waited)) in &self.0 {
            let earlier = before.0.get(id).map(|(_, earlier)| *earlier);
            let waited = waited.saturating_sub(earlier.unwrap_or_default());
            let longest = match one(*id, name) {
                true => &mut ones,
                false => &mut others,
            };
            *longest = waited.max(*longest);
        }
        ones + others
    }
}

/// What the threads of a process had waited at some moments, in their order.
#[derive(Debug, Default)]
pub(crate) struct Watch(Vec<(Instant, Waits)>);

impl Watch {
    /// Looks again.
    pub(crate) fn look(&mut self, process: u32) {
        let at = Instant::now();
        self.0.push((at, Waits::of(process)));
    }

    /// What they had waited at a moment, or a little before; by the first look, where that came
    /// later.
    pub(crate) fn at(&self, moment: Instant) -> Waits {
        let behind = self.0.partition_point(|(at, _)| *at <= moment);
        let last = self.0.get(behind.saturating_sub(1));
        last.map(|(_, waits)| waits.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(threads: [(u32, &str, u64); 3]) -> Waits {
        let threads = threads.into_iter();
        Waits(
            threads
                .map(|(id, name, millis)| (id, (name.into(), Duration::from_millis(millis))))
                .collect(),
        )
    }

    #[test]
    fn the_one_and_the_longest_of_the_others_count() {
        let before = waits([(1, "main", 5), (2, "records", 10), (3, "worker", 100)]);
        let now = waits([(1, "main", 6), (2, "records", 40), (3, "worker", 107)]);
        let is_records = |_: u32, name: &str| name == "records";
        assert_eq!(now.since(&before, is_records), Duration::from_millis(37));
        assert_eq!(now.since(&now, is_records), Duration::ZERO);
    }

    #[test]
    fn a_process_has_threads_and_a_watch_tells_what_was() {
        let own = std::process::id();
        assert!(!Waits::of(own).0.is_empty());
        let begun = Instant::now();
        let mut watch = Watch::default();
        watch.look(own);
        // What came before the first look is told by it.
        assert!(!watch.at(begun).0.is_empty());
        assert!(!watch.at(Instant::now()).0.is_empty());
    }
}
