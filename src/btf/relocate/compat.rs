//! When a type of the target may stand for a type of the object.
//!
//! Three strengths: [`fields`] (a member can be read through its name), [`compatible`] (it is the same kind of
//! thing), [`matches`] (it is the same, member by member). Walks are bounded in depth and in visits.
#![forbid(unsafe_code)]

use crate::btf::parse::essential_name;
use crate::btf::{Btf, Enumerators, FuncLinkage, IntEncoding, Kind, MAX_DEPTH, Members, TypeId};

/// Visits of one comparison.
const BUDGET: u32 = 20_000;

/// Kinds as numbers, with the two enumerations as one.
fn class(kind: Kind<'_>) -> u32 {
    match kind {
        Kind::Void => 0,
        Kind::Int { .. } => 1,
        Kind::Ptr(_) => 2,
        Kind::Array { .. } => 3,
        Kind::Struct(_) => 4,
        Kind::Union(_) => 5,
        Kind::Enum(_) | Kind::Enum64(_) => 6,
        Kind::Fwd { .. } => 7,
        Kind::Typedef(_) => 8,
        Kind::Volatile(_) => 9,
        Kind::Const(_) => 10,
        Kind::Restrict(_) => 11,
        Kind::Func { linkage: FuncLinkage::Static | FuncLinkage::Global | FuncLinkage::Extern, .. } => 12,
        Kind::FuncProto { .. } => 13,
        Kind::Var { .. } => 14,
        Kind::Datasec { .. } => 15,
        Kind::Float { .. } => 16,
        Kind::DeclTag { .. } => 17,
        Kind::TypeTag(_) => 18,
    }
}

/// Whether two types are of one kind.
pub(super) fn same_kind(a: Kind<'_>, b: Kind<'_>) -> bool {
    class(a) == class(b)
}

/// Whether a field of type `b` can be read where one of type `a` was expected.
pub(super) fn fields(local: &Btf, a: TypeId, target: &Btf, b: TypeId) -> bool {
    let (mut a, mut b) = (a, b);
    for _ in 0..MAX_DEPTH {
        let (x, y) = (local.type_at(local.resolve(a)), target.type_at(target.resolve(b)));
        match (x.kind, y.kind) {
            (Kind::Struct(_) | Kind::Union(_), Kind::Struct(_) | Kind::Union(_))
            | (Kind::Ptr(_), Kind::Ptr(_))
            | (Kind::Float { .. }, Kind::Float { .. }) => return true,
            (Kind::Int { bit_offset: 0, .. }, Kind::Int { bit_offset: 0, .. }) => return true,
            (Kind::Enum(_) | Kind::Enum64(_), Kind::Enum(_) | Kind::Enum64(_))
            | (Kind::Fwd { .. }, Kind::Fwd { .. }) => {
                let (x, y) = (essential_name(x.name), essential_name(y.name));
                return x.is_empty() || y.is_empty() || x == y;
            }
            (Kind::Array { element: x, .. }, Kind::Array { element: y, .. }) => (a, b) = (x, y),
            _ => return false,
        }
    }
    false
}

/// Whether two types are the same kind of thing, behind pointers and in function types as well.
pub(super) fn compatible(local: &Btf, a: TypeId, target: &Btf, b: TypeId) -> bool {
    let mut compare = Compare { local, target, budget: BUDGET };
    same_kind(local.type_at(a).kind, target.type_at(b).kind) && compare.compatible(a, b, 0)
}

/// Whether all that the object says about a type is so in the target.
pub(super) fn matches(local: &Btf, a: TypeId, target: &Btf, b: TypeId) -> bool {
    Compare { local, target, budget: BUDGET }.matches(a, b, false, 0)
}

struct Compare<'a> {
    local: &'a Btf,
    target: &'a Btf,
    budget: u32,
}

