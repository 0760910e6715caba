//! Lookup of helpers by number and name, and the embedder's own.
#![forbid(unsafe_code)]

use super::proto::Proto;
use super::set::ProgramTypes;
use super::table::{self, TABLE};
use crate::abi::HelperFn;
use crate::ctx::{AttachType, ProgramType};

/// A helper.
#[derive(Clone, Copy, Debug)]
pub struct Helper {
    /// The kernel's number, or the embedder's.
    pub id: u32,
    /// Name, with `bpf_`.
    pub name: &'static str,
    /// Prototype; some program types have another one ([`Helper::proto_for`]).
    pub proto: Proto,
    /// Program types that may call it.
    pub allowed: ProgramTypes,
    /// Native function; `None`: known to the verifier, but user space cannot serve it.
    pub function: Option<HelperFn>,
}

impl Helper {
    /// Whether user space has it: as a function, or done by the engines themselves (loops over callbacks).
    #[must_use]
    pub const fn is_served(&self) -> bool {
        self.function.is_some() || matches!(self.id, 164 | 181)
    }
    /// Whether a program of that type and `expected_attach_type` may call it.
    #[must_use]
    pub fn allowed(&self, program_type: ProgramType, attach_type: AttachType) -> bool {
        self.allowed.contains(program_type) && table::attach_allows(self, program_type, attach_type)
    }

    /// Its prototype for programs of that type.
    #[must_use]
    pub fn proto_for(&self, program_type: ProgramType) -> Proto {
        table::proto_for(self, program_type)
    }
}

/// The kernel's helper of that number.
#[must_use]
pub fn by_id(id: u32) -> Option<&'static Helper> {
    // Numbers are dense from 1, which a test checks.
    TABLE.get(usize::try_from(id.checked_sub(1)?).ok()?)
}

/// The kernel's helper of that name, with or without `bpf_`.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Helper> {
    let bare = name.strip_prefix("bpf_").unwrap_or(name);
    TABLE.iter().find(|helper| &helper.name[4..] == bare)
}

/// The number is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("helper {id} exists already")]
pub struct HelperExists {
    /// Number.
    pub id: u32,
}

/// The helpers that programs of an engine may call: the kernel's and the embedder's.
#[derive(Clone, Default, Debug)]
pub struct HelperTable {
    /// By ascending number.
    own: Vec<Helper>,
}

impl HelperTable {
    /// The kernel's helpers only.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a helper.
    ///
    /// # Errors
    /// [`HelperExists`] if its number is the kernel's or already added.
    pub fn add(&mut self, helper: Helper) -> Result<(), HelperExists> {
        match self.own.binary_search_by_key(&helper.id, |own| own.id) {
            Err(at) if by_id(helper.id).is_none() => {
                self.own.insert(at, helper);
                Ok(())
            }
            Ok(_) | Err(_) => Err(HelperExists { id: helper.id }),
        }
    }

    /// Whether it has the kernel's helpers only.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// The helper of that number.
    #[must_use]
    pub fn by_id(&self, id: u32) -> Option<&Helper> {
        by_id(id).or_else(|| self.own.iter().find(|helper| helper.id == id))
    }

    /// All helpers, the kernel's first.
    pub fn iter(&self) -> impl Iterator<Item = &Helper> {
        TABLE.iter().chain(&self.own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helper::{ArgKind, HelperFlags};

    #[test]
    fn numbers_are_dense_and_names_found() {
        assert_eq!(TABLE.len(), 211);
        for (helper, id) in TABLE.iter().zip(1..) {
            assert_eq!(helper.id, id);
            assert_eq!(by_id(id).unwrap().name, helper.name);
            assert_eq!(by_name(helper.name).unwrap().id, id);
        }
        assert!(by_id(0).is_none() && by_id(212).is_none() && by_name("bpf_nothing").is_none());
    }

    #[test]
    fn sizes_follow_their_memory_and_keys_their_map() {
        for helper in TABLE {
            let args = helper.proto.args;
            for (i, arg) in args.iter().enumerate() {
                let before = i.checked_sub(1).map(|i| args[i]);
                match arg {
                    ArgKind::Size | ArgKind::SizeOrZero => {
                        assert!(matches!(before, Some(ArgKind::Mem { .. })), "{}", helper.name);
                    }
                    ArgKind::Mem { .. } => {
                        let sized = matches!(args.get(i + 1), Some(ArgKind::Size | ArgKind::SizeOrZero));
                        assert!(sized, "{}", helper.name);
                    }
                    ArgKind::MapKey | ArgKind::MapValue | ArgKind::MapValueUninit => {
                        assert!(args[..i].contains(&ArgKind::Map), "{}", helper.name);
                    }
                    _ => {}
                }
            }
            let released = helper.proto.released().map(|i| args[i]);
            assert_ne!(released, Some(ArgKind::None), "{}", helper.name);
        }
    }

    #[test]
    fn own_helpers_do_not_hide_the_kernels() {
        let mut table = HelperTable::new();
        let mut own = *by_id(5).unwrap();
        assert_eq!(table.add(own), Err(HelperExists { id: 5 }));
        (own.id, own.name) = (0x1_0000, "bpf_own");
        table.add(own).unwrap();
        assert_eq!(table.add(own), Err(HelperExists { id: 0x1_0000 }));
        assert_eq!(table.by_id(0x1_0000).unwrap().name, "bpf_own");
        assert_eq!(table.iter().count(), 212);
    }

    #[test]
    fn allowed_types_are_the_measured_ones() {
        let check = |name, program_type, expect| {
            let allowed = by_name(name).unwrap().allowed(program_type, 0);
            assert_eq!(allowed, expect, "{name} {program_type}");
        };
        check("xdp_adjust_head", ProgramType::Xdp, true);
        check("xdp_adjust_head", ProgramType::SchedCls, false);
        check("redirect", ProgramType::LwtXmit, true);
        check("redirect", ProgramType::LwtIn, false);
        check("perf_event_output", ProgramType::FlowDissector, false);
        check("map_lookup_elem", ProgramType::Memory, true);
        check("skb_load_bytes", ProgramType::Memory, false);
        let bind = by_name("bind").unwrap();
        assert!(bind.allowed(ProgramType::CgroupSockAddr, 10));
        assert!(!bind.allowed(ProgramType::CgroupSockAddr, 8));
        let retval = by_name("set_retval").unwrap();
        assert!(retval.allowed(ProgramType::CgroupSockAddr, 8));
        assert!(!retval.allowed(ProgramType::CgroupSockAddr, 51));
        let setsockopt = by_name("setsockopt").unwrap();
        assert!(setsockopt.allowed(ProgramType::CgroupSockopt, 22));
        assert!(!setsockopt.allowed(ProgramType::CgroupSockopt, 21));
        let moves = by_name("skb_pull_data").unwrap().proto.flags.contains(HelperFlags::CHANGES_PACKET);
        assert!(moves);
    }
}
