//! CPU and memory, read from /proc: ours, to know whether we spoil the figure, and the relay's.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// What the kernel says about a thread (`schedstat`): nanoseconds on a CPU, and waiting for one.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadUsage {
    pub cpu: Duration,
    /// Runnable, but something else had the CPU.
    pub waited: Duration,
}

impl ThreadUsage {
    /// The calling thread's.
    pub fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/thread-self/schedstat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace().map(|w| w.parse().ok());
        Some(Self {
            cpu: Duration::from_nanos(words.next()??),
            waited: Duration::from_nanos(words.next()??),
        })
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
    /// The kernel's split, in ticks of 10 ms.
    pub user: Duration,
    pub system: Duration,
    pub rss_octets: u64,
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
            }
        }
        found.then_some(sum)
    }

    fn read_one(pid: u32, children: &mut Vec<u32>) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, also spaces and brackets.
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
        let ticks = |i: usize| {
            Some(Duration::from_millis(
                fields.get(i)?.parse::<u64>().ok()? * 10,
            ))
        };
        let mut one = Self {
            cpu: Duration::ZERO,
            user: ticks(11)?,
            system: ticks(12)?,
            rss_octets: rss(pid)?,
        };
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            let path = task.path();
            if let Ok(text) = fs::read_to_string(path.join("schedstat"))
                && let Some(usage) = ThreadUsage::parse(&text)
            {
                one.cpu += usage.cpu;
            }
            if let Ok(text) = fs::read_to_string(path.join("children")) {
                children.extend(
                    text.split_whitespace()
                        .filter_map(|w| w.parse::<u32>().ok()),
                );
            }
        }
        Some(one)
    }

    pub fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            rss_octets: self.rss_octets,
        }
    }
}

fn rss(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
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
}
