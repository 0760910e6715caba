//! Inputs and results of runs as bytes: the form in which engines are compared. Contexts are made of inputs here.
#![forbid(unsafe_code)]

use beelift_runtime::ctx::{Context, MemoryContext, Packet, ProgramType, RawContext, SkbContext, XdpContext};

use super::Error;
use crate::link::Trap;

/// One input: what a test run of the kernel takes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Input {
    /// Packet, for types that have one; the buffer for type `memory`.
    pub packet: Vec<u8>,
    /// UAPI context; what is missing is zero or the type's default.
    pub context: Vec<u8>,
}

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct Record {
    /// r0. The kernel gives 32 bits of it.
    pub value: Result<u64, Trap>,
    /// The packet as the program left it, metadata first. A program of layer 3 (socket filter, `cgroup_skb`, `lwt_*`)
    /// does not see the Ethernet header, which stays.
    pub packet: Vec<u8>,
    /// The UAPI context as the program left it.
    pub context: Vec<u8>,
    /// Mean nanoseconds of a run; zero after a trap. The kernel tells whole ones.
    pub nanoseconds: f64,
}

/// Something to do on a context, whatever its type.
pub(super) trait Action {
    type Result;
    fn on<C: Context>(&mut self, context: &mut C) -> Result<Self::Result, Error>;
}

/// Does something on a context of that program type, made of an input.
pub(super) fn on_input<A: Action>(
    program_type: ProgramType,
    input: &Input,
    action: &mut A,
) -> Result<A::Result, Error> {
    let memory = |error: beelift_runtime::mem::OutOfMemory| Error::Memory(error.to_string());
    match program_type {
        ProgramType::Xdp => {
            let mut packet = packet_of(&input.packet)?;
            action.on(&mut XdpContext::new(&mut packet))
        }
        ProgramType::Memory => action.on(&mut MemoryContext::from_bytes(&input.packet).map_err(memory)?),
        _ if sees_skb(program_type) => {
            let mut packet = packet_of(&input.packet)?;
            action.on(&mut SkbContext::new(&mut packet, program_type))
        }
        _ => action.on(&mut RawContext::new(program_type, &input.context).map_err(memory)?),
    }
}

/// Whether the context is a `__sk_buff`.
const fn sees_skb(program_type: ProgramType) -> bool {
    use ProgramType::{CgroupSkb, LwtIn, LwtOut, LwtSeg6local, LwtXmit, SchedAct, SchedCls, SocketFilter};
    let layer_three = matches!(program_type, SocketFilter | CgroupSkb);
    layer_three || matches!(program_type, SchedCls | SchedAct | LwtIn | LwtOut | LwtXmit | LwtSeg6local)
}

/// Whether there is a context in user space for programs of the type.
#[must_use]
pub fn has_context(program_type: ProgramType) -> bool {
    let plain = || RawContext::new(program_type, &[]).is_ok_and(|context| context.accepts(program_type, 0));
    matches!(program_type, ProgramType::Xdp | ProgramType::Memory | ProgramType::Host)
        || sees_skb(program_type)
        || plain()
}

fn packet_of(bytes: &[u8]) -> Result<Packet, Error> {
    let capacity = u32::try_from(bytes.len()).map_err(|_| Error::Memory("a packet over 4 GiB".to_owned()))?;
    let mut packet = Packet::new(capacity).map_err(|error| Error::Memory(error.to_string()))?;
    packet.set(bytes).map_err(|error| Error::Memory(error.to_string()))?;
    Ok(packet)
}
