//! BTF prototypes of global functions: what a caller must pass, and what the function may assume.
#![forbid(unsafe_code)]

use super::explore::Stop;
use super::report::Reason;
use super::state::TypeRef;
use super::types::Types;
use crate::btf::{Btf, Kind, TypeId};
use crate::link::Program;
use beelift_runtime::ctx::{ContextLayout, ProgramType, attach};

/// Type of an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ArgumentType {
    /// A number.
    Number,
    /// The program's context.
    Context,
    /// Memory of that many bytes.
    Memory {
        /// Bytes.
        size: u32,
        /// May be null.
        nullable: bool,
    },
    /// Memory that may not be there: anything may be passed.
    Untrusted,
    /// A dynptr, only to be used.
    Dynptr,
    /// A kernel object.
    Object {
        /// Type.
        of: TypeRef,
        /// Anything may be passed, and reads may fail softly; else it stays valid.
        untrusted: bool,
        /// May be null.
        nullable: bool,
    },
    /// An address in an arena.
    Arena,
}

/// A global function's prototype; it returns a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Prototype {
    /// Arguments r1, r2, …
    pub(crate) arguments: Vec<ArgumentType>,
}

bitflags::bitflags! {
    /// Annotations of a parameter (`arg:ctx` and the like).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Tags: u8 {
        const CONTEXT = 1;
        const NONNULL = 1 << 1;
        const NULLABLE = 1 << 2;
        const TRUSTED = 1 << 3;
        const UNTRUSTED = 1 << 4;
        const ARENA = 1 << 5;
        /// One that no kernel knows.
        const OTHER = 1 << 6;
    }
}

impl Prototype {
    /// The prototype of a subprogram.
    ///
    /// # Errors
    /// A prototype that global functions must not have, or one that is not understood.
    pub(crate) fn of(program: &Program, types: &Types<'_>, subprogram: usize) -> Result<Self, Problem> {
        let sub = &program.subprograms[subprogram];
        let refuse = |what: &str| Problem::Refused(format!("function {}: {what}", sub.name));
        let btf = program.btf.as_deref().ok_or_else(|| refuse("no type information"))?;
        let func = TypeId(sub.btf_func);
        let Kind::Func { proto, .. } = btf.type_at(func).kind else {
            return Err(refuse("no type information"));
        };
        let Kind::FuncProto { ret, params } = btf.type_at(proto).kind else {
            return Err(refuse("no prototype"));
        };
        if !is_number(btf, btf.resolve(ret)) {
            return Err(refuse("its result is not a number"));
        }
        if params.len() > 5 {
            return Err(refuse("more than five arguments"));
        }
        let tags = tags(btf, func, params.len());
        let mut arguments = Vec::new();
        for (param, tags) in params.iter().zip(tags) {
            let argument = argument(program, types, btf, param.of, tags);
            arguments.push(argument.map_err(|what| match what {
                Problem::Refused(what) => refuse(&format!("argument {}: {what}", param.name)),
                Problem::Unknown(what) => Problem::Unknown(format!("function {}: {what}", sub.name)),
            })?);
        }
        Ok(Self { arguments })
    }
}

/// Whether the types say that a subprogram returns a number.
pub(crate) fn returns_number(program: &Program, subprogram: usize) -> bool {
    let Some(btf) = program.btf.as_deref() else { return false };
    let func = btf.get(TypeId(program.subprograms[subprogram].btf_func)).map(|ty| ty.kind);
    let Some(Kind::Func { proto, .. }) = func else { return false };
    let Kind::FuncProto { ret, .. } = btf.type_at(proto).kind else { return false };
    is_number(btf, btf.resolve(ret))
}

/// What is wrong with a prototype.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Problem {
    /// Not for global functions.
    Refused(String),
    /// Not understood.
    Unknown(String),
}

impl From<&Problem> for Stop {
    fn from(problem: &Problem) -> Self {
        match problem {
            Problem::Refused(what) => Reason::GlobalPrototype { what: what.clone() }.into(),
            Problem::Unknown(what) => Self::Unsupported(what.clone()),
        }
    }
}

