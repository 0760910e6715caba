//! What compilers leave open in BTF and the kernel wants filled in.
//!
//! In: a [`Btf`] of an object and where the object's data lies. Out: a `Btf` with data sections laid out, and
//! bytes for `BPF_BTF_LOAD`. Ids never change; types are only added at the end.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};

use super::build::BtfBuilder;
use super::record as raw;
use super::types::{IntEncoding, Kind, VarLinkage};
use super::{Btf, BtfError, FuncLinkage, TypeId};

/// Where the variables of a data section lie.
#[derive(Clone, Debug, Default)]
pub(crate) struct SectionLayout {
    /// Bytes of the section.
    pub(crate) size: u32,
    /// Byte offset of each symbol.
    pub(crate) offsets: HashMap<String, u32>,
}

impl Btf {
    /// The same types with sizes and offsets of data sections filled in, and `hidden` functions static.
    pub(crate) fn laid_out(
        &self,
        sections: &HashMap<String, SectionLayout>,
        hidden: &HashSet<String>,
    ) -> Result<Self, BtfError> {
        let mut build = BtfBuilder::after(self);
        for ty in self.iter() {
            match ty.kind {
                Kind::Datasec { vars, .. } => {
                    let Some(layout) = sections.get(ty.name) else { continue };
                    let at = self.record_offset(ty.id);
                    build.patch(at + 8, layout.size);
                    let mut vars: Vec<_> = vars
                        .iter()
                        .map(|mut var| {
                            if let Some(&offset) = layout.offsets.get(self.type_at(var.var).name) {
                                var.offset = offset;
                            }
                            if let Some(size) =
                                self.size_of(var.var).and_then(|size| u32::try_from(size).ok())
                            {
                                var.size = size;
                            }
                            var
                        })
                        .collect();
                    vars.sort_by_key(|var| var.offset);
                    for (index, var) in vars.iter().enumerate() {
                        let at = at + 12 + index * 12;
                        build.patch(at, var.var.0);
                        build.patch(at + 4, var.offset);
                        build.patch(at + 8, var.size);
                    }
                }
                Kind::Func { linkage: FuncLinkage::Global, .. } if hidden.contains(ty.name) => {
                    build.patch(self.record_offset(ty.id) + 4, raw::FUNC << 24);
                }
                Kind::Void
                | Kind::Int { .. }
                | Kind::Ptr(_)
                | Kind::Array { .. }
                | Kind::Struct(_)
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
                | Kind::Float { .. }
                | Kind::DeclTag { .. }
                | Kind::TypeTag(_) => {}
            }
        }
        build.finish()
    }

    /// The bytes as `BPF_BTF_LOAD` takes them. The kernel knows no extern functions and variables: they become
    /// visible ones, and the section of kernel symbols holds `int`s in their place.
    #[must_use]
    pub fn to_kernel_bytes(&self) -> Vec<u8> {
        let ksyms = self
            .iter()
            .filter(|ty| ty.name == ".ksyms")
            .find_map(|ty| ty.kind.as_datasec().map(|(_, vars)| (ty.id, vars)));
        let mut build = BtfBuilder::after(self);
        if let Some((section, vars)) = ksyms {
            let int = build.int("int", 4, IntEncoding::Signed);
            let dummy = build.global("dummy_ksym", int);
            let dummy_name = build.string("dummy_ksym");
            let at = self.record_offset(section);
            let mut offset = 0;
            for (index, var) in vars.iter().enumerate() {
                let entry = at + 12 + index * 12;
                let kind = self.type_at(var.var).kind;
                if let Some(proto) = kind.as_func() {
                    build.patch(entry, dummy.0);
                    self.name_params(&mut build, proto, dummy_name);
                } else if kind.as_var().is_some() {
                    build.patch(self.record_offset(var.var) + 8, int.0);
                }
                build.patch(entry + 4, offset);
                build.patch(entry + 8, 4);
                offset += 4;
            }
            build.patch(at + 8, offset);
        }
        for ty in self.iter() {
            let at = self.record_offset(ty.id);
            if let Kind::Func { linkage: FuncLinkage::Extern, .. } = ty.kind {
                build.patch(at + 4, raw::FUNC << 24 | 1);
            } else if let Kind::Var { linkage: VarLinkage::Extern, .. } = ty.kind {
                build.patch(at + 12, 1);
            }
        }
        // Only numbers changed, to ones that exist.
        build.finish().map(|btf| btf.to_bytes()).unwrap_or_default()
    }

    /// The kernel wants parameters of functions to have names.
    fn name_params(&self, build: &mut BtfBuilder, proto: TypeId, name: u32) {
        let Kind::FuncProto { params, .. } = self.type_at(proto).kind else { return };
        for (index, param) in params.iter().enumerate() {
            if param.name.is_empty() && param.of != TypeId::VOID {
                build.patch(self.record_offset(proto) + 12 + index * 8, name);
            }
        }
    }
}
