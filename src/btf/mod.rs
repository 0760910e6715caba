//! BTF: types of an object or of the kernel, CO-RE relocation, source lines.
//!
//! In: the bytes of `.BTF` and `.BTF.ext`. Out: [`Btf`], an index over the bytes; a type is decoded when it is
//! looked at ([`Btf::get`]). Reading checks everything once, so that later look-ups cannot fail; what may still
//! be endless (types that contain themselves) is bounded by depth and by a budget of visits where it is walked.
//! Not here: which maps and programs an object has (`elf`).
#![forbid(unsafe_code)]

mod build;
mod builtin;
mod error;
mod ext;
mod fields;
mod kernel;
mod parse;
mod print;
mod record;
mod relocate;
mod types;
mod value;

pub use build::BtfBuilder;
pub use builtin::builtin;
pub use error::BtfError;
pub use ext::{BtfExt, CoreRecord, FuncRecord, LineRecord, SectionRecords};
pub use fields::special_fields;
pub(crate) use kernel::SectionLayout;
pub use parse::Btf;
pub use relocate::{
    CoreError, CoreKind, CoreOutcome, CoreResult, CoreSource, CoreTarget, KernelTypes, POISON, Relocator,
};
pub use types::{
    Enumerator, Enumerators, FuncLinkage, IntEncoding, Kind, Member, Members, Param, Params, SectionVar,
    SectionVars, Type, VarLinkage,
};
pub use value::Value;

/// Id of a type in a [`Btf`]. 0 is `void`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TypeId(pub u32);

impl TypeId {
    /// `void`.
    pub const VOID: Self = Self(0);
}

/// Longest chain of modifiers, typedefs, arrays or nested structures that is followed.
pub(crate) const MAX_DEPTH: usize = 32;