fn tags(btf: &Btf, func: TypeId, count: usize) -> Vec<Tags> {
    let mut tags = vec![Tags::empty(); count];
    for tag in btf.iter() {
        let Kind::DeclTag { of, component: Some(component) } = tag.kind else { continue };
        if of != func {
            continue;
        }
        let Some(slot) = tags.get_mut(component as usize) else { continue };
        *slot |= match tag.name.strip_prefix("arg:") {
            Some("ctx") => Tags::CONTEXT,
            Some("nonnull") => Tags::NONNULL,
            Some("nullable") => Tags::NULLABLE,
            Some("trusted") => Tags::TRUSTED,
            Some("untrusted") => Tags::UNTRUSTED,
            Some("arena") => Tags::ARENA,
            Some(_) => Tags::OTHER,
            None => Tags::empty(),
        };
    }
    tags
}

fn argument(
    program: &Program,
    types: &Types<'_>,
    btf: &Btf,
    of: TypeId,
    tags: Tags,
) -> Result<ArgumentType, Problem> {
    let refused = |what: &str| Err(Problem::Refused(what.to_owned()));
    if tags.contains(Tags::OTHER) {
        return refused("an annotation that is not known");
    }
    let resolved = btf.resolve(of);
    let Kind::Ptr(to) = btf.type_at(resolved).kind else {
        if !tags.is_empty() {
            return refused("a pointer annotation on what is no pointer");
        }
        if is_number(btf, resolved) {
            return Ok(ArgumentType::Number);
        }
        return refused("neither a number nor a pointer");
    };
    let only = |allowed: Tags| {
        let fine = allowed.contains(tags);
        if fine { Ok(()) } else { Err(Problem::Refused("annotations that contradict each other".to_owned())) }
    };
    let target = btf.resolve(to);
    if tags.contains(Tags::CONTEXT) || is_context(program, btf, to) {
        only(Tags::CONTEXT)?;
        if tags.contains(Tags::CONTEXT) && !may_be_context(program, btf, to) {
            return refused("annotated as the context, but of another type");
        }
        return Ok(ArgumentType::Context);
    }
    if btf.type_at(target).name == "bpf_dynptr" {
        only(Tags::empty())?;
        return Ok(ArgumentType::Dynptr);
    }
    if tags.contains(Tags::TRUSTED) {
        only(Tags::TRUSTED | Tags::NULLABLE)?;
        let of = kernel_object(types, btf, target)?;
        return Ok(ArgumentType::Object { of, untrusted: false, nullable: tags.contains(Tags::NULLABLE) });
    }
    if tags.contains(Tags::UNTRUSTED) {
        only(Tags::UNTRUSTED)?;
        if is_number(btf, target) || target == TypeId::VOID {
            return Ok(ArgumentType::Untrusted);
        }
        let of = kernel_object(types, btf, target)?;
        return Ok(ArgumentType::Object { of, untrusted: true, nullable: false });
    }
    if tags.contains(Tags::ARENA) {
        only(Tags::ARENA)?;
        return Ok(ArgumentType::Arena);
    }
    only(Tags::NONNULL)?;
    let size = btf.size_of(target).and_then(|size| u32::try_from(size).ok()).filter(|size| *size < 1 << 29);
    match size {
        Some(size) => Ok(ArgumentType::Memory { size, nullable: !tags.contains(Tags::NONNULL) }),
        None => refused("a pointer to what has no size"),
    }
}

/// The kernel's type of that name.
fn kernel_object(types: &Types<'_>, btf: &Btf, target: TypeId) -> Result<TypeRef, Problem> {
    if types.kernel().is_none() {
        return Err(Problem::Unknown("the kernel's types".to_owned()));
    }
    let found = btf.type_at(target);
    // A local flavour of a kernel type goes by the kernel's name.
    let name = found.name.split("___").next().unwrap_or_default();
    match found.kind {
        Kind::Struct(_) | Kind::Union(_) | Kind::Fwd { .. } => types.kernel_struct(name),
        _ => None,
    }
    .ok_or_else(|| Problem::Refused(format!("`{name}` is no type of the kernel")))
}

