//! What programs that walk the kernel's objects attach to: arguments and result, by the kernel's types.
//!
//! In: a program of type `tracing` or `lsm`. Out: [`Hook`]: what lies at each offset of its context, and what it may
//! return. Without the kernel's types there is no hook.
#![forbid(unsafe_code)]

use beelift_runtime::ctx::{ProgramType, ReturnRange, attach};

use super::report::Reason;
use super::state::{MemFlags, TypeRef};
use super::types::Types;
use crate::btf::{Btf, Kind, TypeId};
use crate::link::Program;

/// `BPF_LSM_MAC` and `BPF_LSM_CGROUP`.
const LSM_MAC: u32 = 27;
const LSM_CGROUP: u32 = 43;
/// Words of a context.
const WORDS: u32 = 12;

/// Hooks whose objects are being made or taken apart.
const UNTRUSTED_LSM: [&str; 7] = [
    "bpf_map_free",
    "bpf_prog_free",
    "file_alloc_security",
    "file_free_security",
    "sk_alloc_security",
    "sk_free_security",
    "task_free",
];
/// Hooks that say yes or no.
const BOOL_LSM: [&str; 2] = ["audit_rule_known", "inode_xattr_skipcap"];

/// One word of a context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    /// A number, or a pointer to what is no structure.
    Number,
    /// A pointer to an object.
    Object {
        /// Type.
        of: TypeRef,
        /// How far it may be trusted.
        flags: MemFlags,
        /// May be null.
        nullable: bool,
    },
    /// Bytes that an iterator lends, or null.
    Buffer {
        /// Only to be read.
        read_only: bool,
    },
}

/// What a program attaches to.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    words: Vec<Option<Word>>,
    /// What r0 may be at the end.
    pub(crate) returns: ReturnRange,
    /// Only the lower half of r0 counts.
    pub(crate) narrow: bool,
}

impl Hook {
    /// The hook of a program; `None` where its type has none.
    pub(crate) fn of(program: &Program, types: &Types<'_>) -> Option<Result<Self, String>> {
        let tracing = program.prog_type == ProgramType::Tracing;
        if !tracing && program.prog_type != ProgramType::Lsm {
            return None;
        }
        let Some(btf) = types.kernel() else { return Some(Err("the kernel's types".to_owned())) };
        let Some(target) = program.attach_target.as_deref() else {
            return Some(Err("a program without a target".to_owned()));
        };
        let find = |name: &str, wanted: fn(&Kind<'_>) -> bool| {
            btf.named(name).find(|id| wanted(&btf.type_at(*id).kind))
        };
        let function = |name: &str| find(name, |kind| matches!(kind, Kind::Func { .. }));
        let found = match (program.prog_type, program.attach_type) {
            (ProgramType::Lsm, _) => function(&format!("bpf_lsm_{target}")),
            (_, attach::TRACE_RAW_TP) => {
                find(&format!("btf_trace_{target}"), |kind| matches!(kind, Kind::Typedef(_)))
            }
            (_, attach::TRACE_ITER) => function(&format!("bpf_iter_{target}")),
            _ => function(target),
        };
        let proto = found.and_then(|id| proto_of(btf, id));
        let Some((ret, params)) = proto else {
            return Some(Err(format!("attach target {target}")));
        };
        Some(Ok(Self::new(program, btf, target, ret, &params)))
    }

    fn new(program: &Program, btf: &Btf, target: &str, ret: TypeId, params: &[(&str, TypeId)]) -> Self {
        let attach_type = program.attach_type;
        let lsm = program.prog_type == ProgramType::Lsm;
        let raw = !lsm && attach_type == attach::TRACE_RAW_TP;
        let iterates = !lsm && attach_type == attach::TRACE_ITER;
        let trusted = raw || iterates || (lsm && !UNTRUSTED_LSM.contains(&target));
        // The first argument of a tracepoint is its own.
        let params = if raw { params.get(1..).unwrap_or_default() } else { params };
        let mut words: Vec<Option<Word>> = params
            .iter()
            .enumerate()
            .map(|(index, (name, of))| {
                let flags = if trusted { MemFlags::TRUSTED } else { MemFlags::empty() };
                let word = word(btf, *of, flags, name.ends_with("__nullable"))?;
                Some(match word {
                    Word::Object { of, flags, nullable } if raw => match nulls::of(target, index) {
                        nulls::Null::Never => Word::Object { of, flags, nullable },
                        nulls::Null::Maybe => Word::Object { of, flags, nullable: true },
                        nulls::Null::Error => Word::Number,
                    },
                    word if iterates && index > 0 => iterated(target, name, word),
                    word => word,
                })
            })
            .collect();
        let small = matches!(
            btf.type_at(btf.resolve(ret)).kind,
            Kind::Int { size: ..=8, .. } | Kind::Enum(_) | Kind::Enum64(_)
        );
        match attach_type {
            attach::TRACE_FEXIT | LSM_MAC | LSM_CGROUP => {
                words.push(word(btf, ret, MemFlags::empty(), false));
            }
            attach::MODIFY_RETURN if small => words.push(Some(Word::Number)),
            _ => {}
        }
        let (returns, narrow) = returns(lsm, attach_type, target, btf.resolve(ret) == TypeId::VOID);
        Self { words, returns, narrow }
    }

