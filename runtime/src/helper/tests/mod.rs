//! Helpers against results of the running kernel (Linux 6.18, `BPF_PROG_TEST_RUN`).
#![forbid(unsafe_code)]
#![expect(clippy::type_complexity, reason = "rows of tables")]

mod skb;

use std::cell::Cell;

use super::*;
use crate::abi::ExecContext;
use crate::ctx::{Context, MemoryContext, Packet, ProgramType, XdpContext};
use crate::environment::FixedEnvironment;
use crate::map::{self, MapDef, MapHandle, MapKind};
use crate::mem::{RegionKind, Regions, SharedBytes, WordSize};

const EINVAL: i64 = -22;
const EFAULT: i64 = -14;
const EACCES: i64 = -13;
const ERANGE: i64 = -34;

/// Calls a helper as the interpreter does. `memory` is what pointers may point to.
fn call(
    name: &str,
    context: &mut dyn Context,
    maps: &[Box<MapHandle>],
    memory: &SharedBytes,
    effects: &Effects,
    registers: [u64; 5],
) -> Result<i64, ArgumentFault> {
    let program_type = context.program_type();
    let entry = context.enter();
    let context = &*context;
    let mut regions = Regions::new(maps);
    context.regions(&mut regions);
    regions.add(RegionKind::Stack, memory);
    let environment = FixedEnvironment::default();
    let cx = ExecContext {
        trap: Cell::new(0),
        trap_insn: Cell::new(0),
        saved_sp: Cell::new(0),
        trap_exit: None,
        fuel: Cell::new(0),
        program: 1,
        cpu: 0,
        tail_calls: Cell::new(0),
        tail_result: Cell::new(0),
        context: Cell::new(entry.r1),
        numa_node: 0,
        ctx: context,
        probe: Probe::default(),
        maps,
        objects: crate::heap::ObjectTypes::NONE,
        environment: &environment,
        effects,
    };
    let helper = by_name(name).unwrap();
    let mut registers = registers;
    if helper.proto.args[0] == ArgKind::Context {
        registers[0] = entry.r1;
    }
    let result = call_checked(helper, program_type, &cx, &regions, registers).map(u64::cast_signed);
    assert_eq!(cx.trap.get(), 0, "{name}: {:?}", effects.panic_message());
    result
}

/// Calls an XDP helper on `packet`.
fn xdp(name: &str, packet: &mut Packet, registers: [u64; 5]) -> i64 {
    let memory = SharedBytes::new(16).unwrap();
    let mut context = XdpContext::new(packet);
    call(name, &mut context, &[], &memory, &Effects::default(), registers).unwrap()
}

/// A packet of the bytes 0, 1, 2, … of which the first `meta` are metadata.
fn packet(size: u8, meta: u8) -> Packet {
    let mut packet = Packet::new(0).unwrap();
    packet.set(&(meta..size).collect::<Vec<u8>>()).unwrap();
    packet.set_meta(&(0..meta).collect::<Vec<u8>>()).unwrap();
    packet
}

