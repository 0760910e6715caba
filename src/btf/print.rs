//! Types as C text: declarations and definitions.
//!
//! In: a [`Btf`] and a type. Out: text. Types that contain themselves end after 32 levels with `…`.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::types::{Kind, Members, VarLinkage};
use super::{Btf, MAX_DEPTH, TypeId};

impl Btf {
    /// The type in C without a name (`struct key`, `unsigned int[4]`, `int (*)(void *)`).
    #[must_use]
    pub fn type_name(&self, id: TypeId) -> String {
        self.declaration(id, "")
    }

    /// The declaration of `name` with that type: `unsigned int name[4]`.
    #[must_use]
    pub fn declaration(&self, id: TypeId, name: &str) -> String {
        Printer { btf: self, budget: 1000 }.declare(id, name.to_owned(), Body::Short, 0)
    }

    /// The definition of a structure, union or enumeration over several lines; the declaration of others.
    #[must_use]
    pub fn definition(&self, id: TypeId) -> String {
        Printer { btf: self, budget: 20_000 }.declare(id, String::new(), Body::Full(0), 0)
    }
}

/// How structures are shown.
#[derive(Clone, Copy)]
enum Body {
    /// By name, or `struct {…}` without one.
    Short,
    /// With members, indented by so many tabs.
    Full(usize),
}

struct Printer<'a> {
    btf: &'a Btf,
    /// Types that may still be printed.
    budget: u32,
}

impl Printer<'_> {
    /// Prints `id` around `inner`, which holds the declarator so far.
    fn declare(&mut self, id: TypeId, inner: String, body: Body, depth: usize) -> String {
        if depth > MAX_DEPTH || self.budget == 0 {
            return join("…", &inner);
        }
        self.budget -= 1;
        let ty = self.btf.type_at(id);
        match ty.kind {
            Kind::Void => join("void", &inner),
            Kind::Int { .. } | Kind::Float { .. } | Kind::Typedef(_) => join(ty.name, &inner),
            Kind::Fwd { union } => join(&tagged(if union { "union" } else { "struct" }, ty.name), &inner),
            Kind::Struct(members) => {
                let head = tagged("struct", ty.name);
                join(&self.composite(&head, ty.name, members, body, depth), &inner)
            }
            Kind::Union(members) => {
                let head = tagged("union", ty.name);
                join(&self.composite(&head, ty.name, members, body, depth), &inner)
            }
            Kind::Enum(values) | Kind::Enum64(values) => {
                let mut text = tagged("enum", ty.name);
                if let Body::Full(indent) = body {
                    let tabs = "\t".repeat(indent);
                    text.push_str(" {\n");
                    for value in values.iter() {
                        let _ = writeln!(text, "{tabs}\t{} = {},", value.name, value.value);
                    }
                    text.push_str(&tabs);
                    text.push('}');
                } else if ty.name.is_empty() {
                    text.push_str(" {…}");
                }
                join(&text, &inner)
            }
            Kind::Ptr(to) => {
                let target = self.btf.type_at(self.strip_qualifiers(to)).kind;
                let inner = match target {
                    Kind::Array { .. } | Kind::FuncProto { .. } => format!("(*{inner})"),
                    Kind::Void
                    | Kind::Int { .. }
                    | Kind::Ptr(_)
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
                    | Kind::Var { .. }
                    | Kind::Datasec { .. }
                    | Kind::Float { .. }
                    | Kind::DeclTag { .. }
                    | Kind::TypeTag(_) => format!("*{inner}"),
                };
                self.declare(to, inner, Body::Short, depth + 1)
            }
            Kind::Array { element, len, .. } => {
                self.declare(element, format!("{inner}[{len}]"), body, depth + 1)
            }
            Kind::Const(of) => self.qualified("const", of, inner, body, depth),
            Kind::Volatile(of) => self.qualified("volatile", of, inner, body, depth),
            Kind::Restrict(of) => self.declare(of, join("restrict", &inner), body, depth + 1),
            Kind::TypeTag(of) => {
                let tag = format!("__attribute__((btf_type_tag(\"{}\")))", ty.name);
                self.declare(of, join(&tag, &inner), body, depth + 1)
            }
            Kind::FuncProto { ret, params } => {
                let mut list: Vec<String> = Vec::new();
                for param in params.iter() {
                    list.push(if param.of == TypeId::VOID {
                        "...".to_owned()
                    } else {
                        self.declare(param.of, param.name.to_owned(), Body::Short, depth + 1)
                    });
                }
                let list = if list.is_empty() { "void".to_owned() } else { list.join(", ") };
                self.declare(ret, format!("{inner}({list})"), Body::Short, depth + 1)
            }
            Kind::Func { proto, .. } => self.declare(proto, ty.name.to_owned(), Body::Short, depth + 1),
            Kind::Var { of, linkage } => {
                let text = self.declare(of, ty.name.to_owned(), Body::Short, depth + 1);
                match linkage {
                    VarLinkage::Static => format!("static {text}"),
                    VarLinkage::Global => text,
                    VarLinkage::Extern => format!("extern {text}"),
                }
            }
            Kind::Datasec { .. } => format!("SEC(\"{}\")", ty.name),
            Kind::DeclTag { of, .. } => {
                let text = self.declare(of, String::new(), Body::Short, depth + 1);
                format!("{text} __attribute__((btf_decl_tag(\"{}\")))", ty.name)
            }
        }
    }

    /// Behind `const` and its like, without leaving typedefs.
    fn strip_qualifiers(&self, id: TypeId) -> TypeId {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            match self.btf.type_at(id).kind {
                Kind::Const(of) | Kind::Volatile(of) | Kind::Restrict(of) | Kind::TypeTag(of) => id = of,
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
                | Kind::Func { .. }
                | Kind::FuncProto { .. }
                | Kind::Var { .. }
                | Kind::Datasec { .. }
                | Kind::Float { .. }
                | Kind::DeclTag { .. } => break,
            }
        }
        id
    }

    /// A qualifier stands before a plain type and behind the star of a pointer.
    fn qualified(&mut self, word: &str, of: TypeId, inner: String, body: Body, depth: usize) -> String {
        if matches!(self.btf.type_at(of).kind, Kind::Ptr(_)) {
            self.declare(of, join(word, &inner), body, depth + 1)
        } else {
            format!("{word} {}", self.declare(of, inner, body, depth + 1))
        }
    }

    fn composite(
        &mut self,
        head: &str,
        name: &str,
        members: Members<'_>,
        body: Body,
        depth: usize,
    ) -> String {
        let Body::Full(indent) = body else {
            return if name.is_empty() { format!("{head} {{…}}") } else { head.to_owned() };
        };
        // A named structure inside another one is only named.
        if indent > 0 && !name.is_empty() {
            return head.to_owned();
        }
        let tabs = "\t".repeat(indent);
        let mut text = format!("{head} {{\n");
        for member in members.iter() {
            let declared = self.declare(member.of, member.name.to_owned(), Body::Full(indent + 1), depth + 1);
            let _ = match member.bit_size {
                Some(bits) => writeln!(text, "{tabs}\t{declared} : {bits};"),
                None => writeln!(text, "{tabs}\t{declared};"),
            };
        }
        text.push_str(&tabs);
        text.push('}');
        text
    }
}