/// Whether a pointer that is annotated as the context may be to that type.
fn may_be_context(program: &Program, btf: &Btf, to: TypeId) -> bool {
    use ProgramType as P;
    let target = btf.type_at(btf.resolve(to));
    let is_struct = matches!(target.kind, Kind::Struct(_) | Kind::Union(_) | Kind::Fwd { .. });
    let word = matches!(target.kind, Kind::Int { size: 8, .. });
    if target.id == TypeId::VOID || is_context(program, btf, to) {
        return true;
    }
    match program.prog_type {
        P::Kprobe | P::PerfEvent => {
            (is_struct && target.name == "pt_regs") || names(btf, to).any(|name| name == "bpf_user_pt_regs_t")
        }
        P::RawTracepoint | P::Lsm | P::StructOps => word,
        P::RawTracepointWritable => word || (is_struct && target.name == "bpf_raw_tracepoint_args"),
        P::Tracing => match program.attach_type {
            attach::TRACE_RAW_TP => word || (is_struct && target.name == "bpf_raw_tracepoint_args"),
            attach::TRACE_ITER => is_struct && target.name.starts_with("bpf_iter__"),
            _ => word,
        },
        P::Tracepoint | P::Syscall | P::Ext => true,
        _ => false,
    }
}

fn is_number(btf: &Btf, resolved: TypeId) -> bool {
    matches!(btf.type_at(resolved).kind, Kind::Int { .. } | Kind::Enum(_) | Kind::Enum64(_))
}

/// Whether a pointer to that type is the program's context.
fn is_context(program: &Program, btf: &Btf, to: TypeId) -> bool {
    let wanted = match program.layout() {
        ContextLayout::Fields { name, .. } | ContextLayout::Raw { name, .. } => name,
        ContextLayout::Memory | ContextLayout::Kernel => return false,
    };
    if program.prog_type == ProgramType::Kprobe && names(btf, to).any(|name| name == "bpf_user_pt_regs_t") {
        return true;
    }
    let target = btf.type_at(btf.resolve(to));
    // To Linux the structure behind these two is the context as well.
    let behind = match wanted {
        "__sk_buff" => "sk_buff",
        "xdp_md" => "xdp_buff",
        _ => wanted,
    };
    let named = target.name == wanted || target.name == behind;
    matches!(target.kind, Kind::Struct(_) | Kind::Fwd { .. }) && named
}

/// Names of the typedefs on the way to a type.
fn names(btf: &Btf, from: TypeId) -> impl Iterator<Item = &str> {
    let mut at = Some(from);
    std::iter::from_fn(move || {
        let current = btf.type_at(at?);
        at = match current.kind {
            Kind::Typedef(of)
            | Kind::Const(of)
            | Kind::Volatile(of)
            | Kind::Restrict(of)
            | Kind::TypeTag(of) => Some(of),
            _ => None,
        };
        Some(current.name)
    })
    .take(32)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::btf::{BtfBuilder, IntEncoding, KernelTypes};

    #[test]
    fn five_arguments_are_all_that_registers_hold() {
        let mut build = BtfBuilder::new();
        let int = build.int("int", 4, IntEncoding::Signed);
        let names = ["a", "b", "c", "d", "e", "f"].map(|name| (name, int));
        let functions = [5, 6].map(|count| {
            let proto = build.func_proto(int, &names[..count]);
            build.func("f", proto)
        });
        let mut program = Program::assemble(ProgramType::Syscall, "exit", |_| None).expect("a program");
        program.btf = Some(Arc::new(build.finish().expect("types")));
        let kernel = KernelTypes::default();
        let found = functions.map(|function| {
            program.subprograms[0].btf_func = function.0;
            Prototype::of(&program, &Types::new(&kernel, program.btf.as_deref()), 0)
                .map(|it| it.arguments.len())
        });
        assert_eq!(found[0], Ok(5));
        assert!(matches!(&found[1], Err(Problem::Refused(what)) if what.contains("five")));
    }
}
