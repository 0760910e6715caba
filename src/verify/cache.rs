//! Verdicts by content: whole programs, and global functions with what they call.
//!
//! In: what was accepted. Out: the same proof for the same content under the same rules; everything that a proof looks
//! at is part of a key, and keys are compared in full. Rejections are not kept: they tell about one program.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use beelift_runtime::MapDef;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::facts::Facts;
use super::policy::Options;
use super::summary::{Members, Summary};
use super::{Inputs, Statistics};
use crate::btf::{Btf, KernelTypes};
use crate::isa::Slot;
use crate::isa::encode::{Verbatim, encode};
use crate::link::{HostInterface, Program};

/// How often something was found, and how much there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheCounts {
    /// Look-ups that found a proof.
    pub hits: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Proofs kept.
    pub entries: usize,
}

/// Proofs by content. Shared between threads; an engine may hold one (`EngineBuilder::cache_verdicts`).
///
/// ```
/// use beelift::verify::{Cache, Options, verify_cached};
/// use beelift::{Program, ProgramType};
/// let program = Program::assemble(ProgramType::Xdp, "r0 = 2\nexit", |_| None).expect("a program");
/// let cache = Cache::new(100);
/// for _ in 0..2 {
///     verify_cached(program.clone(), &Options::default(), &cache).expect("a proof");
/// }
/// assert_eq!((cache.programs().hits, cache.programs().misses), (1, 1));
/// ```
#[derive(Debug)]
pub struct Cache {
    programs: Mutex<Store<Proof>>,
    functions: Mutex<Store<Summary>>,
}

/// What is known of an accepted program.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) facts: Facts,
    pub(super) statistics: Statistics,
}

impl Cache {
    /// Keeps at most so many proofs of programs, and as many of functions; the oldest ones go first.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        Self { programs: Mutex::new(Store::new(entries)), functions: Mutex::new(Store::new(entries)) }
    }
    /// Of whole programs.
    #[must_use]
    pub fn programs(&self) -> CacheCounts {
        lock(&self.programs).counts()
    }
    /// Of global functions: they are looked up where no proof of the whole program is found.
    #[must_use]
    pub fn functions(&self) -> CacheCounts {
        lock(&self.functions).counts()
    }

    pub(super) fn program(&self, key: &Key) -> Option<Arc<Proof>> {
        lock(&self.programs).find(key)
    }
    pub(super) fn keep_program(&self, key: Key, proof: Proof) {
        lock(&self.programs).keep(key, Arc::new(proof));
    }
    pub(super) fn function(&self, key: &Key) -> Option<Arc<Summary>> {
        lock(&self.functions).find(key)
    }
    pub(super) fn keep_function(&self, key: Key, summary: Arc<Summary>) {
        lock(&self.functions).keep(key, summary);
    }
}

fn lock<T>(store: &Mutex<Store<T>>) -> std::sync::MutexGuard<'_, Store<T>> {
    // A look-up or an insertion is whole or did not happen.
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Store<T> {
    found: HashMap<Key, Arc<T>, RandomState>,
    /// Oldest first.
    order: VecDeque<Key>,
    most: usize,
    hits: u64,
    misses: u64,
}

impl<T> Store<T> {
    fn new(most: usize) -> Self {
        Self { found: HashMap::default(), order: VecDeque::new(), most, hits: 0, misses: 0 }
    }
    fn counts(&self) -> CacheCounts {
        CacheCounts { hits: self.hits, misses: self.misses, entries: self.found.len() }
    }
    fn find(&mut self, key: &Key) -> Option<Arc<T>> {
        let found = self.found.get(key).cloned();
        *if found.is_some() { &mut self.hits } else { &mut self.misses } += 1;
        found
    }
    fn keep(&mut self, key: Key, value: Arc<T>) {
        if self.most == 0 || self.found.contains_key(&key) {
            return;
        }
        if self.order.len() >= self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.found.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.found.insert(key, value);
    }
}

/// Everything that a proof looks at.
#[derive(Clone, Debug)]
pub(super) struct Key {
    text: Arc<[u8]>,
    around: Around,
}

/// What a proof looks at around the instructions.
#[derive(Clone, Debug)]
struct Around {
    maps: Arc<[MapDef]>,
    btf: Option<Arc<Btf>>,
    kernel: Arc<KernelTypes>,
    host: HostInterface,
}