    /// What a load of the context finds.
    pub(crate) fn read(&self, offset: u32, size: u32) -> Result<Word, Reason> {
        let denied = Reason::ContextAccess { offset, size, write: false };
        if offset >= WORDS * 8 || !offset.is_multiple_of(8) {
            return Err(denied);
        }
        match self.words.get((offset / 8) as usize).copied().flatten() {
            Some(Word::Object { .. } | Word::Buffer { .. }) if size != 8 => Err(denied),
            Some(word) => Ok(word),
            None => Err(denied),
        }
    }
}

/// Result and parameters of a function, or of the function that a typedef points to.
fn proto_of(btf: &Btf, id: TypeId) -> Option<(TypeId, Vec<(&str, TypeId)>)> {
    let mut id = btf.resolve(id);
    for _ in 0..4 {
        match btf.type_at(id).kind {
            Kind::Func { proto, .. } => id = proto,
            Kind::Ptr(to) => id = btf.resolve(to),
            Kind::FuncProto { ret, params } => {
                return Some((ret, params.iter().map(|param| (param.name, param.of)).collect()));
            }
            _ => return None,
        }
    }
    None
}

/// What a parameter is to a program; `None`: it must not be read.
fn word(btf: &Btf, of: TypeId, mut flags: MemFlags, nullable: bool) -> Option<Word> {
    let Kind::Ptr(to) = btf.type_at(btf.resolve(of)).kind else {
        let plain = matches!(
            btf.type_at(btf.resolve(of)).kind,
            Kind::Int { size: ..=8, .. } | Kind::Enum(_) | Kind::Enum64(_) | Kind::Struct(_) | Kind::Union(_)
        );
        return plain.then_some(Word::Number);
    };
    let target = btf.resolve(to);
    if !matches!(btf.type_at(target).kind, Kind::Struct(_) | Kind::Union(_)) {
        return Some(Word::Number);
    }
    let tag = btf.type_at(to);
    if matches!(tag.kind, Kind::TypeTag(_)) {
        match tag.name {
            "user" => flags |= MemFlags::USER,
            "percpu" => flags |= MemFlags::PERCPU,
            _ => {}
        }
    }
    Some(Word::Object { of: TypeRef::kernel(target.0), flags, nullable })
}

/// What an iterator lends besides its first argument: objects that are null at its end, and bytes.
fn iterated(target: &str, parameter: &str, word: Word) -> Word {
    const TRUSTED: [&str; 6] = ["bpf_map", "cgroup", "kmem_cache", "task", "tcp", "udp"];
    match (target, parameter, word) {
        ("bpf_map_elem" | "sockmap", "key", _) => Word::Buffer { read_only: true },
        ("bpf_map_elem" | "bpf_sk_storage_map", "value", _) => Word::Buffer { read_only: false },
        // The map that is walked is there all the time.
        ("bpf_map_elem" | "sockmap" | "bpf_sk_storage_map", "map", word) => word,
        (_, _, Word::Object { of, .. }) => {
            let flags = if TRUSTED.contains(&target) { MemFlags::TRUSTED } else { MemFlags::empty() };
            Word::Object { of, flags, nullable: true }
        }
        (_, _, word) => word,
    }
}

