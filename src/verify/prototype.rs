//! BTF prototypes of global functions: what a caller must pass, and what the function may assume.
#![forbid(unsafe_code)]

use super::explore::Stop;
use super::report::Reason;
use crate::btf::{Btf, Kind, TypeId};
use crate::link::Program;
use beelift_runtime::ctx::{ContextLayout, ProgramType};

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
}

/// A global function's prototype; it returns a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Prototype {
    /// Arguments r1, r2, …
    pub(crate) arguments: Vec<ArgumentType>,
}

/// Annotations of a parameter (`arg:ctx` and the like).
#[derive(Clone, Copy, Default)]
struct Tags {
    context: bool,
    nonnull: bool,
    other: bool,
}

impl Prototype {
    /// The prototype of a subprogram.
    ///
    /// # Errors
    /// A prototype that global functions must not have, or one that is not understood.
    pub(crate) fn of(program: &Program, subprogram: usize) -> Result<Self, Problem> {
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
            let argument = argument(program, btf, param.of, tags);
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
    let mut tags = vec![Tags::default(); count];
    for (id, tag) in btf.ids().map(|id| (id, btf.type_at(id))) {
        let Kind::DeclTag { of, component: Some(component) } = tag.kind else { continue };
        if of != func {
            continue;
        }
        let _ = id;
        let Some(slot) = tags.get_mut(component as usize) else { continue };
        match tag.name.strip_prefix("arg:") {
            Some("ctx") => slot.context = true,
            Some("nonnull") => slot.nonnull = true,
            Some(_) => slot.other = true,
            None => {}
        }
    }
    tags
}

fn argument(program: &Program, btf: &Btf, of: TypeId, tags: Tags) -> Result<ArgumentType, Problem> {
    let resolved = btf.resolve(of);
    let Kind::Ptr(to) = btf.type_at(resolved).kind else {
        if tags.context || tags.nonnull || tags.other {
            return Err(Problem::Refused("a pointer annotation on what is no pointer".to_owned()));
        }
        if is_number(btf, resolved) {
            return Ok(ArgumentType::Number);
        }
        return Err(Problem::Refused("neither a number nor a pointer".to_owned()));
    };
    if tags.context || is_context(program, btf, to) {
        return Ok(ArgumentType::Context);
    }
    if tags.other {
        return Err(Problem::Unknown("annotated argument".to_owned()));
    }
    let target = btf.resolve(to);
    if btf.type_at(target).name == "bpf_dynptr" {
        return Err(Problem::Unknown("dynptr argument".to_owned()));
    }
    let size = btf.size_of(target).and_then(|size| u32::try_from(size).ok()).filter(|size| *size < 1 << 29);
    match size {
        Some(size) => Ok(ArgumentType::Memory { size, nullable: !tags.nonnull }),
        None => Err(Problem::Refused("a pointer to what has no size".to_owned())),
    }
}

fn is_number(btf: &Btf, resolved: TypeId) -> bool {
    matches!(btf.type_at(resolved).kind, Kind::Int { .. } | Kind::Enum(_) | Kind::Enum64(_))
}

/// Whether a pointer to that type is the program's context.
fn is_context(program: &Program, btf: &Btf, to: TypeId) -> bool {
    let wanted = match program.prog_type.layout(program.attach_type) {
        ContextLayout::Fields { name, .. } | ContextLayout::Raw { name, .. } => name,
        ContextLayout::Memory | ContextLayout::Kernel => return false,
    };
    if program.prog_type == ProgramType::Kprobe && names(btf, to).any(|name| name == "bpf_user_pt_regs_t") {
        return true;
    }
    let target = btf.type_at(btf.resolve(to));
    matches!(target.kind, Kind::Struct(_) | Kind::Fwd { .. }) && target.name == wanted
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
