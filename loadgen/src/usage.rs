//! CPU and memory, as the kernel tells them: ours, to know whether we spoil the figure, and the relay's.

use std::collections::BTreeSet;
use std::time::Duration;

use procfs::WithCurrentSystemInfo as _;
use procfs::process::{Process, Schedstat};

/// CPU after which a process is taken to have served somebody before: it starts with less.
const FRESH_CPU: Duration = Duration::from_millis(500);

/// What the kernel says about a thread: nanoseconds on a CPU, and waiting for one.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadUsage {
    pub cpu: Duration,
    /// Runnable, but something else had the CPU.
    pub waited: Duration,
}

impl ThreadUsage {
    /// The calling thread's.
    pub fn read() -> Option<Self> {
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        let this = Process::myself().ok()?.task_from_tid(tid).ok()?;
        Some(Self::of(&this.schedstat().ok()?))
    }

    fn of(stat: &Schedstat) -> Self {
        Self {
            cpu: Duration::from_nanos(stat.sum_exec_runtime),
            waited: Duration::from_nanos(stat.run_delay),
        }
    }

    pub fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            waited: self.waited.saturating_sub(before.waited),
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.cpu += other.cpu;
        self.waited += other.waited;
    }
}

/// Processes with their children.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessUsage {
    /// All threads together, to the nanosecond.
    pub cpu: Duration,
    /// The kernel's split, in ticks.
    pub user: Duration,
    pub system: Duration,
    pub rss_octets: u64,
    /// The most that it ever was.
    pub rss_octets_peak: u64,
}

impl ProcessUsage {
    /// These processes and all below them; each counts once.
    pub fn read(pids: &[u32]) -> Option<Self> {
        let mut sum = Self::default();
        let mut seen = BTreeSet::new();
        let mut left = pids.to_vec();
        let mut found = false;
        while let Some(pid) = left.pop() {
            if !seen.insert(pid) {
                continue;
            }
            if let Some(one) = Self::read_one(pid, &mut left) {
                found = true;
                sum.cpu += one.cpu;
                sum.user += one.user;
                sum.system += one.system;
                sum.rss_octets += one.rss_octets;
                sum.rss_octets_peak += one.rss_octets_peak;
            }
        }
        found.then_some(sum)
    }

    /// This process. Threads that have ended are in it, unlike in what is read of others.
    pub fn own() -> Option<Self> {
        let mut own = Self::read(&[std::process::id()])?;
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        own.cpu = Duration::try_from(cpu).ok()?;
        Some(own)
    }

    fn read_one(pid: u32, children: &mut Vec<u32>) -> Option<Self> {
        let process = Process::new(i32::try_from(pid).ok()?).ok()?;
        let (stat, status) = (process.stat().ok()?, process.status().ok()?);
        let seconds =
            |ticks: u64| Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64);
        let mut one = Self {
            cpu: Duration::ZERO,
            user: seconds(stat.utime),
            system: seconds(stat.stime),
            rss_octets: stat.rss_bytes().get(),
            rss_octets_peak: status.vmhwm.unwrap_or(0) * 1024,
        };
        for task in process.tasks().ok()?.flatten() {
            if let Ok(stat) = task.schedstat() {
                one.cpu += ThreadUsage::of(&stat).cpu;
            }
            children.extend(task.children().unwrap_or_default());
        }
        Some(one)
    }

    pub fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            ..*self
        }
    }

    /// Why what it grows by from here on says little about what it needs; `None`: it has done nothing yet.
    pub fn served_before(&self) -> Option<String> {
        let mib = |octets: u64| octets as f64 / 1_048_576.0;
        // What was given back to the system, and a reserve for what an allocator does of itself.
        let shrunk = self.rss_octets_peak > self.rss_octets + self.rss_octets / 10 + (1 << 20);
        if shrunk {
            return Some(format!(
                "it has held {:.1} MiB before and {:.1} MiB now",
                mib(self.rss_octets_peak),
                mib(self.rss_octets)
            ));
        }
        (self.cpu > FRESH_CPU).then(|| {
            format!(
                "it had used {:.2} s of CPU before this run",
                self.cpu.as_secs_f64()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_usage_can_be_read() {
        let before = ThreadUsage::read().unwrap();
        let spin = std::time::Instant::now();
        while spin.elapsed() < Duration::from_millis(20) {}
        let used = ThreadUsage::read().unwrap().since(&before);
        assert!(used.cpu > Duration::from_millis(1), "{used:?}");
        let process = ProcessUsage::read(&[std::process::id()]).unwrap();
        assert!(process.cpu > Duration::ZERO && process.rss_octets > 100_000);
    }

    #[test]
    fn a_process_that_has_worked_or_shrunk_has_served_before() {
        let fresh = ProcessUsage {
            cpu: Duration::from_millis(40),
            rss_octets: 20 << 20,
            rss_octets_peak: 20 << 20,
            ..ProcessUsage::default()
        };
        assert_eq!(fresh.served_before(), None);
        let worked = ProcessUsage {
            cpu: Duration::from_secs(3),
            ..fresh
        };
        assert!(worked.served_before().unwrap().contains("3.00 s of CPU"));
        let shrunk = ProcessUsage {
            rss_octets_peak: 60 << 20,
            ..fresh
        };
        assert!(shrunk.served_before().unwrap().contains("60.0 MiB"));
    }
}
