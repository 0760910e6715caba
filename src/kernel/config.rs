//! What the running kernel knows of its configuration, for the `.kconfig` externs of an object.
//!
//! In: an [`Object`]. Out: the same, with those values filled in that this machine tells: `LINUX_KERNEL_VERSION`, what a
//! program asks about the kernel by a name of its own, and `CONFIG_…` where the distribution left the configuration in
//! a readable file. Values that are set already stay. Not here: how text becomes bytes (`elf::externs`).
#![forbid(unsafe_code)]

use crate::elf::{ExternKind, Object};

/// The first version whose probes can be told apart by a cookie.
const BPF_COOKIE: u32 = version(5, 15, 0);

/// The kernel's own numbering of versions.
const fn version(major: u32, minor: u32, patch: u32) -> u32 {
    major << 16 | minor << 8 | if patch > 255 { 255 } else { patch }
}

/// Fills in the configuration values that an object asks for and this machine tells.
pub fn configure(object: &mut Object) {
    let wanted: Vec<String> = object
        .externs()
        .iter()
        .filter(|symbol| matches!(symbol.kind, ExternKind::Kconfig { .. }) && !symbol.set)
        .map(|symbol| symbol.name.clone())
        .collect();
    if wanted.is_empty() {
        return;
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let number = parse_release(&release);
    let mut lines = String::new();
    for name in &wanted {
        let known = match name.as_str() {
            "LINUX_HAS_BPF_COOKIE" => Some(number >= BPF_COOKIE),
            "LINUX_HAS_SYSCALL_WRAPPER" => has_syscall_wrappers(),
            _ => None,
        };
        if let Some(known) = known {
            lines += &format!("{name}={}\n", if known { 'y' } else { 'n' });
        }
    }
    if wanted.iter().any(|name| name.starts_with("CONFIG_")) {
        lines += &config_text(&release);
    }
    object.apply_kernel_config(&lines, number);
}

/// `6.18.44-anything` as a number.
fn parse_release(release: &str) -> u32 {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    version(next(), next(), next())
}

/// Whether system calls are entered through functions that take the registers; `None` if the kernel hides its names.
fn has_syscall_wrappers() -> Option<bool> {
    let wrapped = match std::env::consts::ARCH {
        "x86_64" => "__x64_sys_bpf",
        "aarch64" => "__arm64_sys_bpf",
        "riscv64" => "__riscv_sys_bpf",
        "s390x" => "__s390x_sys_bpf",
        _ => return None,
    };
    let symbols = std::fs::read_to_string("/proc/kallsyms").ok()?;
    let found = symbols.lines().any(|line| line.split_whitespace().nth(2) == Some(wrapped));
    (found || !symbols.is_empty()).then_some(found)
}

/// The configuration as text, where it lies as text.
fn config_text(release: &str) -> String {
    [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::parse_release;

    #[test]
    fn releases_are_numbers() {
        for (release, number) in
            [("6.18.44-fc-v657", 0x06_12_2c), ("5.4.0", 0x05_04_00), ("4.19.300", 0x04_13_ff), ("x", 0)]
        {
            assert_eq!(parse_release(release), number, "{release}");
        }
    }
}