#[test]
fn adjusting_a_packet_has_the_kernels_limits() {
    // Helper, delta, metadata; result, bytes out, metadata out, first and last byte.
    type Row = (&'static str, i64, u8, i64, usize, u64, u8, u8);
    #[rustfmt::skip]
    let rows: &[Row] = &[
        ("xdp_adjust_head", -300, 0, EINVAL, 60, 0, 0, 59),
        ("xdp_adjust_head", -217, 0, EINVAL, 60, 0, 0, 59),
        ("xdp_adjust_head", -216, 0, 0, 276, 0, 0, 59),
        ("xdp_adjust_head", 0, 0, 0, 60, 0, 0, 59),
        ("xdp_adjust_head", 1, 0, 0, 59, 0, 1, 59),
        ("xdp_adjust_head", 46, 0, 0, 14, 0, 46, 59),
        ("xdp_adjust_head", 47, 0, EINVAL, 60, 0, 0, 59),
        ("xdp_adjust_head", -(1 << 31), 0, EINVAL, 60, 0, 0, 59),
        ("xdp_adjust_head", (1 << 31) - 1, 0, EINVAL, 60, 0, 0, 59),
        ("xdp_adjust_head", -209, 8, EINVAL, 60, 8, 0, 59),
        ("xdp_adjust_head", -208, 8, 0, 268, 8, 0, 59),
        ("xdp_adjust_head", 38, 8, 0, 22, 8, 0, 59),
        ("xdp_adjust_head", 39, 8, EINVAL, 60, 8, 0, 59),
        ("xdp_adjust_tail", -47, 0, EINVAL, 60, 0, 0, 59),
        ("xdp_adjust_tail", -46, 0, 0, 14, 0, 0, 13),
        ("xdp_adjust_tail", 1, 0, 0, 61, 0, 0, 0),
        ("xdp_adjust_tail", 3460, 0, 0, 3520, 0, 0, 0),
        ("xdp_adjust_tail", 3461, 0, EINVAL, 60, 0, 0, 59),
        ("xdp_adjust_tail", -(1 << 31), 0, EINVAL, 60, 0, 0, 59),
        ("xdp_adjust_tail", -38, 8, 0, 22, 8, 0, 21),
        ("xdp_adjust_tail", -39, 8, EINVAL, 60, 8, 0, 59),
        ("xdp_adjust_tail", 3468, 8, 0, 3528, 8, 0, 0),
        ("xdp_adjust_tail", 3469, 8, EINVAL, 60, 8, 0, 59),
        ("xdp_adjust_meta", -220, 0, EINVAL, 60, 0, 0, 59),
        ("xdp_adjust_meta", -216, 0, 0, 276, 216, 0, 59),
        ("xdp_adjust_meta", -4, 0, 0, 64, 4, 0, 59),
        ("xdp_adjust_meta", -3, 0, EACCES, 60, 0, 0, 59),
        ("xdp_adjust_meta", 1, 0, EINVAL, 60, 0, 0, 59),
        ("xdp_adjust_meta", -212, 8, EINVAL, 60, 8, 0, 59),
        ("xdp_adjust_meta", -208, 8, 0, 268, 216, 0, 59),
        ("xdp_adjust_meta", 4, 8, 0, 56, 4, 4, 59),
        ("xdp_adjust_meta", 8, 8, 0, 52, 0, 8, 59),
        ("xdp_adjust_meta", 12, 8, EINVAL, 60, 8, 0, 59),
    ];
    for &(name, delta, meta, result, len, meta_out, first, last) in rows {
        let mut packet = packet(60, meta);
        let row = format!("{name} by {delta} with {meta} bytes of metadata");
        assert_eq!(xdp(name, &mut packet, [0, delta.cast_unsigned(), 0, 0, 0]), result, "{row}");
        assert_eq!(packet.meta_len(), meta_out, "{row}");
        let bytes = packet.bytes_with_meta();
        assert_eq!((bytes.len(), bytes[0], bytes[len - 1]), (len, first, last), "{row}");
    }
}

#[test]
fn the_context_shows_what_a_test_run_shows() {
    let mut packet = packet(60, 8);
    xdp("xdp_adjust_head", &mut packet, [0, (-4_i64).cast_unsigned(), 0, 0, 0]);
    let mut context = XdpContext::new(&mut packet);
    context.rx_queue_index = 3;
    let mut uapi = Vec::new();
    context.uapi(&mut uapi);
    let words: Vec<u32> =
        uapi.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    assert_eq!(words, [8, 64, 0, 0, 3, 0]);
}

#[test]
fn packet_bytes_are_copied_within_the_packet_only() {
    #[rustfmt::skip]
    let rows = [
        (0_u64, 60_u64, 0_i64), (0, 61, EINVAL), (1, 60, EINVAL), (59, 1, 0), (60, 1, EINVAL), (52, 8, 0),
        (0xffff, 1, EINVAL), (0x1_0000, 1, EFAULT), (0, 0xffff, EINVAL), (0, 0x1_0000, EFAULT),
        (0xffff_ffff, 1, EFAULT), (1 << 32, 4, 0),
    ];
    let effects = Effects::default();
    for (offset, len, result) in rows {
        let mut bytes = packet(60, 0);
        let memory = SharedBytes::new(0x1_0000).unwrap();
        let registers = [0, offset, memory.address(), len, 0];
        let mut context = XdpContext::new(&mut bytes);
        let loaded = call("xdp_load_bytes", &mut context, &[], &memory, &effects, registers);
        assert_eq!(loaded, Ok(result), "{len} at {offset}");
        let stored = call("xdp_store_bytes", &mut context, &[], &memory, &effects, registers);
        assert_eq!(stored, Ok(result), "{len} at {offset}");
        if result == 0 {
            let expect: Vec<u8> = (offset as u32 as u8..60).take(len as usize).collect();
            assert_eq!(memory.to_vec(0, len), expect);
        }
        memory.fill(0, 100, 0xee);
        _ = call("xdp_store_bytes", &mut context, &[], &memory, &effects, registers);
        let changed = bytes.bytes().iter().filter(|&&byte| byte == 0xee).count() as u64;
        assert_eq!(changed, if result == 0 { len } else { 0 });
        assert_eq!(xdp("xdp_get_buff_len", &mut bytes, [0; 5]), 60);
    }
}

#[expect(clippy::vec_box, reason = "programs know handles by address")]
fn redirect_map_of(kind: MapKind, key: u32, value: u32) -> Vec<Box<MapHandle>> {
    let map = map::create(&MapDef::new("targets", kind, 4, 4, 4), 2).unwrap();
    map.update_bytes(&key.to_le_bytes(), &value.to_le_bytes(), 0).unwrap();
    vec![Box::new(MapHandle::new(map))]
}

#[test]
fn redirects_are_accepted_as_in_the_kernel() {
    let devmap = || redirect_map_of(MapKind::Devmap, 1, 1);
    let hash = || redirect_map_of(MapKind::DevmapHash, 7, 1);
    let cpus = || redirect_map_of(MapKind::Cpumap, 1, 64);
    type Make<'a> = &'a dyn Fn() -> Vec<Box<MapHandle>>;
    #[rustfmt::skip]
    let rows: [(Make<'_>, &[(u64, u64, i64)]); 3] = [
        (&devmap, &[(1, 0, 4), (0, 0, 0), (0, 2, 2), (7, 3, 3), (1, 4, 0), (1, 8, 4), (1, 16, 4), (0, 10, 4),
                    (0x1_0000_0001, 0, 4), (1, 32, 0)]),
        (&hash, &[(1, 0, 0), (7, 3, 4), (9, 1, 1), (1, 8, 4), (1, 16, 0), (1, 24, 4), (1, 32, 0)]),
        (&cpus, &[(1, 0, 4), (0, 2, 2), (1, 8, 0), (1, 16, 0), (0, 8, 0)]),
    ];
    let memory = SharedBytes::new(8).unwrap();
    for (maps, calls) in rows {
        let maps = maps();
        for &(key, flags, result) in calls {
            let effects = Effects::default();
            let handle = check::handle_address(&maps[0]);
            let mut bytes = packet(60, 0);
            let mut context = XdpContext::new(&mut bytes);
            let registers = [handle, key, flags, 0, 0];
            let got = call("redirect_map", &mut context, &maps, &memory, &effects, registers);
            assert_eq!(got, Ok(result), "{} key {key} flags {flags}", maps[0].map.def().kind);
            let reported = effects.redirect().is_some();
            assert_eq!(reported, result == 4);
            if let Some(Redirect::Map { slot, target, .. }) = effects.redirect() {
                assert_eq!(slot, Some(0));
                assert!(target.is_some() || flags & 8 != 0);
            }
        }
    }
    for (ifindex, flags, result) in [(1, 0, 4), (0, 0, 4), (99, 0, 4), (1, 1, 0), (1, 8, 0)] {
        assert_eq!(xdp("redirect", &mut packet(60, 0), [ifindex, flags, 0, 0, 0]), result);
    }
}

#[test]
fn checksums_of_any_length_agree() {
    // From, to, seed; result of the kernel.
    #[rustfmt::skip]
    let rows: &[(&[u8], &[u8], u32, i64)] = &[
        (&[55, 206, 145, 203, 176], &[], 0xffff, 25990),
        (&[], &[255, 255, 255, 255], 0x1, 1),
        (&[206, 89, 121, 97, 104, 233, 51, 139], &[], 0xffffffff, 53275),
        (&[0, 0, 0, 0, 0, 0, 0, 0], &[0, 0], 0xffffffff, 65535),
        (&[118, 139, 13, 195], &[], 0x10000, 45436),
        (&[120, 137, 218, 33], &[], 0x0, 21677),
        (&[255, 255, 255, 255, 255, 255, 255, 255], &[255, 255, 255, 255], 0xffffffff, 65535),
        (&[242, 107, 35, 246, 50], &[109, 214, 129, 46, 151, 205, 227, 240], 0xf7f35634, 44874),
        (&[255], &[255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255], 0x1, 65281),
        (&[147, 27, 144, 239], &[252, 45, 137, 67], 0x1, 26210),
        (&[], &[230, 216, 230, 16, 89, 79], 0x1, 14631),
        (&[134, 76, 77, 47, 123], &[82, 50, 101, 180, 52, 22, 45], 0x1, 32971),
        (&[0, 0, 0, 0, 0], &[0, 0], 0x10000, 1),
        (&[220, 123, 89, 96, 148], &[], 0x0, 9014),
        (&[255, 255, 255, 255, 255, 255, 255, 255], &[], 0xffffffff, 0),
        (&[90, 240, 50, 131, 90], &[93, 235, 141, 198, 116, 82, 125, 118, 84, 90, 169, 27], 0x96fabb7b, 53097),
        (&[233, 175, 96, 9, 93, 143, 215, 110, 235, 245, 31, 242], &[], 0x1, 24694),
        (&[112, 150, 7, 87], &[4, 55, 152, 236, 249, 8, 222, 179, 78, 143, 142, 139], 0x1, 3547),
        (&[252, 46, 111, 45, 129, 109, 124, 204, 30, 171, 4, 20], &[86, 78, 156, 184], 0x1, 45415),
        (&[210, 92, 90, 184], &[], 0x10000, 60115),
        (&[], &[194, 61, 149, 189, 255, 198, 13, 152], 0x1, 23142),
        (&[37], &[], 0xfaa30fac, 2603),
        (&[0, 0, 0], &[0, 0, 0, 0, 0, 0], 0xffffffff, 65535),
        (&[255, 255, 255, 255], &[255, 255], 0xffffffff, 65535),
        (&[111, 241, 52, 38, 15], &[120, 75], 0xffff, 13253),
        (&[255, 255, 255], &[255, 255, 255, 255, 255, 255, 255], 0xb057c162, 29114),
        (&[49, 39, 70], &[151, 55, 87, 120, 59, 190, 94, 103, 247, 83, 224, 230], 0x0, 59625),
        (&[165, 198, 128, 160], &[60, 18, 40, 222, 139, 166, 86], 0x0, 12320),
    ];
    for &(from, to, seed, result) in rows {
        let memory = SharedBytes::new(512).unwrap();
        memory.write(0, from);
        memory.write(256, to);
        let at = memory.address();
        let registers = [at, from.len() as u64, at + 256, to.len() as u64, u64::from(seed)];
        let mut context = MemoryContext::new(0).unwrap();
        let sum = call("csum_diff", &mut context, &[], &memory, &Effects::default(), registers);
        assert_eq!(sum, Ok(result), "{from:?} {to:?} {seed:#x}");
    }
}

/// An argument of a format string.
enum Arg {
    Number(u64),
    Text(&'static [u8]),
}

#[test]
fn format_strings_print_what_the_kernel_prints() {
    use Arg::{Number, Text};
    #[rustfmt::skip]
    let rows: &[(&[u8], &[Arg], Result<(i64, &[u8]), i64>)] = &[
        (b"plain", &[], Ok((6, b"plain"))),
        (b"%d %u", &[Number(0xffffffffffffffff), Number(0xffffffffffffffff)], Ok((14, b"-1 4294967295"))),
        (b"%ld %lu %lld %llu", &[Number(0xfffffffffffffffb), Number(0xfffffffffffffffb), Number(0x1), Number(0x2)], Ok((28, b"-5 18446744073709551611 1 2"))),
        (b"%x %X %lx", &[Number(0xdeadbeef), Number(0xdeadbeef), Number(0x123456789abcdef)], Ok((34, b"deadbeef DEADBEEF 123456789abcdef"))),
        (b"%5d|%-5d|%05d|%+d|% d", &[Number(0x2a), Number(0x2a), Number(0x2a), Number(0x2a), Number(0x2a)], Ok((26, b"   42|42   |00042|+42| 42"))),
        (b"%-05d|%+05d|% 05d|%+ d", &[Number(0x2a), Number(0x2a), Number(0x2a), Number(0x2a)], Ok((22, b"42   |+0042| 0042|+42"))),
        (b"%05d|%5d|%-5d|", &[Number(0xffffffffffffffd6), Number(0xffffffffffffffd6), Number(0xffffffffffffffd6)], Ok((19, b"-0042|  -42|-42  |"))),
        (b"%8x|%-8x|%08x|%+x", &[Number(0xabc), Number(0xabc), Number(0xabc), Number(0xabc)], Ok((31, b"     abc|abc     |00000abc|abc"))),
        (b"%s|%8s|%-8s|%2s", &[Text(b"abc\x00"), Text(b"abc\x00"), Text(b"abc\x00"), Text(b"abc\x00")], Ok((26, b"abc|     abc|abc     |abc"))),
        (b"%c%c|%3c|%-3c|", &[Number(0x41), Number(0x42), Number(0x43), Number(0x44)], Ok((12, b"AB|  C|D  |"))),
        (b"%%|%d%%", &[Number(0x7)], Ok((5, b"%|7%"))),
        (b"%20px|%-20px|%020px", &[Number(0x1234), Number(0x1234), Number(0x1234)], Ok((63, b"                1234|1234                |00000000000000001234"))),
        (b"%pI4 %pi4", &[Text(b"\x0a\x00\x01\xff"), Text(b"\x0a\x00\x01\xff")], Ok((27, b"10.0.1.255 010.000.001.255"))),
        (b"%pI6 %pi6", &[Text(b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"), Text(b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f")], Ok((73, b"0001:0203:0405:0607:0809:0a0b:0c0d:0e0f 000102030405060708090a0"))),
        (b"%16pI4|%-16pI4|", &[Text(b"\x0a\x00\x01\xff"), Text(b"\x0a\x00\x01\xff")], Ok((23, b"10.0.1.255|10.0.1.255|"))),
        (b"%s", &[Number(0x0)], Ok((1, b""))),
        (b"%s", &[Number(0x1000)], Ok((1, b""))),
        (b"%pI4", &[Number(0x0)], Ok((8, b"0.0.0.0"))),
        (b"%i", &[Number(0x3)], Ok((2, b"3"))),
        (b"%", &[Number(0x1)], Err(EINVAL)),
        (b"%z", &[Number(0x1)], Err(EINVAL)),
        (b"%d %d", &[Number(0x1)], Err(EINVAL)),
        (b"%d", &[], Err(EINVAL)),
        (b"\x01", &[], Err(EINVAL)),
        (b"\xff", &[], Ok((2, b"\xff"))),
        (b"a\x09b\x0ac", &[], Ok((6, b"a\x09b\x0ac"))),
        (b"%lld %llx", &[Number(0x8000000000000000), Number(0x8000000000000000)], Ok((38, b"-9223372036854775808 8000000000000000"))),
        (b"%hd", &[Number(0x1)], Err(EINVAL)),
        (b"%#x", &[Number(0x1)], Err(EINVAL)),
        (b"%*d", &[Number(0x1), Number(0x2)], Err(EINVAL)),
        (b"%.3s", &[Text(b"abcdef\x00")], Err(EINVAL)),
        (b"%3%", &[], Err(EINVAL)),
        (b"%sx", &[Text(b"a\x00")], Err(EINVAL)),
        (b"%s.", &[Text(b"a\x00")], Ok((3, b"a."))),
        (b"%p4", &[Number(0x1)], Err(EINVAL)),
        (b"%100d", &[Number(0x5)], Ok((101, b"                                                               "))),
        (b"%0d|%00d|%-0d", &[Number(0x5), Number(0x6), Number(0x7)], Ok((6, b"5|6|7"))),
        (b"%pks", &[Text(b"kern\x00")], Ok((5, b"kern"))),
        (b"%pksx", &[Text(b"kern\x00")], Err(EINVAL)),
        (b"%l", &[Number(0x1)], Err(EINVAL)),
        (b"%ld", &[Number(0x8000000000000000)], Ok((21, b"-9223372036854775808"))),
        (b"%lx", &[Number(0x0)], Ok((2, b"0"))),
        (b"%x", &[Number(0x0)], Ok((2, b"0"))),
        (b"%ps", &[Number(0x1234)], Ok((7, b"0x1234"))),
        (b"%pS|%pB", &[Number(0x1234), Number(0x0)], Ok((11, b"0x1234|0x0"))),
        (b"%10ps|", &[Number(0x1234)], Ok((12, b"    0x1234|"))),
        (b"%lllld", &[Number(0x1)], Err(EINVAL)),
        (b"%c", &[Number(0x0)], Ok((2, b"\x00"))),
        (b"%pi", &[Number(0x0)], Err(EINVAL)),
        (b"%pI", &[Number(0x0)], Err(EINVAL)),
        (b"%1d", &[Number(0x7b)], Ok((4, b"123"))),
        (b"%lu", &[Number(0xffffffffffffffff)], Ok((21, b"18446744073709551615"))),
        (b"%s %s", &[Text(b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\x00"), Text(b"y\x00")], Ok((103, b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"))),
    ];
    for (format, args, expect) in rows {
        let memory = SharedBytes::new(1024).unwrap();
        memory.write(0, format);
        let mut free = 512;
        for (i, arg) in args.iter().enumerate() {
            let word = match arg {
                Number(number) => *number,
                Text(text) => {
                    memory.write(free, text);
                    free += text.len() as u64;
                    memory.address() + free - text.len() as u64
                }
            };
            memory.write(128 + 8 * i as u64, &word.to_le_bytes());
        }
        let at = memory.address();
        let registers = [at + 256, 64, at, at + 128, 8 * args.len() as u64];
        let mut context = MemoryContext::new(0).unwrap();
        let len = call("snprintf", &mut context, &[], &memory, &Effects::default(), registers).unwrap();
        let shown = format.escape_ascii().to_string();
        match expect {
            Err(errno) => assert_eq!(len, *errno, "{shown}"),
            Ok((expect, text)) => {
                assert_eq!(len, *expect, "{shown}");
                let got = memory.to_vec(256, text.len() as u64 + 1);
                assert_eq!(got.split_last(), Some((&0, *text)), "{shown}");
            }
        }
    }
}

#[test]
fn a_buffer_too_short_ends_with_a_zero_byte() {
    for (size, expect) in [(1, &b"\0"[..]), (2, b"h\0"), (3, b"he\0"), (6, b"hello\0")] {
        let memory = SharedBytes::new(64).unwrap();
        memory.write(0, b"hello");
        let at = memory.address();
        let mut context = MemoryContext::new(0).unwrap();
        let registers = [at + 16, size, at, 0, 0];
        let len = call("snprintf", &mut context, &[], &memory, &Effects::default(), registers);
        assert_eq!((len, memory.to_vec(16, size)), (Ok(6), expect.to_vec()));
    }
}

#[test]
fn numbers_are_read_as_in_the_kernel() {
    // Text, base, bytes; result and number of strtol, of strtoul.
    #[rustfmt::skip]
    let rows: &[(&[u8], u64, u64, (i64, i64), (i64, i64))] = &[
        (b"123", 0, 3, (3, 123), (3, 123)),
        (b"123", 0, 2, (2, 12), (2, 12)),
        (b"123x", 0, 8, (3, 123), (3, 123)),
        (b" \x09-42 ", 0, 8, (5, -42), (EINVAL, 0)),
        (b"+5", 0, 2, (EINVAL, 0), (EINVAL, 0)),
        (b"0x1F", 0, 8, (4, 31), (4, 31)),
        (b"0x", 0, 8, (1, 0), (1, 0)),
        (b"0xg", 0, 8, (1, 0), (1, 0)),
        (b"0x1f", 16, 8, (4, 31), (4, 31)),
        (b"1f", 16, 8, (2, 31), (2, 31)),
        (b"0x1f", 10, 8, (1, 0), (1, 0)),
        (b"017", 0, 8, (3, 15), (3, 15)),
        (b"017", 8, 8, (3, 15), (3, 15)),
        (b"08", 0, 8, (1, 0), (1, 0)),
        (b"9223372036854775807", 0, 30, (19, 9223372036854775807), (19, 9223372036854775807)),
        (b"9223372036854775808", 0, 30, (ERANGE, 0), (19, i64::MIN)),
        (b"-9223372036854775808", 0, 30, (20, i64::MIN), (EINVAL, 0)),
        (b"-9223372036854775809", 0, 30, (ERANGE, 0), (EINVAL, 0)),
        (b"18446744073709551615", 0, 30, (ERANGE, 0), (20, -1)),
        (b"18446744073709551616", 0, 30, (ERANGE, 0), (ERANGE, 0)),
        (b"-99999999999999999999", 0, 30, (ERANGE, 0), (ERANGE, 0)),
        (b"", 0, 4, (EINVAL, 0), (EINVAL, 0)),
        (b"-", 0, 4, (EINVAL, 0), (EINVAL, 0)),
        (b"- 5", 0, 4, (EINVAL, 0), (EINVAL, 0)),
        (b"12", 2, 4, (EINVAL, 0), (EINVAL, 0)),
        (b"12", 36, 4, (EINVAL, 0), (EINVAL, 0)),
        (b"00000000000000000000000000000000000000000000000000000000000000000000007", 10, 80, (63, 0), (63, 0)),
        (b"100000000000000000000000000000000000000000000000000000000000000", 10, 80, (ERANGE, 0), (ERANGE, 0)),
        (b"   5", 10, 3, (EINVAL, 0), (EINVAL, 0)),
        (b"0X1f", 0, 8, (4, 31), (4, 31)),
        (b"\x0b5", 0, 4, (2, 5), (2, 5)),
        (b"--5", 0, 4, (EINVAL, 0), (EINVAL, 0)),
        (b"-0", 0, 4, (2, 0), (EINVAL, 0)),
        (b"\xa05", 0, 4, (2, 5), (2, 5)),
        (b"-0x10", 0, 9, (5, -16), (EINVAL, 0)),
        (b"5", 256, 4, (EINVAL, 0), (EINVAL, 0)),
        (b"0x", 16, 4, (EINVAL, 0), (EINVAL, 0)),
        (b"-00000000000000000000000000000000000000000000000000000000000000000000000", 10, 80, (64, 0), (EINVAL, 0)),
        (b"5\xff", 10, 4, (1, 5), (1, 5)),
        (b"0x1", 8, 4, (1, 0), (1, 0)),
        (b"99", 8, 4, (EINVAL, 0), (EINVAL, 0)),
    ];
    for &(text, base, len, signed, unsigned) in rows {
        for (name, expect) in [("strtol", signed), ("strtoul", unsigned)] {
            let memory = SharedBytes::new(256).unwrap();
            memory.write(0, text);
            let at = memory.address();
            let mut context = MemoryContext::new(0).unwrap();
            let registers = [at, len, base, at + 128, 0];
            let used = call(name, &mut context, &[], &memory, &Effects::default(), registers).unwrap();
            let number = i64::from_le_bytes(memory.bytes(128, 8).array(0));
            assert_eq!((used, number), expect, "{name} {} base {base}", text.escape_ascii());
        }
    }
    assert!(rows.iter().any(|row| row.3.0 == ERANGE));
}

#[test]
fn arguments_that_nobody_verified_are_refused() {
    let memory = SharedBytes::new(64).unwrap();
    let at = memory.address();
    let maps = redirect_map_of(MapKind::Devmap, 0, 1);
    let handle = check::handle_address(&maps[0]);
    let refused = |name: &str, registers: [u64; 5]| {
        let mut context = MemoryContext::new(0).unwrap();
        let result = call(name, &mut context, &maps, &memory, &Effects::default(), registers);
        result.expect_err(name).register
    };
    assert_eq!(refused("map_lookup_elem", [handle + 8, at, 0, 0, 0]), 1);
    assert_eq!(refused("map_lookup_elem", [handle, at + 61, 0, 0, 0]), 2);
    assert_eq!(refused("map_update_elem", [handle, at, 0, 0, 0]), 3);
    assert_eq!(refused("csum_diff", [at, 65, 0, 0, 0]), 1);
    assert_eq!(refused("csum_diff", [at, 64, at, 1 << 33, 0]), 3);
    assert_eq!(refused("trace_printk", [at, 0, 0, 0, 0]), 2);
    assert_eq!(refused("strtol", [at, 8, 0, at + 1, 0]), 4);
    assert_eq!(refused("ringbuf_submit", [at, 0, 0, 0, 0]), 1);
    assert_eq!(refused("timer_cancel", [at, 0, 0, 0, 0]), 1);
    assert_eq!(refused("spin_lock", [at, 0, 0, 0, 0]), 1);
    assert_eq!(refused("sk_release", [at, 0, 0, 0, 0]), 1);
    // Bytes that say that they are a dynptr, of memory that is not the program's.
    memory.store(0, WordSize::B8, 0x1000);
    memory.store(8, WordSize::B8, 1 << 28 | 8);
    assert_eq!(refused("dynptr_data", [at, 0, 4, 0, 0]), 1);
    memory.store(0, WordSize::B8, at + 60);
    assert_eq!(refused("dynptr_read", [at + 16, 4, at, 0, 0]), 3);
    assert_eq!(refused("dynptr_from_mem", [at, 8, 0, at + 56, 0]), 4);
    memory.fill(0, 64, b'x');
    assert_eq!(refused("strncmp", [at, 4, at, 0, 0]), 3);
}

#[test]
fn a_map_that_is_none_of_the_kind_is_an_error_not_a_crash() {
    let memory = SharedBytes::new(64).unwrap();
    let maps = redirect_map_of(MapKind::Devmap, 0, 1);
    let handle = check::handle_address(&maps[0]);
    let mut context = MemoryContext::new(0).unwrap();
    let effects = Effects::default();
    for (name, expect) in [("ringbuf_output", EINVAL), ("ringbuf_reserve", 0), ("ringbuf_query", 0)] {
        let registers = [handle, memory.address(), 0, 0, 0];
        assert_eq!(call(name, &mut context, &maps, &memory, &effects, registers), Ok(expect));
    }
    assert_eq!(context.program_type(), ProgramType::Memory);
}
