//! The machine that numbers were measured on: what a reader must know to compare them. Shared with the benches.
#![forbid(unsafe_code)]

use std::fs;

/// State of the machine.
pub(crate) struct Machine {
    /// Model name of the processor.
    pub(crate) cpu: String,
    /// CPUs that run.
    pub(crate) cpus: usize,
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// Load average of a minute: others who wanted the CPUs.
    pub(crate) load: f64,
    /// `net.core.bpf_jit_enable`, where readable.
    pub(crate) kernel_jit: Option<bool>,
    /// `net.core.bpf_jit_harden` is not 0.
    pub(crate) kernel_hardened: bool,
    /// Weaknesses of the processor that the kernel mitigates, and how.
    pub(crate) mitigations: Vec<(String, String)>,
}

impl Machine {
    /// As it is now.
    pub(crate) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let cpu = ["model name", "Processor", "CPU part"].iter().find_map(|key| {
            let line = info.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let load = read("/proc/loadavg");
        let number = |path: &str| read(path).trim().parse::<u32>().ok();
        Self {
            cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: load.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0),
            kernel_jit: number("/proc/sys/net/core/bpf_jit_enable").map(|value| value != 0),
            kernel_hardened: number("/proc/sys/net/core/bpf_jit_harden").is_some_and(|value| value != 0),
            mitigations: mitigations(),
        }
    }

    /// Two lines for a person.
    pub(crate) fn lines(&self) -> [String; 2] {
        let jit = match self.kernel_jit {
            Some(true) if self.kernel_hardened => "on, hardened",
            Some(true) => "on",
            Some(false) => "OFF: the kernel interprets",
            None => "unknown",
        };
        let names: Vec<&str> = self.mitigations.iter().map(|(name, _)| name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        [
            format!(
                "{}, {} CPUs, Linux {}, load {:.1}, kernel JIT {jit}",
                self.cpu, self.cpus, self.kernel, self.load
            ),
            format!("mitigations: {names}"),
        ]
    }
}

/// Files of the kernel that begin with `Mitigation:`, sorted by name.
fn mitigations() -> Vec<(String, String)> {
    let Ok(files) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else { return Vec::new() };
    let mut found: Vec<(String, String)> = files
        .filter_map(|file| {
            let file = file.ok()?;
            let text = fs::read_to_string(file.path()).ok()?;
            let how = text.trim().strip_prefix("Mitigation:")?.trim().to_owned();
            Some((file.file_name().to_string_lossy().into_owned(), how))
        })
        .collect();
    found.sort();
    found
}
