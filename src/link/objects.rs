//! The types of objects that a program may allocate, for the run-time.
#![forbid(unsafe_code)]

use beelift_runtime::heap::{ObjectType, ObjectTypes};

use super::Program;
use crate::btf::{Kind, special_fields};

/// Kernel functions that allocate objects of the program's types.
const ALLOCATE: [&str; 2] = ["bpf_obj_new_impl", "bpf_percpu_obj_new_impl"];

impl Program {
    /// The structures of the program's own types, if it allocates any.
    #[must_use]
    pub fn object_types(&self) -> ObjectTypes {
        let allocates = self.kfuncs.iter().any(|kfunc| ALLOCATE.contains(&kfunc.name.as_str()));
        let Some(btf) = self.btf.as_deref().filter(|_| allocates) else { return ObjectTypes::default() };
        let structures = btf.ids().filter_map(|id| match btf.type_at(id).kind {
            Kind::Struct(members) => {
                Some((id.0, ObjectType { size: members.size, fields: special_fields(btf, id) }))
            }
            _ => None,
        });
        ObjectTypes::new(structures)
    }
}