fn tagged(word: &str, name: &str) -> String {
    if name.is_empty() { word.to_owned() } else { format!("{word} {name}") }
}

/// A type word and a declarator, with a space where C needs one.
fn join(word: &str, inner: &str) -> String {
    if inner.is_empty() || inner.starts_with('[') {
        format!("{word}{inner}")
    } else {
        format!("{word} {inner}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::{BtfBuilder, IntEncoding};

    #[test]
    fn declarations_are_c() {
        let mut build = BtfBuilder::new();
        let int = build.int("int", 4, IntEncoding::Signed);
        let long = build.typedef("u64", int);
        let array = build.array(int, int, 4);
        let grid = build.array(array, int, 2);
        let to_array = build.ptr(array);
        let key = build.structure("key", 8, &[("a", int, 0, 0), ("b", int, 32, 3)]);
        let to_key = build.ptr(key);
        let proto = build.func_proto(int, &[("k", to_key), ("", TypeId::VOID)]);
        let callback = build.ptr(proto);
        let anonymous = build.union("", 8, &[("x", long, 0, 0), ("k", key, 0, 0)]);
        let outer = build.structure("outer", 8, &[("", anonymous, 0, 0)]);
        let tag = build.type_tag("kptr", key);
        let kptr = build.ptr(tag);
        let btf = build.finish().unwrap();
        let check = |id, name: &str, text: &str| assert_eq!(btf.declaration(id, name), text);
        check(int, "x", "int x");
        check(grid, "g", "int g[2][4]");
        check(to_array, "p", "int (*p)[4]");
        check(to_key, "k", "struct key *k");
        check(callback, "f", "int (*f)(struct key *k, ...)");
        check(array, "", "int[4]");
        check(kptr, "p", "struct key __attribute__((btf_type_tag(\"kptr\"))) *p");
        assert_eq!(btf.definition(key), "struct key {\n\tint a;\n\tint b : 3;\n}");
        assert_eq!(
            btf.definition(outer),
            "struct outer {\n\tunion {\n\t\tu64 x;\n\t\tstruct key k;\n\t};\n}"
        );
    }
}