impl Compare<'_> {
    /// Whether the comparison may go on.
    fn step(&mut self, depth: usize) -> bool {
        self.budget = self.budget.saturating_sub(1);
        depth <= MAX_DEPTH && self.budget > 0
    }

    fn compatible(&mut self, a: TypeId, b: TypeId, depth: usize) -> bool {
        if !self.step(depth) {
            return false;
        }
        let (x, y) = (self.local.resolve(a), self.target.resolve(b));
        match (self.local.type_at(x).kind, self.target.type_at(y).kind) {
            (Kind::Ptr(x), Kind::Ptr(y)) => self.compatible(x, y, depth + 1),
            (Kind::Array { element: x, .. }, Kind::Array { element: y, .. }) => {
                self.compatible(x, y, depth + 1)
            }
            (Kind::Int { bit_offset: x, .. }, Kind::Int { bit_offset: y, .. }) => x == 0 && y == 0,
            (Kind::FuncProto { ret: x, params: p }, Kind::FuncProto { ret: y, params: q }) => {
                p.len() == q.len()
                    && p.iter().zip(q.iter()).all(|(p, q)| self.compatible(p.of, q.of, depth + 1))
                    && self.compatible(x, y, depth + 1)
            }
            (x, y) => same_kind(x, y),
        }
    }

    fn matches(&mut self, a: TypeId, b: TypeId, behind_pointer: bool, depth: usize) -> bool {
        if !self.step(depth) {
            return false;
        }
        let x = self.local.type_at(self.local.resolve(a));
        let y = self.target.type_at(self.target.resolve(b));
        if !same_name(x.name, y.name) {
            return false;
        }
        match (x.kind, y.kind) {
            (Kind::Void, Kind::Void) => true,
            (Kind::Fwd { union: x }, Kind::Fwd { union: y }) => x == y,
            (Kind::Fwd { union }, Kind::Struct(_)) => behind_pointer && !union,
            (Kind::Fwd { union }, Kind::Union(_)) => behind_pointer && union,
            (Kind::Struct(_), Kind::Fwd { union }) => behind_pointer && !union,
            (Kind::Union(_), Kind::Fwd { union }) => behind_pointer && union,
            (Kind::Struct(x), Kind::Struct(y)) | (Kind::Union(x), Kind::Union(y)) => {
                // What a pointer points to is not looked into: kernel structures are all tied together.
                behind_pointer || self.members_match(x, y, depth)
            }
            (Kind::Enum(x) | Kind::Enum64(x), Kind::Enum(y) | Kind::Enum64(y)) => enumerators_match(x, y),
            (Kind::Int { size: x, encoding: s, .. }, Kind::Int { size: y, encoding: t, .. }) => {
                x == y && (s == IntEncoding::Signed) == (t == IntEncoding::Signed)
            }
            (Kind::Float { size: x }, Kind::Float { size: y }) => x == y,
            (Kind::Ptr(x), Kind::Ptr(y)) => self.matches(x, y, true, depth + 1),
            (Kind::Array { element: x, len: m, .. }, Kind::Array { element: y, len: n, .. }) => {
                m == n && self.matches(x, y, behind_pointer, depth + 1)
            }
            (Kind::FuncProto { ret: x, params: p }, Kind::FuncProto { ret: y, params: q }) => {
                p.len() == q.len()
                    && p.iter()
                        .zip(q.iter())
                        .all(|(p, q)| self.matches(p.of, q.of, behind_pointer, depth + 1))
                    && self.matches(x, y, behind_pointer, depth + 1)
            }
            _ => false,
        }
    }

    /// Every member of the object's structure has its like.
    fn members_match(&mut self, x: Members<'_>, y: Members<'_>, depth: usize) -> bool {
        x.len() <= y.len()
            && x.iter().all(|member| {
                y.iter().any(|other| {
                    same_name(member.name, other.name) && self.matches(member.of, other.of, false, depth + 1)
                })
            })
    }
}

fn same_name(a: &str, b: &str) -> bool {
    essential_name(a) == essential_name(b)
}

/// Every value of the object's enumeration has its name in the target's.
fn enumerators_match(x: Enumerators<'_>, y: Enumerators<'_>) -> bool {
    x.size == y.size
        && x.len() <= y.len()
        && x.iter().all(|value| {
            let name = essential_name(value.name);
            y.iter().any(|other| essential_name(other.name) == name)
        })
}