fn returns(lsm: bool, attach_type: u32, target: &str, void: bool) -> (ReturnRange, bool) {
    let within = |min, max| ReturnRange::Within { min, max };
    match attach_type {
        LSM_CGROUP if lsm && void => (within(1, 1), false),
        LSM_CGROUP if lsm => (within(0, 1), false),
        _ if lsm && void => (ReturnRange::Any, false),
        _ if lsm && BOOL_LSM.contains(&target) => (within(0, 1), true),
        _ if lsm => (within(-4095, 0), true),
        attach::TRACE_FENTRY | attach::TRACE_FEXIT => (within(0, 0), false),
        attach::TRACE_ITER => (within(0, 1), false),
        _ => (ReturnRange::Any, false),
    }
}

mod nulls {
    //! Arguments of tracepoints that may be null, or an error instead of a pointer: what a running kernel says.

    /// What an argument may be besides a pointer.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) enum Null {
        /// Nothing.
        Never,
        /// Null.
        Maybe,
        /// An error number.
        Error,
    }

    /// Of an argument, counted from 0.
    pub(super) fn of(tracepoint: &str, argument: usize) -> Null {
        let row = TABLE.binary_search_by(|(name, _)| (*name).cmp(tracepoint));
        let Ok(row) = row else { return Null::Never };
        match TABLE[row].1.as_bytes().get(argument) {
            Some(b'n') => Null::Maybe,
            Some(b'e') => Null::Error,
            _ => Null::Never,
        }
    }

    /// `n`: may be null; `e`: may be an error; `.`: neither.
    static TABLE: &[(&str, &str)] = &[
        ("break_lease_block", ".n"),
        ("break_lease_noblock", ".n"),
        ("break_lease_unblock", ".n"),
        ("ext4_mballoc_discard", ".n"),
        ("ext4_mballoc_free", ".n"),
        ("fcntl_setlk", ".n"),
        ("fib_table_lookup", "..n"),
        ("flock_lock_inode", ".n"),
        ("folio_wait_writeback", ".n"),
        ("generic_delete_lease", ".n"),
        ("hugetlbfs_alloc_inode", ".n"),
        ("kfree_skb", "...n"),
        ("locks_remove_posix", ".n"),
        ("mm_collapse_huge_page_isolate", "n"),
        ("mm_khugepaged_collapse_file", ".n"),
        ("mm_khugepaged_scan_file", ".n"),
        ("mm_khugepaged_scan_pmd", ".n"),
        ("mm_page_alloc", "n"),
        ("mm_page_alloc_zone_locked", "n"),
        ("mm_page_pcpu_drain", "n"),
        ("posix_lock_inode", ".n"),
        ("qdisc_dequeue", "...n"),
        ("sched_pi_setprio", ".n"),
        ("sched_stick_numa", "..n"),
        ("sched_swap_numa", "..n"),
        ("tcp_send_reset", "nn"),
        ("tcp_sendmsg_locked", "..n"),
        ("time_out_leases", ".n"),
        ("tmigr_update_events", "n"),
        ("writeback_dirty_folio", ".n"),
        ("xfs_blockgc_flush_all", "n"),
        ("xfs_blockgc_free_space", ".n"),
        ("xfs_blockgc_start", "n"),
        ("xfs_blockgc_stop", "n"),
        ("xfs_blockgc_worker", "n"),
        ("xfs_btree_overlapped_query_range", "..n"),
        ("xfs_btree_updkeys", "..n"),
        ("xfs_defer_add_item", "n"),
        ("xfs_defer_cancel_item", "n"),
        ("xfs_defer_cancel_list", "n"),
        ("xfs_defer_create_intent", "n"),
        ("xfs_defer_finish_item", "n"),
        ("xfs_defer_isolate_paused", "n"),
        ("xfs_defer_item_pause", "n"),
        ("xfs_defer_item_unpause", "n"),
        ("xfs_defer_pending_abort", "n"),
        ("xfs_defer_pending_finish", "n"),
        ("xfs_defer_relog_intent", "n"),
        ("xfs_fs_sync_fs", "n"),
        ("xfs_inodegc_flush", "n"),
        ("xfs_inodegc_push", "n"),
        ("xfs_inodegc_queue", "n"),
        ("xfs_inodegc_start", "n"),
        ("xfs_inodegc_stop", "n"),
        ("xfs_inodegc_throttle", "n"),
        ("xfs_ioc_free_eofblocks", ".n"),
        ("xfs_map_blocks_alloc", "....n"),
        ("xfs_map_blocks_found", "....n"),
    ];
}
