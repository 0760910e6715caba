//! Special fields of map values: locks, timers, kptrs, lists and trees, found by their types.
//!
//! In: a [`Btf`] and the type of a map's value. Out: [`SpecialField`]s by ascending offset. What programs may do
//! with them is the verifier's business.
#![forbid(unsafe_code)]

use beelift_runtime::map::{SpecialField, SpecialKind};

use super::types::{Kind, Member};
use super::{Btf, MAX_DEPTH, TypeId};

/// More special fields than a kernel lets a value have.
const MAX_FIELDS: usize = 64;

/// Fields of a value of type `id` that programs reach only through helpers.
#[must_use]
pub fn special_fields(btf: &Btf, id: TypeId) -> Vec<SpecialField> {
    let mut search = Search { btf, found: Vec::new(), budget: 10_000 };
    search.visit(id, 0, 0, (TypeId::VOID, 0));
    search.found.sort_by_key(|field| field.offset);
    search.found
}

/// Structures that are special by name.
fn by_name(name: &str) -> Option<SpecialKind> {
    Some(match name {
        "bpf_spin_lock" => SpecialKind::SpinLock,
        "bpf_res_spin_lock" => SpecialKind::ResSpinLock,
        "bpf_timer" => SpecialKind::Timer,
        "bpf_wq" => SpecialKind::Workqueue,
        "bpf_task_work" => SpecialKind::TaskWork,
        "bpf_list_head" => SpecialKind::ListHead,
        "bpf_list_node" => SpecialKind::ListNode,
        "bpf_rb_root" => SpecialKind::RbRoot,
        "bpf_rb_node" => SpecialKind::RbNode,
        "bpf_refcount" => SpecialKind::Refcount,
        _ => return None,
    })
}

struct Search<'a> {
    btf: &'a Btf,
    found: Vec<SpecialField>,
    budget: u32,
}