impl Around {
    fn of(program: &Program) -> Self {
        Self {
            maps: Arc::clone(&program.maps),
            btf: program.btf.clone(),
            kernel: Arc::clone(&program.kernel_types),
            host: program.host.clone(),
        }
    }
}

impl PartialEq for Around {
    fn eq(&self, other: &Self) -> bool {
        let same_btf = match (&self.btf, &other.btf) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
            (None, Some(_)) | (Some(_), None) => false,
        };
        same_btf
            && (Arc::ptr_eq(&self.maps, &other.maps) || self.maps == other.maps)
            && (Arc::ptr_eq(&self.kernel, &other.kernel) || self.kernel.path() == other.kernel.path())
            && self.host.is_same(&other.host)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.around == other.around
    }
}
impl Eq for Key {}
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// Rules, and what the program says of itself.
fn head(program: &Program, options: &Options) -> String {
    // Where a proof is found does not depend on how many look for it.
    let options = Options { threads: 0, ..*options };
    let Program { prog_type, attach_type, prog_flags, attach_target, kfuncs, ksyms, .. } = program;
    let gpl = program.is_gpl();
    let callback = program.exception_callback.is_some();
    format!(
        "{options:?} {prog_type:?} {attach_type} {prog_flags} {attach_target:?} {kfuncs:?} {ksyms:?} {gpl} {callback}"
    )
}

/// The key of a whole program; none for one that cannot be encoded.
pub(super) fn program_key(program: &Program, options: &Options) -> Option<Key> {
    let mut text = head(program, options);
    for sub in &program.subprograms {
        text += &format!(" {} {} {:?} {}", sub.entry.0, sub.end.0, sub.linkage, sub.btf_func);
    }
    text += &format!(" {:?}", program.exception_callback);
    let mut text = text.into_bytes();
    text.extend(encode(&program.insns, &mut Verbatim).ok()?.slots.iter().flat_map(|slot| slot.0));
    Some(Key { text: text.into(), around: Around::of(program) })
}

/// Keys of the global functions of a program.
pub(super) struct FunctionKeys<'a> {
    inputs: Inputs<'a>,
    head: String,
    slots: Vec<Slot>,
    /// First slot of each instruction, and one more.
    starts: Vec<usize>,
    around: Around,
}

impl<'a> FunctionKeys<'a> {
    /// `None` for a program that cannot be encoded.
    pub(super) fn new(inputs: Inputs<'a>) -> Option<Self> {
        let Inputs { program, options, tables, .. } = inputs;
        let encoded = encode(&program.insns, &mut Verbatim).ok()?;
        let head = format!("{} {:?}", head(program, options), tables.arena);
        let mut starts: Vec<usize> =
            crate::isa::encode::pcs_of(&program.insns).iter().map(|pc| pc.0 as usize).collect();
        starts.push(encoded.slots.len());
        Some(Self { inputs, head, slots: encoded.slots, starts, around: Around::of(program) })
    }

    /// The instructions of members that are walked, with numbers of members in calls, and what is known of each.
    pub(super) fn of(&self, members: &Members) -> Key {
        let Inputs { program, structure, tables, liveness, .. } = self.inputs;
        let mut text = format!("function {}", self.head);
        for (&sub, walked) in members.subs.iter().zip(&members.walked) {
            text += &format!(
                " {walked} {:?} {:?} {} {} {}",
                program.subprograms[sub].linkage,
                tables.prototype(sub),
                tables.changes_packet[sub],
                tables.sleeps[sub],
                liveness.argument_bits(sub),
            );
        }
        let mut text = text.into_bytes();
        for (&sub, _) in members.subs.iter().zip(&members.walked).filter(|(_, walked)| **walked) {
            let range = &program.subprograms[sub];
            let first = self.starts[range.entry.index()];
            let mut slots = self.slots[first..self.starts[range.end.index()]].to_vec();
            for call in &structure.calls[sub] {
                let number = members.number(call.callee).expect("what a member calls is one");
                // At most 256 subprograms; the number of a function is in the last half of its first slot.
                slots[self.starts[call.at.index()] - first].0[4..]
                    .copy_from_slice(&(number as u32).to_le_bytes());
            }
            text.extend((slots.len() as u32).to_le_bytes()); // a program is short
            text.extend(slots.iter().flat_map(|slot| slot.0));
        }
        Key { text: text.into(), around: self.around.clone() }
    }
}
