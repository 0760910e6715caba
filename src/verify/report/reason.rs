//! Reasons of rejection, each with a stable code.
#![forbid(unsafe_code)]

use beelift_runtime::MapKind;
use beelift_runtime::ctx::ProgramType;

use crate::isa::{Pc, Reg};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $({ $($(#[$fdoc:meta])* $field:ident: $ty:ty),* $(,)? })? = $code:literal, $text:literal;)*) => {
        /// What could not be proven. The code of a reason never changes; its text may.
        #[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
        #[allow(missing_docs, reason = "the text of each reason says what its fields are")]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* #[error($text)] $name $({ $($(#[$fdoc])* $field: $ty),* })?),*
        }
        impl Reason {
            /// Stable code, for scripts and documentation.
            #[must_use]
            pub const fn code(&self) -> &'static str {
                match self { $(Self::$name { .. } => $code),* }
            }
            /// All codes.
            pub const CODES: &'static [&'static str] = &[$($code),*];
        }
    };
}

reasons! {
    Empty = "empty_program", "the program has no instructions";
    Unreachable = "unreachable_insn", "no path reaches this instruction";
    FallOff = "falls_off", "control runs off the end of the function";
    JumpOutOfFunction = "jump_out_of_function", "jump leaves its function";
    CallIntoFunction = "call_into_function", "call enters a function in its middle";
    AbnormalReturn { what: &'static str } =
        "abnormal_return", "{what} ends this function, whose result is not known to be a number";
    Recursion = "recursion", "the call graph has a cycle";
    TooManySubprograms { limit: u32 } = "too_many_subprograms", "more than {limit} functions";
    InfiniteLoop = "infinite_loop", "this loop comes back in the same state: it never ends";
    TooComplex { limit: u64 } = "too_complex", "more than {limit} instructions had to be walked";
    TooManyBranches { limit: u32 } = "too_many_branches", "more than {limit} branches wait to be walked";
    TooManyFrames { limit: u32 } = "too_many_frames", "calls are nested deeper than {limit} frames";
    TooMuchMemory { limit: u64 } = "too_much_memory", "remembered states take more than {limit} bytes";
    /// The limit is in milliseconds.
    TooMuchTime { limit: u128 } = "too_much_time", "the proof takes more than {limit} ms";
    StackTooDeep { depth: u32, limit: u32 } = "stack_too_deep", "{depth} bytes of stack along a call chain exceed {limit}";
    UninitialisedRegister { reg: Reg } = "uninitialised_register", "{reg} was not written on this path";
    FramePointerWrite = "frame_pointer_write", "r10 is read-only";
    RegisterCall = "register_call", "Linux has no calls through registers";
    CallTarget { reg: Reg, found: &'static str } =
        "call_target", "{reg} holds a {found}, not a subprogram or the number of a helper";
    DivisionByZero = "division_by_zero", "division by the constant zero";
    ShiftTooFar { count: i64 } = "shift_too_far", "shift by {count} is not below the width";
    PointerArithmetic { op: &'static str, kind: &'static str } = "pointer_arithmetic", "{op} on a {kind} pointer";
    PointerArithmetic32 { kind: &'static str } = "pointer_arithmetic_32", "32-bit arithmetic on a {kind} pointer";
    PointerAndPointer { op: &'static str } = "pointer_and_pointer", "{op} of two pointers";
    PointerFromNumber { kind: &'static str } = "pointer_from_number", "a {kind} pointer subtracted from a number";
    PartialPointerCopy { reg: Reg } = "partial_pointer_copy", "only part of the pointer in {reg} is copied";
    NullableArithmetic { kind: &'static str } = "nullable_arithmetic", "arithmetic on a {kind} pointer that may be null";
    OffsetTooLarge { kind: &'static str, offset: i64 } = "offset_too_large", "offset {offset} of a {kind} pointer is too large";
    OffsetUnbounded { kind: &'static str } = "offset_unbounded", "the number added to a {kind} pointer has no lower bound";
    PointerComparison = "pointer_comparison", "comparison tells addresses";
    PointerLeak { into: &'static str } = "pointer_leak", "an address goes into {into}";
    NullableAccess { reg: Reg, kind: &'static str } = "nullable_access", "{reg} ({kind}) may be null";
    NumberAccess { reg: Reg } = "number_access", "{reg} is a number, not a pointer";
    InvalidAccess { reg: Reg, kind: &'static str } = "invalid_access", "{reg} ({kind}) cannot be loaded from or stored to";
    MixedPointers { first: &'static str, second: &'static str } = "mixed_pointers", "the same instruction accesses {first} and {second}";
    OutOfBounds { reg: Reg, offset: i64, size: u32, limit: u64, map: Option<String> } = "out_of_bounds", "{size}-byte access at offset {offset} of {reg}, which has {limit} bytes";
    NegativeOffset { reg: Reg } = "negative_offset", "the offset of {reg} may be negative";
    UnboundedOffset { reg: Reg } = "unbounded_offset", "the offset of {reg} has no upper bound";
    OutsidePacket { reg: Reg, offset: i64, size: u32, proven: u64 } = "outside_packet", "{size}-byte access at offset {offset} of {reg}, of which {proven} bytes are proven to be in the packet";
    OutsideStack { reg: Reg, offset: i64, size: u32 } = "outside_stack", "{size}-byte access at offset {offset} of {reg}, outside of the stack frame";
    Misaligned { kind: &'static str, size: u32 } = "misaligned", "{size} bytes of {kind} are not aligned";
    UninitialisedStack { offset: i64 } = "uninitialised_stack", "stack bytes at {offset} were not written on this path";
    InvalidStackRead { reg: Reg } = "invalid_stack_read", "the stack bytes at {reg} cannot be read this way";
    ObjectAccess { reg: Reg } = "object_access", "the stack bytes at {reg} belong to an object of the kernel";
    PartialPointerSpill = "partial_pointer_spill", "only part of a pointer is stored";
    PartialPointerFill { reg: Reg } = "partial_pointer_fill", "only part of the pointer stored at {reg} is loaded";
    PointerCorrupted = "pointer_corrupted", "part of a stored pointer is overwritten";
    StackPointerEscapes = "stack_pointer_escapes", "a stack pointer outlives its frame";
    ReferencedDynptrOverwritten = "referenced_dynptr_overwritten", "a dynptr that must be released is overwritten";
    ReadOnly { kind: &'static str } = "read_only", "{kind} is read-only";
    ReadOnlyMap { map: String } = "read_only_map", "map `{map}` is read-only for programs";
    WriteOnlyMap { map: String } = "write_only_map", "map `{map}` is write-only for programs";
    SpecialField { map: String, offset: u32 } = "special_field", "the field at {offset} of map `{map}` is only for helpers";
    NoDirectValue { map: String, off: u32 } = "no_direct_value", "map `{map}` has no value that can be addressed directly at {off}";
    NoSuchMap { slot: u32 } = "no_such_map", "there is no map {slot}";
    ContextAccess { offset: u32, size: u32, write: bool } = "context_access", "{size}-byte access at offset {offset} of the context is not allowed (write: {write})";
    ModifiedPointer { kind: &'static str } = "modified_pointer", "a {kind} pointer must be used unmodified";
    SocketAccess { offset: i64, size: u32 } = "socket_access", "{size} bytes at offset {offset} of a socket cannot be read";
    AtomicTarget { reg: Reg, kind: &'static str } = "atomic_target", "atomic operation on {kind} through {reg}";
    ReturnsPointer = "returns_pointer", "r0 must be a number here";
    ReturnOutOfRange { min: i64, max: i64 } = "return_out_of_range", "r0 must be in {min}..={max} here";
    Unreleased { place: &'static str, taken: Pc } = "unreleased", "{place} while the reference taken at instruction {taken} is held";
    Locked { place: &'static str } = "locked", "{place} while a lock is held";
    InSection { place: &'static str } = "in_section", "{place} inside a critical section";
    LegacyPacket = "legacy_packet", "this program type has no legacy packet loads";
    LegacyPacketContext = "legacy_packet_context", "r6 must be the context at a legacy packet load";
    UnknownHelper { number: u32 } = "unknown_helper", "there is no helper {number}";
    Unrelocated { subject: String, why: String } = "unrelocated", "`{subject}` is not to be had here: {why}";
    HelperNotAllowed { name: &'static str, program_type: ProgramType } = "helper_not_allowed", "{name} is not for {program_type} programs";
    HelperNeedsGpl { name: &'static str } = "helper_needs_gpl", "{name} is only for programs under the GPL";
    MaySleep { name: &'static str } = "may_sleep", "{name} may sleep, which is not allowed here";
    CallInLock = "call_in_lock", "call while a lock is held";
    LockHeld = "lock_held", "a lock is held already";
    NotALock { reg: Reg } = "not_a_lock", "{reg} does not point to a spin lock";
    OtherLock = "other_lock", "another lock is held than this one";
    NotLocked = "not_locked", "no lock is held";
    ArgumentType { reg: Reg, expected: &'static str, found: &'static str } = "argument_type", "{reg} must be {expected}, not {found}";
    PacketArgument { reg: Reg, name: &'static str } = "packet_argument", "{reg}: {name} takes no packet pointers";
    NoInnerMap { map: String } = "no_inner_map", "map `{map}` holds maps, but nothing says what maps";
    MapKindForHelper { map: String, kind: MapKind, name: &'static str } = "map_kind", "{name} does not serve map `{map}` ({kind})";
    MapForProgram { map: String, what: &'static str, program_type: ProgramType } = "map_for_program", "map `{map}` holds {what}, which is not for {program_type} programs";
    GlobalPrototype { what: String } = "global_prototype", "{what}";
    TimerOfOtherMap { reg: Reg } = "timer_of_other_map", "the timer does not lie in the map in {reg}";
    NotADynptr { reg: Reg } = "not_a_dynptr", "{reg} must point to a dynptr (or to room for one) on the stack";
    NotAnObject { reg: Reg } = "not_an_object", "{reg} must point to a matching object on the stack";
    SectionNested = "section_nested", "the section is entered already";
    NotInSection = "not_in_section", "no such section is entered";
    SectionOrder = "section_order", "sections are left in the opposite order";
    KfuncNotAllowed { name: String, program_type: ProgramType } = "kfunc_not_allowed", "{name} is not for {program_type} programs";
    ExceptionCallback { what: String } = "exception_callback", "exception callback: {what}";
    NoArena = "no_arena", "the program names no arena whose addresses could be cast";
    SecondArena { map: String } = "second_arena", "`{map}` is the second arena of the program";
    LeavesCallback { what: &'static str } = "leaves_callback", "{what}: it would leave the callback for its caller";
    ThrowInCallback = "throw_in_callback", "an exception out of a callback";
    NotConstant { reg: Reg } = "not_constant", "{reg} must be one constant number";
    SizeNegative { reg: Reg } = "size_negative", "the size in {reg} may be negative";
    SizeZero { reg: Reg } = "size_zero", "the size in {reg} may be zero";
    SizeUnbounded { reg: Reg } = "size_unbounded", "the size in {reg} has no upper bound";
    NotAConstantString { reg: Reg } = "not_a_constant_string", "{reg} must point to a constant string";
    FormatString { reg: Reg } = "format_string", "the format string in {reg} does not match its arguments";
    ObjectField { of: String, offset: i64, size: u32 } = "object_field", "{size} bytes at offset {offset} of `{of}` are no field that may be accessed";
    ObjectAccessForbidden { of: String } = "object_forbidden", "`{of}` may only be read where addresses may be known";
    ObjectNeedsGpl { of: String } = "object_needs_gpl", "`{of}` may only be read by programs under the GPL";
    ObjectType { reg: Reg, expected: String, found: String } = "object_type", "{reg} must point to `{expected}`, not {found}";
    NotTrusted { reg: Reg } = "not_trusted", "{reg} must be held or trusted: the object may be gone";
    NotRcu { reg: Reg } = "not_rcu", "{reg} must be held, trusted or protected by RCU: the object may be gone";
    NeedsRcu { name: String } = "needs_rcu", "{name} needs an RCU read section";
    LockNotHeld { reg: Reg } = "lock_not_held", "the lock beside what {reg} points to must be held";
    NotAKptr { reg: Reg } = "not_a_kptr", "{reg} must point to a kptr of a map value or object";
    KptrAccess { map: String, offset: u32 } = "kptr_access", "the kptr at {offset} of `{map}` cannot be accessed this way";
    GraphNode { reg: Reg } = "graph_node", "{reg} does not point to the node that this list or tree links";
    NotACollection { reg: Reg } = "not_a_collection", "{reg} must point to the head of a list or the root of a tree";
    NotRefcounted { reg: Reg } = "not_refcounted", "{reg} must point to an allocated object with a reference count";
    MaySleepGlobal { name: String } = "may_sleep_global", "function {name} may sleep, which is not allowed here";
    KfuncMaySleep { name: String } = "kfunc_may_sleep", "{name} may sleep, which is not allowed here";
    CompilerTrap = "compiler_trap", "the compiler found undefined behaviour here, an uninitialised variable perhaps";
    DeviceBound { name: String } = "device_bound", "{name} is for programs that are bound to a device";
    NoReleasedArgument { name: String } = "nothing_to_release", "{name} needs an argument that holds a reference";
    NotAcquired { reg: Reg } = "not_acquired", "{reg} holds no reference that could be released";
    TwoReferences = "two_references", "two arguments hold references";
}

impl Reason {
    /// Names the map that an access was meant for.
    #[must_use]
    pub fn of_map(mut self, name: &str) -> Self {
        if let Self::OutOfBounds { map, .. } = &mut self {
            *map = Some(name.to_owned());
        }
        self
    }
}
