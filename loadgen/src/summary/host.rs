//! The machine that a result was made on.

use procfs::Current as _;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    pub name: String,
    pub system: String,
    pub processor: String,
    pub cores: usize,
    pub memory_mib: u64,
}

impl Host {
    pub fn this() -> Self {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let cpu = procfs::CpuInfo::current().ok();
        let cpu = cpu.and_then(|cpu| cpu.model_name(0).map(str::to_owned));
        let memory = procfs::Meminfo::current().map_or(0, |memory| memory.mem_total);
        Self {
            name: text(uname.nodename()),
            system: format!("{} {}", text(uname.sysname()), text(uname.release())),
            processor: cpu.unwrap_or_else(|| text(uname.machine())),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_mib: memory >> 20,
        }
    }

    pub fn text(&self) -> String {
        format!(
            "{}: {}, {} cores, {} MiB, {}",
            self.name, self.processor, self.cores, self.memory_mib, self.system
        )
    }
}
