//! What would help, for every reason of rejection.
#![forbid(unsafe_code)]

use super::Reason;

/// What a person can change, in one sentence.
pub(super) fn help(reason: &Reason) -> Option<String> {
    let text = match reason {
        Reason::Empty => "a program has at least `r0 = 0; exit`",
        Reason::Unreachable => "remove it, or the jump that skips it",
        Reason::FallOff => "end every path of the function with a return (`exit`)",
        Reason::JumpOutOfFunction | Reason::CallIntoFunction => {
            "jump inside of a function, and call its first instruction"
        }
        Reason::Recursion => "unroll the recursion into a loop with a stack of your own in a map",
        Reason::TooManySubprograms { .. } => {
            "let the compiler inline small functions, or split the program by tail calls"
        }
        Reason::InfiniteLoop => "let every turn of the loop change what its exit depends on",
        Reason::TooComplex { .. } | Reason::TooManyBranches { .. } | Reason::TooMuchMemory { .. } => {
            "make loops shorter, use bpf_loop or an iterator, make functions global so that each is walked once, or \
             split the program by tail calls"
        }
        Reason::TooMuchTime { .. } => "make the program simpler, or allow its proof more time",
        Reason::TooManyFrames { .. } => {
            "let the compiler inline functions (`__always_inline`), or call less deeply"
        }
        Reason::StackTooDeep { .. } => {
            "keep large variables in a map (a per-CPU array of one element) instead of the stack"
        }
        Reason::UninitialisedRegister { .. } | Reason::UninitialisedStack { .. } => {
            "give it a value on every path"
        }
        Reason::FramePointerWrite => "copy r10 to another register and change that",
        Reason::RegisterCall => "call the function by name, or run it in user space only (policy `user`)",
        Reason::CallTarget { .. } => "load the address of a subprogram, or the number of a helper",
        Reason::DivisionByZero => "divide by another number, or by a register",
        Reason::ShiftTooFar { .. } => "shift by less than the width of the operation",
        Reason::PointerArithmetic { .. } => {
            "only add to and subtract from pointers; keep numbers in variables of their own"
        }
        Reason::PointerArithmetic32 { .. } => {
            "use 64-bit arithmetic: cast `data` with `(void *)(long)`, not to `int`"
        }
        Reason::PointerAndPointer { .. } => {
            "add a number to one pointer; only pointers to the same packet can be subtracted"
        }
        Reason::PointerFromNumber { .. } => "write the pointer first: `pointer - number`",
        Reason::PartialPointerCopy { .. } => "copy the pointer as 64 bits",
        Reason::NullableArithmetic { .. } => "compare the pointer with NULL before adding to it",
        Reason::OffsetTooLarge { .. } => {
            "keep offsets of pointers small: check the number against both bounds before adding it"
        }
        Reason::OffsetUnbounded { .. } => {
            "use an unsigned number, or check that it is not negative before adding it"
        }
        Reason::NoArena => "use an arena map of the object before this",
        Reason::SecondArena { .. } => "put everything into one arena",
        Reason::AbnormalReturn { .. } => {
            "return, load from the packet or make the tail call in the program itself"
        }
        Reason::PointerComparison => "compare pointers with NULL or with `data_end` only",
        Reason::PointerLeak { .. } => {
            "keep addresses in registers and on the stack; store and return numbers"
        }
        Reason::NullableAccess { .. } => "compare the pointer with NULL before this",
        Reason::NumberAccess { .. } => {
            "keep the pointer in a variable of pointer type; what was computed, swapped or loaded as a number is none"
        }
        Reason::InvalidAccess { .. } => {
            "read through a pointer to memory: `data`, a value of a map, the stack"
        }
        Reason::MixedPointers { .. } => {
            "use two instructions (in C: the `barrier()` of the kernel between the branches)"
        }
        Reason::OutOfBounds { .. } => "check the upper bound of the number before this, or enlarge the value",
        Reason::NegativeOffset { .. } => "use an unsigned number, or check that it is not negative",
        Reason::UnboundedOffset { .. } => "check the upper bound of the number before this",
        Reason::OutsidePacket { .. } => {
            "compare the end of the access with `data_end` before this, on every path"
        }
        Reason::OutsideStack { .. } => {
            "check the index against the size of the variable; a frame has 512 bytes below r10"
        }
        Reason::Misaligned { .. } => {
            "align the variable to its size, or copy it byte by byte (`__builtin_memcpy`)"
        }
        Reason::InvalidStackRead { .. } => "read what was written with the same width, at a constant offset",
        Reason::ObjectAccess { .. } => {
            "leave dynptrs, iterators and flags to the functions that take their address"
        }
        Reason::PartialPointerSpill | Reason::PartialPointerFill { .. } => {
            "store and load pointers as 64 bits"
        }
        Reason::PointerCorrupted => "store the new value over all 64 bits, or elsewhere",
        Reason::StackPointerEscapes => "let the caller own the variable and hand over its address",
        Reason::ReferencedDynptrOverwritten => "submit or discard the dynptr before its place is used again",
        Reason::ReadOnly { .. } => "write to a copy on the stack or in a map",
        Reason::ReadOnlyMap { .. } => {
            "leave out BPF_F_RDONLY_PROG (for constants: `const`), or write to another map"
        }
        Reason::WriteOnlyMap { .. } => "leave out BPF_F_WRONLY_PROG, or read another map",
        Reason::SpecialField { .. } => {
            "use the helper of that field (`bpf_spin_lock`, `bpf_timer_init`, `bpf_kptr_xchg`)"
        }
        Reason::NoDirectValue { .. } => "look the element up; only global data has values with addresses",
        Reason::NoSuchMap { .. } => "declare the map in section `.maps`",
        Reason::ContextAccess { .. } => {
            "access one field of the context by its own width; `beelift inspect` tells the program type"
        }
        Reason::ModifiedPointer { .. } => "hand over the pointer as it was given, and keep offsets apart",
        Reason::SocketAccess { .. } => "read a field of `struct bpf_sock` by its own width",
        Reason::AtomicTarget { .. } => "do atomic operations on the stack or on values of maps",
        Reason::ReturnsPointer => "return a number",
        Reason::ReturnOutOfRange { .. } => "return one of the values that the program type knows",
        Reason::Unreleased { .. } => "release the reference on every path",
        Reason::Locked { .. } | Reason::CallInLock => "unlock first",
        Reason::InSection { .. } => "leave the section on every path",
        Reason::LegacyPacket => "read the packet through `data` and `data_end`",
        Reason::LegacyPacketContext => {
            "keep the context in r6 (in C: call `load_byte(ctx, …)` with the context)"
        }
        Reason::UnknownHelper { .. } => "`beelift features` lists the helpers",
        Reason::Unrelocated { .. } => {
            "ask first whether it exists (`bpf_core_field_exists`, `bpf_core_type_exists`), or give the types of a kernel that has it (`--btf FILE`); `beelift inspect` lists all relocations"
        }
        Reason::HelperNotAllowed { .. } | Reason::KfuncNotAllowed { .. } => {
            "use the function of this program type for it, or another program type; `beelift features` tells who has what"
        }
        Reason::HelperNeedsGpl { .. } => {
            "the licence section decides: a GPL-compatible one, or another helper"
        }
        Reason::MaySleep { .. } => "call it from a sleepable program, outside of locks and sections",
        Reason::LockHeld => "unlock the other one first",
        Reason::NotALock { .. } => "pass the address of a `struct bpf_spin_lock` in a value of a map",
        Reason::OtherLock => "unlock the one that was locked",
        Reason::NotLocked => "lock first, on every path",
        Reason::ArgumentType { .. } => {
            "look at the prototype of the function, and at the order of its arguments"
        }
        Reason::PacketArgument { .. } => "copy the bytes to the stack first",
        Reason::NoInnerMap { .. } => {
            "declare one of them in the outer map (`__array(values, struct …)`), or give it before loading (`Object::map_mut`)"
        }
        Reason::MapKindForHelper { .. } => "use a map of the type that the helper is for",
        Reason::MapForProgram { .. } => "use another map or another program type",
        Reason::GlobalPrototype { .. } => {
            "make the function `static`, or give it arguments that are numbers, the context or pointers to sized types"
        }
        Reason::TimerOfOtherMap { .. } => "pass the map whose value holds the timer",
        Reason::NotADynptr { .. } => "pass the address of a `struct bpf_dynptr` on the stack",
        Reason::NotAnObject { .. } => {
            "pass the address of the object on the stack that the function before has set up"
        }
        Reason::SectionNested => "leave the section before it is entered again",
        Reason::NotInSection => "enter the section first, on every path",
        Reason::SectionOrder => "leave first what was entered last",
        Reason::ExceptionCallback { .. } => "an exception callback takes one 64-bit number and returns one",
        Reason::LeavesCallback { .. } => {
            "return a number from the callback, and do this where the loop is over"
        }
        Reason::ThrowInCallback => "return a number from the callback, and throw where the loop is over",
        Reason::NotConstant { .. } => "pass a number that the compiler knows",
        Reason::SizeNegative { .. } => "make the size unsigned, or check that it is not negative",
        Reason::SizeZero { .. } => "check that the size is not zero",
        Reason::SizeUnbounded { .. } => "check the size against that of the buffer before this",
        Reason::NotAConstantString { .. } => {
            "declare it `static const char text[] = \"…\"`, so that it is in `.rodata`"
        }
        Reason::FormatString { .. } => {
            "give each conversion of the format its argument, three at most for bpf_trace_printk"
        }
        Reason::ObjectField { .. } => {
            "read a member as it is declared, and special members through their functions"
        }
        Reason::ObjectAccessForbidden { .. } => "use a policy that lets programs know addresses",
        Reason::ObjectNeedsGpl { .. } => "license the program under the GPL",
        Reason::ObjectType { .. } => "pass a pointer to that type",
        Reason::NotTrusted { .. } => "acquire a reference to the object first",
        Reason::NotRcu { .. } => "acquire a reference, or read the pointer inside of an RCU read section",
        Reason::NeedsRcu { .. } => "call bpf_rcu_read_lock() first, and stay in the section",
        Reason::LockNotHeld { .. } => "take the lock that lies beside the list or tree",
        Reason::NotAKptr { .. } => "pass the address of a member that is declared as a kptr",
        Reason::KptrAccess { .. } => "load the whole pointer, and change it with bpf_kptr_xchg()",
        Reason::GraphNode { .. } => "pass the node that the declaration of the list or tree names",
        Reason::NotACollection { .. } => "pass the address of a list head or tree root",
        Reason::NotRefcounted { .. } => "give the type a `struct bpf_refcount`",
        Reason::MaySleepGlobal { .. } | Reason::KfuncMaySleep { .. } => {
            "call it from a sleepable program, outside of sections and locks"
        }
        Reason::CompilerTrap => "look for a variable that is read before it is written",
        Reason::DeviceBound { .. } => "load the program for a device, in the kernel",
        Reason::NoReleasedArgument { .. } => "pass the reference that is to be given back",
        Reason::NotAcquired { .. } => "release what a function gave you to release, once",
        Reason::TwoReferences => "pass one reference only",
    };
    Some(text.to_owned())
}
