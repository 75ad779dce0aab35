//! Usage: what the run cost, from procfs and wait4(2).
//!
//! For: figures that no cgroup counter gives, each with its source.
//! Not for: cgroup counters (see `cgroup`) or verdicts.
//! Runs in: the supervisor.

use std::collections::BTreeMap;

use procfs::process::Process;

/// Bytes moved by the whole tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) read: u64,
    pub(super) write: u64,
    pub(super) storage_read: u64,
    pub(super) storage_write: u64,
}

/// /proc/PID/io of the ended, not yet reaped init: the kernel adds to it what every process that was
/// waited for had, so at the end it stands for the tree.
pub(super) fn moved(init: i32) -> Option<Moved> {
    let io = Process::new(init).ok()?.io().ok()?;
    Some(Moved { read: io.rchar, write: io.wchar, storage_read: io.read_bytes, storage_write: io.write_bytes })
}

/// Peaks and sums seen by looking now and then; what came and went between two looks is missed.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// Most tasks at one moment, init included.
    pub(super) tasks_peak: u64,
    /// Most resident memory at one moment, bytes; shared pages count once for each process.
    pub(super) memory_peak: u64,
    /// Largest sum of CPU time seen, microseconds.
    pub(super) cpu_us: u64,
}

impl Samples {
    /// Looks at init and its descendants. Nothing can leave the tree: orphans become init's children.
    pub(super) fn take(&mut self, init: i32) {
        const MOST: usize = 4096;
        let (ticks, page) = (procfs::ticks_per_second(), procfs::page_size());
        let (mut tasks, mut memory, mut cpu_ticks) = (0_u64, 0_u64, 0_u64);
        let mut seen: BTreeMap<i32, ()> = BTreeMap::new();
        let mut todo = vec![init];
        while let Some(pid) = todo.pop() {
            if seen.len() >= MOST || seen.insert(pid, ()).is_some() {
                continue;
            }
            // A process may be gone between two lines.
            let Ok(process) = Process::new(pid) else { continue };
            let Ok(stat) = process.stat() else { continue };
            tasks += u64::try_from(stat.num_threads).unwrap_or(0);
            memory += stat.rss.saturating_mul(page);
            let waited = u64::try_from(stat.cutime.saturating_add(stat.cstime)).unwrap_or(0);
            cpu_ticks += stat.utime + stat.stime + waited;
            let Ok(threads) = process.tasks() else { continue };
            for thread in threads.flatten() {
                todo.extend(
                    thread.children().unwrap_or_default().into_iter().filter_map(|pid| i32::try_from(pid).ok()),
                );
            }
        }
        self.tasks_peak = self.tasks_peak.max(tasks);
        self.memory_peak = self.memory_peak.max(memory);
        self.cpu_us = self.cpu_us.max(cpu_ticks.saturating_mul(1_000_000) / ticks.max(1));
    }
}
