//! What helpers ask of the world, answered by an embedder: sockets, memory, stacks, routes; and what they leave there.

use std::sync::Arc;

use beelift::engine::{Choice, Collection, Loaded};
use beelift::runtime::ctx::{RawContext, SkbContext};
use beelift::runtime::environment::{
    Environment, FibLookup, Interface, Socket, SocketInfo, SocketQuery, Unreadable, fib,
};
use beelift::runtime::helper::{Effects, Redirect, by_name};
use beelift::runtime::map::CgroupArrayMap;
use beelift::runtime::map::ringbuf::RingbufMap;
use beelift::{Engine, Error, Packet, Program, ProgramType, XdpContext};

/// A world with one listening socket, one task, one route.
struct World {
    socket: Arc<Socket>,
}

impl World {
    fn environment() -> Arc<dyn Environment> {
        let info = SocketInfo {
            handle: 77,
            family: 2,
            kind: 1,
            protocol: 6,
            mark: 5,
            source: [10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            source_port: 80,
            state: 10,
            tcp: vec![9, 0, 0, 0],
            ..SocketInfo::default()
        };
        Arc::new(Self { socket: Arc::new(Socket::new(info).expect("memory")) })
    }
}

impl Environment for World {
    fn monotonic_ns(&self) -> u64 {
        1
    }
    fn jiffies(&self) -> u64 {
        0
    }
    fn random_u32(&self) -> u32 {
        0
    }
    fn trace(&self, _line: &str) {}
    fn current_task(&self) -> Option<u64> {
        Some(0xffff_8880_0000_1000)
    }
    fn read_kernel(&self, address: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        // Every byte of the task is the lower half of its distance.
        let distance = address.wrapping_sub(0xffff_8880_0000_1000);
        if distance + into.len() as u64 > 0x1000 {
            return Err(Unreadable);
        }
        for (byte, at) in into.iter_mut().zip(distance..) {
            *byte = at as u8;
        }
        Ok(())
    }
    fn stack(&self, user: bool, into: &mut [u64]) -> Option<usize> {
        if user {
            return None;
        }
        into[..4].copy_from_slice(&[11, 22, 33, 44]);
        Some(4)
    }
    fn is_under_cgroup(&self, id: u64) -> bool {
        id == 7
    }
    fn interface(&self, index: u32) -> Option<Interface> {
        (index < 4).then_some(Interface { mtu: 1500, header_len: 14 })
    }
    fn fib_lookup(&self, lookup: &mut FibLookup, _flags: u32) -> i64 {
        if lookup.destination_v4() != [10, 0, 0, 9] {
            return fib::NOT_FWDED;
        }
        lookup.set_ifindex(3);
        lookup.set_link([2; 6], [4; 6]);
        fib::SUCCESS
    }
    fn find_socket(&self, query: &SocketQuery) -> Option<Arc<Socket>> {
        (query.protocol == 6 && query.tuple[0..4] == [1, 2, 3, 4]).then(|| Arc::clone(&self.socket))
    }
}

fn assemble(program_type: ProgramType, source: &str) -> Program {
    Program::assemble(program_type, source, |name| by_name(name).map(|helper| helper.id))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The program on both engines.
fn load(program_type: ProgramType, source: &str) -> [Collection; 2] {
    let program = assemble(program_type, source);
    [Choice::Jit, Choice::Interpreter].map(|choice| {
        let engine =
            Engine::builder().backend(choice).environment(World::environment()).build().expect("an engine");
        engine.load_linked(vec![program.clone()]).unwrap_or_else(|error| panic!("{choice:?}: {error}"))
    })
}

fn packet() -> Packet {
    let mut packet = Packet::new(64).expect("memory");
    let mut bytes = [0; 64];
    bytes[12] = 8;
    bytes[14] = 0x45;
    packet.set(&bytes).expect("it fits");
    packet
}

fn run_skb(program: &Loaded, effects: &mut Effects) -> Result<u64, Error> {
    let mut packet = packet();
    program.run_with(&mut SkbContext::new(&mut packet, ProgramType::SchedCls), effects)
}

/// Looks a socket up and leaves it in r7; r6 is the context.
const LOOKUP: &str = "
    r6 = r1
    *(u64 *)(r10 -16) = 0x04030201
    *(u32 *)(r10 -8) = 0
    r2 = r10
    r2 += -16
    r3 = 12
    r4 = -1
    r5 = 0
    call bpf_sk_lookup_tcp
    if r0 != 0 goto found
    r0 = 1
    exit
found:
    r7 = r0
";

#[test]
fn a_socket_is_read_until_it_is_released() {
    let source = format!(
        "{LOOKUP}
    r1 = r7
    call bpf_tcp_sock
    r8 = 0
    if r0 == 0 goto no_tcp
    r8 = *(u32 *)(r0 +0)
no_tcp:
    r8 <<= 16
    r1 = *(u32 *)(r7 +44)
    r8 |= r1
    r8 <<= 16
    r1 = *(u32 *)(r7 +72)
    r8 |= r1
    r8 <<= 8
    r1 = *(u32 *)(r7 +24)
    r1 &= 255
    r8 |= r1
    r1 = r7
    call bpf_sk_release
    r0 = r8
    exit"
    );
    for collection in load(ProgramType::SchedCls, &source) {
        let found = run_skb(&collection.programs()[0], &mut Effects::default()).unwrap();
        assert_eq!(found, ((9 << 16 | 80) << 16 | 10) << 8 | 10, "{:?}", collection.programs()[0]);
    }
}

#[test]
fn storage_belongs_to_its_socket() {
    let source = format!(
        ".map values sk_storage key=4 value=8 entries=0 flags=1
    {LOOKUP}
    r8 = 100
    r1 = map[values] ll
    r2 = r7
    r3 = 0
    r4 = 1
    call bpf_sk_storage_get
    if r0 == 0 goto out
    r8 = *(u64 *)(r0 +0)
    r8 += 1
    *(u64 *)(r0 +0) = r8
    if r8 != 3 goto out
    r1 = map[values] ll
    r2 = r7
    call bpf_sk_storage_delete
    r8 = r0
    r8 += 50
out:
    r1 = r7
    call bpf_sk_release
    r0 = r8
    exit"
    );
    for collection in load(ProgramType::SchedCls, &source) {
        let run = || run_skb(&collection.programs()[0], &mut Effects::default()).unwrap();
        let map = collection.map("values").unwrap().runtime().unwrap();
        let handle = 77_u32.to_ne_bytes();
        assert_eq!((run(), run()), (1, 2));
        assert_eq!(map.lookup_bytes(&handle).unwrap(), 2_u64.to_ne_bytes());
        assert_eq!(run(), 50);
        assert!(map.lookup_bytes(&handle).is_err());
        map.update_bytes(&handle, &9_u64.to_ne_bytes(), 0).unwrap();
        assert_eq!(run(), 10);
    }
}

#[test]
fn a_redirect_and_its_route_are_told_to_the_host() {
    let source = "
    r6 = r1
    *(u64 *)(r10 -64) = 2
    *(u64 *)(r10 -56) = 1
    *(u64 *)(r10 -48) = 0
    *(u64 *)(r10 -40) = 0
    *(u64 *)(r10 -32) = 0x0900000a
    *(u64 *)(r10 -24) = 0
    *(u64 *)(r10 -16) = 0
    *(u64 *)(r10 -8) = 0
    r2 = r10
    r2 += -64
    r3 = 64
    r4 = 0
    call bpf_fib_lookup
    if r0 != 0 goto out
    r1 = r6
    r2 = 2
    r3 = 0
    call bpf_clone_redirect
    r1 = *(u32 *)(r10 -56)
    r2 = 0
    r3 = 0
    r4 = 0
    call bpf_redirect_neigh
out:
    exit";
    for collection in load(ProgramType::SchedCls, source) {
        let mut effects = Effects::default();
        assert_eq!(run_skb(&collection.programs()[0], &mut effects).unwrap(), 7);
        assert_eq!(effects.redirect(), Some(Redirect::Neighbour { ifindex: 3, next_hop: None }));
        let sent = effects.take_sent();
        assert_eq!((sent.len(), sent[0].ifindex, sent[0].bytes.len()), (1, 2, 64));
    }
}

#[test]
fn the_task_is_read_through_the_host() {
    let source = "
    call bpf_get_current_task
    r3 = r0
    r3 += 0x10
    r1 = r10
    r1 += -8
    r2 = 8
    call bpf_probe_read_kernel
    if r0 != 0 goto out
    r0 = *(u64 *)(r10 -8)
out:
    exit";
    for collection in load(ProgramType::Kprobe, source) {
        let mut context = RawContext::new(ProgramType::Kprobe, &[]).unwrap();
        assert_eq!(collection.programs()[0].run(&mut context).unwrap(), 0x1716_1514_1312_1110);
    }
    // Nobody knows the task.
    let engine = Engine::builder().backend(Choice::Jit).build().unwrap();
    let collection = engine.load_linked(vec![assemble(ProgramType::Kprobe, source)]).unwrap();
    let mut context = RawContext::new(ProgramType::Kprobe, &[]).unwrap();
    let trap = collection.programs()[0].run(&mut context).unwrap_err().to_string();
    assert!(trap.contains("unbound helper"), "{trap}");
}

#[test]
fn stacks_have_numbers() {
    let source = "
    .map stacks stack_trace key=4 value=32 entries=64
    r6 = r1
    r2 = map[stacks] ll
    r3 = 1
    call bpf_get_stackid
    r7 = r0
    r1 = r6
    r2 = map[stacks] ll
    r3 = 256
    call bpf_get_stackid
    r8 = r0
    r1 = r6
    r2 = r10
    r2 += -16
    r3 = 16
    r4 = 2
    call bpf_get_stack
    r1 = *(u64 *)(r10 -16)
    r0 *= 100
    r0 += r1
    r0 <<= 32
    r8 &= 255
    r8 <<= 16
    r0 |= r8
    r0 |= r7
    exit";
    for collection in load(ProgramType::Kprobe, source) {
        let mut context = RawContext::new(ProgramType::Kprobe, &[]).unwrap();
        let found = collection.programs()[0].run(&mut context).unwrap();
        // 16 bytes of stack from the third frame on, EFAULT for the user's.
        assert_eq!(found >> 16, (1633 << 16) | 0xf2);
        let id = (found as u32 & 0xffff).to_ne_bytes();
        let frames = collection.map("stacks").unwrap().runtime().unwrap().lookup_bytes(&id).unwrap();
        let expect: Vec<u8> = [22_u64, 33, 44, 0].iter().flat_map(|frame| frame.to_ne_bytes()).collect();
        assert_eq!(frames, expect);
    }
}

#[test]
fn engines_share_what_is_pinned_by_name() {
    let directory = std::env::temp_dir().join(format!("beelift-world-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let source = "
    .map counts array key=4 value=8 entries=1
    .map own array key=4 value=8 entries=1
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = map[counts] ll
    call bpf_map_lookup_elem
    if r0 == 0 goto out
    r1 = *(u64 *)(r0 +0)
    r1 += 1
    *(u64 *)(r0 +0) = r1
    r0 = r1
out:
    r1 = map[own] ll
    exit";
    let mut program = assemble(ProgramType::Xdp, source);
    let mut maps = program.maps.to_vec();
    maps[0].pin_by_name = true;
    program.maps = maps.into();
    let collections = [Choice::Jit, Choice::Interpreter].map(|choice| {
        let engine = Engine::builder().backend(choice).pin_directory(&directory).build().unwrap();
        let collection = engine.load_linked(vec![program.clone()]).unwrap();
        assert_eq!(engine.objects().next_id(0), Some(1));
        let name = engine.objects().map(2).map(|map| map.def().name.clone());
        assert_eq!(name.as_deref(), Some("own"));
        collection
    });
    for expected in 1..=4 {
        let mut packet = packet();
        let program = &collections[expected % 2].programs()[0];
        assert_eq!(program.run(&mut XdpContext::new(&mut packet)).unwrap(), expected as u64);
    }
    std::fs::remove_dir_all(&directory).unwrap();
    // A name that leads elsewhere.
    let mut maps = program.maps.to_vec();
    maps[0].name = "../elsewhere".to_owned();
    program.maps = maps.into();
    let engine = Engine::builder().backend(Choice::Jit).pin_directory(&directory).build().unwrap();
    assert!(engine.load_linked(vec![program]).is_err());
}

#[test]
fn cgroups_are_asked_for_by_slot() {
    let source = "
    .map groups cgroup_array key=4 value=4 entries=3
    r6 = *(u32 *)(r1 +12)
    r1 = map[groups] ll
    r2 = r6
    call bpf_current_task_under_cgroup
    exit";
    for collection in load(ProgramType::Xdp, source) {
        let groups = collection.map("groups").unwrap().runtime().unwrap();
        let groups = groups.as_any().downcast_ref::<CgroupArrayMap>().unwrap();
        groups.set(1, 7).unwrap();
        groups.set(2, 8).unwrap();
        let results = [1, 2, 3].map(|index| {
            let mut packet = packet();
            let mut context = XdpContext::new(&mut packet);
            context.ingress_ifindex = index;
            collection.programs()[0].run(&mut context).unwrap().cast_signed()
        });
        assert_eq!(results, [1, 0, -7]);
    }
}

#[test]
fn samples_come_out_of_the_ring_of_their_slot() {
    let source = "
    .map events perf_event_array key=4 value=4 entries=64
    r2 = map[events] ll
    r3 = 0x400000002 ll
    r4 = r10
    r4 += -8
    *(u64 *)(r10 -8) = 5
    r5 = 8
    call bpf_perf_event_output
    exit";
    for collection in load(ProgramType::Xdp, source) {
        let run = || {
            let mut packet = packet();
            packet.set(&[3; 20]).unwrap();
            collection.programs()[0].run(&mut XdpContext::new(&mut packet)).unwrap().cast_signed()
        };
        assert_eq!(run(), -2);
        let ring = collection.map("events").unwrap().open_perf(2, 4096).unwrap();
        assert_eq!(run(), 0);
        let samples = ring.consumer().unwrap().drain();
        assert_eq!(samples, [[5, 0, 0, 0, 0, 0, 0, 0, 3, 3, 3, 3]]);
        assert!(collection.map("events").unwrap().open_perf(64, 4096).is_err());
    }
}

#[test]
fn samples_of_the_host_are_drained_one_by_one() {
    let source = "
    .map samples user_ringbuf key=0 value=0 entries=4096
    *(u64 *)(r10 -8) = 0
    r4 = *(u32 *)(r1 +16)
    r1 = map[samples] ll
    r2 = func body ll
    r3 = r10
    r3 += -8
    call bpf_user_ringbuf_drain
    r1 = *(u64 *)(r10 -8)
    r0 <<= 32
    r0 |= r1
    exit
body:
    r6 = r2
    r3 = r1
    *(u64 *)(r10 -8) = 0
    r1 = r10
    r1 += -8
    r2 = 4
    r4 = 0
    r5 = 0
    call bpf_dynptr_read
    r1 = *(u64 *)(r10 -8)
    r2 = *(u64 *)(r6 +0)
    r2 *= 10
    r2 += r1
    *(u64 *)(r6 +0) = r2
    r0 = 0
    if r1 != 9 goto out
    r0 = 1
out:
    exit";
    for collection in load(ProgramType::Xdp, source) {
        let map = collection.map("samples").unwrap();
        let run = |flags| {
            let mut packet = packet();
            let mut context = XdpContext::new(&mut packet);
            context.rx_queue_index = flags;
            collection.programs()[0].run(&mut context).unwrap()
        };
        assert_eq!(run(0), 0);
        for number in [1_u32, 2, 9, 4] {
            map.send(&number.to_ne_bytes()).unwrap();
        }
        // The third one ends it.
        assert_eq!(run(0), 3 << 32 | 129, "{:?}", collection.programs()[0]);
        assert_eq!(run(4) >> 32, u64::from((-22_i32).cast_unsigned()));
        assert_eq!(run(1), 1 << 32 | 4);
        // One that is too short for what the program reads counts all the same.
        map.send(&[7]).unwrap();
        assert_eq!(run(0), 1 << 32);
        assert_eq!(run(0), 0);
    }
}

#[test]
fn a_sample_that_no_dynptr_can_reach_stays_in_the_ring() {
    let source = "
    .map samples user_ringbuf key=0 value=0 entries=33554432
    *(u64 *)(r10 -8) = 0
    r1 = map[samples] ll
    r2 = func body ll
    r3 = r10
    r3 += -8
    r4 = 0
    call bpf_user_ringbuf_drain
    r0 <<= 32
    r1 = *(u64 *)(r10 -8)
    r0 |= r1
    exit
body:
    r1 = *(u64 *)(r2 +0)
    r1 += 1
    *(u64 *)(r2 +0) = r1
    r0 = 0
    exit";
    const LONGEST: usize = (1 << 24) - 1;
    for collection in load(ProgramType::Xdp, source) {
        let map = collection.map("samples").unwrap();
        let run = || {
            let mut packet = packet();
            let r0 = collection.programs()[0].run(&mut XdpContext::new(&mut packet)).unwrap();
            ((r0 >> 32) as i32, r0 as u32)
        };
        map.send(&[0; 8]).unwrap();
        map.send(&vec![0; LONGEST]).unwrap();
        assert_eq!(run(), (2, 2));
        map.send(&[0; 8]).unwrap();
        map.send(&vec![0; LONGEST + 1]).unwrap();
        assert_eq!(run(), (-7, 1), "the first one was shown");
        assert_eq!(run(), (-7, 0), "the other one is still there");
    }
}

#[test]
fn records_are_seen_that_are_submitted_and_not_discarded() {
    let source = "
    .map ring ringbuf key=0 value=0 entries=4096
    r1 = map[ring] ll
    r2 = 8
    r3 = 0
    call bpf_ringbuf_reserve
    if r0 == 0 goto out
    *(u64 *)(r0 +0) = 1
    r1 = r0
    r2 = 0
    call bpf_ringbuf_discard
    r1 = map[ring] ll
    r2 = 8
    r3 = 0
    call bpf_ringbuf_reserve
    if r0 == 0 goto out
    *(u64 *)(r0 +0) = 2
    r1 = r0
    r2 = 0
    call bpf_ringbuf_submit
out:
    r0 = 0
    exit";
    for collection in load(ProgramType::Xdp, source) {
        let mut packet = packet();
        assert_eq!(collection.programs()[0].run(&mut XdpContext::new(&mut packet)).unwrap(), 0);
        let ring = collection.map("ring").unwrap().runtime().unwrap();
        let ring = ring.as_any().downcast_ref::<RingbufMap>().unwrap();
        assert_eq!(ring.consumer().unwrap().drain(), [2_u64.to_ne_bytes()]);
    }
}
