//! Names of the running kernel: functions, variables and types by BTF id, plain symbols by address.
//!
//! In: names. Out: numbers. Read when first asked for, since most programs need none; who loads many programs
//! shares one [`KernelSymbols`] between them, because reading takes milliseconds.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::btf::vmlinux_bytes;
use crate::btf::{Btf, Kind};

/// Names of the running kernel, read when first asked for.
#[derive(Debug, Default)]
pub struct KernelSymbols {
    btf: OnceLock<Option<Btf>>,
    /// Functions that were asked for: to find one all types are looked through.
    functions: Mutex<HashMap<String, Option<u32>>>,
}

impl KernelSymbols {
    /// The kernel's own types; `None` in a kernel built without them.
    #[must_use]
    pub fn btf(&self) -> Option<&Btf> {
        self.btf.get_or_init(|| Btf::parse(&vmlinux_bytes().ok()?).ok()).as_ref()
    }

    /// BTF id of a kernel function.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<u32> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = functions.get(name) {
            return *found;
        }
        let found = self.find(name, |kind| matches!(kind, Kind::Func { .. }));
        functions.insert(name.to_owned(), found);
        found
    }

    /// BTF id of a kernel variable or function.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<u32> {
        self.find(name, |kind| matches!(kind, Kind::Var { .. })).or_else(|| self.function(name))
    }

    /// BTF id of a typedef.
    #[must_use]
    pub fn typedef(&self, name: &str) -> Option<u32> {
        self.find(name, |kind| matches!(kind, Kind::Typedef(_)))
    }

    /// Address of a symbol, or `None`: there is none of that name, or we may not see addresses.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<u64> {
        let symbols = std::fs::read_to_string("/proc/kallsyms").ok()?;
        let line = symbols.lines().find(|line| line.split_whitespace().nth(2) == Some(name))?;
        let address = u64::from_str_radix(line.split_whitespace().next()?, 16).ok()?;
        (address != 0).then_some(address)
    }

    fn find(&self, name: &str, is_wanted: fn(&Kind<'_>) -> bool) -> Option<u32> {
        let btf = self.btf()?;
        btf.named(name).find(|&id| is_wanted(&btf.type_at(id).kind)).map(|id| id.0)
    }
}
