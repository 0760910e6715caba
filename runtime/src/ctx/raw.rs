//! Contexts that are plain bytes: tracing types, `syscall`, cgroup types without pointers, and `memory`.
#![forbid(unsafe_code)]

use super::context::{Context, Entry, sealed::Sealed};
use super::{ContextLayout, FieldAccess, FieldKind, ProgramType};
use crate::mem::{OutOfMemory, RegionKind, Regions, SharedBytes};

/// Bytes of x86-64's `struct pt_regs` (21 registers).
const PT_REGS: u32 = 21 * 8;
/// Largest tracepoint record a program may read (`PERF_MAX_TRACE_SIZE`).
const TRACE_RECORD: u32 = 8192;
/// Arguments a raw tracepoint may have (`MAX_BPF_FUNC_ARGS`), in bytes.
const RAW_ARGS: u32 = 12 * 8;
/// Largest context of a `syscall` program (`U16_MAX`).
const SYSCALL: u32 = 65_535;

/// Layout of a type whose context is plain bytes; `None` for others.
pub(super) const fn layout(program_type: ProgramType) -> Option<ContextLayout> {
    const fn raw(name: &'static str, start: u32, size: u32, access: FieldAccess) -> ContextLayout {
        ContextLayout::Raw { name, start, size, access }
    }
    Some(match program_type {
        ProgramType::Kprobe => raw("pt_regs", 0, PT_REGS, FieldAccess::Read),
        ProgramType::Tracepoint => raw("tracepoint record", 8, TRACE_RECORD, FieldAccess::Read),
        ProgramType::RawTracepoint => raw("bpf_raw_tracepoint_args", 0, RAW_ARGS, FieldAccess::Read),
        ProgramType::Syscall => raw("syscall arguments", 0, SYSCALL, FieldAccess::ReadWrite),
        ProgramType::Memory => ContextLayout::Memory,
        _ => return None,
    })
}

/// A context of plain bytes at their UAPI offsets.
#[derive(Debug)]
pub struct RawContext {
    program_type: ProgramType,
    /// As large as the layout allows accesses, so that verified offsets are always inside.
    block: SharedBytes,
    len: usize,
    /// What `bpf_get_attach_cookie` gives: the number that the program was attached with.
    pub attach_cookie: u64,
    /// What `bpf_get_func_ip` gives: the address that was traced.
    pub function_address: u64,
}

impl RawContext {
    /// A context for programs of `program_type` that begins with `bytes`; what is missing is zero, what the
    /// layout has no room for is cut off.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(program_type: ProgramType, bytes: &[u8]) -> Result<Self, OutOfMemory> {
        let size = match program_type.layout(0) {
            ContextLayout::Raw { size, .. } => size,
            ContextLayout::Fields { native_size, .. } => u32::from(native_size),
            ContextLayout::Memory | ContextLayout::Kernel => 0,
        };
        let block = SharedBytes::new(u64::from(size))?;
        let len = bytes.len().min(size as usize);
        block.write(0, &bytes[..len]);
        Ok(Self { program_type, block, len, attach_cookie: 0, function_address: 0 })
    }

    /// The bytes, after a run as the program left them.
    #[must_use]
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.block.as_mut_slice()[..self.len]
    }
}

impl Sealed for RawContext {}

impl Context for RawContext {
    fn program_type(&self) -> ProgramType {
        self.program_type
    }

    fn accepts(&self, program_type: ProgramType, attach_type: u32) -> bool {
        program_type == self.program_type
            && match program_type.layout(attach_type) {
                ContextLayout::Raw { size, .. } => u64::from(size) <= self.block.len(),
                // Pointers would have to come from somewhere: numbers only.
                ContextLayout::Fields { native_size, fields, .. } => {
                    u64::from(native_size) <= self.block.len()
                        && fields.iter().all(|field| match field.kind {
                            FieldKind::Scalar | FieldKind::KernelOnly => true,
                            FieldKind::PacketData | FieldKind::PacketEnd | FieldKind::PacketMeta => false,
                            FieldKind::Object { nullable, .. } => nullable,
                        })
                }
                ContextLayout::Memory | ContextLayout::Kernel => false,
            }
    }

    fn enter(&mut self) -> Entry {
        if let ContextLayout::Fields { fields, .. } = self.program_type.layout(0) {
            // Object pointers are null, whatever bytes the host gave.
            for field in fields.iter().filter(|field| matches!(field.kind, FieldKind::Object { .. })) {
                self.block.fill(u64::from(field.native_offset), 8, 0);
            }
        }
        Entry { r1: self.block.address(), r2: 0 }
    }

    fn regions<'a>(&'a self, regions: &mut Regions<'a>) {
        let read_only =
            matches!(self.program_type.layout(0), ContextLayout::Raw { access: FieldAccess::Read, .. });
        // What a program may write here is plain memory to helpers, too, as in the kernel.
        let plain = matches!(self.program_type.layout(0), ContextLayout::Raw { .. });
        let kind = if plain && !read_only { RegionKind::Memory } else { RegionKind::Context };
        if read_only {
            regions.add_read_only(kind, &self.block);
        } else {
            regions.add(kind, &self.block);
        }
    }

    fn attach_cookie(&self) -> u64 {
        self.attach_cookie
    }

    fn function_address(&self) -> u64 {
        self.function_address
    }

    fn uapi(&self, out: &mut Vec<u8>) {
        out.clear();
        out.resize(self.len, 0);
        self.block.read(0, out);
    }

    fn set_uapi(&mut self, bytes: &[u8]) {
        self.len = bytes.len().min(self.block.len() as usize);
        self.block.write(0, &bytes[..self.len]);
    }
}

/// A buffer of the host as the context of a `memory` program: r1 is its address, r2 its length.
#[derive(Debug)]
pub struct MemoryContext {
    buffer: SharedBytes,
    len: u64,
}

impl MemoryContext {
    /// A buffer for up to `capacity` bytes.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(capacity: u64) -> Result<Self, OutOfMemory> {
        Ok(Self { buffer: SharedBytes::new(capacity)?, len: 0 })
    }

    /// A buffer with these bytes.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OutOfMemory> {
        let mut context = Self::new(bytes.len() as u64)?;
        context.set(bytes);
        Ok(context)
    }

    /// Replaces the bytes, as many as there is room for, and returns how many.
    pub fn set(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.buffer.len() as usize);
        self.buffer.as_mut_slice()[..len].copy_from_slice(&bytes[..len]);
        self.len = len as u64;
        len
    }

    /// The bytes, after a run as the program left them.
    #[must_use]
    pub fn bytes(&mut self) -> &mut [u8] {
        let len = self.len as usize;
        &mut self.buffer.as_mut_slice()[..len]
    }
}

impl Sealed for MemoryContext {}

impl Context for MemoryContext {
    fn program_type(&self) -> ProgramType {
        ProgramType::Memory
    }

    fn accepts(&self, program_type: ProgramType, _attach_type: u32) -> bool {
        program_type == ProgramType::Memory
    }

    fn enter(&mut self) -> Entry {
        // An empty buffer is a null pointer, for programs that test it.
        Entry { r1: if self.len == 0 { 0 } else { self.buffer.address() }, r2: self.len }
    }

    fn regions<'a>(&'a self, regions: &mut Regions<'a>) {
        regions.add_part(RegionKind::Memory, &self.buffer, self.len);
    }

    fn uapi(&self, out: &mut Vec<u8>) {
        out.clear();
        out.resize(self.len as usize, 0);
        self.buffer.read(0, out);
    }

    fn set_uapi(&mut self, bytes: &[u8]) {
        self.set(bytes);
    }
}
