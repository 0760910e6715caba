//! Accesses to the program's context, and fields of sockets.
#![forbid(unsafe_code)]

use super::memory::{Access, Span};
use crate::isa::{Sign, Size};
use crate::verify::domain::Scalar;
use crate::verify::explore::{Check, Stop, Verifier};
use crate::verify::facts::Region;
use crate::verify::report::Reason;
use crate::verify::state::{Kind, MemFlags, Register, SockKind};
use crate::verify::tracing::Word;
use beelift_runtime::ctx::{ContextLayout, FieldKind};

impl Verifier<'_> {
    pub(super) fn context_read(
        &mut self,
        pointer: &Register,
        span: Span,
        size: Size,
        sign: Sign,
    ) -> Check<Register> {
        let offset = self.context_place(pointer, span)?;
        let unknown = Register::scalar(Scalar::loaded(size, sign));
        let denied = || Stop::from(Reason::ContextAccess { offset, size: span.size, write: false });
        let loaded = match self.tables.layout {
            ContextLayout::Fields { .. } => {
                let field = self.tables.layout.field(offset, span.size).ok_or_else(denied)?;
                if !field.allows_read(offset, span.size) {
                    return Err(denied());
                }
                match field.kind {
                    FieldKind::Scalar => unknown,
                    FieldKind::PacketData if sign == Sign::Zero => Register::pointer(Kind::Packet),
                    FieldKind::PacketEnd if sign == Sign::Zero => Register::pointer(Kind::PacketEnd),
                    FieldKind::PacketMeta if sign == Sign::Zero => Register::pointer(Kind::PacketMeta),
                    FieldKind::Object { name, nullable } => self.context_object(name, nullable)?,
                    FieldKind::KernelOnly => {
                        return Err(Stop::Unsupported(format!("context field {}", field.name)));
                    }
                    FieldKind::PacketData | FieldKind::PacketEnd | FieldKind::PacketMeta => {
                        return Err(denied());
                    }
                }
            }
            ContextLayout::Raw { .. } => {
                self.raw_context(offset, span, Access::Read)?;
                unknown
            }
            ContextLayout::Memory => return Err(Stop::Unsupported("context of type memory".to_owned())),
            ContextLayout::Kernel => self.hook_read(offset, span, unknown)?,
        };
        self.observe(Region::Context { offset }, pointer, span);
        Ok(loaded)
    }

    pub(super) fn context_write(&mut self, pointer: &Register, span: Span) -> Check {
        let offset = self.context_place(pointer, span)?;
        let denied = || Stop::from(Reason::ContextAccess { offset, size: span.size, write: true });
        match self.tables.layout {
            ContextLayout::Fields { .. } => {
                let field = self.tables.layout.field(offset, span.size).ok_or_else(denied)?;
                if !field.allows_write(offset, span.size) {
                    return Err(denied());
                }
                if field.kind == FieldKind::KernelOnly {
                    return Err(Stop::Unsupported(format!("context field {}", field.name)));
                }
            }
            ContextLayout::Raw { .. } => self.raw_context(offset, span, Access::Write)?,
            ContextLayout::Memory => return Err(Stop::Unsupported("context of type memory".to_owned())),
            ContextLayout::Kernel => return Err(denied()),
        }
        self.observe(Region::Context { offset }, pointer, span);
        Ok(())
    }

    /// A word of the context of a program that attaches to a function or tracepoint of the kernel.
    fn hook_read(&mut self, offset: u32, span: Span, unknown: Register) -> Check<Register> {
        let tables = self.tables;
        let Some(Ok(hook)) = &tables.hook else {
            return Err(Stop::Unsupported("kernel objects as context".to_owned()));
        };
        let (kind, nullable) = match hook.read(offset, span.size)? {
            Word::Number => return Ok(unknown),
            Word::Object { of, flags, nullable } => (Kind::Object(of, flags), nullable),
            Word::Buffer { read_only } => {
                let flags = if read_only { MemFlags::READ_ONLY } else { MemFlags::empty() };
                (Kind::Memory(flags), true)
            }
        };
        // How long the bytes are is known where the program is attached.
        let size = if matches!(kind, Kind::Memory(_)) { i32::MAX } else { 0 };
        let id = if nullable { self.fresh_id() } else { 0 };
        Ok(Register { nullable, id, size, ..Register::pointer(kind) })
    }

    /// Bytes of a context without fields.
    pub(super) fn raw_context(&self, offset: u32, span: Span, access: Access) -> Check {
        let ContextLayout::Raw { .. } = self.tables.layout else { return Ok(()) };
        let allowed = match access {
            Access::Read => self.tables.layout.allows_read(offset, span.size),
            Access::Write => self.tables.layout.allows_write(offset, span.size),
        };
        if !allowed {
            let write = access == Access::Write;
            return Err(Reason::ContextAccess { offset, size: span.size, write }.into());
        }
        Ok(())
    }

    /// Offset of an access; the pointer itself must be the one the program was given.
    fn context_place(&self, pointer: &Register, span: Span) -> Check<u32> {
        unmodified(pointer)?;
        let denied =
            Reason::ContextAccess { offset: span.off.cast_unsigned(), size: span.size, write: false };
        u32::try_from(span.off).map_err(|_| denied.into())
    }

    fn context_object(&mut self, name: &'static str, nullable: bool) -> Check<Register> {
        let kind = match name {
            "sock_common" => Kind::Socket(SockKind::Common),
            "sock" | "socket" | "bpf_sock" => Kind::Socket(SockKind::Socket),
            "flow_keys" => Kind::FlowKeys,
            "nf_hook_state" | "sk_buff" => Kind::Object(self.kernel_type(name)?, MemFlags::TRUSTED),
            _ => return Err(Stop::Unsupported(format!("context pointer to {name}"))),
        };
        let id = if nullable { self.fresh_id() } else { 0 };
        Ok(Register { nullable, id, ..Register::pointer(kind) })
    }

    /// A field of a socket, as `struct bpf_sock` and its relatives lay them out.
    pub(super) fn socket_read(&self, kind: SockKind, pointer: &Register, span: Span) -> Check {
        // There is no arithmetic on sockets.
        let off = i64::from(span.off) + i64::from(pointer.off);
        let denied = || Stop::from(Reason::SocketAccess { offset: off, size: span.size });
        let off = u32::try_from(off).map_err(|_| denied())?;
        if !off.is_multiple_of(span.size) {
            return Err(denied());
        }
        let fine = match kind {
            SockKind::Common if (8..24).contains(&off) => false,
            SockKind::Common | SockKind::Socket => match off {
                // Port with its padding: the two bytes, or all four as one word.
                48..50 => span.size <= 2 || (off == 48 && span.size == 4),
                50..52 => false,
                // Words that may be read in parts.
                4..16 | 24..48 | 52..80 => span.size <= 4,
                0..24 => span.size == 4,
                _ => false,
            },
            SockKind::Tcp => match off {
                80 | 88 => span.size == 8,
                0..116 => span.size == 4,
                _ => false,
            },
            SockKind::Xdp => off == 0 && span.size == 4,
        };
        if fine { Ok(()) } else { Err(denied()) }
    }
}

/// A pointer that must not have been moved.
pub(super) fn unmodified(pointer: &Register) -> Check {
    if pointer.off != 0 || pointer.value.constant() != Some(0) {
        return Err(Reason::ModifiedPointer { kind: pointer.kind.name() }.into());
    }
    Ok(())
}