impl Search<'_> {
    /// `member` is the member or variable that this is an array of, for its annotations.
    fn visit(&mut self, id: TypeId, offset: u32, depth: usize, member: (TypeId, usize)) {
        if self.budget == 0 || depth > MAX_DEPTH || self.found.len() >= MAX_FIELDS {
            return;
        }
        self.budget -= 1;
        let ty = self.btf.type_at(self.btf.resolve(id));
        match ty.kind {
            Kind::Struct(members) | Kind::Union(members) => {
                for (index, member) in members.iter().enumerate() {
                    if self.found.len() >= MAX_FIELDS {
                        return;
                    }
                    let at = offset.wrapping_add(member.bit_offset / 8);
                    if member.bit_size.is_none() && !self.special(ty.id, index, member.of, at) {
                        self.visit(member.of, at, depth + 1, (ty.id, index));
                    }
                }
            }
            Kind::Array { element, len, .. } => {
                let Some(stride) = self.btf.size_of(element).and_then(|size| u32::try_from(size).ok()) else {
                    return;
                };
                let before = self.found.len();
                for index in 0..len {
                    let Some(at) = index.checked_mul(stride).and_then(|at| at.checked_add(offset)) else {
                        return;
                    };
                    if !self.special(member.0, member.1, element, at) {
                        self.visit(element, at, depth + 1, member);
                    }
                    // Elements are alike: a first one without special fields speaks for all.
                    if self.found.len() == before || self.budget == 0 || self.found.len() >= MAX_FIELDS {
                        return;
                    }
                }
            }
            Kind::Var { of, .. } => {
                if !self.special(ty.id, 0, of, offset) {
                    self.visit(of, offset, depth + 1, (ty.id, 0));
                }
            }
            Kind::Datasec { vars, .. } => {
                for var in vars.iter() {
                    self.visit(var.var, offset.wrapping_add(var.offset), depth + 1, (TypeId::VOID, 0));
                }
            }
            Kind::Void
            | Kind::Int { .. }
            | Kind::Ptr(_)
            | Kind::Enum(_)
            | Kind::Enum64(_)
            | Kind::Fwd { .. }
            | Kind::Typedef(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::Func { .. }
            | Kind::FuncProto { .. }
            | Kind::Float { .. }
            | Kind::DeclTag { .. }
            | Kind::TypeTag(_) => {}
        }
    }

    /// Records the field if its type is special. `parent` and `index` name the member, for its annotations.
    fn special(&mut self, parent: TypeId, index: usize, of: TypeId, offset: u32) -> bool {
        let ty = self.btf.type_at(self.btf.resolve(of));
        match ty.kind {
            Kind::Struct(members) => {
                let Some(kind) = by_name(ty.name) else { return false };
                let (btf_type, node) = match kind {
                    SpecialKind::ListHead => self.contained(parent, index, SpecialKind::ListNode),
                    SpecialKind::RbRoot => self.contained(parent, index, SpecialKind::RbNode),
                    SpecialKind::SpinLock
                    | SpecialKind::ResSpinLock
                    | SpecialKind::Timer
                    | SpecialKind::Workqueue
                    | SpecialKind::TaskWork
                    | SpecialKind::KptrUntrusted
                    | SpecialKind::KptrRef
                    | SpecialKind::KptrPercpu
                    | SpecialKind::ListNode
                    | SpecialKind::RbNode
                    | SpecialKind::Refcount
                    | SpecialKind::Uptr => (TypeId::VOID, 0),
                };
                let (size, btf_type) = (members.size, btf_type.0);
                self.found.push(SpecialField { kind, offset, size, btf_type, node });
                true
            }
            Kind::Ptr(to) => {
                let tag = self.btf.type_at(to);
                let Kind::TypeTag(of) = tag.kind else { return false };
                let kind = match tag.name {
                    "kptr_untrusted" => SpecialKind::KptrUntrusted,
                    "kptr" => SpecialKind::KptrRef,
                    "percpu_kptr" => SpecialKind::KptrPercpu,
                    "uptr" => SpecialKind::Uptr,
                    _ => return false,
                };
                let btf_type = self.btf.resolve(of).0;
                self.found.push(SpecialField { kind, offset, size: 8, btf_type, node: 0 });
                true
            }
            Kind::Void
            | Kind::Int { .. }
            | Kind::Array { .. }
            | Kind::Union(_)
            | Kind::Enum(_)
            | Kind::Enum64(_)
            | Kind::Fwd { .. }
            | Kind::Typedef(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::Func { .. }
            | Kind::FuncProto { .. }
            | Kind::Var { .. }
            | Kind::Datasec { .. }
            | Kind::Float { .. }
            | Kind::DeclTag { .. }
            | Kind::TypeTag(_) => false,
        }
    }

    /// The structure that a list head or tree root holds, and where its node lies in it: `contains:NAME:MEMBER`,
    /// tagged on the member, or on the variable that the head is. No structure if that is no node of its kind.
    fn contained(&self, parent: TypeId, index: usize, kind: SpecialKind) -> (TypeId, u32) {
        let tagged = |id: TypeId| {
            let ty = self.btf.type_at(id);
            let Kind::DeclTag { of, component } = ty.kind else { return None };
            let here = of == parent && component.unwrap_or(0) as usize == index;
            here.then(|| ty.name.strip_prefix("contains:")).flatten()
        };
        let Some(text) = self.btf.ids().find_map(tagged) else { return (TypeId::VOID, 0) };
        let (name, member) = text.split_once(':').unwrap_or((text, ""));
        let is_struct = |id: &TypeId| matches!(self.btf.type_at(*id).kind, Kind::Struct(_));
        let id = self.btf.named(name).find(is_struct).unwrap_or_default();
        let members = self.btf.type_at(id).kind.members();
        let node = members.and_then(|members| members.iter().find(|found| found.name == member));
        let is_node = |node: &Member<'_>| {
            let ty = self.btf.type_at(self.btf.resolve(node.of));
            node.bit_size.is_none() && matches!(ty.kind, Kind::Struct(_)) && by_name(ty.name) == Some(kind)
        };
        node.filter(is_node).map_or((TypeId::VOID, 0), |node| (id, node.bit_offset / 8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::{BtfBuilder, IntEncoding};

    #[test]
    fn fields_are_found_inside_structures_and_arrays() {
        let mut build = BtfBuilder::new();
        let int = build.int("int", 4, IntEncoding::Signed);
        let lock = build.structure("bpf_spin_lock", 4, &[("val", int, 0, 0)]);
        let timer = build.structure("bpf_timer", 16, &[]);
        let task = build.structure("task_struct", 4, &[("pid", int, 0, 0)]);
        let tag = build.type_tag("kptr", task);
        let kptr = build.ptr(tag);
        let pair = build.structure("pair", 24, &[("t", timer, 0, 0), ("p", kptr, 128, 0)]);
        let pairs = build.array(pair, int, 2);
        let value = build.structure("value", 56, &[("l", lock, 0, 0), ("pairs", pairs, 64, 0)]);
        let huge = build.array(task, int, u32::MAX);
        let btf = build.finish().unwrap();
        let found: Vec<_> = special_fields(&btf, value)
            .iter()
            .map(|field| (field.kind, field.offset, field.size, field.btf_type))
            .collect();
        assert_eq!(
            found,
            [
                (SpecialKind::SpinLock, 0, 4, 0),
                (SpecialKind::Timer, 8, 16, 0),
                (SpecialKind::KptrRef, 24, 8, task.0),
                (SpecialKind::Timer, 32, 16, 0),
                (SpecialKind::KptrRef, 48, 8, task.0),
            ]
        );
        assert_eq!(special_fields(&btf, huge), []);
    }

    #[test]
    fn heads_in_an_array_hold_what_the_member_says() {
        let mut build = BtfBuilder::new();
        let int = build.int("int", 4, IntEncoding::Signed);
        let head = build.structure("bpf_list_head", 16, &[]);
        let node = build.structure("bpf_list_node", 24, &[]);
        let item = build.structure("item", 32, &[("key", int, 0, 0), ("node", node, 64, 0)]);
        let heads = build.array(head, int, 2);
        let value = build.structure("value", 40, &[("key", int, 0, 0), ("heads", heads, 64, 0)]);
        build.decl_tag("contains:item:node", value, Some(1));
        let btf = build.finish().unwrap();
        let found: Vec<_> = special_fields(&btf, value)
            .iter()
            .map(|field| (field.kind, field.offset, field.btf_type, field.node))
            .collect();
        let one = |offset| (SpecialKind::ListHead, offset, item.0, 8);
        assert_eq!(found, [one(8), one(24)]);
    }

    #[test]
    fn what_a_head_holds_are_nodes_of_its_kind() {
        let mut build = BtfBuilder::new();
        let int = build.int("int", 4, IntEncoding::Signed);
        let head = build.structure("bpf_list_head", 16, &[]);
        let node = build.structure("bpf_list_node", 24, &[]);
        let branch = build.structure("bpf_rb_node", 32, &[]);
        let members = [("key", int, 0, 0), ("node", node, 64, 0), ("branch", branch, 256, 0)];
        build.structure("item", 64, &members);
        let mut values = Vec::new();
        for contains in ["item:node", "item:key", "item:branch", "item:none", "none:node"] {
            let value = build.structure("value", 16, &[("head", head, 0, 0)]);
            build.decl_tag(&format!("contains:{contains}"), value, Some(0));
            values.push(value);
        }
        let btf = build.finish().unwrap();
        let held = |value: &TypeId| special_fields(&btf, *value)[0].btf_type != 0;
        assert_eq!(values.iter().map(held).collect::<Vec<_>>(), [true, false, false, false, false]);
    }
}
