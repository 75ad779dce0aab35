//! Usage: what the run cost, from procfs and wait4(2).
//!
//! For: figures that no cgroup counter gives, each with its source.
//! Not for: cgroup counters (see `cgroup`) or verdicts.
//! Runs in: the supervisor.

use std::collections::BTreeMap;
use std::fs;

use procfs::process::Process;

use crate::host::text;

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
    let io = text(format!("/proc/{init}/io")).ok()?;
    Some(Moved {
        read: field(&io, "rchar:")?,
        write: field(&io, "wchar:")?,
        storage_read: field(&io, "read_bytes:")?,
        storage_write: field(&io, "write_bytes:")?,
    })
}

/// The number behind a name. Not by `procfs`, which makes a `HashMap` of such files: where the kernel has no random
/// numbers for one, that ends this process, with the run's groups still there.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// Peaks and sums seen by looking now and then; what came and went between two looks is missed.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// Most tasks at one moment, init included.
    pub(super) tasks_peak: u64,
    /// Most resident memory at one moment, bytes. Pages that processes share count once for each of
    /// them, unless the sum came near the limit and was then taken apart.
    pub(super) memory_peak: u64,
    /// Largest sum of CPU time seen, microseconds.
    pub(super) cpu_us: u64,
}

impl Samples {
    /// Looks at init and its descendants, and says whether they use more memory than `limit`. Nothing
    /// can leave the tree: orphans become init's children.
    pub(super) fn take(&mut self, init: i32, limit: Option<u64>) -> bool {
        const MOST: usize = 4096;
        let (ticks, page) = (procfs::ticks_per_second(), procfs::page_size());
        let (mut tasks, mut resident, mut cpu_ticks) = (0_u64, 0_u64, 0_u64);
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
            resident += stat.rss.saturating_mul(page);
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
        let mut memory = resident;
        if limit.is_some_and(|limit| resident > limit) {
            // Resident sizes are cheap to read and count shared pages once for each process; the shares
            // are exact and walk every page table, so they are asked for only when it matters.
            memory = seen.keys().map(|pid| share(*pid)).sum();
        }
        self.memory_peak = self.memory_peak.max(memory);
        self.cpu_us = self.cpu_us.max(cpu_ticks.saturating_mul(1_000_000) / ticks.max(1));
        limit.is_some_and(|limit| memory > limit)
    }
}

/// The process's share of its resident pages, bytes: Pss of /proc/PID/smaps_rollup. 0 for one that is
/// gone, or whose memory is not ours to look at, as init's.
fn share(pid: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    field(&rollup, "Pss:").unwrap_or(0).saturating_mul(1024)
}
